"""Is a run folder what its manifest says, and what the grid expects? Used by collect and by ``reprise verify``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from reprise.experiments import runs


def identity_faults(cohort, manifest: dict) -> list[str]:
    """Where the manifest's task, name, tier, configs or seeds are not those of the ``cohort`` that the grid plans."""
    faults = [
        f"it is of {key} '{manifest[key]}', not '{getattr(cohort, key)}'"
        for key in ("tier", "task", "name")
        if manifest[key] != getattr(cohort, key)
    ]
    trained = {entry.get("hash"): entry for entry in manifest["cells"]}
    for cell in cohort.cells:
        entry = trained.get(cell.hash)
        if entry is None:
            shown = ", ".join(str(h)[:8] for h in trained)
            faults.append(f"config of {cell.name} has hash {cell.hash[:8]}, the run was trained with {shown}")
        elif entry.get("config") != json.loads(json.dumps(cell.config)):
            faults.append(f"the config in manifest.json is not that of {cell.name}, though its hash is")
    expected = {seed_key(setting, seed) for setting in settings(manifest) for seed in cohort.seeds}
    if set(manifest["seeds"]) != expected:
        odd = ", ".join(sorted(set(manifest["seeds"]) ^ expected)[:6])
        faults.append(f"its seeds are not those of the folder's name ({odd})")
    return faults


def settings(manifest: dict) -> list[str]:
    """The sweep settings in a folder; [""] when it is no sweep."""
    return [entry.get("setting") or "" for entry in manifest["cells"]]


def seed_key(setting: str, seed: int) -> str:
    """How the manifest names one run."""
    return f"{setting}/{seed}" if setting else str(seed)


def grid_faults(evaluations, manifest: dict, budget: dict) -> list[str]:
    """Evaluation points that are missing, doubled or of the wrong number of episodes.

    A complete run must have every point of the cohort's grid; a diverged one may stop early.
    """
    faults = []
    swept = "setting" in evaluations.columns
    keys = ["setting", "seed"] if swept else ["seed"]
    groups = {
        seed_key(key[0] if swept else "", int(key[-1])): frame for key, frame in evaluations.groupby(keys, sort=True)
    }
    for stray in sorted(set(groups) - set(manifest["seeds"])):
        faults.append(f"evaluations.parquet holds run {stray}, which manifest.json does not")
    grid = np.unique(evaluations["env_steps"].to_numpy())
    # The untrained policy is point 0; a run of few updates has fewer points than are configured.
    if not 0 < len(grid) <= budget["evaluations"] + 1:
        faults.append(f"{len(grid)} evaluation points where {budget['evaluations']} are configured")
    elif grid[-1] != manifest["env_steps"] and any(s["status"] != "diverged" for s in manifest["seeds"].values()):
        faults.append(f"the last evaluation is at {grid[-1]} of {manifest['env_steps']} env steps")
    for name, seed in sorted(manifest["seeds"].items()):
        frame = groups.get(name)
        points, counts = np.unique(frame["env_steps"] if frame is not None else [], return_counts=True)
        if seed["status"] != "diverged" and not np.array_equal(points, grid):
            faults.append(f"run {name} has {len(points)} of {len(grid)} evaluation points")
        if (counts != budget["evaluation_episodes"]).any():
            faults.append(f"run {name} has a point without its {budget['evaluation_episodes']} evaluation episodes")
    return faults


def cohort_faults(cohort) -> list[str]:
    """Everything wrong with the finished folder of ``cohort``; [] when it can be trusted. Reads every file."""
    folder = cohort.folder
    faults = runs.faults(folder)
    if faults:
        return faults
    manifest = runs.load_manifest(folder)
    if cohort.is_study:
        return identity_faults(cohort, manifest)
    return identity_faults(cohort, manifest) or grid_faults(
        read_table(folder, runs.EVALUATIONS), manifest, cohort.cells[0].config["budget"]
    )


def read_table(folder: Path, name: str):
    """A parquet file of a run folder as a pandas table."""
    import pyarrow.parquet as pq

    return pq.read_table(folder / name).to_pandas()
