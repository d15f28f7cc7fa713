"""The claims ledger: config/claims/<paper>.yaml, typed and checked against the figures and cells they name."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from reprise.errors import RepriseError, unknown
from reprise.experiments import config, validation, yaml_files
from reprise.experiments.schema import Count, Name, Strict, StudyFigureSpec, Text, TierName, Word

Kind = Literal[
    "ordering",  # `more` has the higher `metric` (final return, or auc: area under the curve) than each of `less`
    "variance",  # the finals of `more` vary more over seeds than those of each of `less`
    "fluctuation",  # the curve of `more` fluctuates more within a run
    "speed",  # `more` reaches 90 % of its own improvement in fewer env steps
    "equivalence",  # all pairs of `curves` end within `margin`
    "spread",  # the largest minus the smallest final of `curves` is within `margin`
    "below_reference",  # each of `curves` ends below `reference`, by `effect`
    "learned",  # each of `curves` ends above its first evaluation and above the uniform policy, by `effect`
    "gap",  # the lead of `more` over each of `less` grows with the number of agents, robot by robot
    "costs",  # `more` needs more of `metric` (parameters, update time, memory) than each of `less`
    "sizes",  # the critics of `curves` have about the same number of parameters: largest / smallest <= 1 + `margin`
    "trend",  # the final of the training metric `metric` falls (or rises) along `curves`
    "value",  # the final of `curves` lies in `interval`
    "rate",  # the measured quantity `metric` of the study lies in `interval`
    "bound",  # no violation of a bound was found in the study
    "identity",  # no violation of an equality was found
    "monotone",  # no decrease was found
]
Protocol = Literal["shared", "tuned", "script", "code", "theory"]
Flag = Literal["vacuous", "contradicted_by_own_plot", "contradicted_by_later_study", "ours", "unfair"]
COMPARED = ("ordering", "variance", "fluctuation", "speed", "gap", "costs")
COSTS = ("critic_parameters", "update_seconds", "peak_memory_mb")
LISTED = ("equivalence", "spread", "below_reference", "learned", "sizes", "trend", "value")
STUDIED = ("rate", "bound", "identity", "monotone")
NEEDS = {
    "ordering": ("effect",),
    "equivalence": ("margin",),
    "spread": ("margin",),
    "below_reference": ("reference",),
    "learned": ("effect",),
    "costs": ("metric",),
    "sizes": ("margin",),
    "trend": ("metric", "trend"),
    "rate": ("metric", "interval"),
    "bound": ("metric",),
    "identity": ("metric",),
    "monotone": ("metric",),
}


class Size(Strict):
    """A difference that matters: in return units, as a fraction of optimum minus uniform policy, or as a ratio.

    A task without a known optimum but with a scripted policy among its references takes that policy for the optimum.
    ``range``: where there is neither, a fraction of the highest mean final among the panel's curves minus the uniform
    policy.
    """

    value: Annotated[float, Field(ge=0)]
    unit: Literal["return", "fraction", "range", "ratio"]
    reason: Text


class Reading(Strict):
    """One protocol's version of a claim: which figure, and which of its curves (names as in the figure's config)."""

    protocol: Protocol
    figure: Text
    tasks: list[str] = Field(default_factory=list)  # the panels meant; none named: all
    more: list[str] = Field(default_factory=list)
    less: list[str] = Field(default_factory=list)
    one_to_one: bool = False  # `more` and `less` are pairs, in order; otherwise each of one with each of the other
    curves: list[str] = Field(default_factory=list)

    def names(self) -> list[str]:
        return [*self.more, *self.less, *self.curves]


class Claim(Strict):
    """One sentence of a paper. The first reading is the one the paper means; it names the claim's figure."""

    id: Name
    where: Text
    statement: Text
    kind: Kind
    headline: bool = False
    planned: bool = False
    lowest_tier: TierName
    min_seeds: Count
    effect: Size | None = None
    margin: Size | None = None
    reference: Literal["optimum", "nash", "uniform"] | None = None
    metric: Name | None = None
    trend: Literal["falls", "rises"] | None = None
    interval: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    paper_value: str | float | int | None = None
    comparable: Literal["ordering", "value", "no"]
    flags: list[Flag] = Field(default_factory=list)
    note: Text | None = None
    readings: list[Reading] = Field(min_length=1)

    @model_validator(mode="after")
    def _checked(self) -> Claim:
        for key in NEEDS.get(self.kind, ()):
            if getattr(self, key) is None:
                raise ValueError(f"{self.id}: a claim of kind '{self.kind}' needs '{key}'")
        if self.kind == "value" and self.comparable == "value" and self.interval is None:
            raise ValueError(f"{self.id}: a claim of kind 'value' that is comparable needs 'interval'")
        if len(self.readings) > 1 and not self.headline:
            raise ValueError(f"{self.id}: only a headline claim has several readings")
        for reading in self.readings:
            _check_reading(self, reading)
        return self


