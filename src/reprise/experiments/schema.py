"""The shape of every config file: pydantic models, strict (an unknown key is an error, nothing is coerced)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from reprise.errors import RepriseError
from reprise.experiments import kinds, seeds

Device = Literal["auto", "cpu", "cuda"]
TierName = Literal["smoke", "quick", "paper"]
Actions = Literal["discrete", "continuous", "simplex"]  # a choice; a vector; weights of choices, which sum to 1
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")]
Word = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]  # names of files: environments, algorithms, papers
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Text = Annotated[str, Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]


def _seeds(value: Any) -> tuple[int, ...]:
    try:
        return seeds.parse(value, "seeds")
    except RepriseError as error:
        raise ValueError(str(error).removeprefix("seeds: ")) from error


Seeds = Annotated[tuple[int, ...], BeforeValidator(_seeds)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Override(Strict):
    """A value for a key declared elsewhere, and where it comes from (paper section, official code, or ours and why)."""

    value: Any
    source: Text


class Entry(Strict):
    """A declared hyperparameter or parameter: its value, where the value comes from, and its type and range."""

    value: Any
    source: Text
    kind: kinds.Kind
    choices: list[str | int | float] | None = None

    @model_validator(mode="after")
    def _checked(self) -> Entry:
        if (self.kind == "choice") != (self.choices is not None):
            raise ValueError("'choices' belongs to kind 'choice', and to no other")
        # Frozen against others; the canonical type is set here, once.
        object.__setattr__(self, "value", kinds.check(self.kind, self.value, self.choices))
        return self


Overrides = dict[str, Override]


class Task(Strict):
    """``actions``: where they are of another kind than the environment's others. ``family``: one of its families."""

    description: Text
    family: Name | None = None
    parameters: Overrides = {}
    actions: Actions | None = None


class Family(Strict):
    """Parameters that only its tasks have; one that the environment has too is declared anew for them."""

    parameters: dict[str, Entry]


class Environment(Strict):
    environment: Word
    version: Count
    module: Text
    actions: Actions
    parameters: dict[str, Entry]
    families: dict[Name, Family] = {}
    tasks: dict[Name, Task]

    def declared(self, task: Task) -> dict[str, Entry]:
        """The parameters of ``task``: the environment's, and its family's."""
        return self.parameters | (self.families[task.family].parameters if task.family else {})


class Variant(Strict):
    """One named departure from the algorithm, or another name (`alias`) for a variant that exists.

    ``parameters``: {environment: overrides} of the environment's own parameters, where a variant is an algorithm that
    sees something else (a baseline that its authors ran on other observations).
    """

    label: Text
    description: Text
    set: Overrides = {}
    alias: str | None = None
    environments: dict[str, Overrides] = {}
    parameters: dict[str, Overrides] = {}
    color: Colour | None = None

    @model_validator(mode="after")
    def _checked(self) -> Variant:
        if self.alias is not None and (self.set or self.environments or self.parameters):
            raise ValueError(
                "an alias takes everything from its target: no 'set', 'environments' or 'parameters' beside it"
            )
        return self


class Setting(Strict):
    label: Text
    set: Overrides
    color: Colour | None = None


class Sweep(Strict):
    """Settings that differ in sweepable scalars only, so that one cohort trains them together."""

    label: Text
    set: Overrides = {}
    settings: dict[Name, Setting] = Field(min_length=1)


class Algorithm(Strict):
    algorithm: Word
    version: Count
    module: Text
    title: Text
    actions: list[Actions] = Field(min_length=1)
    color: Colour
    sweepable: list[str] = []
    hyperparameters: dict[str, Entry]
    environments: dict[str, Overrides] = {}
    tasks: dict[str, Overrides] = {}
    variants: dict[Name, Variant] = {}
    sweeps: dict[Name, Sweep] = {}


class Budget(Strict):
    """How long and how often: env steps (or updates) per run, seeds, evaluation points and episodes per point."""

    env_steps: Count | None = None
    updates: Count | None = None
    seeds: Seeds
    evaluations: Count
    evaluation_episodes: Count

    @model_validator(mode="after")
    def _checked(self) -> Budget:
        if (self.env_steps is None) == (self.updates is None):
            raise ValueError("either 'env_steps' or 'updates' is needed, not both")
        return self


class BudgetOverride(Strict):
    env_steps: Count | None = None
    updates: Count | None = None
    seeds: Seeds | None = None
    evaluations: Count | None = None
    evaluation_episodes: Count | None = None

    @model_validator(mode="after")
    def _checked(self) -> BudgetOverride:
        if self.env_steps is not None and self.updates is not None:
            raise ValueError("either 'env_steps' or 'updates', not both")
        return self


class TierFigure(Strict):
    """``on_request``: trained and drawn when asked for by name, no part of what the tier makes by itself."""

    seeds: Seeds | None = None
    stamp: Text | None = None
    on_request: bool = False


class Tier(Strict):
    tier: TierName
    stamp: Text | None
    batches: Count | None
    default: Budget | None = None
    environments: dict[str, Budget]
    tasks: dict[str, BudgetOverride] = {}
    hyperparameters: dict[str, dict[str, Overrides]] = {}  # algorithm: {environment/task: overrides}
    figures: dict[str, TierFigure] = {}

    def budget(self, task: str) -> Budget:
        """The budget of the environment of ``task``, or the tier's default. RepriseError when there is neither."""
        environment = task.partition("/")[0]
        found = self.environments.get(environment, self.default)
        if found is None:
            place = f"config/tiers/{self.tier}.yaml: environments"
            raise RepriseError(f"{place}: no budget for '{environment}', which {task} needs, and no default")
        return found


