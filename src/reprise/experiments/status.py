"""`reprise status`: what is done, running, interrupted, failed and waiting, and how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from reprise.errors import RepriseError
from reprise.experiments import grid, runs
from reprise.experiments.progress import duration

STATES = ("done", "running", "interrupted", "failed", "waiting")


def state(cohort: Any) -> tuple[str, dict[str, Any]]:
    """One of ``STATES`` and, for a running cohort, what its trainer last wrote about itself.

    interrupted: a checkpoint waits for the same command. failed: there is a log, and neither result nor checkpoint.
    """
    if cohort.complete:
        return "done", {}
    holder = runs.lock_holder(cohort.checkpoints)
    if holder is not None:
        return "running", holder
    if any(cohort.checkpoints.glob("update-*")):
        return "interrupted", {}
    return ("failed" if log_path(cohort).exists() else "waiting"), {}


def log_path(cohort: Any) -> Path:
    """Where the rule `train` logs."""
    return cohort.root / "results" / cohort.tier / "logs" / "train" / f"{cohort.id}.log"


def status(project: Any, tier: str) -> Counter:
    """Print a line per cohort that is running, interrupted or failed, the counts, and an estimate of the time left."""
    planned = grid.build(project, tier)
    standing = {cohort.id for figure in planned.standing for cohort in planned.cohorts_of(figure)}
    states = [(cohort, *state(cohort)) for cohort in planned.cohorts]
    # What only a figure made on request needs is not waited for.
    states = [each for each in states if each[1] != "waiting" or each[0].id in standing]
    counts = Counter(name for _, name, _ in states)
    for cohort, name, holder in states:
        if name == "running":
            print(f"running      {cohort.id}  {_describe(holder)}")
        elif name == "interrupted":
            print(f"interrupted  {cohort.id}  the same command goes on from its checkpoint")
        elif name == "failed":
            print(f"failed       {cohort.id}  see {log_path(cohort)}")
    print(f"{tier}: " + ", ".join(f"{counts[name]} {name}" for name in STATES))
    left = _seconds_left(states)
    if left is None:
        print("time left: not known before a first cohort is done")
    elif left > 0:
        print(f"time left: about {duration(left / max(counts['running'], 1))} with {max(counts['running'], 1)} at once")
    return counts


def _describe(holder: dict[str, Any]) -> str:
    who = f"pid {holder.get('pid', '?')} on {holder.get('host', '?')}"
    if "env_steps" not in holder:
        return who
    age = max(0.0, time.time() - holder["heartbeat"])
    return f"{holder['env_steps']:,} of {holder['total']:,} env steps, {duration(age)} ago, {who}"


def _seconds_left(states: list[tuple[Any, str, dict[str, Any]]]) -> float | None:
    """Core seconds of what is not done, from the median wall seconds of the finished cohorts most like it.

    None when nothing is finished yet.
    """
    seconds: dict[tuple[str, ...], list[float]] = {}
    for cohort, name, _ in states:
        if name != "done":
            continue
        try:
            wall = runs.load_manifest(cohort.folder)["wall_seconds"]
        except RepriseError:
            continue  # `verify` is the place to complain about it
        for key in ((cohort.task, cohort.cells[0].algorithm), (cohort.task,), ()):
            seconds.setdefault(key, []).append(wall / cohort.runs)
    left = 0.0
    for cohort, name, holder in states:
        if name == "done":
            continue
        if not seconds:
            return None
        known = next(k for k in ((cohort.task, cohort.cells[0].algorithm), (cohort.task,), ()) if k in seconds)
        share = 1.0 - holder["env_steps"] / holder["total"] if "env_steps" in holder else 1.0
        left += median(seconds[known]) * cohort.runs * share
    return left
