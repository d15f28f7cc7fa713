"""Cohorts one after the other, each under its lock: training runs and exact studies alike. No torch here."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reprise.errors import RepriseError
from reprise.experiments import runs


class StopRequest:
    """SIGTERM, SIGUSR1 and the first SIGINT ask to stop after the current update; a second SIGINT stops at once."""

    def __init__(self):
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, _frame: object) -> None:
        self.requested = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def run(
    project: Any,
    cohorts: Sequence[Any],
    device: str = "auto",
    *,
    progress: bool = True,
    tensorboard: bool = False,
    checkpoint_seconds: float | None = None,
) -> int:
    """Train (or, of exact studies, compute) cohorts one after the other; complete ones are skipped.

    Args:
        project: the loaded config.
        cohorts: from ``grid``.
        device: ``auto``, ``cpu`` or ``cuda``; exact studies always use the processor.
        progress: show a progress line on stderr.
        tensorboard: log to ``results/<tier>/logs/tensorboard``.
        checkpoint_seconds: seconds between checkpoints; None adapts so that they cost at most 2 % of the time.

    Returns the number of cohorts run.

    Raises:
        Interrupted: asked to stop by a signal; what is needed to go on is saved.
        RepriseError: a run folder that holds something else, is being trained, or a device or package that is missing.
    """
    if any(not cohort.is_study for cohort in cohorts):
        from reprise.experiments import evaluation

        evaluation.resolve_device(device)
    done = 0
    with StopRequest() as stop:
        for cohort in cohorts:
            if stop.requested:
                raise runs.Interrupted(f"stopped before {label(cohort)}; run the same command to go on")
            if is_complete(cohort):
                print(f"{label(cohort)}  already complete", file=sys.stderr)
                continue
            with runs.RunLock(Path(cohort.checkpoints)) as lock:
                if lock.taken_over:
                    print(f"{label(cohort)}  {lock.taken_over}", file=sys.stderr)
                if not is_complete(cohort):  # another process may have finished it while we waited
                    if cohort.is_study:
                        from reprise.experiments import studying

                        studying.run(project, cohort, lock, stop, progress)
                    else:
                        from reprise.experiments.training import Training

                        Training(project, cohort, device, lock, stop, progress, tensorboard, checkpoint_seconds).run()
                    done += 1
                lock.remove_folder()
    return done


def label(cohort: Any) -> str:
    """What people call a cohort."""
    first, last = cohort.seeds[0], cohort.seeds[-1]
    return f"{cohort.task} {cohort.name} seeds {first}-{last} ({cohort.tier})"


def is_complete(cohort: Any) -> bool:
    """Whether the run folder holds the finished run of this config; RepriseError when it holds another one."""
    folder = Path(cohort.folder)
    if not (folder / runs.MANIFEST).exists():
        return False
    if runs.load_manifest(folder)["hash"] != cohort.hash:
        raise RepriseError(f"{folder}: trained with another config; {runs.REPAIR}")
    missing = [path for path in cohort.files.values() if not path.is_file()]
    if missing:
        raise RepriseError(f"{folder}: {missing[0].name} is missing; {runs.REPAIR}")
    return True
