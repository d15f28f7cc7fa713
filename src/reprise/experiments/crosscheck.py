"""Checks between config files: every name used exists, every override fits what it overrides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from reprise.errors import RepriseError, unknown
from reprise.experiments import kinds, resolution, schema

if TYPE_CHECKING:
    from reprise.experiments.config import Project


def check(project: Project) -> None:
    """RepriseError for the first name or value of ``project`` that does not fit the other files."""
    place = "config/config.yaml"
    project.tier(project.defaults.tier, f"{place}: tier")
    for name in project.defaults.papers:
        project.paper(name, f"{place}: papers")
    if resolution.THEORY in project.environments:
        raise RepriseError(f"config/environments/{resolution.THEORY}.yaml: this name belongs to the exact studies")
    for name, environment in project.environments.items():
        for task, entry in environment.tasks.items():
            where = f"config/environments/{name}.yaml: tasks.{task}"
            if entry.family is not None:
                _known("family", [entry.family], environment.families, f"{where}.family")
            _overrides(entry.parameters, environment.declared(entry), "parameter", f"{where}.parameters")
    for name, spec in project.algorithms.items():
        _algorithm(project, spec, f"config/algorithms/{name}.yaml")
    for name, tier in project.tiers.items():
        place = f"config/tiers/{name}.yaml"
        _known("environment", tier.environments, project.environments, f"{place}: environments")
        for task in tier.tasks:
            project.task(task, f"{place}: tasks")
        for algorithm, tasks in tier.hyperparameters.items():
            declared = project.algorithm(algorithm, f"{place}: hyperparameters").hyperparameters
            for task, layer in tasks.items():
                project.task(task, f"{place}: hyperparameters.{algorithm}")
                _overrides(layer, declared, "hyperparameter", f"{place}: hyperparameters.{algorithm}.{task}")
        _known("figure", tier.figures, project.figures(), f"{place}: figures")
    for name, study in project.studies.items():
        for tier, layer in study.tiers.items():
            place = f"config/studies/{name}.yaml: tiers.{tier}"
            project.tier(tier, place)
            _overrides(layer, study.parameters, "parameter", place)
    for name, paper in project.papers.items():
        _paper(project, paper, f"config/papers/{name}.yaml")


def _algorithm(project: Project, spec: schema.Algorithm, place: str) -> None:
    declared = spec.hyperparameters
    _known("hyperparameter", spec.sweepable, declared, f"{place}: sweepable")
    for environment, layer in spec.environments.items():
        project.environment(environment, f"{place}: environments")
        _overrides(layer, declared, "hyperparameter", f"{place}: environments.{environment}")
    for task, layer in spec.tasks.items():
        project.task(task, f"{place}: tasks")
        _overrides(layer, declared, "hyperparameter", f"{place}: tasks.{task}")
    for name, variant in spec.variants.items():
        where = f"{place}: variants.{name}"
        _overrides(variant.set, declared, "hyperparameter", f"{where}.set")
        for environment, layer in variant.environments.items():
            project.environment(environment, f"{where}.environments")
            _overrides(layer, declared, "hyperparameter", f"{where}.environments.{environment}")
        for environment, layer in variant.parameters.items():
            found = project.environment(environment, f"{where}.parameters")
            _overrides(layer, found.parameters, "parameter", f"{where}.parameters.{environment}")
        resolution.target(project, f"{spec.algorithm}@{name}", f"{where}.alias")
    for name, sweep in spec.sweeps.items():
        _sweep(spec, sweep, f"{place}: sweeps.{name}")
    _distinct(resolution.names(spec, sweeps=True), place)


def _sweep(spec: schema.Algorithm, sweep: schema.Sweep, where: str) -> None:
    declared = spec.hyperparameters
    _overrides(sweep.set, declared, "hyperparameter", f"{where}.set")
    for name, setting in sweep.settings.items():
        _overrides(setting.set, declared, "hyperparameter", f"{where}.settings.{name}.set")
    for name, setting in sweep.settings.items():
        for key in setting.set:
            values = [each.set[key].value if key in each.set else None for each in sweep.settings.values()]
            if key not in spec.sweepable and any(value != values[0] for value in values):
                raise RepriseError(
                    f"{where}.settings.{name}.set: '{key}' differs between the settings and is not sweepable; "
                    f"sweepable: {', '.join(sorted(spec.sweepable)) or 'none'}"
                )


def _paper(project: Project, paper: schema.Paper, place: str) -> None:
    for name, figure in paper.figures.items():
        where = f"{place}: figures.{name}"
        if isinstance(figure, schema.StudyFigureSpec):
            for study in figure.studies:
                project.study(study, f"{where}.studies")
            continue
        _figure(project, figure.tasks, figure.curves, where)
        for tier, part in figure.tiers.items():
            project.tier(tier, f"{where}.tiers")
            if part.tasks or part.curves:
                _figure(project, part.tasks or figure.tasks, part.curves or figure.curves, f"{where}.tiers.{tier}")
    for index, replay in enumerate(paper.replays):
        _replay(project, paper, replay, f"{place}: replays.{index}")
        if replay.task in [other.task for other in paper.replays[:index]]:
            raise RepriseError(f"{place}: replays.{index}: '{replay.task}' stands twice; one replay per task")
    for name, table in paper.tables.items():
        for row in table.rows:
            if isinstance(row.ours, schema.Resolved):
                where = f"{place}: tables.{name}: {row.name}: ours"
                found = resolution.target(project, row.ours.algorithm, where)
                _known("hyperparameter", [row.ours.key], project.algorithms[found.algorithm].hyperparameters, where)


def _replay(project: Project, paper: schema.Paper, replay: schema.ReplaySpec, where: str) -> None:
    """The run is one that a figure trains: a replay alone must not train anything."""
    project.task(replay.task, f"{where}.task")
    wanted = resolution.target(project, replay.algorithm, f"{where}.algorithm")
    if wanted.sweep and not wanted.setting:
        raise RepriseError(f"{where}.algorithm: '{replay.algorithm}' is a sweep; name one of its settings")
    shown = []
    for figure in paper.figures.values():
        if isinstance(figure, schema.FigureSpec):
            for part in (figure, *figure.tiers.values()):
                if replay.task in (part.tasks or figure.tasks):
                    shown += [curve.algorithm for curve in part.curves or figure.curves]
    targets = [resolution.target(project, name) for name in shown]
    sweep = replace(wanted, setting=None)
    if wanted not in targets and not (wanted.sweep and sweep in targets):
        raise unknown(f"curve on {replay.task}", replay.algorithm, set(shown), f"{where}.algorithm")


def _figure(project: Project, tasks: list[str], curves: list[schema.CurveSpec], where: str) -> None:
    for task in tasks:
        project.task(task, f"{where}.tasks")
    for curve in curves:
        resolution.target(project, curve.algorithm, f"{where}.curves")
        for task in curve.tasks or ():
            project.task(task, f"{where}.curves: {curve.algorithm}: tasks")
        for task in tasks:
            if curve.on(task):
                resolution.capable(project, task, curve.algorithm, f"{where}.curves")
    for task in tasks:
        if not any(curve.on(task) for curve in curves):
            raise RepriseError(f"{where}.curves: none of them is on {task}")


def _overrides(layer: schema.Overrides, declared: dict[str, schema.Entry], kind: str, where: str) -> None:
    _known(kind, layer, declared, where)
    for key, each in layer.items():
        try:
            kinds.check(declared[key].kind, each.value, declared[key].choices)
        except ValueError as error:
            raise RepriseError(f"{where}.{key}: {error}") from error


def _known(kind: str, names: Iterable[str], declared: Iterable[str], where: str) -> None:
    for name in names:
        if name not in declared:
            raise unknown(kind, name, declared, where)


def _distinct(names: Iterable[str], place: str) -> None:
    """Variants, sweeps and settings share one name space, and folders are named after them (case does not count)."""
    seen: dict[str, str] = {}
    for name in names:
        folded = name.casefold()
        if folded in seen:
            raise RepriseError(
                f"{place}: '{seen[folded]}' and '{name}' clash: variants, sweeps and settings share one name space"
            )
        seen[folded] = name
