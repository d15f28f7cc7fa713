"""Facts about this machine and this code for manifests and `reprise doctor`; whatever cannot be found is None."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "numpy", "safetensors", "pyarrow")


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def commit(folder: Path) -> dict[str, Any]:
    """``commit`` and ``dirty`` (tracked files changed) of the git repository around ``folder``."""
    head = _git(folder, "rev-parse", "HEAD")
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no") if head else None
    return {"commit": head, "dirty": None if changed is None else bool(changed)}


def versions() -> dict[str, str]:
    """Versions of python, reprise and the packages that make the numbers."""
    from reprise import __version__

    return {"python": platform.python_version(), "reprise": __version__} | {p: metadata.version(p) for p in PACKAGES}


def _line(path: str, key: str) -> str | None:
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return None
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), None)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_gb() -> float | None:
    """Main memory in GB."""
    kilobytes = _line("/proc/meminfo", "MemTotal")
    return round(int(kilobytes.split()[0]) / 1024**2, 1) if kilobytes else None


def gpu() -> str | None:
    """Name of the first CUDA device."""
    import torch

    return torch.cuda.get_device_name(0) if torch.cuda.is_available() else None


def hardware(device: str) -> dict[str, Any]:
    """CPU model, cores, memory, and the GPU when ``device`` is cuda."""
    return {
        "cpu": _line("/proc/cpuinfo", "model name") or platform.processor() or platform.machine(),
        "cores": cores(),
        "memory_gb": memory_gb(),
        "gpu": gpu() if device == "cuda" else None,
    }
