"""A user's own curves beside the published ones: the same panel, the same tests.

The file is in the evaluations schema of a run folder (docs/architecture.md): parquet or csv with the columns `seed`,
`env_steps`, `episode`, `return` and, where it is known, `expected_return`; a row per evaluation episode.
"""

from __future__ import annotations

import copy
import re
from pathlib import Path

import numpy as np

from reprise.analysis import figures, inference, style
from reprise.analysis.statistics import SUMMARY, summary
from reprise.errors import RepriseError, nearest, unknown

COLUMNS = ("seed", "env_steps", "episode", "return")


def compare(project, tier: str, figure_key: str, file: Path, label: str, task: str | None = None) -> list[str]:
    """Draw ``figure_key`` with the runs of ``file`` as a further curve, ``label``, and judge it against the others.

    Writes figures/<tier>/<paper>/<figure>+<label>.{svg,png,pdf,json}; prints and returns the findings, one line per
    curve. ``task`` chooses the panel of a figure with several. Raises RepriseError for a bad file, label or task;
    then nothing is written.
    """
    statistics = figures.read_statistics(project.root, tier, figure_key)
    kind = figures.spec(statistics).get("kind") or "curves"
    if kind != "curves":
        raise RepriseError(
            f"{figure_key}: a figure of kind '{kind}' takes no further curve; compare with one of curves"
        )
    panel = _panel(statistics, figure_key, task)
    label = label.strip()
    if not label:
        raise RepriseError("--label: a name for your curve is needed")
    if any(curve["label"] == label for entry in statistics["panels"] for curve in entry["curves"]):
        raise RepriseError(f"--label: {figure_key} already has a curve '{label}'; choose another name")
    table, metric = read_evaluations(Path(file), statistics["metric"])
    curve = summarise(table, label, _color(panel["curves"]))
    shown = copy.deepcopy(statistics)
    _panel(shown, figure_key, panel["task"])["curves"].append(curve)
    shown["footer"] = f"{figures.footer(statistics)} · {label}: {Path(file).name}, {curve['n']} seeds, not run here"
    stem = Path(project.root) / "figures" / tier / f"{figure_key}+{re.sub(r'[^A-Za-z0-9._-]+', '-', label)}"
    written = figures.save(shown, stem)
    findings = [*judge(curve, panel, statistics["metric"], metric), f"drawn: {written[0]}"]
    print("\n".join(findings))
    return findings


def _panel(statistics: dict, figure_key: str, task: str | None) -> dict:
    panels = {panel["task"]: panel for panel in statistics["panels"]}
    if task is None and len(panels) == 1:
        return next(iter(panels.values()))
    if task is None:
        raise RepriseError(f"{figure_key} has several panels; choose one with --task: {', '.join(panels)}")
    if task not in panels:
        raise unknown("task", task, panels, figure_key)
    return panels[task]


def _color(curves: list[dict]) -> str:
    """A palette colour that no curve of the panel has."""
    used = {str(curve.get("color")).upper() for curve in curves}
    return next((color for color in reversed(style.PALETTE[:-1]) if color not in used), style.PALETTE[-1])


def read_evaluations(file: Path, wanted: str):
    """(table [points x seeds] of means over episodes, indexed by env_steps; the metric it holds).

    The metric is ``wanted`` ("expected_return" or "return"), or "return" when the file does not know the exact one.
    """
    import pandas as pd
    import pyarrow as pa

    readers = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if file.suffix not in readers:
        raise RepriseError(f"{file}: a .parquet or .csv file is needed")
    if not file.is_file():
        raise RepriseError(f"{file}: no such file")
    try:
        rows = readers[file.suffix](file)
    except (ValueError, OSError, pa.ArrowException) as fault:
        raise RepriseError(f"{file}: not a readable {file.suffix[1:]} file ({fault})") from None
    for column in COLUMNS:
        if column not in rows:
            near = nearest(column, rows.columns)
            hint = f"nearest: '{near}'" if near else f"its columns: {', '.join(map(str, rows.columns))}"
            raise RepriseError(f"{file}: no column '{column}'; {hint}")
    if rows.empty:
        raise RepriseError(f"{file}: no rows")
    exact = wanted == "expected_return" and "expected_return" in rows and rows["expected_return"].notna().any()
    metric = "expected_return" if exact else "return"
    for column in (*COLUMNS[:3], metric):
        _check_column(file, column, rows[column], whole=column in COLUMNS[:3])
    if (rows["env_steps"] < 0).any():
        raise RepriseError(f"{file}: column 'env_steps': negative values")
    twice = rows.duplicated(["seed", "env_steps", "episode"])
    if twice.any():
        seed, steps, episode = (int(value) for value in rows.loc[twice.to_numpy(), list(COLUMNS[:3])].iloc[0])
        raise RepriseError(f"{file}: seed {seed}, env_steps {steps}, episode {episode} stands twice")
    table = rows.pivot_table(index="env_steps", columns="seed", values=metric, aggfunc="mean").sort_index()
    if table.isna().to_numpy().any():
        seed, steps = table.columns[table.isna().any()][0], table.index[table.isna().any(axis=1)][0]
        raise RepriseError(f"{file}: seed {seed} has no evaluation at env_steps {steps}, where other seeds have one")
    return table, metric


