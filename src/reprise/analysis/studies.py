"""From the records of exact studies to what is drawn (`series`) and what is judged (`studies`).

The unit of statistics is the game (a seed and a game number). Reads the table and its coverage, nothing else.
"""

from __future__ import annotations

import io
import math

import numpy as np

from reprise.analysis.inference import mean_interval, t_quantile
from reprise.errors import RepriseError, unknown

COUNTED = ("at_least", "at_most", "equals")
FEWEST_FOR_QUANTILES = 20


def summarise(table, coverage: dict) -> dict:
    """The statistics of a figure of kind `study`: schema in docs/architecture.md."""
    checks, results = coverage["spec"]["checks"], coverage["checks"]
    judged = {
        name: {
            **result,
            "controls": {other: results[other] for other, check in checks.items() if check["control_of"] == name},
        }
        for name, result in results.items()
        if checks[name]["control_of"] is None
    }
    return {
        "paper": coverage["paper"],
        "figure": coverage["figure"],
        "tier": coverage["tier"],
        "stamp": coverage["stamp"],
        "metric": "study",
        "interval": "Student t 95 %, over games",
        "panels": [],
        "series": [_series(key, rows) for key, rows in table.groupby(["study", "quantity", "series"], sort=False)],
        "studies": judged,
        "coverage": coverage,
        "footer": _footer(coverage),
    }


def judge(records, checks: dict[str, dict], place: str) -> dict[str, dict]:
    """The result of every check, from the records in full precision (a pandas table); {} without records.

    RepriseError for a check of a quantity or series that the records do not hold.
    """
    if not len(records):
        return {}
    return {name: _check(records, check, f"{place}: {name}") for name, check in checks.items()}


def slim(records):
    """The table that is kept and published: single precision, enough to draw, in a few bytes per row.

    ``records`` is a pyarrow table; returns (table, options of `pyarrow.parquet.write_table`)."""
    import pyarrow as pa

    texts = ("study", "quantity", "series")
    columns = {
        name: records[name].cast(pa.float32()) if name == "value" else records[name] for name in records.schema.names
    }
    encodings = {"seed": "DELTA_BINARY_PACKED", "game": "DELTA_BINARY_PACKED", "value": "BYTE_STREAM_SPLIT"}
    options = {
        "use_dictionary": [*texts, "x"],
        "column_encoding": encodings,
        "compression": "zstd",
        "compression_level": 9,
    }
    return pa.table(columns), options


def _series(key: tuple[str, str, str], rows) -> dict:
    """One line of one quantity: mean, interval and extremes over units at each x; quantiles where x is one value."""
    study, quantity, series = key
    order = np.argsort(rows["x"].to_numpy(), kind="stable")
    x, value = rows["x"].to_numpy()[order], rows["value"].to_numpy(dtype=float)[order]
    places, starts, counts = np.unique(x, return_index=True, return_counts=True)
    with np.errstate(invalid="ignore"):
        mean = np.add.reduceat(value, starts) / counts
        squares = np.add.reduceat((value - np.repeat(mean, counts)) ** 2, starts)
        lowest, highest = np.minimum.reduceat(value, starts), np.maximum.reduceat(value, starts)
    factor = {n: t_quantile(n - 1) / math.sqrt(n * (n - 1)) for n in set(counts.tolist()) if n > 1}
    half = np.array([factor.get(n, math.nan) for n in counts.tolist()]) * np.sqrt(squares)
    quantiles = None
    if len(places) == 1 and len(value) >= FEWEST_FOR_QUANTILES:
        quantiles = _listed(np.quantile(value, np.linspace(0, 1, 101)))
    return {
        "study": study,
        "quantity": quantity,
        "series": series,
        "n": int(counts.max()),
        "x": places.tolist(),
        "mean": _listed(mean),
        "low": _listed(mean - half),
        "high": _listed(mean + half),
        "minimum": _listed(lowest),
        "maximum": _listed(highest),
        "quantiles": quantiles,
    }


def _listed(values: np.ndarray) -> list[float | None]:
    """Eight significant digits: the table's precision, with no noise behind it."""
    return [float(f"{value:.8g}") if math.isfinite(value) else None for value in values.tolist()]


