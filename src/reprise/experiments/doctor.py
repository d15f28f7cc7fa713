"""`reprise doctor`: can this machine run the experiments? Optional parts may be missing."""

from __future__ import annotations

import os
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from reprise import repository
from reprise.experiments import machine

LEAST_DISK_GB = 5.0
LEAST_MEMORY_GB = 4.0


class Finding(NamedTuple):
    """One line of the doctor's report."""

    part: str
    state: str  # "ok", "missing" (a fault) or "optional" (missing, and the rest works without)
    text: str


def doctor(root: Path | None = None) -> int:
    """Print a line per part of the repository at ``root`` (default: around the current folder).

    Returns 1 when something needed is missing, else 0.
    """
    findings = examine(root or repository.root())
    for finding in findings:
        print(f"{finding.state:<9} {finding.part:<13} {finding.text}")
    missing = [finding.part for finding in findings if finding.state == "missing"]
    print(f"needs attention: {', '.join(missing)}" if missing else "ready")
    return 1 if missing else 0


def examine(root: Path) -> list[Finding]:
    """What is there and what is not, for the repository at ``root``."""
    return [_python(), *_packages(root), _gpu(), _cores(), _memory(), _disk(root), _git(), _starcraft()]


def _python() -> Finding:
    version = sys.version_info
    text = f"{version.major}.{version.minor}.{version.micro}"
    return Finding("python", "ok", text) if version >= (3, 11) else Finding("python", "missing", f"{text}; needs 3.11")


def _packages(root: Path) -> list[Finding]:
    """torch, and how the installed packages differ from the lock."""
    lock = root / "constraints.txt"
    if not lock.is_file():
        return [Finding("packages", "missing", f"{lock} is not there")]
    wanted = [Requirement(line) for line in lock.read_text().splitlines() if line[:1].isalnum()]
    installed = {_plain(each.name): each.version for each in metadata.distributions()}
    # A package that is absent may be one that only other platforms need, so only versions are compared.
    differing = [
        f"{each.name} {installed[_plain(each.name)]} (locked {each.specifier})"
        for each in wanted
        if (each.marker is None or each.marker.evaluate())
        and _plain(each.name) in installed
        and not each.specifier.contains(installed[_plain(each.name)], prereleases=True)
    ]
    torch = installed.get("torch")
    return [
        Finding("torch", "ok", torch) if torch else Finding("torch", "missing", "run `make setup`"),
        Finding("packages", "missing", f"differ from {lock.name}: {', '.join(differing[:5])}; run `make setup`")
        if differing
        else Finding("packages", "ok", f"as in {lock.name}"),
    ]


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _gpu() -> Finding:
    name = machine.gpu()
    return Finding("gpu", "ok", name) if name else Finding("gpu", "optional", "no CUDA device; trains on the CPU")


def _cores() -> Finding:
    return Finding("cores", "ok", f"{machine.cores()}: so many cohorts train at once")


def _memory() -> Finding:
    size = machine.memory_gb()
    if size is None:
        return Finding("memory", "optional", "size not known")
    return Finding("memory", "ok" if size >= LEAST_MEMORY_GB else "missing", f"{size} GB")


def _disk(root: Path) -> Finding:
    free = shutil.disk_usage(root).free / 1e9
    return Finding("disk", "ok" if free >= LEAST_DISK_GB else "missing", f"{free:.0f} GB free at {root}")


def _git() -> Finding:
    path = shutil.which("git")
    return Finding("git", "ok", path) if path else Finding("git", "optional", "runs will not record their commit")


def _starcraft() -> Finding:
    """SMAC needs no StarCraft II here; the game itself is used where it is installed."""
    path = os.environ.get("SC2PATH")
    if not path:
        return Finding("StarCraft II", "optional", "SC2PATH is not set")
    if not (Path(path) / "Versions").is_dir():
        return Finding("StarCraft II", "optional", f"SC2PATH={path} holds no Versions folder")
    return Finding("StarCraft II", "ok", path)
