"""What the stages after collect need to know of a curve's runs: the coverage entry (docs/architecture.md)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Run:
    """One seed of one curve: its manifest entry and its series {metric: (env_steps, values)}."""

    seed: int
    entry: dict
    series: dict[str, tuple[np.ndarray, np.ndarray]]
    digest: str | None


@dataclass
class Found:
    """The runs of one curve, and what stands in the manifests of the folders they came from."""

    runs: list[Run] = field(default_factory=list)
    manifests: list[dict] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def entry(task: str, curve, found: Found) -> dict:
    """What the report and the judge need to know of one curve's runs."""
    expected, seeds = list(curve.seeds), [run.seed for run in found.runs]
    diverged = {str(run.seed): run.entry for run in found.runs if run.entry["status"] == "diverged"}
    config, provenance = curve.cell.config, curve.cell.provenance

    def each(key: str) -> list:
        return [manifest.get(key) for manifest in found.manifests]

    def distinct(key: str) -> list:
        return [value for i, value in enumerate(each(key)) if value and value not in each(key)[:i]]

    # Older runs and algorithms that have nothing to say leave no empty entries behind.
    told = {"described": _described(found.manifests, curve.cell.hash), "seconds": _seconds(each("seconds"))}
    environments = [manifest.get("environment") or {} for manifest in found.manifests]
    return {
        "panel": task,
        "label": curve.label,
        "cell": curve.cell.name,
        "setting": curve.cell.setting or "",
        "algorithm": curve.cell.algorithm,
        "color": curve.color,
        **({"group": curve.group} if curve.group else {}),
        "hash": curve.cell.hash,
        "seeds_expected": expected,
        "seeds_found": seeds,
        "missing": [seed for seed in expected if seed not in seeds],
        "diverged": [int(seed) for seed in diverged],
        "divergences": {s: {"env_steps": e.get("diverged_at"), "reason": e.get("reason")} for s, e in diverged.items()},
        "refused": found.refused,
        "commits": sorted({f"{m.get('commit')}{'+' if m.get('dirty') else ''}" for m in found.manifests}),
        "versions": distinct("versions"),
        "hardware": distinct("hardware"),
        "device": sorted(map(str, distinct("device"))),
        "backend": sorted({str(environment.get("backend")) for environment in environments}),
        "wall_seconds": _total(each("wall_seconds")),
        "steps_per_second": _mean(each("steps_per_second")),
        "peak_memory_mb": max(filter(None, each("peak_memory_mb")), default=None),
        "resumes": _total(each("resumes")),
        "env_steps": max(filter(None, each("env_steps")), default=None),
        "hyperparameters": config["algorithm"]["hyperparameters"],
        "parameters": config["environment"]["parameters"],
        "provenance": provenance,
        "budget": config["budget"],
        "return_bounds": next((_bounds(e["return_bounds"]) for e in environments if e.get("return_bounds")), None),
    } | {key: value for key, value in told.items() if value}


def _described(manifests: list[dict], digest: str) -> dict:
    """What the algorithm says of itself in the cell with this hash, such as its numbers of parameters."""
    cells = [cell for manifest in manifests for cell in manifest["cells"] if cell["hash"] == digest]
    return cells[-1].get("described", {}) if cells else {}


def _seconds(parts: list[dict | None]) -> dict[str, float]:
    """Seconds in rollouts, updates, evaluations and checkpoints, summed over the folders that tell."""
    known = [seconds for seconds in parts if seconds]
    return {name: sum(seconds[name] for seconds in known) for name in (known[0] if known else ())}


def _bounds(values: list) -> list[float | None]:
    """[low, high] with None for "no bound": manifests spell infinity as text."""
    return [float(value) if math.isfinite(float(value)) else None for value in values]


def _total(values: list) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _mean(values: list) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
