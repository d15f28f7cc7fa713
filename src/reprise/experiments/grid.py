"""What to train for a tier: cells, the cohorts that train them, and which figure needs which.

    g = grid.build(project, "quick")
    g.cohorts                           every run once
    g.cohorts_of("dpo/fig01a")          what one figure waits for
    g.figures["dpo/fig01a"].panels[0].curves[0].cell

Every run is trained once: equal resolved configs are one cell, a cell wanted by several figures is trained for the
union of their seeds, the settings of a sweep are one cohort, and a setting equal to an earlier cell is that cell.
Seeds that a complete run folder already holds stay there; only the others are planned.
"""

from __future__ import annotations

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from reprise.errors import RepriseError
from reprise.experiments import resolution, schema, seeds
from reprise.experiments.config import Project
from reprise.experiments.resolution import Cell

MANIFEST = "manifest.json"
FILES = ("evaluations.parquet", "training.parquet", "timings.parquet", "policy.safetensors", MANIFEST)
STUDY_FILES = ("records.parquet", MANIFEST)
STUDY_COLOR = "#222222"
_FOLDER = re.compile(r"seeds-(\d+)-(\d+)")


@dataclass(frozen=True)
class Cohort:
    """The runs (settings x seeds) that one job trains together. Run r = setting index * len(seeds) + seed index."""

    root: Path = field(repr=False)
    tier: str
    task: str
    name: str
    cells: tuple[Cell, ...] = field(repr=False)
    seeds: tuple[int, ...]

    @property
    def id(self) -> str:
        """`environment/task/name/seeds-first-last`: unique within a tier, and the tail of its folders."""
        return f"{self.task}/{self.name}/seeds-{self.seeds[0]}-{self.seeds[-1]}"

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.root / "results" / self.tier / "runs" / self.id

    @property
    def checkpoints(self) -> Path:
        """Lock and checkpoints, outside the outputs."""
        return self.root / "results" / self.tier / "checkpoints" / self.id

    @property
    def files(self) -> dict[str, Path]:
        """The run folder's files by name; `manifest.json` is written last."""
        return {name: self.folder / name for name in (STUDY_FILES if self.is_study else FILES)}

    @property
    def complete(self) -> bool:
        return (self.folder / MANIFEST).is_file()

    @property
    def is_study(self) -> bool:
        """Whether it is an exact study, which is computed and not trained."""
        return resolution.is_study(self.task)

    @cached_property
    def hash(self) -> str:
        """sha256 over the cells' hashes, in order."""
        return resolution.digest([cell.hash for cell in self.cells])

    @property
    def is_sweep(self) -> bool:
        """Whether its tables have a column `setting`."""
        return self.cells[0].sweep is not None

    @property
    def runs(self) -> int:
        return len(self.cells) * len(self.seeds)


@dataclass(frozen=True)
class Curve:
    """A line in a panel. ``name`` is what the config says (`ippo@kl`), ``cell`` what is trained (`dpo@no_sqrt`)."""

    label: str
    name: str
    cell: Cell
    seeds: tuple[int, ...]
    color: str
    group: str | None = None  # the panel of its task that it is in, where a task has several


@dataclass(frozen=True)
class Panel:
    task: str
    curves: tuple[Curve, ...]


@dataclass(frozen=True)
class Figure:
    paper: str
    name: str
    spec: schema.AnyFigureSpec
    panels: tuple[Panel, ...]
    stamp: str | None
    on_request: bool = False  # no part of what the tier makes by itself

    @property
    def key(self) -> str:
        return f"{self.paper}/{self.name}"

    @property
    def curves(self) -> list[Curve]:
        return [curve for panel in self.panels for curve in panel.curves]


