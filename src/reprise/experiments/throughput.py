"""How fast training is: config/throughput.yaml, refined by the coverage of runs that were made here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from pydantic import Field

from reprise.errors import RepriseError
from reprise.experiments import resolution, schema, validation, yaml_files
from reprise.experiments.config import Project
from reprise.experiments.grid import Cohort

PLACE = "config/throughput.yaml"


class Machine(schema.Strict):
    """Env steps per second, summed over a cohort's runs, by task and algorithm, or cell where it is far from it.

    ``steps_per_second_at`` has those of tiers that set hyper-parameters of their own, for these algorithms and tasks.
    """

    machine: schema.Text
    date: schema.Text
    startup_seconds: float = Field(ge=0)
    study_seconds: dict[str, float] = Field(default_factory=dict)  # exact studies at tier quick
    steps_per_second: dict[str, dict[str, float]]
    steps_per_second_at: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)

    def listed(self) -> Iterator[tuple[str, str, dict[str, float]]]:
        """(key in the file, task, speeds): those that hold everywhere, then those of single tiers."""
        for task, speeds in self.steps_per_second.items():
            yield "steps_per_second", task, speeds
        for tier, tasks in self.steps_per_second_at.items():
            for task, speeds in tasks.items():
                yield f"steps_per_second_at.{tier}", task, speeds


class Measured(schema.Strict):
    cpu: Machine
    cuda: Machine | None = None


@dataclass(frozen=True)
class Speeds:
    """``measured`` from the file; ``found`` in coverage: steps/s by (device, task, tier, "cell" or "algorithm", name),
    where tier is None unless it sets hyper-parameters of its own; and of exact studies wall seconds by (tier, task)."""

    project: Project
    measured: Measured
    found: dict[tuple[str, str, str | None, str, str], float]
    studies: dict[tuple[str, str], float]

    def seconds(self, cohort: Cohort, device: str) -> float | None:
        """The expected wall seconds of ``cohort`` as one job on ``device``; None when nothing like it was measured.

        A budget in updates (smoke) is taken as the start-up alone.
        """
        if cohort.is_study:  # on the processor, whatever trains the rest
            known = self.measured.cpu.study_seconds.get(cohort.task.partition("/")[2])
            return self.studies.get((cohort.tier, cohort.task), known)
        machine = getattr(self.measured, device)
        if machine is None:
            return None
        steps = env_steps(cohort)
        if steps is None:
            return machine.startup_seconds
        cell, algorithm = cohort.cells[0].name, cohort.cells[0].algorithm
        tier = own_tier(self.project, cohort.tier, cohort.task, algorithm)
        listed = machine.steps_per_second if tier is None else machine.steps_per_second_at.get(tier, {})
        listed, here = listed.get(cohort.task, {}), (device, cohort.task, tier)
        speed = self.found.get((*here, "cell", cell)) or (listed.get(cell) if cell != algorithm else None)
        speed = speed or self.found.get((*here, "algorithm", algorithm)) or listed.get(algorithm)
        return machine.startup_seconds + steps / speed if speed else None

    @property
    def origin(self) -> str:
        own = "the runs in results/, else " if self.found else ""
        return f"{own}{PLACE} ({self.measured.cpu.machine}, {self.measured.cpu.date})"


def env_steps(cohort: Cohort) -> int | None:
    """Env steps over all runs of ``cohort``; None when its budget counts updates, 0 of an exact study."""
    if cohort.is_study:
        return 0
    steps = cohort.cells[0].config["budget"].get("env_steps")
    return None if steps is None else steps * cohort.runs


def own_tier(project: Project, tier: str, task: str, algorithm: str) -> str | None:
    """``tier`` if it sets hyper-parameters of ``algorithm`` on ``task``, so that speeds elsewhere say nothing of it."""
    known = project.tiers.get(tier)
    return tier if known and task in known.hyperparameters.get(algorithm, {}) else None


def load(project: Project) -> Speeds:
    """The speeds known to ``project``. RepriseError when a file is damaged or names an unknown task, algorithm or
    tier."""
    measured = validation.build(Measured, yaml_files.read(project.root / "config" / "throughput.yaml", PLACE), PLACE)
    for device in ("cpu", "cuda"):
        machine = getattr(measured, device)
        for tier in machine.steps_per_second_at if machine else ():
            project.tier(tier, f"{PLACE}: {device}.steps_per_second_at")
        for key, task, speeds in machine.listed() if machine else ():
            project.task(task, f"{PLACE}: {device}.{key}")
            for name in speeds:
                resolution.target(project, name, f"{PLACE}: {device}.{key}.{task}")
    for name in measured.cpu.study_seconds:
        project.study(name, f"{PLACE}: cpu.study_seconds")
    samples: dict[tuple[str, str, str | None, str, str], list[float]] = {}
    studies: dict[tuple[str, str], float] = {}
    for coverage in _coverages(project.root):
        for curve in coverage["curves"]:
            if resolution.is_study(curve["panel"]):
                if curve["wall_seconds"]:
                    studies[coverage["tier"], curve["panel"]] = curve["wall_seconds"]
                continue
            devices, speed = curve["device"], curve["steps_per_second"]
            # Smoke runs are too short to count; runs spread over several kinds of device say nothing about one.
            if speed and len(devices) == 1 and coverage["tier"] != "smoke":
                tier = own_tier(project, coverage["tier"], curve["panel"], curve["algorithm"])
                for kind in ("cell", "algorithm"):
                    samples.setdefault((devices[0], curve["panel"], tier, kind, curve[kind]), []).append(float(speed))
    return Speeds(project, measured, {key: median(values) for key, values in samples.items()}, studies)


def _coverages(root: Path) -> Iterator[dict]:
    """Every coverage file in results/."""
    for path in sorted((root / "results").glob("*/tables/**/*coverage.json")):
        try:
            yield json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise RepriseError(f"{path}: damaged coverage file: {error}; reprise collect writes it anew") from error
