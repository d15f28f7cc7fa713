"""What a tier costs before a job runs: jobs, runs, env steps, hours, and the effect its seeds can detect."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from reprise.experiments import throughput
from reprise.experiments.config import Project
from reprise.experiments.grid import Cohort, Figure, Grid

# A process without its replay, in MB: some 1,700 when it trains many cohorts one after the other.
TRAINING_MB, STUDY_MB = 2000, 1500
# A replay of states (blocks/state_replay.py), per transition and agent of a run: 13.5 GB for a million of 500 agents.
REPLAY_BYTES = 27


@dataclass(frozen=True)
class Row:
    """The cost of one figure (or of a whole tier, where shared runs count once)."""

    figure: str
    cells: int
    cohorts: int
    runs: int
    env_steps: int | None  # None: the budget counts updates, whose length the algorithm decides
    cpu_hours: float | None  # None: something in it was never measured
    gpu_hours: float | None
    seeds: int  # the smallest number of seeds behind any curve
    effect: float | None  # detectable difference, in standard deviations between seeds


def rows(grid: Grid, speeds: throughput.Speeds, figures: Iterable[str] | None = None) -> list[Row]:
    """A row per figure, then the row `all` when there are several: of those named, or of those that the tier makes by
    itself."""
    keys = list(figures or grid.figures)
    found = [_row(key, grid.cohorts_of(key), grid.figures[key], speeds) for key in keys]
    summed = keys if figures else grid.standing
    if len(keys) > 1:
        everything = {cohort.id: cohort for key in summed for cohort in grid.cohorts_of(key)}
        found.append(_row("all", list(everything.values()), None, speeds))
    return found


def _row(name: str, cohorts: list[Cohort], figure: Figure | None, speeds: throughput.Speeds) -> Row:
    seeds = min((len(curve.seeds) for curve in figure.curves), default=0) if figure else 0
    steps = [throughput.env_steps(cohort) for cohort in cohorts]
    return Row(
        figure=name,
        cells=sum(len(cohort.cells) for cohort in cohorts),
        cohorts=len(cohorts),
        runs=sum(cohort.runs for cohort in cohorts),
        env_steps=None if None in steps else sum(steps),
        cpu_hours=_hours(speeds.seconds(cohort, "cpu") for cohort in cohorts),
        gpu_hours=_hours(speeds.seconds(cohort, "cuda") for cohort in cohorts),
        seeds=seeds,
        effect=detectable_effect(seeds) if seeds > 1 else None,
    )


def _hours(seconds: Iterable[float | None]) -> float | None:
    seconds = list(seconds)
    return None if None in seconds else sum(seconds) / 3600


@lru_cache
def detectable_effect(seeds: int, power: float = 0.8, alpha: float = 0.05) -> float:
    """The difference of two means, in standard deviations between seeds, that a two-sided two-sample t test
    with ``seeds`` runs on each side finds with probability ``power`` (noncentral t, equal variances)."""
    from scipy import optimize, stats

    freedom = 2 * seeds - 2
    critical = stats.t.ppf(1 - alpha / 2, freedom)

    def shortfall(effect: float) -> float:
        shift = effect * (seeds / 2) ** 0.5
        return stats.nct.sf(critical, freedom, shift) + stats.nct.cdf(-critical, freedom, shift) - power

    # nct loses its footing at very large shifts: widen the bracket step by step instead of guessing a high end.
    high = 1.0
    while shortfall(high) < 0:
        high *= 1.5
    return float(optimize.brentq(shortfall, 1e-6, high, xtol=1e-4))


def to_do(project: Project, grid: Grid, figures: Iterable[str] | None = None) -> list[Cohort]:
    """The cohorts still to train: without a manifest, and needed by a figure whose table is not there yet. Without
    ``figures``, of those that the tier makes by itself."""
    tables = project.root / "results" / grid.tier / "tables"
    missing = {
        cohort.id: cohort
        for key in (figures or grid.standing)
        if not (tables / f"{key}.parquet").is_file()
        for cohort in grid.cohorts_of(key)
        if not cohort.complete
    }
    return list(missing.values())


def wall_seconds(cohorts: list[Cohort], speeds: throughput.Speeds, jobs: int) -> float | None:
    """Seconds for ``cohorts`` on ``jobs`` cores, a job per core: never less than the longest. None: not measured."""
    seconds = [speeds.seconds(cohort, "cpu") for cohort in cohorts]
    if None in seconds:
        return None
    return max([sum(seconds) / jobs, *seconds], default=0.0)


def memory_mb(cohort: Cohort) -> int:
    """What a job for ``cohort`` asks for in MB: what every process takes, and its replay as far as it will fill."""
    if cohort.is_study:
        return STUDY_MB
    held = 0
    for cell in cohort.cells:
        replay = cell.config["algorithm"]["hyperparameters"].get("replay", 0)
        transitions = min(replay, cell.config["budget"].get("env_steps", 0))
        held += transitions * cell.config["environment"]["parameters"].get("agents", 0) * len(cohort.seeds)
    return TRAINING_MB + REPLAY_BYTES * held // 1_000_000


def cores() -> int:
    """The cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def brief(project: Project, grid: Grid, speeds: throughput.Speeds, figures: Iterable[str] | None = None) -> str:
    """One or two sentences: training jobs still to do, and the time expected here."""
    jobs = to_do(project, grid, figures)
    if not jobs:
        return f"Tier {grid.tier}: nothing left to train, only tables and figures to draw."
    here = cores()
    seconds = wall_seconds(jobs, speeds, here)
    if seconds is None:
        known = [job for job in jobs if speeds.seconds(job, "cpu") is not None]
        rest = f"; {len(jobs) - len(known)} of them were never timed" if known else ""
        seconds = wall_seconds(known, speeds, here)
        time = f"at least {_duration(seconds)}{rest}" if known else "a time nobody has measured yet"
    else:
        time = f"about {_duration(seconds)}"
    word = "job" if len(jobs) == 1 else "jobs"
    return f"Tier {grid.tier}: {len(jobs)} training {word} to do, {time} on {here} core{'s' * (here > 1)} here."