def _check(table, check: dict, place: str) -> dict:
    """{violations, checked, worst} of a counting rule, or {value, low, high, n} of `mean` and `slope`."""
    rows = table[table["quantity"] == check["quantity"]]
    if rows.empty:
        raise unknown("quantity", check["quantity"], sorted(set(table["quantity"])), place)
    for name in check["series"] or ():
        if name not in set(rows["series"]):
            raise unknown("series", name, sorted(set(rows["series"])), place)
    if check["series"]:
        rows = rows[rows["series"].isin(check["series"])]
    if check["x"]:
        rows = rows[(rows["x"] >= check["x"][0]) & (rows["x"] <= check["x"][1])]
    if rows.empty:
        raise RepriseError(f"{place}: no row of '{check['quantity']}' has x in {check['x']}")
    if check["rule"] in COUNTED:
        return _count(rows["value"].to_numpy(), check)
    units = [unit for _, unit in rows.groupby(["study", "series", "seed", "game"], sort=True)]
    estimate = _slope if check["rule"] == "slope" else _mean
    values = [estimate(unit["x"].to_numpy(), unit["value"].to_numpy()) for unit in units]
    if len(values) == 1 or any(value is None for value in values):
        return {"value": values[0] if len(values) == 1 else None, "low": None, "high": None, "n": len(values)}
    value, low, high = mean_interval(values)
    return {"value": value, "low": low, "high": high, "n": len(values)}


def _count(values: np.ndarray, check: dict) -> dict:
    """How many values miss the rule by more than the tolerance (NaN does), and the worst of them or the closest."""
    distance = values - check["value"]
    excess = {"at_least": -distance, "at_most": distance, "equals": np.abs(distance)}[check["rule"]]
    excess = np.where(np.isnan(excess), np.inf, excess)
    worst = float(values[excess.argmax()])
    return {
        "violations": int((excess > check["tolerance"]).sum()),
        "checked": len(values),
        "worst": worst if math.isfinite(worst) else None,
        "rule": check["rule"],
        "bound": check["value"],
        "tolerance": check["tolerance"],
    }


def _mean(_x: np.ndarray, value: np.ndarray) -> float | None:
    mean = float(value.mean())
    return mean if math.isfinite(mean) else None


def _slope(x: np.ndarray, value: np.ndarray) -> float | None:
    """Least squares slope of log value on log x; None where a logarithm does not exist or x is a single value."""
    if (x <= 0).any() or not (value > 0).all() or len(np.unique(x)) < 2:
        return None
    across = np.log(x) - np.log(x).mean()
    return float((across * np.log(value)).sum() / (across**2).sum())


def _footer(coverage: dict) -> str:
    """Tier, studies with their seeds, arithmetic and commits, from the runs themselves and never from HEAD."""
    curves = coverage["curves"]
    studies = [f"{curve['panel'].partition('/')[2]}" for curve in curves]
    commits = sorted({commit[:8] + ("+" if commit.endswith("+") else "") for c in curves for commit in c["commits"]})
    seeds = sorted({len(curve["seeds_found"]) for curve in curves})
    parts = [
        f"tier {coverage['tier']}",
        f"stud{'y' if len(studies) == 1 else 'ies'} {', '.join(studies)}",
        f"{'-'.join(map(str, dict.fromkeys((seeds[0], seeds[-1]))))} seed{'' if seeds == [1] else 's'}",
        "float64",
        f"commit {', '.join(commits) or 'none'}",
    ]
    for word in ("missing", "refused"):
        count = sum(len(curve[word]) for curve in curves)
        if count:
            parts.append(f"{count} runs {word}")
    return " · ".join(parts)


def csv(statistics: dict) -> bytes:
    """The series for `dvc plots`: one row per study, quantity, series and x."""
    import csv as writer_of

    text = io.StringIO()
    writer = writer_of.writer(text, lineterminator="\n")
    writer.writerow(["study", "quantity", "series", "x", "mean", "low", "high", "n"])
    for each in statistics["series"]:
        for x, mean, low, high in zip(each["x"], each["mean"], each["low"], each["high"], strict=True):
            shown = ["" if value is None else f"{value:.6g}" for value in (mean, low, high)]
            writer.writerow([each["study"], each["quantity"], each["series"], x, *shown, each["n"]])
    return text.getvalue().encode()
