"""A third-party PettingZoo parallel environment as a batch of rows with one shared reward (``protocol.py``)."""

from __future__ import annotations

import itertools
import math
import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprise.environments.pettingzoo.messages import Job, Rules
from reprise.environments.pettingzoo.pool import Pool
from reprise.environments.pettingzoo.row import Arrays
from reprise.environments.protocol import Box, Discrete, Spec, Transition
from reprise.errors import RepriseError


class PettingZooEnvironment:
    """B rows of a parallel environment, dealt to worker processes.

    Each episode's seed is a function of (run seed, stream, copy, resets, episodes since): a run does not depend on its
    cohort, and no evaluation on how long the episodes of the one before were. A snapshot holds these counters and the
    actions of the running episodes; ``restore`` replays them and compares where they lead.

    Args:
        parameters: factory (dotted path), arguments (JSON object of keyword arguments), max_steps, reward (mean or
            sum over agents), state (observations, concatenated, or environment, its ``state()``), action_masks,
            rebuild (a new instance for every episode), deterministic, workers (processes, at most one per row),
            timeout (seconds for one call).
        task, seeds, copies, device, cache, stream: see ``registry.make``.

    Raises:
        RepriseError: the factory cannot be imported or called; its agents differ in their actions or their
            observations have no fixed size; it is not deterministic; later, whenever a worker fails, dies or hangs.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        *,
        task: str,
        seeds: Sequence[int],
        copies: int,
        device: torch.device,
        cache: Path,
        stream: str = "environment",
    ):
        self.device, self.task = device, task
        self.seeds, self.copies = [int(seed) for seed in seeds], copies
        # A function of its own: with a method of this object the pool would keep it alive, and its workers with it.
        self._row_name = partial(_row_name, self.seeds, copies)
        self.deterministic = bool(parameters["deterministic"])
        self._pool = self._start_workers(parameters, zlib.crc32(stream.encode()))
        layout, backend = self._pool.descriptions[0]
        if any(other != layout for other, _ in self._pool.descriptions):
            self._pool.end()
            raise RepriseError(f"{task}: {parameters['factory']}: its agents or spaces differ from process to process")
        agents = len(layout.agents)
        self.spec = Spec(
            name=task,
            agents=agents,
            observation_size=layout.observation_size,
            one_hot=False,
            state_size=layout.state_size or agents * layout.observation_size,
            actions=Box(*layout.box) if layout.box else Discrete(layout.choices),
            episode_limit=int(parameters["max_steps"]),
            backend=backend,
            exact=False,
            return_bounds=(-math.inf, math.inf),
        )
        self._round = 0
        self.reset()

    def _start_workers(self, parameters: Mapping[str, Any], stream: int) -> Pool:
        rules = Rules(
            max_steps=int(parameters["max_steps"]),
            reward=parameters["reward"],
            action_masks=bool(parameters["action_masks"]),
            own_state=parameters["state"] == "environment",
            rebuild=bool(parameters["rebuild"]),
        )
        keys = [(seed, stream, copy) for seed in self.seeds for copy in range(self.copies)]
        shares = np.array_split(np.arange(len(keys)), min(int(parameters["workers"]), len(keys)))
        self._cuts = [int(share[0]) for share in shares[1:]]
        jobs = [
            Job(
                factory=parameters["factory"],
                arguments=parameters["arguments"],
                rules=rules,
                check=self.deterministic and i == 0,
                timeout=float(parameters["timeout"]),
                first=int(share[0]),
                keys=tuple(keys[row] for row in share),
            )
            for i, share in enumerate(shares)
        ]
        return Pool(jobs, self.task, self._row_name)

    def _tensor(self, answers: Sequence[Arrays], name: str) -> Tensor | None:
        arrays = [getattr(each, name) for each in answers]
        return None if arrays[0] is None else torch.from_numpy(np.concatenate(arrays)).to(self.device)

    def _arrive(self, answers: Sequence[Arrays]) -> Tensor:
        """Remember where the rows are; returns the observations to act on."""
        self.available_actions = self._tensor(answers, "available")
        self._observations = self._tensor(answers, "observations")
        own = self._tensor(answers, "state")
        self.state = self._observations.flatten(1) if own is None else own
        return self._observations

    def reset(self) -> Tensor:
        """Start an episode in every row; observations float32 [B, N, O]."""
        self._round += 1
        return self._arrive(self._pool.call("reset", [self._round] * len(self._pool.jobs)))

    def step(self, actions: Tensor) -> Transition:
        """Play the actions int64 [B, N] or float32 [B, N, size]; rows whose episode ends start the next one."""
        answers = self._pool.call("step", np.split(actions.cpu().numpy(), self._cuts))
        observations = self._arrive(answers)
        reached, reached_state = self._tensor(answers, "next_observations"), self._tensor(answers, "next_state")
        return Transition(
            observations=observations,
            next_observations=reached,
            state=self.state,
            next_state=reached.flatten(1) if reached_state is None else reached_state,
            reward=self._tensor(answers, "reward"),
            terminated=self._tensor(answers, "terminated"),
            truncated=self._tensor(answers, "truncated"),
            available_actions=self.available_actions,
            success=None,
        )

    def snapshot(self) -> dict[str, Tensor]:
        """Resets so far, int64 []; episodes since and steps of the running one, int64 [B]; its actions [B, longest,
        N(, size)], zeros where there is none; and the observations they led to. On the CPU."""
        answers = self._pool.call("positions")
        history = [row for _, rows in answers for row in rows]
        elapsed = [len(row) for row in history]
        width = () if isinstance(self.spec.actions, Discrete) else (self.spec.actions.size,)
        dtype = np.float32 if width else np.int64
        actions = np.zeros((len(history), max(elapsed), self.spec.agents, *width), dtype)
        for row, taken in enumerate(history):
            if len(taken):
                actions[row, : len(taken)] = taken
        return {
            "round": torch.tensor(self._round),
            "episodes": torch.from_numpy(np.concatenate([episodes for episodes, _ in answers])),
            "elapsed": torch.tensor(elapsed),
            "actions": torch.from_numpy(actions),
            "observations": self._observations.cpu().clone(),
        }

    def restore(self, snapshot: dict[str, Tensor]) -> Tensor:
        """Replay the running episodes of ``snapshot``; returns the observations to act on.

        Raises RepriseError when the parameter deterministic is false, or when the replay leads somewhere else.
        """
        if not self.deterministic:
            raise RepriseError(
                f"{self.task}: not deterministic, as its parameters say, so that nothing can go on where it stopped; "
                "delete its folder below results/<tier>/checkpoints to start anew"
            )
        self._round = int(snapshot["round"])
        elapsed, actions = snapshot["elapsed"].tolist(), snapshot["actions"].numpy()
        taken = [actions[row, :steps] for row, steps in enumerate(elapsed)]
        bounds = [0, *self._cuts, len(taken)]
        answers = self._pool.call(
            "replay",
            [self._round] * len(self._pool.jobs),
            np.split(snapshot["episodes"].numpy(), self._cuts),
            [taken[first:last] for first, last in itertools.pairwise(bounds)],
        )
        observations = self._arrive(answers)
        here, there = observations.cpu(), snapshot["observations"]
        wrong = ((here != there) & ~(here.isnan() & there.isnan())).flatten(1).any(1).nonzero()
        if len(wrong):
            raise RepriseError(
                f"{self.task}: {self._row_name(int(wrong[0]))}: the replay of {elapsed[int(wrong[0])]} steps from the "
                "same seed led elsewhere: the environment is not deterministic; delete its folder below "
                "results/<tier>/checkpoints to start anew, with the parameter deterministic set to false"
            )
        return observations

    def references(self, seed: int) -> dict[str, float]:
        """None are known."""
        return {}


def _row_name(seeds: Sequence[int], copies: int, row: int) -> str:
    run, copy = divmod(row, copies)
    return f"row {row} (seed {seeds[run]}, copy {copy})"
