"""What the statistics of a figure say about one reading of a claim: parts, each a test with a null value and a size.

A claim over several curves or panels is a conjunction: every part must hold, so its p-value is the largest of theirs
(an intersection-union test, which needs no correction).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import combinations

from reprise.analysis import inference
from reprise.analysis.inference import Test
from reprise.analysis.ledger import Claim, Reading, Size


class Absent(Exception):
    """The statistics cannot speak to the reading: ``verdict`` is NOT_RUN, INVALID, NOT_COMPARABLE or INCONCLUSIVE, the
    text says why."""

    def __init__(self, verdict: str, reason: str):
        super().__init__(reason)
        self.verdict = verdict


@dataclass(frozen=True)
class Part:
    """One test of a claim. ``kind`` says how to read it: `above` (value beyond ``null`` by ``size``), `within`
    (|value| < ``size``), `inside` (interval within ``bounds``) or `count` (value = 0)."""

    kind: str
    text: str
    test: Test
    null: float = 0.0
    size: float = 0.0
    outside: bool = False
    bounds: tuple[float, float] | None = None
    beside: dict[str, Test] = field(default_factory=dict)


@dataclass(frozen=True)
class Panel:
    """One panel of a figure's statistics, as a claim sees it. ``paired``: the seeds are games that all curves share;
    ``top``: the highest mean final of all curves drawn; ``covered``: the coverage of each curve."""

    task: str
    curves: dict[str, dict]
    references: dict
    paired: bool
    top: float | None = None
    covered: dict[str, dict] = field(default_factory=dict)

    def finals(self, name: str) -> dict[str, float]:
        """{seed: final}; of games, on the scale 0 (uniform policy) to 1 (optimum)."""
        return self.values(name, "final")

    def values(self, name: str, key: str) -> dict[str, float]:
        curve = self.curves[name]
        found = curve["normalised"]["final"] if self.paired and key == "final" else curve[key]
        return {seed: value for seed, value in found.items() if value is not None}

    def level(self, reference: str) -> float:
        """A reference score on the scale of `finals`."""
        if self.paired:
            levels = {"optimum": 1.0, "uniform": 0.0}
        else:
            levels = {name: value["mean"] for name, value in self.references.items()}
        if reference not in levels:
            raise Absent("INVALID", f"{self.task} has no reference '{reference}'")
        return levels[reference]

    def size(self, size: Size | None) -> float:
        """``size`` on the scale of `finals`."""
        if size is None:
            return 0.0
        if size.unit == "fraction":
            # Where no optimum is known, a hand-written policy stands for what can be reached.
            top = "scripted" if "scripted" in self.references and "optimum" not in self.references else "optimum"
            return size.value * (self.level(top) - self.level("uniform"))
        if size.unit == "range":
            if self.top is None or self.top <= self.level("uniform"):
                raise Absent("INCONCLUSIVE", f"no curve ends above the uniform policy on {self.task}")
            return size.value * (self.top - self.level("uniform"))
        return size.value

    def samples(self, one: str, two: str, key: str = "final") -> tuple[list[float], list[float]]:
        """The finals (or ``key``) of two curves; of games, those of the games both have, in one order."""
        a, b = self.values(one, key), self.values(two, key)
        if self.paired:
            both = [seed for seed in a if seed in b]
            a, b = ({seed: each[seed] for seed in both} for each in (a, b))
        if not a or not b:
            raise Absent("NOT_RUN", f"{one} and {two} have no finals to compare on {self.task}")
        return list(a.values()), list(b.values())


def panels(statistics: dict, reading: Reading, resolve: Callable[[str, str], str]) -> list[Panel]:
    """The panels with the curves that ``reading`` names; ``resolve(task, name)`` gives a cell's expected hash.

    Raises Absent when a curve is not drawn, was drawn from another config, was refused or has no run.
    """
    found = []
    for panel in statistics["panels"]:
        if reading.tasks and panel["task"] not in reading.tasks:
            continue
        curves = {name: _curve(panel, name, resolve(panel["task"], name)) for name in reading.names()}
        for name, curve in curves.items():
            refused = _refused(statistics, panel["task"], curve["hash"])
            if refused:
                raise Absent("INVALID", f"{name}: {refused[0]}")
            if curve["n"] == 0:
                raise Absent("NOT_RUN", f"{name} has no run on {panel['task']}")
        paired = statistics["coverage"]["spec"]["kind"] == "games"
        covered = {name: _covered(statistics, panel["task"], curve["hash"]) for name, curve in curves.items()}
        references = panel.get("references") or {}
        found.append(Panel(panel["task"], curves, references, paired, _top(panel), covered))
    missing = set(reading.tasks) - {panel.task for panel in found}
    if missing or not found:
        raise Absent("NOT_RUN", f"{reading.figure} has no panel {', '.join(sorted(missing))} at this tier")
    return found


def _curve(panel: dict, name: str, expected: str) -> dict:
    for curve in panel["curves"]:
        if curve["hash"] == expected:
            return curve
    if any(curve["cell"] == name for curve in panel["curves"]):
        raise Absent("INVALID", f"the statistics of {name} on {panel['task']} are of another config: collect again")
    raise Absent("NOT_RUN", f"{name} is not drawn on {panel['task']} at this tier")


def _refused(statistics: dict, task: str, digest: str) -> list[str]:
    curves = statistics["coverage"]["curves"]
    return [why for curve in curves if curve["panel"] == task and curve["hash"] == digest for why in curve["refused"]]


def _covered(statistics: dict, task: str, digest: str) -> dict:
    """The coverage of the curve with this hash; {} where there is none."""
    curves = statistics["coverage"]["curves"]
    return next((curve for curve in curves if curve["panel"] == task and curve["hash"] == digest), {})


def _top(panel: dict) -> float | None:
    """The highest mean final among the curves drawn in ``panel``."""
    known = [[value for value in curve["final"].values() if value is not None] for curve in panel["curves"]]
    return max((sum(values) / len(values) for values in known if values), default=None)


def parts(claim: Claim, reading: Reading, found: list[Panel]) -> list[Part]:
    """Every test that ``claim`` needs, over all panels."""
    return [part for panel in found for part in _KINDS[claim.kind](claim, reading, panel)]


def pairs(reading: Reading) -> list[tuple[str, str]]:
    """What a reading compares: (of `more`, of `less`)."""
    if reading.one_to_one:
        return list(zip(reading.more, reading.less, strict=True))
    return [(one, two) for one in reading.more for two in reading.less]


def _ordering(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    made, judged = [], claim.metric or "final"
    other = "final" if judged == "auc" else "auc"
    for one, two in pairs(reading):
        a, b = panel.samples(one, two, judged)
        test = inference.paired(a, b) if panel.paired else inference.welch(a, b)
        others = [list(panel.values(name, other).values()) for name in (one, two)]
        beside = {"probability of improvement": inference.probability_of_improvement(a, b)}
        if all(others):
            beside[f"difference of {_SUMMARIES[other]}"] = inference.welch(*others)
        text = f"{one} {number(a)} vs {two} {number(b)}" + (f" ({_SUMMARIES['auc']})" if judged == "auc" else "")
        made.append(Part("above", text, test, 0.0, panel.size(claim.effect), beside=beside))
    return made


def _variance(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    size = claim.effect.value if claim.effect else 1.0
    tests = [(one, two, inference.variance_ratio(*panel.samples(one, two))) for one, two in pairs(reading)]
    return [Part("above", f"spread of {one} vs {two}", test, 1.0, size) for one, two, test in tests]


def _fluctuation(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    size, made = claim.effect.value if claim.effect else 1.0, []
    for one, two in pairs(reading):
        a, b = (list(panel.values(name, "fluctuation").values()) for name in (one, two))
        made.append(Part("above", f"fluctuation of {one} vs {two}", inference.log_ratio(a, b), 1.0, size))
    return made


def _speed(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    def steps(name: str) -> list[float]:
        """Steps per seed; a run that never got there counts as one that took its whole budget."""
        curve = panel.curves[name]
        return [curve["x"][-1] if value is None else value for value in curve["steps_to_90"].values()]

    made = []
    for one, two in pairs(reading):
        fast, slow = steps(one), steps(two)
        text = f"{two} {number(slow)} vs {one} {number(fast)} env steps to 90 %"
        made.append(Part("above", text, inference.welch(slow, fast)))
    return made


def _equivalence(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    margin, made = panel.size(claim.margin), []
    every = list(combinations(reading.curves, 2))
    for one, two in every:
        a, b = panel.samples(one, two)
        test = inference.equivalence(a, b, margin, pair=panel.paired)
        # The wider interval of Bonferroni: with many pairs one would leave the margin by chance.
        wide = inference.welch(a, b, level=1 - 0.05 / len(every))
        outside = wide.low is not None and (wide.low > margin or wide.high < -margin)
        made.append(Part("within", f"{one} {number(a)} vs {two} {number(b)}", test, size=margin, outside=outside))
    return made


def _below_reference(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    made = []
    for name in reading.curves:
        a = list(panel.finals(name).values())
        level = panel.level(claim.reference)
        test = inference.one_sample([-value for value in a], -level, f"{claim.reference} minus mean")
        text = f"{name} {number(a)} vs {claim.reference} {level:.4g}"
        made.append(Part("above", text, test, 0.0, panel.size(claim.effect)))
    return made


def _learned(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    made = []
    for name in reading.curves:
        curve, size = panel.curves[name], panel.size(claim.effect)
        finals = list(panel.finals(name).values())
        both = [s for s in curve["final"] if curve["final"][s] is not None and curve["first"][s] is not None]
        raw = [[curve[key][s] for s in both] for key in ("final", "first")]
        rise = 0.0 if panel.paired else size  # games have no common return unit; their size is asked of the finals
        made.append(Part("above", f"{name} final vs first evaluation", inference.paired(*raw), 0.0, rise))
        level = panel.level("uniform")
        test = inference.one_sample(finals, level, "mean minus uniform policy")
        made.append(Part("above", f"{name} {number(finals)} vs uniform policy {level:.4g}", test, 0.0, size))
    return made


def critic_parameters(panel: Panel, name: str) -> int:
    """The critics' number of trainable parameters in one run of a curve; Absent where its runs do not tell."""
    size = (panel.covered[name].get("described") or {}).get("critic_parameters")
    if size is None:
        raise Absent("INVALID", f"{panel.task}: the runs of {name} do not tell their critic's parameters")
    return size


