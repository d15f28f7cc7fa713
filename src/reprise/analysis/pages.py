"""The claims tables of README.md and docs/papers/*.md, made from claims.json: no number in them is typed by hand."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

from reprise.analysis.tables import VERDICTS, verdict_counts
from reprise.errors import RepriseError
from reprise.experiments.runs import write_bytes

TIERS = ("paper", "quick")
IMAGES = {"dpo/fig01a": "docs/images/fig01a.png", "zhao/ratio_game": "docs/images/ratio_game.png"}


def fill(project) -> list[Path]:
    """Fill the marked places of the pages from the judged tiers and copy the pictures shown; returns what changed.

    README.md gets counts and the headline claims between `<!-- claims -->` and `<!-- /claims -->`; docs/papers/P.md
    the same with the numbers between `<!-- results -->` and `<!-- /results -->`. RepriseError without claims.json.
    """
    judged = {tier: _claims(project.root / "results" / tier / "claims.json") for tier in TIERS}
    judged = {tier: claims for tier, claims in judged.items() if claims}
    if not judged:
        raise RepriseError("results/quick/claims.json: no verdicts yet; run `snakemake --cores all`")
    changed = [_put(project.root / "README.md", "claims", short_table(judged))]
    for paper in project.papers:
        page = project.root / "docs" / "papers" / f"{paper}.md"
        if page.is_file() and "<!-- results -->" in page.read_text():
            own = {tier: [c for c in claims if c["paper"] == paper] for tier, claims in judged.items()}
            changed.append(_put(page, "results", long_table(own)))
        for search in sorted((project.root / "results" / "tuning").glob("*.csv")):
            if page.is_file() and f"<!-- tuning {search.stem} -->" in page.read_text():
                changed.append(_put(page, f"tuning {search.stem}", search_table(search)))
    for figure, image in IMAGES.items():
        picture = next((p for t in TIERS if (p := project.root / f"figures/{t}/{figure}.png").is_file()), None)
        if picture:
            (project.root / image).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(picture, project.root / image)
    return changed


def _claims(path: Path) -> list[dict]:
    return json.loads(path.read_text())["claims"] if path.is_file() else []


def short_table(judged: dict[str, list[dict]]) -> str:
    """How many claims of each paper got which verdict, each at the highest tier that ran it, and a row per headline
    claim that some tier ran: its verdict, or the direction seen, at each tier."""
    tiers = list(judged)
    by_tier = {tier: {claim["id"]: claim for claim in claims} for tier, claims in judged.items()}
    best = []
    for claim in judged[tiers[0]]:
        found = [by_tier[tier][claim["id"]] for tier in tiers]
        best.append(next((each for each in found if each["verdict"] != "NOT_RUN"), claim))
    verdicts = [verdict for verdict in VERDICTS if any(claim["verdict"] == verdict for claim in best)]
    lines = [f"| paper | claims | {' | '.join(verdicts)} |", "|---" * (2 + len(verdicts)) + "|"]
    for paper in dict.fromkeys(claim["paper"] for claim in best):
        counts = dict(verdict_counts([claim for claim in best if claim["paper"] == paper]))
        lines.append(f"| {paper} | {sum(counts.values())} | {' | '.join(str(counts[v] or '') for v in verdicts)} |")
    ran = [claim for claim in best if claim["headline"] and claim["verdict"] != "NOT_RUN"]
    lines += [
        "",
        "| headline claim | statement | " + " | ".join(f"tier `{t}`" for t in tiers) + " |",
        "|---" * (2 + len(tiers)) + "|",
    ]
    for claim in ran:
        cells = " | ".join(_seen(by_tier[t][claim["id"]]) for t in tiers)
        lines.append(f"| {claim['id']} | {_cell(claim['statement'])} | {cells} |")
    return "\n".join(lines)


def long_table(judged: dict[str, list[dict]]) -> str:
    """Per tier, a row per claim that ran: where, statement, verdict, the sentence with the numbers."""
    blocks = []
    for tier, claims in judged.items():
        if all(claim["verdict"] == "NOT_RUN" for claim in claims):
            continue
        lines = [f"Tier `{tier}`:", "", "| claim | where | statement | verdict and numbers |", "|---|---|---|---|"]
        for c in claims:
            if c["verdict"] != "NOT_RUN":
                lines.append(f"| {c['id']} | {_cell(c['where'])} | {_cell(c['statement'])} | {_cell(c['sentence'])} |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def search_table(path: Path) -> str:
    """The declared search at a glance: per shared setting, each algorithm's best mean score and its knob there."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    best: dict[tuple[str, str], dict] = {}
    for row in rows:
        key = (row["shared"] or "(its own)", row["algorithm"])
        if key not in best or float(row["mean"]) > float(best[key]["mean"]):
            best[key] = row
    algorithms = list(dict.fromkeys(row["algorithm"] for row in rows))
    settings = list(dict.fromkeys(setting for setting, _ in best))
    settings.sort(key=lambda s: -max(float(best[s, a]["mean"]) for a in algorithms if (s, a) in best))
    lines = ["| shared setting | " + " | ".join(algorithms) + " |", "|---" * (1 + len(algorithms)) + "|"]
    for setting in settings:
        cells = [best.get((setting, algorithm)) for algorithm in algorithms]
        shown = [f"{float(c['mean']):.0f} ({c['knob']})" if c else "" for c in cells]
        lines.append(f"| {setting} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def _seen(claim: dict) -> str:
    if claim["verdict"] == "INCONCLUSIVE" and claim["direction"]:
        return f"INCONCLUSIVE ({claim['direction']})"
    return claim["verdict"]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _put(page: Path, marker: str, text: str) -> Path:
    """Replace what stands between `<!-- marker -->` and `<!-- /marker -->`."""
    before = page.read_text(encoding="utf-8")
    pattern = re.compile(f"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    if not pattern.search(before):
        raise RepriseError(f"{page}: no place marked `<!-- {marker} -->` ... `<!-- /{marker} -->`")
    write_bytes(page, pattern.sub(lambda m: f"{m[1]}{text}\n{m[2]}", before).encode())
    return page
