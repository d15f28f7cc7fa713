"""`reprise verify`: is every run folder of a tier what its manifest says and what the config wants?"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from reprise.errors import RepriseError
from reprise.experiments import grid, runs

_FOLDER = re.compile(r"seeds-(\d+)-(\d+)")


def verify(project: Any, tier: str, repair: bool = False) -> int:
    """Print one line per fault, then the coverage.

    Args:
        project: the loaded config.
        tier: which results.
        repair: move refused folders to ``results/<tier>/refused/``, so that the next call retrains them.

    Returns 1 when faults remain, else 0. A run that is not trained yet is no fault; it is counted.
    """
    results = project.root / "results" / tier
    remaining = 0
    held: dict[tuple[Path, int], Path] = {}
    for folder in sorted(path for path in (results / "runs").glob("*/*/*/*") if path.is_dir()):
        found = _faults(project, tier, folder, held)
        if not found:
            continue
        for line in found:
            print(line)
        remaining += len(found)
        if repair and _set_aside(folder, results):
            remaining -= len(found)
    planned = grid.build(project, tier).cohorts
    complete = sum(cohort.complete for cohort in planned)
    state = f"{remaining} faults" if remaining else "no faults left" if repair else "no faults"
    print(f"{tier}: {complete} of {len(planned)} cohorts complete, {state}")
    if remaining and not repair:
        print(f"next: reprise verify --tier {tier} --repair, then train again")
    return 1 if remaining else 0


def _faults(project: Any, tier: str, folder: Path, held: dict[tuple[Path, int], Path]) -> list[str]:
    """What is wrong with one folder below ``runs/``; ``held`` remembers which folder holds which seed."""
    cohort = _cohort_at(project, tier, folder)
    if isinstance(cohort, str):
        return [f"{folder}: {cohort}"]
    if not (folder / runs.MANIFEST).exists():
        # A kill between two writes of the results: the trainer overwrites them, so they are only worth a mention
        # when nobody is at it.
        leftovers = [name for name in (*runs.FILES, runs.RECORDS) if (folder / name).exists()]
        busy = runs.lock_holder(cohort.checkpoints) is not None
        return [f"{folder}: {', '.join(leftovers)} without a manifest: not complete"] if leftovers and not busy else []
    from reprise.analysis.runs_check import cohort_faults  # opens tables with pandas, which takes a while to import

    found = [line if str(folder) in line else f"{folder}: {line}" for line in cohort_faults(cohort)]
    for seed in cohort.seeds:
        other = held.setdefault((folder.parent, seed), folder)
        if other != folder:
            found.append(f"{folder}: seed {seed} is also in {other}")
            break
    return found


def _cohort_at(project: Any, tier: str, folder: Path) -> grid.Cohort | str:
    """The cohort whose run folder this is, planned or trained by hand; or why it can be none."""
    match = _FOLDER.fullmatch(folder.name)
    if match is None or int(match[1]) > int(match[2]):
        return "not the name of a run folder (seeds-<first>-<last>)"
    seeds = range(int(match[1]), int(match[2]) + 1)
    environment, task, name = folder.parts[-4:-1]
    try:
        cells = grid.cohort(project, tier, f"{environment}/{task}", name, seeds)[0].cells
    except RepriseError as error:
        return f"nothing in the config trains here ({error})"
    cohort = grid.Cohort(project.root, tier, f"{environment}/{task}", name, cells, tuple(seeds))
    return cohort if cohort.cells[0].cohort == name else f"this config is trained as {cohort.cells[0].cohort}"


def _set_aside(folder: Path, results: Path) -> bool:
    """Move a refused folder away, unless it is being trained right now; False when it stays."""
    below = folder.relative_to(results / "runs")
    checkpoints = results / "checkpoints" / below
    if runs.lock_holder(checkpoints) is not None:
        print(f"{folder}: being trained at this moment; left alone")
        return False
    target = next(path for path in _targets(results / "refused" / below) if not path.exists())
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(folder, target)
    runs.fsync_folder(folder.parent)
    print(f"{folder}: moved to {target}")
    return True


def _targets(path: Path) -> Iterator[Path]:
    number = 1
    while True:
        yield path.with_name(f"{path.name}-{number}")
        number += 1