@dataclass(frozen=True)
class Grid:
    """Everything one tier needs. ``batches``: the cohorts, grouped by the process that trains them."""

    tier: str
    figures: dict[str, Figure]
    cohorts: list[Cohort]
    batches: list[list[Cohort]]
    _by_name: dict[tuple[str, str], list[Cohort]] = field(repr=False)

    @property
    def standing(self) -> list[str]:
        """The figures that the tier makes by itself; the others are made on request, by name."""
        return [name for name, figure in self.figures.items() if not figure.on_request]

    def cohorts_for(self, curve: Curve) -> list[Cohort]:
        """The cohorts that hold the runs of ``curve``. Where two hold a seed, the first one counts."""
        wanted = set(curve.seeds)
        held = self._by_name[(curve.cell.task, curve.cell.cohort)]
        return [cohort for cohort in held if wanted.intersection(cohort.seeds)]

    def cohorts_of(self, figure: str) -> list[Cohort]:
        """Every cohort that ``figure`` (`paper/name`) needs, each once."""
        found = {cohort.id: cohort for curve in self.figures[figure].curves for cohort in self.cohorts_for(curve)}
        return list(found.values())


def build(project: Project, tier: str, papers: Iterable[str] | None = None) -> Grid:
    """The grid of ``tier`` for ``papers`` (default: all). Raises RepriseError for anything that cannot be trained."""
    project.tier(tier)
    figures = {key: _figure(project, key, spec, tier) for key, spec in project.figures(papers).items()}
    wanted: dict[tuple[str, str], set[int]] = {}
    for figure in figures.values():
        for curve in figure.curves:
            wanted.setdefault((curve.cell.task, curve.cell.cohort), set()).update(curve.seeds)
    by_name = {key: _cohorts(project, tier, *key, each) for key, each in wanted.items()}
    cohorts = [cohort for each in by_name.values() for cohort in each]
    _distinct_paths(cohorts)
    return Grid(tier, figures, cohorts, _batches(cohorts, project.tier(tier).batches), by_name)


def cohort(project: Project, tier: str, task: str, name: str, wanted: Iterable[int]) -> list[Cohort]:
    """The cohorts that train ``name`` on ``task`` for the seeds ``wanted``: what a command line asks for.

    A setting trains with its sweep, and seeds held by complete run folders stay there. A sweep's name means the cohort
    of that name: a setting that equals another cell is trained as that cell, by the job of that name.
    """
    project.tier(tier)
    names = list(dict.fromkeys(cell.cohort for cell in resolution.expand(project, task, name, tier)))
    cohorts = [
        each for key in ([name] if name in names else names) for each in _cohorts(project, tier, task, key, set(wanted))
    ]
    _distinct_paths(cohorts)
    return cohorts


def task_seeds(project: Project, task: str, tier: str) -> tuple[int, ...]:
    """The seeds that ``tier`` plans for ``task`` where a figure says nothing else."""
    if resolution.is_study(task):
        return project.study(task.partition("/")[2], "--task").seeds
    project.task(task)
    budgets = project.tier(tier)
    own = budgets.tasks[task].seeds if task in budgets.tasks else None
    return own or budgets.budget(task).seeds


def _figure(project: Project, key: str, spec: schema.AnyFigureSpec, tier: str) -> Figure:
    paper, _, name = key.partition("/")
    if isinstance(spec, schema.StudyFigureSpec):
        return _study_figure(project, paper, name, spec, tier)
    here = spec.tiers.get(tier, schema.FigureTier())
    budgets = project.tier(tier)
    override = budgets.figures.get(key, schema.TierFigure())
    seeds_of_figure = here.seeds or override.seeds
    panels = []
    for task in here.tasks or spec.tasks:
        wanted = seeds_of_figure or task_seeds(project, task, tier)
        curves = [curve for curve in here.curves or spec.curves if curve.on(task)]
        lines = [line for curve in curves for line in _curves(project, task, curve, tier, wanted, len(curves) == 1)]
        _distinct_labels(lines, f"config/papers/{paper}.yaml: figures.{name}")
        panels.append(Panel(task, tuple(lines)))
    return Figure(paper, name, spec, tuple(panels), override.stamp or budgets.stamp, override.on_request)


