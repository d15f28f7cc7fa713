"""One exact study from its config to a finished run folder: `records.parquet` and the manifest.

Minutes at most, so there are no checkpoints: an interrupted study starts anew.
"""

from __future__ import annotations

import resource
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from reprise.errors import RepriseError
from reprise.experiments import machine, runs
from reprise.experiments.jobs import label
from reprise.experiments.progress import duration
from reprise.theory.study import Parameters, Records


def run(project: Any, cohort: Any, lock: runs.RunLock, stop: Any, progress: bool = True) -> None:
    """Compute ``cohort``, the seeds of one study, and write its run folder. ``lock`` is held by the caller.

    Raises Interrupted when asked to stop (between two records), RepriseError when its module has no ``run`` or the
    results cannot be written.
    """
    (cell,) = cohort.cells
    environment = cell.config["environment"]
    function = _function(environment["module"], f"config/studies/{environment['task']}.yaml: module")
    folder = Path(cohort.folder)
    for leftover in (folder, lock.folder):
        runs.remove_partials(leftover)
    started, clock = runs.now(), time.monotonic()
    commit = machine.commit(project.root)

    def check() -> None:
        lock.beat()
        if stop.requested:
            raise runs.Interrupted(f"{label(cohort)}: interrupted; it has no checkpoint: the same command redoes it")

    records = Records(check)
    if progress:
        print(f"{label(cohort)}  computing", file=sys.stderr)
    function(Parameters(environment["parameters"]), cohort.seeds, records)
    columns = records.columns()
    wall = time.monotonic() - clock
    manifest = {
        "format": runs.FORMAT,
        "tier": cohort.tier,
        "task": cohort.task,
        "name": cohort.name,
        "cells": [{"setting": None, "hash": cell.hash, "config": cell.config, "provenance": cell.provenance}],
        "hash": cohort.hash,
        "seeds": {str(seed): {"status": "complete"} for seed in cohort.seeds},
        "environment": {"name": environment["name"], "version": environment["version"], "backend": "numpy, float64"},
        "device": "cpu",
        **commit,
        "versions": machine.versions(),
        "hardware": machine.hardware("cpu"),
        "records": len(columns["value"]),
        "wall_seconds": wall,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "resumes": 0,
        "started": started,
        "finished": runs.now(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        runs.write_parquet(folder / runs.RECORDS, columns)
        files = {runs.RECORDS: runs.sha256(folder / runs.RECORDS)}
        runs.write_json(folder / runs.MANIFEST, manifest | {"files": files})
    except OSError as error:
        raise RepriseError(
            f"{folder}: cannot write the results ({error.strerror or error}); free disk space and run the same command",
            exit_code=1,
        ) from error
    if progress:
        print(f"{label(cohort)}  done: {len(columns['value']):,} numbers, {duration(wall)}", file=sys.stderr)


def _function(module: str, place: str) -> Any:
    try:
        return import_module(module).run
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise RepriseError(f"{place}: no module '{module}'") from None
    except AttributeError:
        raise RepriseError(f"{place}: '{module}' has no function 'run'") from None