def table(found: list[Row], grid: Grid, todo: list[Cohort], speeds: throughput.Speeds) -> str:
    """``found`` as aligned plain text, with the wall time of what is left on this machine."""
    header = ["figure", "cells", "jobs", "runs", "env steps", "CPU h", "GPU h", "seeds", "detectable"]
    body = [
        [
            row.figure,
            str(row.cells),
            str(row.cohorts),
            str(row.runs),
            "-" if row.env_steps is None else f"{row.env_steps:,}",
            "?" if row.cpu_hours is None else f"{row.cpu_hours:.2f}",
            "?" if row.gpu_hours is None else f"{row.gpu_hours:.2f}",
            str(row.seeds or ""),
            "" if row.effect is None else f"{row.effect:.1f} sd",
        ]
        for row in found
    ]
    widths = [max(len(line[column]) for line in [header, *body]) for column in range(len(header))]
    lines = [
        "  ".join(part.ljust(width) if column == 0 else part.rjust(width) for column, (part, width) in enumerate(pairs))
        for pairs in ([*zip(line, widths, strict=True)] for line in [header, *body])
    ]
    seconds = wall_seconds(todo, speeds, cores())
    left = "not measured" if seconds is None else _duration(seconds)
    notes = [
        f"tier {grid.tier}: {len(todo)} of {len(grid.cohorts)} jobs to do; wall time here ({cores()} cores): {left}",
        f"speed from: {speeds.origin}; ? = never measured, - = the budget counts updates",
        "detectable: difference of two means found with 80 % power at alpha 5 %, in standard deviations between seeds",
    ]
    asked = [name for name, figure in grid.figures.items() if figure.on_request]
    if asked:
        notes.append(f"made only when asked for by name, not in `all`: {', '.join(asked)}")
    return "\n".join([f"tier {grid.tier}", "", *lines, "", *notes])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} seconds"
    return f"{round(seconds / 60)} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