def _study_figure(project: Project, paper: str, name: str, spec: schema.StudyFigureSpec, tier: str) -> Figure:
    """A panel per study. The tier's stamp speaks of training: a study says only that this tier makes it smaller."""
    panels = []
    for study in spec.studies:
        task = f"{resolution.THEORY}/{study}"
        cell = resolution.resolve(project, task, resolution.EXACT, tier)
        found = project.studies[study]
        panels.append(Panel(task, (Curve(found.title, resolution.EXACT, cell, found.seeds, STUDY_COLOR),)))
    budgets = project.tier(tier)
    smaller = budgets.stamp is not None and any(project.studies[study].tiers.get(tier) for study in spec.studies)
    own = budgets.figures.get(f"{paper}/{name}", schema.TierFigure()).stamp
    return Figure(paper, name, spec, tuple(panels), own or (f"{tier}: a smaller study" if smaller else None))


def _curves(
    project: Project, task: str, curve: schema.CurveSpec, tier: str, wanted: tuple[int, ...], alone: bool
) -> list[Curve]:
    """One line, or one per setting of a sweep: labelled by the setting, after the curve's name unless it is alone."""
    found = resolution.target(project, curve.algorithm)
    if not found.sweep or found.setting:
        cell = resolution.resolve(project, task, curve.algorithm, tier)
        label = curve.label or resolution.label(project, curve.algorithm)
        return [Curve(label, curve.algorithm, cell, wanted, resolution.color(project, curve.algorithm), curve.group)]
    spec = project.algorithms[found.algorithm]
    prefix = curve.label or ("" if alone else spec.title)
    lines = []
    for setting, entry in spec.sweeps[found.sweep].settings.items():
        name = f"{found.algorithm}@{setting}"
        label = f"{prefix}, {entry.label}" if prefix else entry.label
        cell = resolution.resolve(project, task, name, tier)
        lines.append(Curve(label, name, cell, wanted, resolution.color(project, name), curve.group))
    return lines


def _cohorts(project: Project, tier: str, task: str, name: str, wanted: set[int]) -> list[Cohort]:
    """Cohort ``name`` (a cell or a sweep) for the seeds ``wanted``: complete run folders first, then what is left."""
    cells = tuple(cell for cell in resolution.expand(project, task, name, tier) if cell.cohort == name)
    parent = project.root / "results" / tier / "runs" / task / name
    stretches: list[tuple[int, ...]] = []
    left = set(wanted)
    for stretch in _complete(parent):
        if left.intersection(stretch):
            stretches.append(stretch)
            left.difference_update(stretch)
    stretches += seeds.segments(left)
    return [Cohort(project.root, tier, task, name, cells, stretch) for stretch in sorted(stretches)]


def _complete(parent: Path) -> list[tuple[int, ...]]:
    """The seeds of every complete run folder below ``parent``, in an order that does not depend on the file system."""
    try:
        folders = [path for path in parent.iterdir() if _FOLDER.fullmatch(path.name)]
    except OSError:
        return []
    spans = [tuple(map(int, _FOLDER.fullmatch(path.name).groups())) for path in folders if (path / MANIFEST).is_file()]
    return [tuple(range(first, last + 1)) for first, last in sorted(spans, key=lambda span: (span[0], -span[1]))]


def _batches(cohorts: list[Cohort], processes: int | None) -> list[list[Cohort]]:
    """One batch per cohort, or ``processes`` batches of about equal numbers of runs."""
    if processes is None:
        return [[each] for each in cohorts]
    batches: list[list[Cohort]] = [[] for _ in range(min(processes, len(cohorts)))]
    loads = [(0, index) for index in range(len(batches))]
    for each in cohorts:
        load, index = heapq.heappop(loads)
        batches[index].append(each)
        heapq.heappush(loads, (load + each.runs, index))
    return batches


def _distinct_paths(cohorts: list[Cohort]) -> None:
    """Two cohorts in one folder (letter case does not count) with different configs would overwrite each other."""
    seen: dict[str, Cohort] = {}
    for each in cohorts:
        other = seen.setdefault(each.id.casefold(), each)
        if other.hash != each.hash:
            raise RepriseError(f"{each.folder}: two different resolved configs want this folder: {other.id}, {each.id}")


def _distinct_labels(lines: list[Curve], place: str) -> None:
    seen: dict[str, Curve] = {}
    for line in lines:
        other = seen.setdefault(line.label, line)
        if other is not line:
            raise RepriseError(f"{place}: the label '{line.label}' stands for both {other.name} and {line.name}")
