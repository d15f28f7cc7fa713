"""The report's tables as plain rows, gathered from claims, coverage and config. No html here."""

from __future__ import annotations

import csv
from pathlib import Path

from reprise.analysis.figures import how_many

VERDICTS = ("REPRODUCED", "PARTLY", "NOT_REPRODUCED", "INCONCLUSIVE", "NOT_COMPARABLE", "NOT_RUN", "INVALID")


def number(value) -> str:
    """A number with four significant digits, thousands kept whole; words and None as they are."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer() and 1 <= abs(value) < 1e15):
        return f"{int(value):,}".replace(",", "\u202f")  # a narrow no-break space
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(number(item) for item in value) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{key} {number(item)}" for key, item in value.items()) or "–"
    return str(value)


def interval(result: dict | None) -> str:
    """ "12.3 [8.1, 16.5]" of a dict with ``value`` or ``mean``, ``low`` and ``high``; "–" when it holds no number."""
    result = result or {}
    value = result.get("value", result.get("mean"))
    if value is None:
        return "–"
    if result.get("low") is None or result.get("high") is None:
        return number(value)
    return f"{number(value)} [{number(result['low'])}, {number(result['high'])}]"


def verdict_counts(claims: list[dict]) -> list[tuple[str, int]]:
    """How many claims got each verdict, in the order of `VERDICTS`, none left out."""
    return [(verdict, sum(claim["verdict"] == verdict for claim in claims)) for verdict in VERDICTS]


def check_rows(statistics: dict) -> list[dict]:
    """A row per check of a study figure, its controls (planted wrong versions, which must fail) below it."""
    rows = []
    for name, result in (statistics.get("studies") or {}).items():
        rows.append({"check": name, "result": check_result(result), "control": False})
        for other, control in result["controls"].items():
            rows.append({"check": other, "result": check_result(control), "control": True})
    return rows


def check_result(result: dict) -> str:
    """ "0 violations in 4 000, worst 1.2e-14" or "-0.52 [-0.53, -0.51], n = 20"."""
    if "violations" in result:
        count = f"{number(result['violations'])} violations in {number(result['checked'])}"
        return count if result["worst"] is None else f"{count}, worst {number(result['worst'])}"
    return f"{interval(result)}, n = {number(result['n'])}"


def coverage_rows(statistics: dict) -> list[dict]:
    """A row per curve: seeds found of expected, diverged, refused, commits, device, run time, speed."""
    rows = []
    for curve in (statistics.get("coverage") or {}).get("curves", ()):
        refused = curve.get("refused") or []
        rows.append(
            {
                "panel": curve["panel"],
                "label": curve["label"],
                "found": how_many(curve.get("seeds_found")),
                "expected": how_many(curve.get("seeds_expected")),
                "diverged": how_many(curve.get("diverged")),
                "refused": len(refused),
                "reasons": refused,
                "steps": number(curve.get("env_steps")),
                "device": number(curve.get("device")),
                "seconds": number(curve.get("wall_seconds")),
                "speed": number(round(curve["steps_per_second"]) if curve.get("steps_per_second") else None),
                "memory": number(round(curve["peak_memory_mb"]) if curve.get("peak_memory_mb") else None),
                "resumes": number(curve.get("resumes")),
                "commits": ", ".join(shorten(commit) for commit in curve.get("commits") or ()) or "–",
                "hash": (curve.get("hash") or "")[:12],
            }
        )
    return rows


def shorten(commit: str) -> str:
    """A commit's first ten digits, its "+" (uncommitted changes) kept."""
    return commit.rstrip("+")[:10] + ("+" if commit.endswith("+") else "")


def hyperparameter_tables(all_statistics: list[dict]) -> list[dict]:
    """One table per algorithm: every value of its first cell with its source, then what the other cells change.

    Each is {algorithm, cell, rows: [(key, value, source)], changes: [(cell, task, key, value, source)]}.
    """
    cells: dict[str, list[dict]] = {}
    seen = set()
    for statistics in all_statistics:
        for curve in (statistics.get("coverage") or {}).get("curves", ()):
            key = (curve["panel"], curve["hash"])
            if key not in seen:
                seen.add(key)
                cells.setdefault(curve["algorithm"], []).append(curve)
    tables = []
    for algorithm, found in sorted(cells.items()):
        base = next((curve for curve in found if curve["cell"] == algorithm), found[0])
        values = base["hyperparameters"]
        changes = {
            (curve["cell"], curve["panel"], key, number(value), _source(curve, key))
            for curve in found
            for key, value in curve["hyperparameters"].items()
            if key not in values or values[key] != value
        }
        rows = [(key, number(value), _source(base, key)) for key, value in values.items()]
        where = f"{base['cell']} on {base['panel']}"
        tables.append({"algorithm": algorithm, "cell": where, "rows": rows, "changes": sorted(changes)})
    return tables


def _source(curve: dict, key: str, group: str = "hyperparameters") -> str:
    return ((curve.get("provenance") or {}).get(group) or {}).get(key) or "–"


def task_tables(all_statistics: list[dict]) -> list[dict]:
    """{task, rows: [(key, value, source)]} for each task met: its environment's parameters."""
    tables = {}
    for statistics in all_statistics:
        for curve in (statistics.get("coverage") or {}).get("curves", ()):
            parameters = curve.get("parameters") or {}
            rows = [(key, number(value), _source(curve, key, "parameters")) for key, value in parameters.items()]
            tables.setdefault(curve["panel"], rows)
    return [{"task": task, "rows": rows} for task, rows in sorted(tables.items())]


def paper_tables(project, paper: str) -> list[dict]:
    """The paper's own tables as {title, rows: [{name, paper, code, ours, source}]}; `ours` looked up in the config."""
    tables = []
    for table in project.paper(paper).tables.values():
        rows = []
        for row in table.rows:
            ours = (
                row.ours
                if isinstance(row.ours, (str, int, float))
                else configured(project, row.ours.algorithm, row.ours.key)
            )
            cells = {"paper": number(row.paper), "code": number(row.code), "ours": number(ours)}
            rows.append({"name": row.name, "source": row.source, **cells})
        tables.append({"title": table.title, "rows": rows})
    return tables


def configured(project, name: str, key: str):
    """The value of ``key`` for algorithm or variant ``name`` ("dpo", "dpo@code") before any task's override."""
    base, _, variant = name.partition("@")
    algorithm = project.algorithm(base)
    override = algorithm.variants[variant].set.get(key) if variant else None
    return (override or algorithm.hyperparameters[key]).value


def environment_rows(all_statistics: list[dict]) -> dict[str, list[str]]:
    """{package or hardware item: sorted distinct values} over all runs that stand in the figures."""
    found: dict[str, set[str]] = {}
    for statistics in all_statistics:
        for curve in (statistics.get("coverage") or {}).get("curves", ()):
            for group in ("versions", "hardware"):
                entries = curve.get(group) or []
                for entry in [entries] if isinstance(entries, dict) else entries:
                    for key, value in (entry or {}).items():
                        if value is not None:
                            found.setdefault(key, set()).add(number(value))
    return {key: sorted(values) for key, values in sorted(found.items())}


def tuning_tables(root: Path) -> list[dict]:
    """{name, header, rows} of every published search, results/tuning/*.csv."""
    tables = []
    for path in sorted((Path(root) / "results" / "tuning").glob("*.csv")):
        with path.open(encoding="utf-8", newline="") as file:
            lines = [line for line in csv.reader(file) if line]
        if lines:
            tables.append({"name": path.stem, "header": lines[0], "rows": lines[1:]})
    return tables
