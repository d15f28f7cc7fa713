"""A declared hyperparameter search: config/tuning/<name>.yaml -> trials -> results/tuning/<name>.{csv,json}.

Every trial is an ordinary run (same training loop, run folder, resume) below results/tuning/runs; settings that
differ in sweepable scalars train together in one cohort.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
import statistics
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from reprise.errors import RepriseError, unknown
from reprise.experiments import kinds, resolution, schema, seeds, validation, yaml_files
from reprise.experiments.config import Project
from reprise.experiments.grid import Cohort
from reprise.experiments.runs import write_bytes

TIER = "tuning"
Choices = dict[str, dict[str, dict[str, Any]]]  # dimension: {choice name: {hyperparameter: value}}


class Searched(schema.Strict):
    """An algorithm of the shared search: the values of its own knob, one hyperparameter."""

    knob: dict[str, list[float]] = Field(min_length=1, max_length=1)


class Tuning(schema.Strict):
    """config/tuning/<name>.yaml."""

    tuning: str
    task: str
    seeds: Annotated[tuple[int, ...], BeforeValidator(lambda value: seeds.parse(value, "seeds"))]
    env_steps: schema.Count
    evaluations: schema.Count
    evaluation_episodes: schema.Count
    metric: str
    shared: Choices
    algorithms: dict[str, Searched]
    own: dict[str, Choices] = Field(default_factory=dict)


@dataclass(frozen=True)
class Trial:
    """One setting of one algorithm. ``shared`` names the shared setting ("" for an algorithm of its own)."""

    algorithm: str
    shared: str
    knob: str
    values: dict[str, Any]

    @property
    def name(self) -> str:
        return " ".join(part for part in (self.shared, self.knob) if part)


def load(project: Project, name: str) -> Tuning:
    """The declared search ``name``. RepriseError for an unknown name or key, or a value its hyperparameter refuses."""
    folder = project.root / "config" / "tuning"
    names = [path.stem for path in sorted(folder.glob("*.yaml"))]
    if name not in names:
        raise unknown("tuning", name, names, "config/tuning")
    place = f"config/tuning/{name}.yaml"
    tuning = validation.build(Tuning, yaml_files.read(folder / f"{name}.yaml", place), place)
    for trial in trials(tuning):
        _configured(project, tuning, trial)
    return tuning


def trials(tuning: Tuning) -> Iterator[Trial]:
    """Every trial of the search, in the order of the file."""
    for algorithm, searched in tuning.algorithms.items():
        ((key, values),) = searched.knob.items()
        for shared, common in _product(tuning.shared):
            for value in values:
                yield Trial(algorithm, shared, f"{key}={value:g}", common | {key: value})
    for algorithm, choices in tuning.own.items():
        for setting, values in _product(choices):
            yield Trial(algorithm, "", setting, values)


def _product(choices: Choices) -> Iterator[tuple[str, dict[str, Any]]]:
    for combination in itertools.product(*({(d, n): v for n, v in c.items()}.items() for d, c in choices.items())):
        label = " ".join(f"{dimension}={choice}" for (dimension, choice), _ in combination)
        yield label, {key: value for _, values in combination for key, value in values.items()}


def _configured(project: Project, tuning: Tuning, trial: Trial) -> resolution.Cell:
    """The cell of a trial: the algorithm's own config with the trial's values and the search's budget."""
    base = resolution.resolve(project, tuning.task, trial.algorithm, project.defaults.tier)
    declared = project.algorithms[base.algorithm].hyperparameters
    config = json.loads(json.dumps(base.config))
    for key, value in trial.values.items():
        place = f"config/tuning/{tuning.tuning}.yaml: {trial.algorithm}"
        if key not in declared:
            raise unknown("hyperparameter", key, declared, place)
        try:
            checked = kinds.check(declared[key].kind, value, declared[key].choices)
        except ValueError as error:
            raise RepriseError(f"{place}: {key}: {error}") from error
        config["algorithm"]["hyperparameters"][key] = checked
    config["budget"] = {
        "env_steps": tuning.env_steps,
        "evaluations": tuning.evaluations,
        "evaluation_episodes": tuning.evaluation_episodes,
    }
    name = base.name.replace("@", "-")
    return replace(
        base, tier=TIER, variant=None, sweep=name, setting=trial.name, config=config, hash=resolution.digest(config)
    )


