"""From names to resolved configs: which values a cell trains with, where each comes from, and its hash.

Merge order: hyperparameters < environments < tasks < the tier's own < variant or sweep `set` < variant `environments`
< setting `set`. An environment's parameters: its own < its tasks' < a variant's `parameters`.
Names: `dpo`, `dpo@variant`, `dpo@setting` (one setting of a sweep) and `dpo@sweep` (all of its settings).
An exact study is the cell of task `theory/<study>` and algorithm `exact`; its tier overrides its parameters.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from reprise.errors import RepriseError, unknown
from reprise.experiments import kinds, schema

if TYPE_CHECKING:
    from reprise.experiments.config import Project

Merged = dict[str, tuple[Any, str]]  # key: (value, source)
THEORY, EXACT = "theory", "exact"


@dataclass(frozen=True)
class Cell:
    """One (task, algorithm, variant or setting) at one tier, resolved. ``name`` is canonical: aliases and
    duplicates of an earlier cell carry that cell's name, so equal resolved configs are the same Cell."""

    task: str
    tier: str
    algorithm: str
    variant: str | None
    sweep: str | None
    setting: str | None
    config: dict[str, Any] = field(compare=False, repr=False)
    provenance: dict[str, dict[str, str]] = field(compare=False, repr=False)
    hash: str = ""

    @property
    def name(self) -> str:
        """`dpo`, `dpo@variant` or `dpo@setting`."""
        part = self.variant or self.setting
        return f"{self.algorithm}@{part}" if part else self.algorithm

    @property
    def cohort(self) -> str:
        """The name of the cohort that trains it: its own, or its sweep's."""
        return f"{self.algorithm}@{self.sweep}" if self.sweep else self.name


def is_study(task: str) -> bool:
    """Whether ``task`` names an exact study."""
    return task.partition("/")[0] == THEORY


@dataclass(frozen=True)
class Target:
    """A parsed name, aliases followed."""

    algorithm: str
    variant: str | None = None
    sweep: str | None = None
    setting: str | None = None


def target(project: Project, name: str, place: str = "config/algorithms") -> Target:
    """What ``name`` stands for, following aliases. RepriseError (with ``place``) for unknown names and cycles."""
    seen: list[str] = []
    while True:
        found = _parse(project, name, place)
        alias = project.algorithms[found.algorithm].variants[found.variant].alias if found.variant else None
        if alias is None:
            if seen and found.sweep and not found.setting:
                raise RepriseError(f"{place}: '{seen[0]}' is an alias of the sweep '{name}'; name one of its settings")
            return found
        seen.append(name)
        if alias in seen:
            raise RepriseError(f"{place}: the aliases {' -> '.join([*seen, alias])} run in a circle")
        place = f"config/algorithms/{found.algorithm}.yaml: variants.{found.variant}.alias"
        name = alias


def _parse(project: Project, name: str, place: str) -> Target:
    algorithm, at, part = name.partition("@")
    if algorithm not in project.algorithms:
        raise unknown("algorithm", algorithm, project.algorithms, place)
    spec = project.algorithms[algorithm]
    if not at:
        return Target(algorithm)
    if part in spec.variants:
        return Target(algorithm, variant=part)
    if part in spec.sweeps:
        return Target(algorithm, sweep=part)
    for sweep, entry in spec.sweeps.items():
        if part in entry.settings:
            return Target(algorithm, sweep=sweep, setting=part)
    raise unknown(f"variant, sweep or setting of {algorithm}", part, names(spec, sweeps=True), place)


def names(spec: schema.Algorithm, sweeps: bool = False) -> Iterator[str]:
    """The variants and settings of an algorithm in config order (with ``sweeps``, the sweeps' names too)."""
    yield from spec.variants
    for name, sweep in spec.sweeps.items():
        if sweeps:
            yield name
        yield from sweep.settings


def resolve(project: Project, task: str, algorithm: str, tier: str) -> Cell:
    """The cell that ``algorithm`` (not a whole sweep) names on ``task`` at ``tier``. Cached in ``project``.

    Raises RepriseError for unknown names, a sweep, and an algorithm that cannot act in the task's action space.
    """
    key = (task, algorithm, tier)
    if is_study(task) and key not in project.cells:
        project.cells[key] = _study(project, task, algorithm, tier)
    if key not in project.cells:
        capable(project, task, algorithm)
        found = target(project, algorithm)
        if found.sweep and not found.setting:
            settings = ", ".join(project.algorithms[found.algorithm].sweeps[found.sweep].settings)
            raise RepriseError(f"algorithm: '{algorithm}' is a sweep; name one of its settings: {settings}")
        project.cells[key] = _canonical(project, task, found, tier)
    return project.cells[key]


def expand(project: Project, task: str, algorithm: str, tier: str) -> list[Cell]:
    """The cells of a name: every setting of a sweep, in config order, or the one cell."""
    if is_study(task):
        return [resolve(project, task, algorithm, tier)]
    found = target(project, algorithm)
    if found.sweep and not found.setting:
        settings = project.algorithms[found.algorithm].sweeps[found.sweep].settings
        return [resolve(project, task, f"{found.algorithm}@{setting}", tier) for setting in settings]
    return [resolve(project, task, algorithm, tier)]


def capable(project: Project, task: str, algorithm: str, place: str = "") -> None:
    """RepriseError unless ``algorithm`` can act in the action space of ``task``."""
    environment, entry = project.task(task, place or "config/environments")
    actions = entry.actions or environment.actions
    spec = project.algorithms[target(project, algorithm, place or "config/algorithms").algorithm]
    if actions not in spec.actions:
        able = sorted(name for name, each in project.algorithms.items() if actions in each.actions)
        raise RepriseError(
            f"{place + ': ' if place else ''}{algorithm} has {' and '.join(spec.actions)} actions only, and {task} is "
            f"{actions}; algorithms for it: {', '.join(able) or 'none'}"
        )