class CurveSpec(Strict):
    """One algorithm, variant, setting or sweep in a figure. A sweep gives a curve per setting.

    ``tasks``: the figure's tasks that it is on, where not on all. ``group``: where curves name groups, a task has a
    panel for each of its groups, and a curve without a group is in all of them.
    """

    algorithm: str
    label: Text | None = None
    tasks: Annotated[list[str], Field(min_length=1)] | None = None
    group: Text | None = None

    def on(self, task: str) -> bool:
        """Whether the curve belongs on ``task``, one of the figure's tasks."""
        return self.tasks is None or task in self.tasks

    @model_serializer(mode="wrap")
    def _terse(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what it leaves out: the digests of figures that need neither stay what they were."""
        kept = {"algorithm", "label"}
        return {key: value for key, value in handler(self).items() if key in kept or value is not None}


def _unique(values: list) -> list:
    names = [str(getattr(value, "algorithm", value)) for value in values]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise ValueError(f"'{twice}' stands twice")
    return values


Curves = Annotated[list[CurveSpec], Field(min_length=1), AfterValidator(_unique)]
Tasks = Annotated[list[str], Field(min_length=1), AfterValidator(_unique)]


class FigureTier(Strict):
    """What a figure shows at one tier, where that differs."""

    curves: Curves | None = None
    tasks: Tasks | None = None
    seeds: Seeds | None = None


class FigureSpec(Strict):
    """A figure of learning curves, of their finals, or of what they cost."""

    title: Text
    caption: Text
    kind: Literal["curves", "sensitivity", "games", "parameters", "cost"]
    tasks: Tasks
    curves: Curves
    metric: Literal["expected_return", "return", "success"]
    training_metrics: Annotated[list[Name], AfterValidator(_unique)] = []
    references: Annotated[list[Literal["optimum", "nash", "uniform", "scripted", "idle"]], AfterValidator(_unique)] = []
    columns: Count = 1
    tiers: dict[TierName, FigureTier] = {}


class Check(Strict):
    """What a claim is judged on, from the rows of ``quantity`` (of some ``series``, at ``x`` in a range).

    ``at_least``, ``at_most``, ``equals``: rows that miss ``value`` by more than ``tolerance`` are counted. ``mean``:
    mean over the units (seed, game). ``slope``: of log value on log x, per unit. ``control_of``: a planted wrong
    version of that check, which must fail.
    """

    quantity: Word
    rule: Literal["at_least", "at_most", "equals", "mean", "slope"]
    value: float | None = None
    tolerance: Annotated[float, Field(ge=0)] = 0.0
    series: list[str] | None = None
    x: Annotated[list[float], Field(min_length=2, max_length=2)] | None = None
    control_of: str | None = None

    @model_validator(mode="after")
    def _checked(self) -> Check:
        counts = self.rule in ("at_least", "at_most", "equals")
        if counts != (self.value is not None):
            raise ValueError("'value' belongs to the rules at_least, at_most and equals, and to no other")
        if self.tolerance and not counts:
            raise ValueError("'tolerance' belongs to the rules at_least, at_most and equals")
        return self


class StudyFigureSpec(Strict):
    """A figure of exact studies: what it draws is a function of its own, what it is judged on are its checks."""

    title: Text
    caption: Text
    kind: Literal["study"]
    studies: Annotated[list[Word], Field(min_length=1), AfterValidator(_unique)]
    drawing: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$")]
    checks: dict[Name, Check] = {}

    @model_validator(mode="after")
    def _checked(self) -> StudyFigureSpec:
        for name, check in self.checks.items():
            if check.control_of is not None and check.control_of not in self.checks:
                raise ValueError(f"checks.{name}: control_of: no check '{check.control_of}'")
        return self


AnyFigureSpec = Annotated[FigureSpec | StudyFigureSpec, Field(discriminator="kind")]


class Study(Strict):
    """An exact numerical study: ``module`` has ``run(parameters, seeds, records)`` (theory/study.py)."""

    study: Word
    version: Count
    module: Text
    title: Text
    seeds: Seeds = (0,)
    parameters: dict[str, Entry]
    tiers: dict[TierName, Overrides] = {}


class ReplaySpec(Strict):
    """An episode that the report shows: the policy of one run of a curve that a figure of the paper has."""

    task: str
    algorithm: str
    seed: Annotated[int, Field(ge=0)]


class Diagram(Strict):
    """A figure of the paper that plots no data."""

    figure: Name
    title: Text
    reason: Text


class Resolved(Strict):
    """A table cell that the report fills with the value this repository uses."""

    algorithm: str
    key: str


class Row(Strict):
    name: Text
    paper: str | int | float
    code: str | int | float
    ours: str | int | float | Resolved
    source: Text


class Table(Strict):
    title: Text
    rows: list[Row] = Field(min_length=1)


class Paper(Strict):
    paper: Word
    title: Text
    reference: Text
    figures: dict[Word, AnyFigureSpec]
    replays: list[ReplaySpec] = []
    diagrams: list[Diagram] = []
    tables: dict[Word, Table] = {}


class Defaults(Strict):
    """config/config.yaml: what `snakemake` makes when nothing else is said."""

    tier: TierName
    papers: Annotated[list[str], Field(min_length=1), AfterValidator(_unique)]
    device: Device
