"""Finished run folders with made-up learning curves, for tests of everything that comes after training."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from reprise.experiments import runs

REFERENCES = {"optimum": 100.0, "nash": 95.0, "uniform": 0.0}

Curve = Callable[[str, int, np.ndarray], np.ndarray]  # (cell name, seed, progress in 0..1) -> expected return


def rising(name: str, seed: int, progress: np.ndarray) -> np.ndarray:
    """From 0 to about 50, each seed a little differently."""
    return 50 * progress + np.random.default_rng(seed).normal(0, 2)


def write(cohort, curve: Curve = rising, diverged: dict[str, int] | None = None, references=lambda seed: REFERENCES):
    """Write the folder of ``cohort`` as training would; ``diverged`` {run: env_steps} cuts runs off. Returns it."""
    diverged = diverged or {}
    evaluations, training, seeds = [], [], {}
    budget = cohort.cells[0].config["budget"]
    total = budget.get("env_steps", 1000)
    for cell in cohort.cells:
        for seed in cohort.seeds:
            run = f"{cell.setting}/{seed}" if cohort.is_sweep else str(seed)
            until = diverged.get(run, total)
            steps = np.linspace(0, total, budget["evaluations"] + 1).astype(np.int64)
            expected = curve(cell.name, seed, steps / total)
            generator = np.random.default_rng([seed, len(cell.name)])
            for step, value in zip(steps, expected, strict=True):
                for episode in range(budget["evaluation_episodes"]):
                    if step <= until:
                        sampled = value + generator.normal(0, 5)
                        evaluations.append((cell.setting, seed, step, episode, sampled, 10, np.nan, value))
            training += [
                (cell.setting, seed, u, u * total // 10, 0.1 / u) for u in range(1, 11) if u * total // 10 <= until
            ]
            seeds[run] = {
                "status": "diverged" if run in diverged else "complete",
                "env_steps": until,
                "diverged_at": diverged.get(run),
                "reason": "non-finite loss" if run in diverged else None,
                "last_batch": None,
            }
    names = ("setting", "seed", "env_steps", "episode", "return", "length", "success", "expected_return")
    _table(cohort, runs.EVALUATIONS, names, evaluations)
    _table(cohort, runs.TRAINING, ("setting", "seed", "update", "env_steps", "kl"), training)
    _table(cohort, runs.TIMINGS, ("update", "env_steps"), [(1, total)])
    runs.write_bytes(cohort.folder / runs.POLICY, b"weights")
    runs.write_json(
        cohort.folder / runs.MANIFEST,
        {
            "format": runs.FORMAT,
            "tier": cohort.tier,
            "task": cohort.task,
            "name": cohort.name,
            "cells": [
                {"setting": c.setting, "hash": c.hash, "config": c.config, "provenance": c.provenance}
                for c in cohort.cells
            ],
            "hash": cohort.hash,
            "seeds": seeds,
            "references": {str(seed): references(seed) for seed in cohort.seeds},
            "environment": {"name": "grid_world", "version": 1, "backend": "torch", "return_bounds": [-10.0, 100.0]},
            "device": "cpu",
            "commit": "0123456789abcdef",
            "dirty": False,
            "versions": {"torch": "2"},
            "hardware": {"cpu": "test"},
            "env_steps": total,
            "wall_seconds": 2.0,
            "steps_per_second": 500.0,
            "peak_memory_mb": 100.0,
            "resumes": 0,
            "files": {name: runs.sha256(cohort.folder / name) for name in runs.FILES},
        },
    )
    return cohort.folder


INT32 = {"seed", "update", "episode", "length"}


def _table(cohort, file: str, names: tuple[str, ...], rows: list[tuple]) -> None:
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    if not cohort.is_sweep:
        columns.pop("setting", None)
    types = {name: np.int32 if name in INT32 else np.int64 if name == "env_steps" else np.float64 for name in columns}
    arrays = {n: v if n == "setting" else np.array(v, types[n]) for n, v in columns.items()}
    runs.write_parquet(cohort.folder / file, arrays)


def reseal(folder) -> None:
    """Make the manifest agree with the files again: what a forger would do."""
    import json

    path = folder / runs.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["files"] = {name: runs.sha256(folder / name) for name in runs.FILES}
    runs.write_json(path, manifest)
