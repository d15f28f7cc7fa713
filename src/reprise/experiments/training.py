"""The only training loop: one cohort from its config to a finished run folder, resumable after any kill.

``jobs.run`` is what takes cohorts one after the other, under their locks.
"""

from __future__ import annotations

import math
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reprise.errors import RepriseError
from reprise.experiments import evaluation, machine, manifest, runs
from reprise.experiments.checkpoints import Checkpoints
from reprise.experiments.jobs import label
from reprise.experiments.progress import Progress, duration, tensorboard_writer
from reprise.experiments.records import Records
from reprise.experiments.rollouts import Collector


class Training:
    """One cohort under training. See ``jobs.run`` for the arguments; ``lock`` is held by the caller."""

    def __init__(self, project, cohort, device, lock, stop, progress, tensorboard, checkpoint_seconds):
        torch.set_num_threads(1)
        # A policy that settles has probabilities too small for normal floats; arithmetic on those is many times slower.
        torch.set_flush_denormal(True)
        manifest.forget_peak_memory()
        device = evaluation.resolve_device(device)
        self.cohort, self.device, self.lock, self.stop = cohort, device, lock, stop
        self.folder = Path(cohort.folder)
        self.started, self.clock = runs.now(), time.monotonic()
        self.commit = machine.commit(project.root)
        members = [(cell, seed) for cell in cohort.cells for seed in cohort.seeds]
        self.runs = [(cell.setting if cohort.is_sweep else None, seed) for cell, seed in members]
        seeds, configs = [seed for _, seed in members], [cell.config for cell, _ in members]
        self.config = configs[0]
        self.budget = self.config["budget"]
        copies = self.config["algorithm"]["hyperparameters"]["copies"]
        for leftover in (self.folder, lock.folder):
            runs.remove_partials(leftover)
        cache = project.root / "results" / "cache"
        self.environment = evaluation.make_environment(self.config, seeds, copies, device, "environment", cache)
        episodes = self.budget["evaluation_episodes"]
        at_once = evaluation.copies_at_once(self.environment.spec.agents, episodes)
        second = evaluation.make_environment(self.config, seeds, at_once, device, "evaluation", cache)
        self.evaluator = evaluation.Evaluator(second, len(members), episodes, at_once)
        self.algorithm = evaluation.make_algorithm(configs, self.environment.spec, seeds, copies, device)
        length = self.algorithm.rollout_length()
        self.collector = Collector(self.environment, self.algorithm, length, len(members) * copies)
        self.steps_per_update = length * copies
        self.updates = self.budget.get("updates") or math.ceil(self.budget["env_steps"] / self.steps_per_update)
        self.total = evaluation.total_env_steps(self.budget, self.steps_per_update)
        self.records = Records(self.runs)
        self.alive = np.ones(len(members), bool)
        self.update, self.target, self.resumes, self.wall_before = 0, 0, 0, 0.0
        self.diverged: dict[str, dict[str, Any]] = {}
        self.mean_return = float("nan")
        self.progress = Progress(label(cohort), self.updates * self.steps_per_update) if progress else None
        self.writer = (
            tensorboard_writer(project.root / "results" / cohort.tier / "logs" / "tensorboard" / cohort.id)
            if tensorboard
            else None
        )
        self.checkpoints = Checkpoints(
            lock.folder, {"hash": cohort.hash, "runs": self.runs, "tier": cohort.tier}, checkpoint_seconds
        )

    @property
    def env_steps(self) -> int:
        """Joint steps of one run, summed over its copies."""
        return self.update * self.steps_per_update

    @property
    def wall_seconds(self) -> float:
        """Time spent on this run in all its processes."""
        return self.wall_before + time.monotonic() - self.clock

    def run(self) -> None:
        """Train to the end and write the run folder."""
        if not self._resume():
            seconds = self._evaluate()
            self.records.add_timing(0, 0, _seconds(evaluation_seconds=seconds))
        if self.progress:
            self.progress.start(self.env_steps)
        while self.update < self.updates and self.alive.any():
            if self.stop.requested:
                self._checkpoint()
                self._say(f"interrupted at {self.env_steps:,} env steps; checkpoint saved")
                raise runs.Interrupted(
                    f"{label(self.cohort)}: interrupted at {self.env_steps:,} of "
                    f"{self.updates * self.steps_per_update:,} env steps; "
                    "checkpoint saved: run the same command to go on"
                )
            self._step()
        self._write()
        speed = len(self.runs) * self.env_steps / max(self.wall_seconds, 1e-9)
        self._say(
            f"done: {self.env_steps:,} env steps, return {self.mean_return:.1f}, {speed:,.0f} steps/s, "
            f"{duration(self.wall_seconds)}" + (f", {len(self.diverged)} diverged" if self.diverged else "")
        )

    def _step(self) -> None:
        """One rollout and update, its rows, and what is due after it."""
        begin = time.monotonic()
        rollout = self.collector.collect()
        collected = time.monotonic()
        known = len(self.algorithm.divergences)
        metrics = self.algorithm.update(rollout)
        # The one transfer from the device of an update.
        names = sorted(metrics)
        values = torch.stack([*(metrics[name].double() for name in names), self.algorithm.alive.double()]).cpu().numpy()
        updated = time.monotonic()
        self.update += 1
        self.alive = values[-1] > 0
        for entry in self.algorithm.divergences[known:]:
            self._diverge(entry)
        by_name = dict(zip(names, values, strict=False))
        self.records.add_training(self.update, self.env_steps, by_name, self.alive)
        seconds = _seconds(rollout_seconds=collected - begin, update_seconds=updated - collected)
        # Target k * total / K, without rounding. With more targets than updates there is one evaluation per update.
        evaluations = self.budget["evaluations"]
        if self.target <= evaluations and self.env_steps * evaluations >= self.target * self.total:
            seconds["evaluation_seconds"] = self._evaluate()
        if self.update < self.updates and self.checkpoints.due():
            seconds["checkpoint_seconds"] = self._checkpoint()
        self.records.add_timing(self.update, self.env_steps, seconds)
        self._report(by_name)

    def _evaluate(self) -> float:
        """Evaluate now; the next target is the one after. Returns the seconds it took."""
        begin = time.monotonic()
        result = self.evaluator.evaluate(self.algorithm)
        self.records.add_evaluation(self.env_steps, result, self.alive)
        self.mean_return = float(result.returns[self.alive].mean()) if self.alive.any() else float("nan")
        self.target += 1
        return time.monotonic() - begin

    def _diverge(self, entry: dict[str, Any]) -> None:
        self.diverged[str(entry["run"])] = {
            "env_steps": self.env_steps,
            "reason": entry["reason"],
            "last_batch": entry.get("last_batch"),
        }

    def _checkpoint(self) -> float:
        tensors = {
            "algorithm": self.algorithm.state_dict(),
            "environment": self.environment.snapshot(),
            "evaluation": self.evaluator.environment.snapshot(),
            "loop": self.collector.state(),
            "rows": self.records.state(),
        }
        state = {
            "update": self.update,
            "target": self.target,
            "alive": self.alive.tolist(),
            "diverged": self.diverged,
            "mean_return": self.mean_return,
            "resumes": self.resumes,
            "started": self.started,
            "wall_seconds": self.wall_seconds,
        }
        archives = self.algorithm.archives() if hasattr(self.algorithm, "archives") else {}
        return self.checkpoints.save(self.update, tensors, state, archives)

    def _resume(self) -> bool:
        found = self.checkpoints.load()
        if found is None:
            return False
        tensors, state, archives = found
        try:
            self.algorithm.load_state_dict(tensors["algorithm"])
            for name, read in archives.items():
                self.algorithm.load_archive(name, read())
            self.collector.restore(self.environment.restore(tensors["environment"]), tensors["loop"])
            self.evaluator.environment.restore(tensors["evaluation"])
        except (KeyError, RuntimeError, ValueError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise RepriseError(
                f"{self.lock.folder}: the checkpoint does not fit this code ({reason}); delete this folder to "
                "start anew"
            ) from error
        self.records.restore(tensors["rows"])
        self.update, self.diverged, self.started = state["update"], state["diverged"], state["started"]
        self.target = state["target"]
        self.alive = np.array(state["alive"], bool)
        self.mean_return = float(state["mean_return"])
        self.resumes, self.wall_before = state["resumes"] + 1, state["wall_seconds"]
        print(f"{label(self.cohort)}  going on from {self.env_steps:,} env steps", file=sys.stderr)
        return True

    def _report(self, metrics: dict[str, np.ndarray]) -> None:
        self.lock.beat(env_steps=self.env_steps, total=self.updates * self.steps_per_update, wall=self.wall_seconds)
        if self.progress:
            self.progress.update(self.env_steps, len(self.runs), self.mean_return)
        if self.writer:
            self.writer.add_scalar("return", self.mean_return, self.env_steps)
            for name, values in metrics.items():
                self.writer.add_scalar(name, float(values.mean()), self.env_steps)

    def _say(self, text: str) -> None:
        if self.progress:
            self.progress.finish(text)

    def _write(self) -> None:
        """Write the run folder, the manifest last; a kill in between leaves a folder that counts as not there."""
        if self.writer:
            self.writer.close()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            runs.write_parquet(self.folder / runs.EVALUATIONS, self.records.evaluations())
            runs.write_parquet(self.folder / runs.TRAINING, self.records.training())
            runs.write_parquet(self.folder / runs.TIMINGS, self.records.timings())
            runs.write_bytes(self.folder / runs.POLICY, runs.encode_tensors(self.algorithm.policy_state()))
            runs.write_json(self.folder / runs.MANIFEST, manifest.describe(self))
        except OSError as error:
            raise RepriseError(
                f"{self.folder}: cannot write the results ({error.strerror or error}); free disk space and run "
                "the same command to go on from the last checkpoint",
                exit_code=1,
            ) from error


def _seconds(**values: float) -> dict[str, float]:
    zeros = {"rollout_seconds": 0.0, "update_seconds": 0.0, "evaluation_seconds": 0.0, "checkpoint_seconds": 0.0}
    return zeros | values
