"""From run folders to one tidy table per figure, and the coverage beside it: which runs stand in it and which do not.

This is the only module that opens run folders. Everything later stages need to know of a run (times, hyperparameters,
sources, hardware) goes through the coverage, so that a clone with pulled tables never needs the runs.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
from pathlib import Path

import numpy as np

from reprise.analysis import coverage, runs_check, studies
from reprise.analysis.coverage import Found, Run
from reprise.errors import RepriseError, unknown
from reprise.experiments import grid, runs

MOST_TRAINING_ROWS = 200
"""Training metrics are averaged over blocks of updates so that a run keeps at most this many rows."""

STUDY_SCHEMA = (
    ("quantity", "string"),
    ("series", "string"),
    ("seed", "int32"),
    ("game", "int32"),
    ("x", "float64"),
    ("value", "float64"),
)
COLUMNS = ("panel", "label", "cell", "setting", "seed", "env_steps", "metric", "value")


def collect(project, tier: str, figure_key: str, strict: bool = True) -> tuple[Path, Path]:
    """Write the table and the coverage of ``figure_key`` ("dpo/fig01a"); returns their paths.

    Missing runs are counted in the coverage. A run that is not what it should be (changed, truncated, of another
    config, a copy of another seed) raises RepriseError with exit code 1 and nothing is written; with ``strict=False``
    it is left out and its reason stands in the coverage.
    """
    planned = grid.build(project, tier)
    if figure_key not in planned.figures:
        raise unknown("figure", figure_key, planned.figures, f"tier {tier}")
    figure = planned.figures[figure_key]
    gather = _studies if figure.spec.kind == "study" else _training
    table, found, references = gather(planned, figure, tier, strict)
    covered = {
        "figure": figure.name,
        "paper": figure.paper,
        "tier": tier,
        "stamp": figure.stamp,
        "spec": figure.spec.model_dump(mode="json"),
        **found,
        "references": {task: _mean_references(seeds) for task, seeds in references.items()},
        "per_seed_references": {task: _sorted_seeds(seeds) for task, seeds in references.items()},
    }
    target = Path(project.root) / "results" / tier / "tables" / figure.paper
    paths = target / f"{figure.name}.parquet", target / f"{figure.name}.coverage.json"
    runs.write_bytes(paths[0], table)
    runs.write_bytes(paths[1], (json.dumps(_finite(covered), indent=1, allow_nan=False) + "\n").encode())
    return paths


def _training(planned, figure, tier: str, strict: bool) -> tuple[bytes, dict, dict]:
    """The table of a figure of training runs, {"curves": their coverage}, and references by task and seed."""
    metrics = tuple(figure.spec.training_metrics)
    rows, curves, references, opened = [], [], {}, {}
    for panel in figure.panels:
        for curve in panel.curves:
            found = _find(planned.cohorts_for(curve), curve, metrics, tier, strict, opened)
            rows += [(panel.task, curve, run) for run in found.runs]
            curves.append(coverage.entry(panel.task, curve, found))
            references.setdefault(panel.task, {}).update(_references(found))
    _check_metrics(metrics, rows, figure.key)
    return _parquet(rows), {"curves": curves}, references


def _studies(planned, figure, tier: str, strict: bool) -> tuple[bytes, dict, dict]:
    """The records of a figure's exact studies, one after the other, with a first column `study`; their coverage and
    the results of the figure's checks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    parts, curves = [], []
    for panel in figure.panels:
        (curve,) = panel.curves
        found = Found()
        for cohort in planned.cohorts_for(curve):
            if not cohort.complete:
                continue
            faults = runs_check.cohort_faults(cohort)
            if faults and strict:
                raise _refused(f"{cohort.folder}: refused: {faults[0]}", tier)
            if faults:
                found.refused.append(faults[0])
                continue
            manifest = runs.load_manifest(cohort.folder)
            table = pq.read_table(cohort.folder / runs.RECORDS)
            study = pa.array([panel.task.partition("/")[2]] * len(table), pa.string())
            parts.append(table.add_column(0, "study", study))
            found.manifests.append(manifest)
            found.runs += [Run(seed, manifest["seeds"][str(seed)], {}, None) for seed in cohort.seeds]
        curves.append(coverage.entry(panel.task, curve, found))
    schema = pa.schema([("study", pa.string()), *STUDY_SCHEMA])
    records = pa.concat_tables(parts) if parts else schema.empty_table()
    # Judged here, from the full float64 records: the table keeps what drawing needs.
    complete = not any(curve["missing"] for curve in curves)
    checks = {name: check.model_dump(mode="json") for name, check in figure.spec.checks.items()}
    judged = studies.judge(records.to_pandas(), checks, figure.key) if complete else {}
    table, options = studies.slim(records)
    buffer = io.BytesIO()
    pq.write_table(table, buffer, **options)
    return buffer.getvalue(), {"curves": curves, "checks": judged}, {}