def _equal_sizes(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    sizes = {name: critic_parameters(panel, name) for name in reading.curves}
    ratio = max(sizes.values()) / min(sizes.values())
    shown = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
    test = Test("violations", float(ratio > 1 + claim.margin.value), None, None, len(sizes), None)
    return [Part("count", f"critic parameters on {panel.task}: {shown}, ratio {ratio:.3g}", test)]


def _trend(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    groups = []
    for name in reading.curves:
        training = panel.curves[name]["training"]
        if claim.metric not in training:
            raise Absent("INVALID", f"{name} on {panel.task} has no training metric '{claim.metric}'")
        groups.append([value for value in training[claim.metric]["final"].values() if value is not None])
    test = inference.trend(groups[::-1] if claim.trend == "falls" else groups)
    shown = ", ".join(f"{name} {number(group)}" for name, group in zip(reading.curves, groups, strict=True))
    return [Part("above", f"{claim.metric} {claim.trend}: {shown}", test)]


def _value(claim: Claim, reading: Reading, panel: Panel) -> list[Part]:
    made = []
    for name in reading.curves:
        a = list(panel.finals(name).values())
        mean, low, high = inference.mean_interval(a)
        bounds = tuple(claim.interval) if claim.interval else None
        text = f"{name} after {panel.curves[name]['x'][-1]:,} env steps"
        made.append(Part("inside", text, Test("mean", mean, low, high, len(a), None), bounds=bounds))
    return made


def study_part(claim: Claim, statistics: dict) -> Part:
    """The one part of a claim about a measured quantity: ``statistics["studies"][metric]`` holds either
    {violations, checked} or {value, low, high, n}, and its controls.

    Raises Absent when it is not there, and when a control, a planted wrong version, passes too: then the study could
    not have told.
    """
    study = (statistics.get("studies") or {}).get(claim.metric)
    if study is None:
        raise Absent("NOT_RUN", f"the statistics hold no study '{claim.metric}'")
    for name, control in (study.get("controls") or {}).items():
        if _holds(claim, control):
            raise Absent("INVALID", f"the control '{name}' passes too, so this study cannot tell")
    if claim.kind == "rate":
        test = Test(claim.metric, study["value"], study["low"], study["high"], study["n"], None)
        return Part("inside", claim.metric, test, bounds=tuple(claim.interval))
    count = float(study["violations"])
    test = Test("violations", count, None, None, study["checked"], None)
    text = f"{claim.metric}: {study['violations']} violations in {study['checked']}"
    if study.get("worst") is not None:
        text += f", worst {study['worst']:.3g}"
    return Part("count", text, test)


def _holds(claim: Claim, result: dict) -> bool:
    """Whether a check's result is what ``claim`` asks for."""
    if "violations" in result:
        return result["violations"] == 0
    low, high = result["low"], result["high"]
    return low is not None and claim.interval[0] <= low and high <= claim.interval[1]


_SUMMARIES = {"auc": "areas under the curve", "final": "finals"}


def number(values) -> str:
    """The mean of some values, for a sentence."""
    return f"{sum(values) / len(values):.4g}" if len(values) else "nothing"


_KINDS: dict[str, Callable[[Claim, Reading, Panel], list[Part]]] = {
    "ordering": _ordering,
    "variance": _variance,
    "fluctuation": _fluctuation,
    "speed": _speed,
    "equivalence": _equivalence,
    "spread": _equivalence,
    "below_reference": _below_reference,
    "learned": _learned,
    "sizes": _equal_sizes,
    "trend": _trend,
    "value": _value,
}
