"""One self-contained page per tier: verdicts, pictures, coverage, hyperparameters, how to make it again.

Reads the claims ledger, the statistics (which carry the coverage), the pictures and the config: never a run folder.
The page holds no link that it needs, no script and no date; the same inputs give the same bytes.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

from reprise.analysis import figures, tables
from reprise.errors import RepriseError

_MOST_SVG_BYTES = 400_000


def write(project, tier: str) -> Path:
    """Write results/<tier>/report.html and return its path. RepriseError when the claims were not judged yet."""
    from reprise.experiments.runs import write_bytes

    path = Path(project.root) / "results" / tier / "report.html"
    write_bytes(path, render(project, tier).encode())
    return path


def render(project, tier: str) -> str:
    """The page as text; writes nothing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("reprise.analysis", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=tables.number, interval=tables.interval)
    return environment.get_template("report.html.j2").render(_contents(project, tier))


def _contents(project, tier: str) -> dict:
    claims = read_claims(project.root, tier)
    keys = list(project.figures())
    found = {key: _statistics(project.root, tier, key) for key in keys}
    present = [statistics for statistics in found.values() if statistics]
    papers = []
    for name, page in project.papers.items():
        mine = [claim for claim in claims if claim["paper"] == name]
        pictures = [_picture(project, tier, key, found[key]) for key in keys if key.startswith(f"{name}/")]
        papers.append(
            {
                "name": name,
                "title": page.title,
                "reference": page.reference,
                "claims": [_claim(claim) for claim in mine],
                "counts": tables.verdict_counts(mine),
                "pictures": pictures,
                "replays": [_replay(project, tier, name, wanted.task) for wanted in page.replays],
                "tables": tables.paper_tables(project, name),
                "diagrams": [diagram.model_dump() for diagram in page.diagrams],
            }
        )
    return {
        "tier": tier,
        "stamp": project.tier(tier).stamp,
        "budgets": _budgets(project, tier),
        "papers": papers,
        "counts": tables.verdict_counts(claims),
        "claims": len(claims),
        "drawn": sum(picture["image"] is not None for paper in papers for picture in paper["pictures"]),
        "figures": len(keys),
        "seconds": _seconds(present),
        "hyperparameters": tables.hyperparameter_tables(present),
        "tasks": tables.task_tables(present),
        "environment": tables.environment_rows(present),
        "tuning": tables.tuning_tables(project.root),
        "example": keys[0] if keys else "paper/figure",
    }


def read_claims(root: Path, tier: str) -> list[dict]:
    """The ledger's list; RepriseError naming the command that makes it when it is absent or damaged."""
    path = Path(root) / "results" / tier / "claims.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))["claims"]
    except FileNotFoundError:
        raise RepriseError(f"{path}: no such file; run: reprise claims --tier {tier}") from None
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as fault:
        raise RepriseError(f"{path}: damaged ({fault}); run: reprise claims --tier {tier}") from None


def _statistics(root: Path, tier: str, key: str) -> dict | None:
    if not figures.statistics_file(root, tier, key).is_file():
        return None
    return figures.read_statistics(root, tier, key)


def _budgets(project, tier: str) -> list[str]:
    """ "stochastic_game: 100 000 env steps per run, 5 seeds" for each environment of the tier."""
    sentences = []
    for name, budget in project.tier(tier).environments.items():
        length = f"{tables.number(budget.env_steps)} env steps" if budget.env_steps else f"{budget.updates} updates"
        sentences.append(f"{name}: {length} per run, {len(budget.seeds)} seeds")
    if project.studies:
        sentences.append(f"{len(project.studies)} exact studies, computed in float64")
    return sentences


def _seconds(all_statistics: list[dict]) -> float:
    """Wall seconds of all cells drawn, each counted once."""
    cells = {}
    for statistics in all_statistics:
        for curve in (statistics.get("coverage") or {}).get("curves", ()):
            cells[curve["panel"], curve["hash"]] = curve.get("wall_seconds") or 0.0
    return sum(cells.values())


