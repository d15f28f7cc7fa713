"""What a finished run says about itself: the content of manifest.json (docs/architecture.md)."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reprise.experiments import machine, runs
from reprise.experiments.records import TIMED

if TYPE_CHECKING:
    from reprise.experiments.training import Training


def forget_peak_memory() -> None:
    """Let peak memory count from now on, where the system can: a process may train one cohort after the other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def describe(training: Training) -> dict[str, Any]:
    """The manifest of a training that has ended and written its other files."""
    cohort, environment = training.cohort, training.config["environment"]
    wall = training.wall_seconds
    # Equal in all cells: the settings of a sweep differ in numbers that change no shape.
    algorithm = training.algorithm
    described = {"described": algorithm.describe()} if hasattr(algorithm, "describe") else {}
    timings = training.records.timings()
    return {
        "format": runs.FORMAT,
        "tier": cohort.tier,
        "task": cohort.task,
        "name": cohort.name,
        "cells": [
            described
            | {"setting": cell.setting, "hash": cell.hash, "config": cell.config, "provenance": cell.provenance}
            for cell in cohort.cells
        ],
        "hash": cohort.hash,
        "seeds": {
            str(seed) if setting is None else f"{setting}/{seed}": _outcome(training, run)
            for run, (setting, seed) in enumerate(training.runs)
        },
        "references": {str(seed): training.environment.references(seed) for seed in cohort.seeds},
        "environment": {
            "name": environment["name"],
            "version": environment["version"],
            "backend": training.environment.spec.backend,
            "return_bounds": list(training.environment.spec.return_bounds),
        },
        "device": training.device.type,
        **training.commit,
        "versions": machine.versions(),
        "hardware": machine.hardware(training.device.type),
        "env_steps": training.env_steps,
        "wall_seconds": wall,
        "steps_per_second": len(training.runs) * training.env_steps / wall,
        "seconds": {name.removesuffix("_seconds"): float(timings[name].sum()) for name in TIMED},
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "resumes": training.resumes,
        "started": training.started,
        "finished": runs.now(),
        "files": {name: runs.sha256(training.folder / name) for name in runs.FILES},
    }


def _outcome(training: Training, run: int) -> dict[str, Any]:
    entry = training.diverged.get(str(run))
    if entry is None:
        return {
            "status": "complete",
            "env_steps": training.env_steps,
            "diverged_at": None,
            "reason": None,
            "last_batch": None,
        }
    return {
        "status": "diverged",
        "env_steps": entry["env_steps"],
        "diverged_at": entry["env_steps"],
        "reason": entry["reason"],
        "last_batch": entry["last_batch"],
    }