def label(project: Project, algorithm: str) -> str:
    """What a legend calls ``algorithm`` when the figure does not say: its own label, not its alias target's."""
    found = _parse(project, algorithm, "config/algorithms")
    spec = project.algorithms[found.algorithm]
    if found.variant:
        return spec.variants[found.variant].label
    if found.setting:
        return spec.sweeps[found.sweep].settings[found.setting].label
    return spec.sweeps[found.sweep].label if found.sweep else spec.title


def color(project: Project, algorithm: str) -> str:
    """The colour of ``algorithm``: its variant's or setting's own, else the algorithm's."""
    found = _parse(project, algorithm, "config/algorithms")
    spec = project.algorithms[found.algorithm]
    own = None
    if found.variant:
        own = spec.variants[found.variant].color
    elif found.setting:
        own = spec.sweeps[found.sweep].settings[found.setting].color
    return own or spec.color


def digest(value: Any) -> str:
    """sha256 of the canonical JSON (sorted keys, no blanks) of ``value``, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(project: Project, task: str, found: Target, tier: str) -> Cell:
    """The first cell in config order that has the same resolved config."""
    key = (task, found.algorithm, tier)
    if key not in project.canonical:
        index: dict[str, Cell] = {}
        spec = project.algorithms[found.algorithm]
        for name in [None, *names(spec)]:
            if name in spec.variants and spec.variants[name].alias is not None:
                continue
            each = _parse(project, f"{found.algorithm}@{name}" if name else found.algorithm, "config/algorithms")
            cell = _resolved(project, task, each, tier)
            index.setdefault(cell.hash, cell)
        project.canonical[key] = index
    return project.canonical[key][_resolved(project, task, found, tier).hash]


def _resolved(project: Project, task: str, found: Target, tier: str) -> Cell:
    environment, entry = project.task(task)
    spec = project.algorithms[found.algorithm]
    declared = environment.declared(entry)
    parameters: Merged = {key: (each.value, each.source) for key, each in declared.items()}
    _overlay(parameters, entry.parameters, declared)
    if found.variant:
        _overlay(parameters, spec.variants[found.variant].parameters.get(environment.environment, {}), declared)
    hyper = _hyperparameters(spec, environment.environment, task, found, project.tier(tier))
    budget = _budget(project, task, tier)
    config = {
        "environment": {
            "name": environment.environment,
            "version": environment.version,
            "module": environment.module,
            "task": task.partition("/")[2],
            "parameters": {key: value for key, (value, _) in parameters.items()},
        },
        "algorithm": {
            "name": found.algorithm,
            "version": spec.version,
            "module": spec.module,
            "hyperparameters": {key: value for key, (value, _) in hyper.items()},
        },
        "budget": budget,
    }
    provenance = {
        "hyperparameters": {key: source for key, (_, source) in hyper.items()},
        "parameters": {key: source for key, (_, source) in parameters.items()},
    }
    cell = Cell(task, tier, found.algorithm, found.variant, found.sweep, found.setting, config, provenance)
    return replace(cell, hash=digest(config))


def _study(project: Project, task: str, algorithm: str, tier: str) -> Cell:
    """The cell of an exact study: its parameters stand where an environment's do, and it has no budget."""
    name = task.partition("/")[2]
    spec = project.study(name, f"task {task}")
    if algorithm != EXACT:
        raise RepriseError(f"{task} is an exact study, which takes no '{algorithm}'; its algorithm is '{EXACT}'")
    parameters: Merged = {key: (each.value, each.source) for key, each in spec.parameters.items()}
    _overlay(parameters, spec.tiers.get(tier, {}), spec.parameters)
    config = {
        "environment": {
            "name": THEORY,
            "version": spec.version,
            "module": spec.module,
            "task": name,
            "parameters": {key: value for key, (value, _) in parameters.items()},
        },
        "algorithm": {"name": EXACT, "version": 1, "module": spec.module, "hyperparameters": {}},
        "budget": {},
    }
    provenance = {"hyperparameters": {}, "parameters": {key: source for key, (_, source) in parameters.items()}}
    cell = Cell(task, tier, EXACT, None, None, None, config, provenance)
    return replace(cell, hash=digest(config))


def _hyperparameters(spec: schema.Algorithm, environment: str, task: str, found: Target, tier: schema.Tier) -> Merged:
    merged: Merged = {key: (each.value, each.source) for key, each in spec.hyperparameters.items()}
    layers = [spec.environments.get(environment, {}), spec.tasks.get(task, {})]
    layers.append(tier.hyperparameters.get(found.algorithm, {}).get(task, {}))
    if found.variant:
        variant = spec.variants[found.variant]
        layers += [variant.set, variant.environments.get(environment, {})]
    if found.sweep:
        layers += [spec.sweeps[found.sweep].set, spec.sweeps[found.sweep].settings[found.setting].set]
    for layer in layers:
        _overlay(merged, layer, spec.hyperparameters)
    return merged


def _overlay(merged: Merged, layer: schema.Overrides, declared: dict[str, schema.Entry]) -> None:
    for key, each in layer.items():
        merged[key] = (kinds.check(declared[key].kind, each.value, declared[key].choices), each.source)


def _budget(project: Project, task: str, tier: str) -> dict[str, int]:
    found = project.tier(tier)
    base = found.budget(task).model_dump(exclude_none=True, exclude={"seeds"})
    override = found.tasks[task].model_dump(exclude_none=True, exclude={"seeds"}) if task in found.tasks else {}
    if "env_steps" in override or "updates" in override:
        base.pop("env_steps", None)
        base.pop("updates", None)
    return base | override