def _check_reading(claim: Claim, reading: Reading) -> None:
    compared, listed = bool(reading.more and reading.less), bool(reading.curves)
    if claim.kind in COMPARED and (listed or not compared):
        raise ValueError(f"{claim.id}: kind '{claim.kind}' compares 'more' with 'less'")
    if reading.one_to_one and len(reading.more) != len(reading.less):
        raise ValueError(f"{claim.id}: one_to_one: 'more' and 'less' must be equally long")
    if claim.kind == "ordering" and claim.metric not in (None, "final", "auc"):
        raise ValueError(f"{claim.id}: an ordering compares the metric 'final' or 'auc', not '{claim.metric}'")
    if claim.kind == "costs" and claim.metric not in COSTS:
        raise ValueError(f"{claim.id}: costs are {', '.join(COSTS)}, not '{claim.metric}'")
    if claim.kind in LISTED and (reading.more or reading.less or not listed):
        raise ValueError(f"{claim.id}: kind '{claim.kind}' needs 'curves'")
    if claim.kind in ("equivalence", "spread", "sizes", "trend") and len(reading.curves) < 2:
        raise ValueError(f"{claim.id}: kind '{claim.kind}' needs two curves or more")


class Ledger(Strict):
    """config/claims/<paper>.yaml."""

    paper: Word
    source: Text
    claims: list[Claim] = Field(min_length=1)


def ledger_file(root: Path, paper: str) -> Path:
    return Path(root) / "config" / "claims" / f"{paper}.yaml"


def load(project) -> dict[str, Ledger]:
    """Every ledger, keyed by paper in the order of the files.

    Raises RepriseError for an unknown key, paper, figure or cell, a doubled id, or an incomplete claim. Figures and
    cells of claims with ``planned: true`` need not exist yet.
    """
    ledgers: dict[str, Ledger] = {}
    seen: dict[str, str] = {}
    for path in sorted((Path(project.root) / "config" / "claims").glob("*.yaml")):
        place = f"config/claims/{path.name}"
        ledger = validation.build(Ledger, yaml_files.read(path, place), place)
        if ledger.paper != path.stem:
            raise RepriseError(f"{place}: paper: '{ledger.paper}' must be the file's name, '{path.stem}'")
        project.paper(ledger.paper, place)
        for claim in ledger.claims:
            if claim.id in seen:
                raise RepriseError(f"{place}: the id '{claim.id}' stands twice (also in {seen[claim.id]})")
            seen[claim.id] = place
            if not claim.planned:
                _check_names(project, claim, f"{place}: {claim.id}")
        ledgers[ledger.paper] = ledger
    return ledgers


def _check_names(project, claim: Claim, place: str) -> None:
    """Figures exist, cells exist, and every cell is a curve of its figure at some tier."""
    for reading in claim.readings:
        spec = project.figure(reading.figure, place)
        if isinstance(spec, StudyFigureSpec):
            if claim.kind not in STUDIED:
                raise RepriseError(f"{place}: a claim of kind '{claim.kind}' cannot be judged on {reading.figure}")
            _check_study(claim, spec, f"{place}: {reading.figure}")
            continue
        for task in reading.tasks:
            if task not in spec.tasks:
                raise unknown("panel", task, spec.tasks, f"{place}: {reading.figure}")
        if claim.metric is not None and claim.kind == "trend" and claim.metric not in spec.training_metrics:
            raise unknown("training metric", claim.metric, spec.training_metrics, f"{place}: {reading.figure}")
        if not reading.names():
            continue
        task, tier = spec.tasks[0], next(iter(project.tiers))  # which tier does not matter: only names are compared
        tiers = [each.curves for each in spec.tiers.values() if each.curves]
        drawn = {
            cell.hash
            for curves in [spec.curves, *tiers]
            for curve in curves
            for cell in config.expand(project, task, curve.algorithm, tier)
        }
        for name in reading.names():
            try:
                cell = config.resolve(project, task, name, tier)
            except RepriseError as fault:
                raise RepriseError(f"{place}: {fault}") from None
            if cell.hash not in drawn:
                shown = [curve.algorithm for curve in spec.curves]
                raise unknown("curve", name, shown, f"{place}: {reading.figure}")


def _check_study(claim: Claim, spec: StudyFigureSpec, place: str) -> None:
    """The metric is a check of the figure, no control, and of a rule that fits the kind of claim."""
    checks = {name: check for name, check in spec.checks.items() if check.control_of is None}
    if claim.metric not in checks:
        raise unknown("check", claim.metric, checks, place)
    rule = checks[claim.metric].rule
    if (claim.kind == "rate") != (rule in ("mean", "slope")):
        raise RepriseError(f"{place}: a claim of kind '{claim.kind}' cannot be judged on a check of rule '{rule}'")