def _claim(claim: dict) -> dict:
    """A ledger entry in the words of the verdict table; `readings` has a line per protocol."""
    shown = {
        key: claim[key] for key in ("id", "figure", "where", "statement", "verdict", "headline", "flags", "sentence")
    }
    readings = [
        {
            "protocol": reading["protocol"],
            "verdict": reading["verdict"],
            "ours": tables.interval(reading["statistic"]),
            "measure": (reading["statistic"] or {}).get("name"),
            "n": tables.number(reading["n"]),
            "direction": reading["direction"],
        }
        for reading in claim["readings"]
    ]
    notes = [text for text in (claim["reason"], claim["note"]) if text]
    paper = {"paper": tables.number(claim["paper_value"]), "comparable": claim["comparable"]}
    return {**shown, **paper, "readings": readings, "notes": notes}


def _picture(project, tier: str, key: str, statistics: dict | None) -> dict:
    spec = project.figure(key)
    stem = Path(project.root) / "figures" / tier / key
    return {
        "key": key,
        "id": key.replace("/", "-"),
        "title": spec.title,
        "caption": spec.caption,
        "image": _image(stem) if statistics else None,
        "alt": description(statistics) if statistics else "",
        "finals": _finals(statistics) if statistics else [],
        "checks": tables.check_rows(statistics) if statistics else [],
        "coverage": tables.coverage_rows(statistics) if statistics else [],
        "stamp": statistics.get("stamp") if statistics else None,
        "width": "44rem" if statistics and _wide(statistics) else "28rem",
    }


def _replay(project, tier: str, paper: str, task: str) -> dict:
    """The strip of one task, with what its json says; ``image`` is None where it was not played at this tier."""
    from reprise.analysis.replay.parts import levels
    from reprise.experiments.replay import key

    name = key(paper, task)
    stem = Path(project.root) / "figures" / tier / name
    shown = {"task": task, "key": name, "id": name.replace("/", "-"), "image": _image(stem)}
    if shown["image"]:
        path = stem.with_name(f"{stem.name}.json")
        try:
            played = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as fault:
            again = f"snakemake --cores all --forcerun replay -- {path.relative_to(project.root)}"
            raise RepriseError(f"{path}: damaged ({fault}); run: {again}") from None
        before, after = (tables.number(played[part]["return"]) for part in ("before", "after"))
        references = "".join(f"; {each} {tables.number(level)}" for each, level in levels(played["references"]).items())
        shown["stamp"] = played["stamp"]
        shown["caption"] = (
            f"One episode of {played['cell']}, seed {played['seed']}, greedy policies, same start and random numbers: "
            f"return {before} before training and {after} after {tables.number(played['env_steps'])} env steps"
            f"{references}."
        )
    return shown


def _wide(statistics: dict) -> bool:
    """Whether the picture takes a page's width, and not a column's."""
    return figures.spec(statistics).get("kind", "curves") != "curves" or len(statistics["panels"]) > 1


def _image(stem: Path) -> str | None:
    """The picture as a data address: the svg (sharp when printed), or the png when the svg is heavy; None if neither.

    As an image of its own, no id or style of a picture can meet another's.
    """
    for suffix, kind, most in (("svg", "image/svg+xml", _MOST_SVG_BYTES), ("png", "image/png", None)):
        path = stem.with_name(f"{stem.name}.{suffix}")
        if path.is_file() and (most is None or path.stat().st_size <= most):
            return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return None


def description(statistics: dict) -> str:
    """The picture in words: its title, and each curve's final value with its interval."""
    title = figures.spec(statistics).get("title") or statistics["figure"]
    if "studies" in statistics:
        checks = [f"{row['check']}: {row['result']}" for row in tables.check_rows(statistics) if not row["control"]]
        return f"{title}. Checks: {'; '.join(checks) or 'none'}."
    finals = [f"{row['label']} {row['final']}" for row in _finals(statistics) if row["final"] != "–"]
    shown = "; ".join(finals[:12]) + (f"; and {len(finals) - 12} more" if len(finals) > 12 else "")
    return f"{title}. Finals, mean and 95 % interval: {shown or 'none'}."


def _finals(statistics: dict) -> list[dict]:
    rows = []
    for panel in statistics["panels"]:
        for curve in panel["curves"]:
            name = figures.legend_text(curve["label"], [curve])
            final = tables.interval(curve.get("final_interval"))
            rows.append({"panel": panel["task"], "label": curve["label"], "name": name, "final": final})
    return rows