def _refused(fault: object, tier: str) -> RepriseError:
    return RepriseError(f"{fault}; next: reprise verify --tier {tier} --repair", exit_code=1)


def _find(cohorts, curve, metrics: tuple[str, ...], tier: str, strict: bool, opened: dict) -> Found:
    """The runs of ``curve`` in the finished folders among ``cohorts``. ``opened`` keeps what was read, by folder."""
    found = Found()
    for cohort in sorted(cohorts, key=lambda c: c.seeds):
        if not (cohort.folder / "manifest.json").is_file():
            continue
        try:
            if cohort.folder not in opened:
                opened[cohort.folder] = _open(cohort)
            new = _runs(cohort, *opened[cohort.folder], curve, metrics)
            _check_distinct(new, found.runs, cohort.folder)
        except RepriseError as fault:
            if strict:
                raise _refused(fault, tier) from None
            found.refused.append(str(fault))
            continue
        found.runs += new
        found.manifests.append(opened[cohort.folder][0])
    found.runs.sort(key=lambda run: run.seed)
    return found


def _open(cohort) -> tuple:
    """(manifest, evaluations, training) of a folder that passed every check; else RepriseError naming the fault."""
    faults = runs_check.cohort_faults(cohort)
    if faults:
        raise RepriseError(f"{cohort.folder}: refused: {faults[0]}", exit_code=1)
    tables = (runs_check.read_table(cohort.folder, name) for name in (runs.EVALUATIONS, runs.TRAINING))
    return runs.load_manifest(cohort.folder), *tables


def _runs(cohort, manifest: dict, evaluations, training, curve, metrics: tuple[str, ...]) -> list[Run]:
    """The runs of ``curve`` among those of one folder."""
    setting = next(
        (entry.get("setting") or "" for entry in manifest["cells"] if entry["hash"] == curve.cell.hash), None
    )
    if setting is None:
        raise RepriseError(f"{cohort.folder}: refused: it does not hold the config of {curve.cell.name}", exit_code=1)
    if setting:
        evaluations = evaluations[evaluations["setting"] == setting]
        training = training[training["setting"] == setting]
    wanted = []
    for seed in sorted(set(cohort.seeds) & set(curve.seeds)):
        mine = evaluations[evaluations["seed"] == seed]
        series = _evaluation_series(mine) | _training_series(training[training["seed"] == seed], metrics)
        wanted.append(Run(seed, manifest["seeds"][runs_check.seed_key(setting, seed)], series, _digest(mine)))
    return wanted


def _check_distinct(new: list[Run], others: list[Run], folder: Path) -> None:
    """Refuse a seed that stands in two folders, and two seeds with one curve: a copied run is no second sample."""
    known = list(others)
    for run in new:
        for other in known:
            if other.seed == run.seed:
                raise RepriseError(f"{folder}: refused: another folder holds seed {run.seed} too", exit_code=1)
            if run.digest is not None and other.digest == run.digest:
                both = f"seeds {other.seed} and {run.seed}"
                raise RepriseError(f"{folder}: refused: {both} have the same evaluation curve", exit_code=1)
        known.append(run)


