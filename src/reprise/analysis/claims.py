"""The judge: a verdict for every claim of every paper, from the statistics of one tier and the claims ledger alone."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field
from pathlib import Path

from reprise.analysis import across, evidence, inference, ledger
from reprise.analysis.evidence import Absent, Part
from reprise.analysis.inference import Test
from reprise.analysis.ledger import Claim, Reading
from reprise.analysis.verdicts import ALPHA, VERDICTS, all_of, direction, over_protocols, part_verdict
from reprise.errors import RepriseError
from reprise.experiments import config, runs

TIERS = ("smoke", "quick", "paper")
MOST_PARTS_TOLD = 6
"""A sentence tells the weakest comparison only when there are more than this."""


@dataclass
class Judgement:
    """One reading of one claim on its way to a verdict."""

    reading: Reading
    parts: list[Part] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    diverged: int = 0
    absent: Absent | None = None
    inputs: dict[str, str] = field(default_factory=dict)
    p: float | None = None
    p_holm: float | None = None


def judge(project, tier: str) -> tuple[Path, Path]:
    """Judge every claim at ``tier``; writes results/<tier>/claims.json and metrics.json and returns their paths.

    Raises RepriseError for a fault in the ledger or a damaged statistics file. An absent one gives NOT_RUN.
    """
    project.tier(tier)
    ledgers = ledger.load(project)
    folder = Path(project.root) / "results" / tier
    statistics = _Statistics(folder / "statistics")
    claims = []
    for paper, page in ledgers.items():
        source = ledger.ledger_file(project.root, paper)
        digest = {f"config/claims/{source.name}": runs.sha256(source)}
        judged = [
            (claim, [_examine(project, tier, claim, r, statistics) for r in claim.readings]) for claim in page.claims
        ]
        _adjust(judged)
        claims += [_entry(paper, claim, readings, digest) for claim, readings in judged]
    counts = {f"{paper}_{verdict}": 0 for paper in ledgers for verdict in VERDICTS}
    for claim in claims:
        counts[f"{claim['paper']}_{claim['verdict']}"] += 1
    paths = folder / "claims.json", folder / "metrics.json"
    runs.write_bytes(paths[0], _json({"tier": tier, "alpha": ALPHA, "claims": claims}))
    runs.write_bytes(paths[1], _json(counts))
    return paths


def _json(value) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode()


class _Statistics:
    """The statistics files of a tier, each read once."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._read: dict[str, tuple[dict, str] | None] = {}

    def get(self, figure: str) -> tuple[dict, str] | None:
        """(content, sha256) of ``figure``, or None when it was not made."""
        if figure not in self._read:
            path = self.folder / f"{figure}.json"
            try:
                data = path.read_bytes()
                self._read[figure] = json.loads(data), hashlib.sha256(data).hexdigest()
            except FileNotFoundError:
                self._read[figure] = None
            except ValueError as fault:
                raise RepriseError(
                    f"{path}: damaged ({fault}); run: reprise statistics {figure}", exit_code=1
                ) from None
        return self._read[figure]


def _examine(project, tier: str, claim: Claim, reading: Reading, statistics: _Statistics) -> Judgement:
    """The tests of one reading, or why there are none."""
    found = Judgement(reading)
    file = statistics.get(reading.figure)
    if file is None:
        what = "is planned, not part of this version" if claim.planned else "has no statistics at this tier"
        found.absent = Absent("NOT_RUN", f"{reading.figure} {what}")
        return found
    content, digest = file
    found.inputs = {f"statistics/{reading.figure}.json": digest}
    try:
        if claim.kind in ledger.STUDIED:
            found.parts = [evidence.study_part(claim, content)]
        else:
            panels = evidence.panels(
                content, reading, lambda task, name: config.resolve(project, task, name, tier).hash
            )
            made = across.parts if claim.kind in across.KINDS else evidence.parts
            found.parts = made(claim, reading, panels)
            found.limits, found.diverged = _limits(claim, panels)
        if claim.kind == "value" and claim.comparable != "value":
            raise Absent("NOT_COMPARABLE", _not_comparable(claim, found.parts))
    except Absent as absent:
        found.absent = absent
        return found
    if TIERS.index(tier) < TIERS.index(claim.lowest_tier):
        found.limits.append(f"tier {tier} is below '{claim.lowest_tier}', the lowest that may judge this")
    p_values = [part.test.p for part in found.parts]
    found.p = found.p_holm = None if None in p_values else max(p_values)
    return found


def _not_comparable(claim: Claim, parts: list[Part]) -> str:
    """Both sides of a number that is not to be compared, for readers who do anyway."""
    ours = ", ".join(f"{part.text} {part.test.value:.4g} (n = {part.test.n})" for part in parts)
    return f"the paper's number is of another environment: paper {claim.paper_value}; here {ours}"


def _limits(claim: Claim, panels: list[evidence.Panel]) -> tuple[list[str], int]:
    """Why no verdict but INCONCLUSIVE is allowed, and how many of the runs used diverged."""
    limits, diverged = [], 0
    for panel in panels:
        for name, curve in panel.curves.items():
            diverged += curve["diverged"]
            if curve["n"] < curve["n_expected"]:
                limits.append(f"{name} has {curve['n']} of {curve['n_expected']} seeds")
            elif curve["n"] < claim.min_seeds:
                limits.append(f"{name} has {curve['n']} seeds, {claim.min_seeds} are needed")
    return limits, diverged