def _check_column(file: Path, column: str, values, whole: bool) -> None:
    """Every value of ``values`` a finite number, and an integer when ``whole``."""
    if values.dtype.kind not in "iuf":
        raise RepriseError(f"{file}: column '{column}': numbers are needed, found {values.iloc[0]!r}")
    numbers = values.to_numpy(dtype=float)
    if not np.isfinite(numbers).all():
        raise RepriseError(f"{file}: column '{column}': empty or infinite values")
    if whole and (numbers != np.round(numbers)).any():
        raise RepriseError(f"{file}: column '{column}': whole numbers are needed")


def summarise(table, label: str, color: str) -> dict:
    """``table`` (env_steps x seeds) as a curve of the statistics schema."""
    x, seeds = table.index.to_numpy(dtype=np.int64), [str(int(seed)) for seed in table.columns]
    summaries = [summary(x, table[column].to_numpy(dtype=float)) for column in table.columns]
    points = [inference.mean_interval(row) for row in table.to_numpy(dtype=float)]
    mean, low, high = (list(column) for column in zip(*points, strict=True))
    per_seed = {key: {seed: s[key] for seed, s in zip(seeds, summaries, strict=True)} for key in SUMMARY}
    final = dict(zip(("mean", "low", "high"), inference.mean_interval(list(per_seed["final"].values())), strict=True))
    return {
        "label": label,
        "cell": label,
        "setting": "",
        "algorithm": label,
        "color": color,
        "hash": "",
        "n": len(seeds),
        "n_expected": len(seeds),
        "diverged": 0,
        "x": x.tolist(),
        "mean": mean,
        "low": low,
        "high": high,
        **per_seed,
        "final_interval": final,
        "training": {},
    }


def judge(curve: dict, panel: dict, published: str, own: str) -> list[str]:
    """The comparison in words: Welch's difference of finals and the probability of improvement against every curve."""
    ours = list(curve["final"].values())
    final = _words(curve["final_interval"]["mean"], curve["final_interval"]["low"], curve["final_interval"]["high"])
    lines = [f"{panel['task']}: final of {curve['label']} {final}, {curve['n']} seeds, {own.replace('_', ' ')}"]
    if own != published:
        lines.append(f"note: your {own} is set beside our {published.replace('_', ' ')}: sampled against exact")
    last = max((other["x"][-1] for other in panel["curves"] if other["x"]), default=None)
    if last is not None and last != curve["x"][-1]:
        lines.append(f"note: your runs end at {curve['x'][-1]} env steps, the published ones at {last}")
    for other in panel["curves"]:
        theirs = [value for value in other["final"].values() if value is not None]
        if not theirs:
            lines.append(f"{curve['label']} - {other['label']}: no run of {other['label']} to compare with")
            continue
        difference = inference.welch(ours, theirs)
        better = inference.probability_of_improvement(ours, theirs)
        lines.append(
            f"{curve['label']} - {other['label']}: {_words(difference.value, difference.low, difference.high)}, "
            f"p = {'–' if difference.p is None else f'{difference.p:.3g}'}; "
            f"probability of improvement {_words(better.value, better.low, better.high)}; "
            f"n = {len(ours)} and {len(theirs)}"
        )
    return lines


def _words(value: float, low: float | None, high: float | None) -> str:
    return f"{value:.4g}" + ("" if low is None or high is None else f" [{low:.4g}, {high:.4g}]")