def _digest(evaluations) -> str | None:
    """Fingerprint of a run's episodes; None for a constant curve, which two honest runs may share."""
    if evaluations["return"].nunique() < 2:
        return None
    ordered = evaluations.sort_values(["env_steps", "episode"])
    return hashlib.sha256(ordered[["env_steps", "return"]].to_numpy(dtype=np.float64).tobytes()).hexdigest()


def _evaluation_series(evaluations) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Mean over the episodes of each evaluation point, for the metrics that this environment has."""
    means = evaluations.groupby("env_steps", sort=True)[["return", "expected_return", "success"]].mean()
    steps = means.index.to_numpy(dtype=np.int64)
    return {name: (steps, means[name].to_numpy()) for name in means.columns if means[name].notna().any()}


def _training_series(training, metrics: tuple[str, ...]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Training metrics averaged over blocks of updates; env_steps is that of the last update of a block."""
    present = [name for name in metrics if name in training.columns]
    if not present or training.empty:
        return {}
    ordered = training.sort_values("update")
    size = math.ceil(len(ordered) / MOST_TRAINING_ROWS)
    block = np.arange(len(ordered)) // size
    steps = ordered["env_steps"].groupby(block).max().to_numpy(dtype=np.int64)
    return {name: (steps, ordered[name].groupby(block).mean().to_numpy()) for name in present}


def _check_metrics(metrics: tuple[str, ...], rows: list, figure_key: str) -> None:
    """A training metric that no run of the figure has is a typing error in the config."""
    have = {name for _, _, run in rows for name in run.series}
    for name in metrics:
        if rows and name not in have:
            raise RepriseError(f"{figure_key}: no run has the training metric '{name}'")


def _parquet(rows: list) -> bytes:
    """The long table of `COLUMNS`, in panel, curve, seed, metric order; the same runs always give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, list] = {name: [] for name in COLUMNS}
    for task, curve, run in rows:
        for metric, (steps, values) in run.series.items():
            fixed = (task, curve.label, curve.cell.name, curve.cell.setting or "", run.seed)
            for name, value in zip(COLUMNS[:5], fixed, strict=True):
                columns[name].extend([value] * len(steps))
            columns["env_steps"].extend(steps.tolist())
            columns["metric"].extend([metric] * len(steps))
            columns["value"].extend(values.tolist())
    types = {"seed": pa.int32(), "env_steps": pa.int64(), "value": pa.float64()}
    schema = pa.schema([(name, types.get(name, pa.string())) for name in COLUMNS])
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer, compression="zstd")
    return buffer.getvalue()


def _references(found: Found) -> dict[str, dict]:
    """{seed: {reference: value}} of the runs found."""
    known: dict[str, dict] = {}
    for manifest in found.manifests:
        known |= manifest.get("references") or {}
    return {str(run.seed): known[str(run.seed)] for run in found.runs if str(run.seed) in known}


def _mean_references(seeds: dict[str, dict]) -> dict[str, dict]:
    """{reference: {mean, low, high}} over the seeds: low and high are the extremes, equal when all play one game."""
    known: dict[str, list[float]] = {}
    for seed in _sorted_seeds(seeds).values():
        for name, value in seed.items():
            if value is not None:
                known.setdefault(name, []).append(float(value))
    return {name: {"mean": float(np.mean(v)), "low": min(v), "high": max(v)} for name, v in known.items()}


def _sorted_seeds(seeds: dict[str, dict]) -> dict[str, dict]:
    return {seed: seeds[seed] for seed in sorted(seeds, key=lambda seed: (len(seed), seed))}


def _finite(value):
    """``value`` with NaN and infinities as None, which json can say."""
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