def _adjust(judged: list[tuple[Claim, list[Judgement]]]) -> None:
    """Holm over the headline claims that were tested, protocol by protocol."""
    protocols = {reading.reading.protocol for _, readings in judged for reading in readings}
    for protocol in sorted(protocols):
        family = [
            reading
            for claim, readings in judged
            for reading in readings
            if claim.headline and reading.reading.protocol == protocol and reading.p is not None
        ]
        for reading, adjusted in zip(family, inference.holm([reading.p for reading in family]), strict=True):
            reading.p_holm = adjusted


def _read(found: Judgement) -> dict:
    """One reading's verdict with its numbers."""
    head = {"protocol": found.reading.protocol, "figure": found.reading.figure}
    if found.absent is not None:
        reason = str(found.absent)
        nothing = {"statistic": None, "n": None, "direction": None, "parts": [], "sentence": f"{reason}."}
        return head | {"verdict": found.absent.verdict, "reason": reason} | nothing
    # What Holm did to the claim's p-value is done to each of its parts.
    factor = found.p_holm / found.p if found.p else 1.0
    adjusted = [None if part.test.p is None else min(1.0, part.test.p * factor) for part in found.parts]
    verdicts = [part_verdict(part, p) for part, p in zip(found.parts, adjusted, strict=True)]
    verdict = "INCONCLUSIVE" if found.limits else all_of(verdicts)
    entries = [
        _numbers(part.test, p) | {"compared": part.text, "holds": v, "size": _json_number(part.size)} | _beside(part)
        for part, p, v in zip(found.parts, adjusted, verdicts, strict=True)
    ]
    weakest = max(range(len(entries)), key=lambda i: -1.0 if adjusted[i] is None else adjusted[i])
    statistic = _numbers(found.parts[weakest].test, adjusted[weakest])
    seen = direction(found.parts)
    return head | {
        "verdict": verdict,
        "reason": "; ".join(found.limits) or None,
        "statistic": statistic,
        "n": min(part.test.n for part in found.parts),
        "direction": seen,
        "parts": entries,
        "sentence": _sentence(found.parts, adjusted, seen, found.limits),
    }


def _numbers(test: Test, p_holm: float | None) -> dict:
    return {
        "name": test.name,
        "value": _json_number(test.value),
        "low": _json_number(test.low),
        "high": _json_number(test.high),
        "n": test.n,
        "p": _json_number(test.p),
        "p_holm": _json_number(p_holm),
    }


def _beside(part: Part) -> dict:
    return {"beside": {name: _numbers(test, None) for name, test in part.beside.items()}} if part.beside else {}


def _json_number(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _sentence(parts: list[Part], adjusted: list[float | None], seen: str, limits: list[str]) -> str:
    """The numbers as one line for people."""
    pieces = []
    pairs = list(zip(parts, adjusted, strict=True))
    if len(pairs) > MOST_PARTS_TOLD:
        pieces = [f"the weakest of {len(pairs)} comparisons"]
        pairs = [max(pairs, key=lambda pair: -1.0 if pair[1] is None else pair[1])]
    for part, p in pairs:
        text = part.text
        if part.test.value is not None and part.kind != "count":
            text += f": {part.test.name} {part.test.value:.4g}"
            if part.test.low is not None and part.test.high is not None:
                text += f" [{part.test.low:.4g}, {part.test.high:.4g}]"
        if p is not None:
            text += f", p = {p:.2g}"
        pieces.append(f"{text}, n = {part.test.n}")
    more = f" ({'; '.join(limits)}; direction seen: {seen})" if limits else ""
    return "; ".join(pieces) + more + "."


def _entry(paper: str, claim: Claim, found: list[Judgement], source: dict[str, str]) -> dict:
    """What claims.json holds of one claim."""
    readings = [_read(each) for each in found]
    verdicts = [reading["verdict"] for reading in readings]
    verdict, first = over_protocols(verdicts), readings[0]
    flags = list(claim.flags)
    if verdict == "PARTLY" and "NOT_REPRODUCED" in verdicts:
        flags.append("flips_between_protocols")
    reason = first["reason"]
    if verdict != verdicts[0] and verdict == "INCONCLUSIVE":
        open_ = [reading["protocol"] for reading in readings if reading["verdict"] in ("NOT_RUN", "INVALID")]
        reason = f"protocol {', '.join(open_)} not judged at this tier"
    if any(each.diverged for each in found):
        flags.append("diverged_runs")
    sentence = (
        " ".join(f"[{r['protocol']}] {r['sentence']}" for r in readings) if len(readings) > 1 else first["sentence"]
    )
    inputs = {key: value for each in found for key, value in each.inputs.items()}
    return {
        "id": claim.id,
        "paper": paper,
        "figure": first["figure"],
        "where": claim.where,
        "statement": claim.statement,
        "kind": claim.kind,
        "headline": claim.headline,
        "protocol": first["protocol"],
        "verdict": verdict,
        "flags": flags,
        "direction": first["direction"],
        "reason": reason,
        "statistic": first["statistic"],
        "n": first["n"],
        "parts": first["parts"],
        "readings": readings,
        "sentence": f"{verdict}: {sentence}",
        "paper_value": claim.paper_value,
        "comparable": claim.comparable,
        "lowest_tier": claim.lowest_tier,
        "min_seeds": claim.min_seeds,
        "note": claim.note,
        "hashes": source | inputs,
    }
