"""The configuration: every file under config/ read, typed and cross-checked, before anything runs.

    project = config.load(root)
    cell = config.resolve(project, task="stochastic_game/s100n6a5", algorithm="dpo@no_sqrt", tier="quick")

Every fault is a RepriseError that names the file, the dotted key and the nearest valid name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, get_args

from reprise.errors import RepriseError, unknown
from reprise.experiments import crosscheck, schema, validation, yaml_files
from reprise.experiments.resolution import Cell, expand, label, resolve

__all__ = ["Cell", "Project", "Settings", "expand", "label", "load", "resolve", "settings"]


class Settings(NamedTuple):
    """What one invocation makes: a tier, the papers, the device."""

    tier: str
    papers: tuple[str, ...]
    device: str


@dataclass
class Project:
    """The validated configuration of one repository. Read-only; build it with `load`."""

    root: Path
    defaults: schema.Defaults
    environments: dict[str, schema.Environment]
    algorithms: dict[str, schema.Algorithm]
    tiers: dict[str, schema.Tier]
    papers: dict[str, schema.Paper]
    studies: dict[str, schema.Study] = field(default_factory=dict)
    # What `resolve` has found: by (task, name, tier), and by (task, algorithm, tier) then hash.
    cells: dict[tuple[str, str, str], Cell] = field(default_factory=dict, repr=False)
    canonical: dict[tuple[str, str, str], dict[str, Cell]] = field(default_factory=dict, repr=False)

    def environment(self, name: str, place: str = "config/environments") -> schema.Environment:
        return _pick("environment", name, self.environments, place)

    def algorithm(self, name: str, place: str = "config/algorithms") -> schema.Algorithm:
        return _pick("algorithm", name, self.algorithms, place)

    def tier(self, name: str, place: str = "config/tiers") -> schema.Tier:
        return _pick("tier", name, self.tiers, place)

    def paper(self, name: str, place: str = "config/papers") -> schema.Paper:
        return _pick("paper", name, self.papers, place)

    def task(self, name: str, place: str = "config/environments") -> tuple[schema.Environment, schema.Task]:
        """The environment and the task that `environment/task` names."""
        environment, _, task = name.partition("/")
        known = {f"{key}/{each}" for key, value in self.environments.items() for each in value.tasks}
        if name not in known:
            studies = {f"theory/{study}" for study in self.studies}  # for `theroy/...`
            raise unknown("task", name, known | studies if environment not in self.environments else known, place)
        return self.environments[environment], self.environments[environment].tasks[task]

    def study(self, name: str, place: str = "config/studies") -> schema.Study:
        return _pick("study", name, self.studies, place)

    def figures(self, papers: Iterable[str] | None = None) -> dict[str, schema.AnyFigureSpec]:
        """Every figure, keyed `paper/figure`, of ``papers`` (default: all)."""
        chosen = self.papers if papers is None else {name: self.paper(name) for name in papers}
        return {f"{paper}/{name}": spec for paper, page in chosen.items() for name, spec in page.figures.items()}

    def figure(self, key: str, place: str = "config/papers") -> schema.AnyFigureSpec:
        return _pick("figure", key, self.figures(), place)


def load(root: Path) -> Project:
    """Read and check ``root``/config. Raises RepriseError on the first fault."""
    folder = Path(root) / "config"
    place = "config/config.yaml"
    project = Project(
        root=Path(root),
        defaults=validation.build(schema.Defaults, yaml_files.read(folder / "config.yaml", place), place),
        environments=_folder(folder, "environments", schema.Environment, "environment"),
        algorithms=_folder(folder, "algorithms", schema.Algorithm, "algorithm"),
        tiers=_folder(folder, "tiers", schema.Tier, "tier"),
        papers=_folder(folder, "papers", schema.Paper, "paper"),
        studies=_folder(folder, "studies", schema.Study, "study"),
    )
    crosscheck.check(project)
    return project


def settings(project: Project, overrides: Mapping[str, Any] | None = None) -> Settings:
    """config.yaml's tier, papers and device, with ``overrides`` (`snakemake --config`, command line) on top.

    `papers` may be a list or a comma-separated string. RepriseError for an unknown key or value.
    """
    overrides = {key: value for key, value in (overrides or {}).items() if value is not None}
    for key in overrides:
        if key not in Settings._fields:
            raise unknown("key", str(key), Settings._fields, "--config")
    papers = overrides.get("papers", project.defaults.papers)
    papers = [name.strip() for name in papers.split(",")] if isinstance(papers, str) else papers
    if not isinstance(papers, list | tuple) or not papers:
        raise RepriseError(f"--config: papers: a paper or a comma-separated list expected, got {papers!r}")
    tier = str(overrides.get("tier", project.defaults.tier))
    device = str(overrides.get("device", project.defaults.device))
    project.tier(tier)
    for name in papers:
        project.paper(str(name))
    if device not in get_args(schema.Device):
        raise unknown("device", device, get_args(schema.Device), "device")
    return Settings(tier, tuple(dict.fromkeys(map(str, papers))), device)


def _pick(kind: str, name: str, known: Mapping[str, Any], place: str) -> Any:
    if name not in known:
        raise unknown(kind, name, known, place)
    return known[name]


def _folder(config: Path, folder: str, model: type, key: str) -> dict[str, Any]:
    """Every YAML file of one config folder, in alphabetical order, keyed by its name."""
    files = {}
    for path in sorted((config / folder).glob("*.yaml")):
        place = f"config/{folder}/{path.name}"
        built = validation.build(model, yaml_files.read(path, place), place)
        if getattr(built, key) != path.stem:
            raise RepriseError(f"{place}: {key}: '{getattr(built, key)}' must be the file's name, '{path.stem}'")
        files[path.stem] = built
    return files
