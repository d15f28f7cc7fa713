"""From a figure's table to the numbers that are drawn and judged: curves with intervals, and per-seed summaries.

The unit is the seed (in figures of kind ``games``, where every seed is its own game, the game). A diverged run counts
as the worst possible score from the moment it diverged. Reads the table and its coverage, nothing else.
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

import numpy as np

from reprise.analysis import studies
from reprise.analysis.inference import mean_interval, t_quantile
from reprise.errors import RepriseError
from reprise.experiments import runs

EXACT = "expected_return"
METRIC_TEXT = {EXACT: "exact expected return", "return": "sampled return", "success": "success rate"}


def compute(project, tier: str, figure_key: str) -> tuple[Path, Path]:
    """Write the statistics of ``figure_key`` ("dpo/fig01a") as json and csv; returns their paths.

    Raises RepriseError when the table or its coverage is absent or damaged, or lacks the figure's metric.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder = Path(project.root) / "results" / tier
    tables = folder / "tables"
    again = f"run: reprise collect {figure_key} --tier {tier}"
    try:
        table = pq.read_table(tables / f"{figure_key}.parquet").to_pandas()
        coverage = json.loads((tables / f"{figure_key}.coverage.json").read_text(encoding="utf-8"))
    except FileNotFoundError as fault:
        raise RepriseError(f"{fault.filename or figure_key}: no such file; {again}") from None
    except (pa.ArrowInvalid, json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise RepriseError(f"{tables / figure_key}: damaged table or coverage ({fault}); {again}") from None
    study = coverage["spec"]["kind"] == "study"
    statistics = studies.summarise(table, coverage) if study else summarise(table, coverage)
    paths = folder / "statistics" / f"{figure_key}.json", folder / "statistics" / f"{figure_key}.csv"
    layout = {"separators": (",", ":")} if study else {"indent": 1}
    runs.write_bytes(paths[0], (json.dumps(statistics, allow_nan=False, **layout) + "\n").encode())
    runs.write_bytes(paths[1], studies.csv(statistics) if study else _csv(statistics))
    return paths


def summarise(table, coverage: dict) -> dict:
    """The statistics of one figure (schema in docs/architecture.md) from its long table and its coverage."""
    spec = coverage["spec"]
    metric = spec["metric"]
    if len(table) and metric not in set(table["metric"]):
        raise RepriseError(f"{coverage['paper']}/{coverage['figure']}: no run has the metric '{metric}'")
    panels = []
    for task in dict.fromkeys(curve["panel"] for curve in coverage["curves"]):
        here = [curve for curve in coverage["curves"] if curve["panel"] == task]
        panel = table[table["panel"] == task]
        worst = _worst(panel[panel["metric"] == metric], here)
        references = coverage["per_seed_references"].get(task, {})
        curves = [_curve(panel[panel["label"] == curve["label"]], curve, spec, worst, references) for curve in here]
        panels.append({"task": task, "references": coverage["references"].get(task, {}), "curves": curves})
    return {
        "paper": coverage["paper"],
        "figure": coverage["figure"],
        "tier": coverage["tier"],
        "stamp": coverage["stamp"],
        "metric": metric,
        "interval": f"Student t 95 %, {_span([curve['n'] for panel in panels for curve in panel['curves']])} "
        f"{'games' if spec['kind'] == 'games' else 'seeds'}",
        "panels": panels,
        "coverage": coverage,
        "footer": _footer(coverage, panels),
    }


def _worst(values, curves: list[dict]) -> float | None:
    """The score of a diverged run: the lower return bound, or where there is none the lowest value in the panel."""
    bounds = [curve["return_bounds"][0] for curve in curves if curve.get("return_bounds")]
    if bounds and bounds[0] is not None:
        return float(bounds[0])
    finite = values["value"].dropna()
    return float(finite.min()) if len(finite) else None


def _curve(rows, coverage: dict, spec: dict, worst: float | None, references: dict) -> dict:
    """One curve: mean and interval over seeds at each x, and what its claims need per seed."""
    seeds = [str(seed) for seed in coverage["seeds_found"]]
    x, table = _matrix(rows[rows["metric"] == spec["metric"]], seeds)
    table = _with_divergence(x, table, seeds, coverage["divergences"], worst)
    bounds = coverage.get("return_bounds") or [None, None]
    if spec["metric"] == "success":
        bounds = [0.0, 1.0]
    summaries = [summary(x, row) for row in table]
    per_seed = {key: {seed: s[key] for seed, s in zip(seeds, summaries, strict=True)} for key in SUMMARY}
    result = {key: coverage[key] for key in ("label", "cell", "setting", "algorithm", "color", "hash")}
    if "group" in coverage:
        result["group"] = coverage["group"]
    result |= {
        "n": len(seeds),
        "n_expected": len(coverage["seeds_expected"]),
        "diverged": len(coverage["diverged"]),
        "x": x.tolist(),
        **_band(table, bounds),
        **per_seed,
        "final_interval": _interval(per_seed["final"].values(), bounds),
        "training": _training(rows, spec["training_metrics"], seeds),
    }
    if spec["kind"] == "games":
        result["normalised"] = _normalised(table, seeds, per_seed["final"], references)
    return result


def _matrix(rows, seeds: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """(x [points], values [seeds, points]); NaN where a run has no value."""
    wide = rows.pivot(index="seed", columns="env_steps", values="value")
    wide = wide.reindex([int(seed) for seed in seeds])
    return wide.columns.to_numpy(dtype=np.int64), wide.to_numpy(dtype=float)


def _with_divergence(x, table, seeds: list[str], divergences: dict, worst: float | None) -> np.ndarray:
    """``table`` with the worst score wherever a diverged run has no value, and from where it diverged on."""
    table = table.copy()
    for row, seed in zip(table, seeds, strict=True):
        if seed in divergences:
            since = divergences[seed]["env_steps"]
            lost = np.isnan(row) | (x >= since if since is not None else False)
            lost[-1:] = True
            row[lost] = np.nan if worst is None else worst
    return table


SUMMARY = ("final", "first", "auc", "fluctuation", "steps_to_90")


def summary(x: np.ndarray, y: np.ndarray) -> dict[str, float | int | None]:
    """What one run's evaluation curve comes down to. x [points] env steps ascending, y [points] scores.

    final: mean of the last 10 % of the points (at least one). first: the first point. auc: area under the curve over
    its x range, in score units. fluctuation: standard deviation of successive differences over the last half, divided
    by sqrt 2 (that of white noise of this deviation, whatever the trend). steps_to_90: env steps at which the running
    mean over the final's window reaches first + 0.9 (final - first); None without improvement.
    """
    window = max(1, len(y) // 10)
    final, first = float(y[-window:].mean()), float(y[0])
    span = float(x[-1] - x[0])
    differences = np.diff(y[len(y) // 2 :])
    values = {
        "final": final,
        "first": first,
        "auc": float(np.trapezoid(y, x)) / span if span > 0 else first,
        "fluctuation": float(differences.std(ddof=1)) / math.sqrt(2) if len(differences) > 1 else None,
        "steps_to_90": None,
    }
    if final > first:
        running = [y[max(0, i - window + 1) : i + 1].mean() for i in range(len(y))]
        reached = np.flatnonzero(np.array(running) >= first + 0.9 * (final - first))
        values["steps_to_90"] = int(x[reached[0]]) if len(reached) else None
    return {key: None if value is None or math.isnan(value) else value for key, value in values.items()}


def _band(table: np.ndarray, bounds: list) -> dict[str, list]:
    """Mean and Student t interval over seeds at each x, clipped to the metric's bounds; table [seeds, points]."""
    n = (~np.isnan(table)).sum(axis=0)
    total = np.nansum(table, axis=0)
    mean = np.divide(total, n, out=np.full(n.shape, np.nan), where=n > 0)
    squares = np.nansum((table - mean) ** 2, axis=0)
    error = np.sqrt(np.divide(squares, n * (n - 1), out=np.full(n.shape, np.nan), where=n > 1))
    factor = np.array([t_quantile(k - 1) if k > 1 else np.nan for k in n])
    low, high = mean - factor * error, mean + factor * error
    return {"mean": _listed(mean), "low": _listed(_clip(low, bounds)), "high": _listed(_clip(high, bounds))}


def _clip(values: np.ndarray, bounds: list) -> np.ndarray:
    return np.clip(values, -np.inf if bounds[0] is None else bounds[0], np.inf if bounds[1] is None else bounds[1])


def _listed(values: np.ndarray) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values.tolist()]


def _interval(values, bounds: list) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "low": None, "high": None}
    mean, low, high = mean_interval(known)
    if low is not None:
        low, high = _clip(np.array([low, high]), bounds).tolist()
    return {"mean": mean, "low": low, "high": high}


def _training(rows, metrics: list[str], seeds: list[str]) -> dict[str, dict]:
    """Each training metric of this algorithm: mean and interval over seeds, and its final (last 10 %) per seed."""
    found = {}
    for metric in metrics:
        mine = rows[rows["metric"] == metric]
        if mine.empty:
            continue
        x, table = _matrix(mine, seeds)
        final = {}
        for seed, row in zip(seeds, table, strict=True):
            known = row[~np.isnan(row)]
            final[seed] = float(known[-max(1, len(known) // 10) :].mean()) if len(known) else None
        found[metric] = {"x": x.tolist(), **_band(table, [None, None]), "final": final}
    return found


def _normalised(table: np.ndarray, seeds: list[str], finals: dict, references: dict) -> dict:
    """Scores of games on one scale: 0 is the uniform policy of that game, 1 its optimum."""
    low = np.array([references[seed]["uniform"] for seed in seeds], dtype=float)
    scale = np.array([references[seed]["optimum"] for seed in seeds], dtype=float) - low
    final = {}
    for seed, base, unit in zip(seeds, low, scale, strict=True):
        final[seed] = None if finals[seed] is None else float((finals[seed] - base) / unit)
    band = _band((table - low[:, None]) / scale[:, None], [None, 1.0])
    return {**band, "final": final, "final_interval": _interval(final.values(), [None, 1.0])}


def _footer(coverage: dict, panels: list[dict]) -> str:
    """Everything a reader must know to weigh the picture, from the runs themselves and never from HEAD."""
    curves = coverage["curves"]
    unit = "games" if coverage["spec"]["kind"] == "games" else "seeds"
    steps = sorted({curve["env_steps"] for curve in curves if curve["env_steps"]})
    counts = [curve["n"] for panel in panels for curve in panel["curves"]]
    backends = sorted({name for curve in curves for name in curve["backend"]})
    commits = sorted({commit[:8] + ("+" if commit.endswith("+") else "") for c in curves for commit in c["commits"]})
    parts = [
        f"tier {coverage['tier']}",
        f"{_span(steps)} env steps per run",
        f"{_span(counts)} {unit}",
        "Student t 95 %",
        METRIC_TEXT.get(coverage["spec"]["metric"], coverage["spec"]["metric"]),
        f"backend {', '.join(backends) or 'none'}",
        f"commit {', '.join(commits) or 'none'}",
    ]
    expected = sum(len(curve["seeds_expected"]) for curve in curves)
    for word in ("missing", "diverged"):
        count = sum(len(curve[word]) for curve in curves)
        if count:
            parts.append(f"{count} of {expected} runs {word}")
    refused = sum(len(curve["refused"]) for curve in curves)
    if refused:
        parts.append(f"{refused} run folders refused")
    return " · ".join(parts)


def _span(numbers: list[int]) -> str:
    """'5', or '3-5' when the curves differ, with thousands separated."""
    if not numbers:
        return "0"
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,}-{high:,}"


def _csv(statistics: dict) -> bytes:
    """The curves for `dvc plots`: one row per panel, curve and x."""
    import csv

    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["panel", "label", "env_steps", "mean", "low", "high", "n"])
    for panel in statistics["panels"]:
        for curve in panel["curves"]:
            for x, mean, low, high in zip(curve["x"], curve["mean"], curve["low"], curve["high"], strict=True):
                shown = ["" if value is None else value for value in (mean, low, high)]
                writer.writerow([panel["task"], curve["label"], x, *shown, curve["n"]])
    return text.getvalue().encode()