def cohorts(project: Project, tuning: Tuning) -> list[tuple[Cohort, list[Trial]]]:
    """The trials in cohorts: those of an algorithm that agree in everything that is not sweepable train together."""
    groups: dict[tuple[str, str], list[tuple[resolution.Cell, Trial]]] = {}
    for trial in trials(tuning):
        cell = _configured(project, tuning, trial)
        sweepable = project.algorithms[cell.algorithm].sweepable
        fixed = {k: v for k, v in trial.values.items() if k not in sweepable}
        label = "_".join(f"{k}{v}" for k, v in sorted(fixed.items())) or "all"
        groups.setdefault((trial.algorithm, label), []).append((cell, trial))
    found = []
    for (algorithm, label), members in groups.items():
        cells = tuple(cell for cell, _ in members)
        name = f"{algorithm.replace('@', '-')}@{label}"
        cohort = Cohort(project.root, TIER, tuning.task, name, cells, tuning.seeds)
        found.append((cohort, [trial for _, trial in members]))
    return found


def tune(project: Project, name: str, device: str = "auto", jobs: int = 1) -> Path:
    """Run the search ``name`` (finished cohorts are kept), write its table and choices; returns the csv's path."""
    tuning = load(project, name)
    planned = cohorts(project, tuning)
    if jobs == 1:
        for cohort, _ in planned:
            _train(project, cohort, device)
    else:
        with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
            for future in [pool.submit(_train, project, cohort, device) for cohort, _ in planned]:
                future.result()
    rows = []
    for cohort, members in planned:
        finals = _finals(cohort, tuning)
        for trial in members:
            scores = [finals[trial.name, seed] for seed in tuning.seeds]
            rows.append({"trial": trial, "scores": scores, "mean": statistics.fmean(scores)})
    folder = project.root / "results" / TIER
    folder.mkdir(parents=True, exist_ok=True)
    chosen = choose(rows)
    write_bytes(folder / f"{name}.json", (json.dumps(chosen, indent=1, sort_keys=True) + "\n").encode())
    path = folder / f"{name}.csv"
    write_bytes(path, _table(rows, tuning).encode())
    return path


def _train(project: Project, cohort: Cohort, device: str) -> None:
    from reprise.experiments import jobs

    jobs.run(project, [cohort], device)


def _finals(cohort: Cohort, tuning: Tuning) -> dict[tuple[str, int], float]:
    """The final score of every (setting, seed): mean over the last 10 % of the evaluation points."""
    import pyarrow.parquet as parquet

    curves: dict[tuple[str, int], dict[int, list[float]]] = {}
    for row in parquet.read_table(cohort.files["evaluations.parquet"]).to_pylist():
        curve = curves.setdefault((row["setting"], row["seed"]), {})
        curve.setdefault(row["env_steps"], []).append(row[tuning.metric])
    finals = {}
    for run, curve in curves.items():
        points = [statistics.fmean(curve[steps]) for steps in sorted(curve)]
        finals[run] = statistics.fmean(points[-max(1, len(points) // 10) :])
    return finals


def choose(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What the search chose: `shared` (setting, mean ranks, each algorithm's knob there) and `tuned` (best trials).

    ``rows``: dicts with ``trial`` and ``mean``. Ties go to the earlier trial.
    """
    best: dict[str, dict[str, dict[str, Any]]] = {}  # algorithm: shared setting: best row over the knob
    for row in rows:
        held = best.setdefault(row["trial"].algorithm, {})
        setting = row["trial"].shared
        if setting not in held or row["mean"] > held[setting]["mean"]:
            held[setting] = row
    searched = {a: held for a, held in best.items() if "" not in held}
    ranks: dict[str, list[int]] = {}
    for held in searched.values():
        for rank, setting in enumerate(sorted(held, key=lambda s: -held[s]["mean"]), start=1):
            ranks.setdefault(setting, []).append(rank)
    mean_rank = {setting: statistics.fmean(r) for setting, r in ranks.items()}
    winner = min(mean_rank, key=mean_rank.get)
    tuned = {a: max(held.values(), key=lambda row: row["mean"]) for a, held in best.items()}
    own = {a: row for a, row in tuned.items() if a not in searched}

    def entry(row: dict[str, Any]) -> dict[str, Any]:
        return {"trial": row["trial"].name, "values": row["trial"].values, "mean": row["mean"]}

    return {
        "shared": {
            "setting": winner,
            "mean_rank": mean_rank,
            "algorithms": {a: entry(held[winner]) for a, held in searched.items()}
            | {a: entry(r) for a, r in own.items()},
        },
        "tuned": {a: entry(row) for a, row in tuned.items()},
        "trials": {a: sum(row["trial"].algorithm == a for row in rows) for a in best},
    }


def _table(rows: list[dict[str, Any]], tuning: Tuning) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["algorithm", "shared", "knob", *(f"seed_{seed}" for seed in tuning.seeds), "mean"])
    for row in rows:
        trial = row["trial"]
        numbers = [f"{x:.3f}" for x in (*row["scores"], row["mean"])]
        writer.writerow([trial.algorithm, trial.shared, trial.knob, *numbers])
    return out.getvalue()
