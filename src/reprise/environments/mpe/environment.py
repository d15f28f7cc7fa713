"""The particle environments behind the package's protocol: auto-reset, random starts, resume, reference returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprise.blocks.streams import BlockUniforms, Streams
from reprise.environments.mpe import references
from reprise.environments.mpe.scenarios import SCENARIOS
from reprise.environments.protocol import Box, Discrete, Spec, Transition
from reprise.errors import RepriseError, unknown

ACTIONS = 5


class ParticleEnvironment:
    """N agents in B copies of a particle world; every episode has ``episode_steps`` steps, in all copies at once.

    No task ends an episode early, so all copies reset in the same step. A start is a function of run seed, stream and
    number of the episode.

    Args:
        parameters: see config/environments/mpe.yaml.
        task: name shown on figures. seeds: run seeds (R). copies: C, rows b = r * C + c. device: of every tensor.
        cache: unused. stream: name of the random stream, see ``registry.make``.
        dtype: float32, or float64 for comparisons; observations and rewards have it too.

    Attributes:
        scenario: the task; ``scenario.world.positions``, ``scenario.targets()`` show where everything is.

    Raises:
        RepriseError: parameters out of range, or an unknown scenario.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        *,
        task: str,
        seeds: Sequence[int],
        copies: int,
        device: torch.device,
        cache: Path | None = None,
        stream: str = "environment",
        dtype: torch.dtype = torch.float32,
    ):
        if parameters["scenario"] not in SCENARIOS:
            raise unknown("scenario", parameters["scenario"], SCENARIOS, task)
        kind = SCENARIOS[parameters["scenario"]]
        if parameters["agents"] < kind.least_agents:
            raise RepriseError(f"{task}: scenario {parameters['scenario']} needs {kind.least_agents} agents or more")
        self.parameters, self.device = dict(parameters), torch.device(device)
        self._references: dict[str, float] | None = None
        self.rows, self.steps = len(seeds) * copies, int(parameters["episode_steps"])
        self.continuous = bool(parameters["continuous"])
        self.scenario = kind(parameters, self.rows, self.device, dtype)
        size, agents = self.scenario.observation_size, self.scenario.agents
        low, high = self.scenario.reward_bounds
        self.spec = Spec(
            name=task,
            agents=agents,
            observation_size=size,
            one_hot=False,
            state_size=self.scenario.world.state.shape[1],
            actions=Box(ACTIONS, 0.0, 1.0) if self.continuous else Discrete(ACTIONS),
            episode_limit=self.steps,
            backend="reprise",
            exact=False,
            return_bounds=(self.steps * low, self.steps * high),
            state_constant=self.scenario.constant,
            observe=self.scenario.look,
            varying=self.scenario.varying,
        )
        self.controls = self.scenario.world.dialect.controls().to(self.device, dtype)
        self._false = torch.zeros(self.rows, dtype=torch.bool, device=self.device)
        self._true = torch.ones_like(self._false)
        self._unknown = torch.full((self.rows,), float("nan"), device=self.device)
        numbers = (copies, self.scenario.start_numbers())
        self._starts = BlockUniforms(Streams(seeds, self.device), stream, numbers, self.scenario.start_block)
        self.reset()

    def reset(self) -> Tensor:
        """Start an episode in every row; observations [B, N, O]."""
        self._elapsed, self._ended = 0, None
        uniform = self._starts.next().flatten(0, 1).to(self.scenario.world.state.dtype)
        self.scenario.begin(uniform)
        self.state = self.scenario.world.state.clone()
        return self.scenario.observe()

    def observe(self, states: Tensor) -> Tensor:
        """Observations [.., N, O] of any ``states`` [.., S], those that ``step`` gives in them."""
        return self.scenario.look(states)

    def forces(self, actions: Tensor) -> Tensor:
        """Forces [B, N, 2] of actions: int64 [B, N] in [0, 5), or weights of the five, [B, N, 5] in [0, 1]."""
        if self.continuous:
            weights = actions.to(self.controls.dtype).clamp(0.0, 1.0)
            return (weights[..., 1::2] - weights[..., 2::2]) * self.controls[1, 0]
        return self.controls.index_select(0, actions.flatten()).unflatten(0, (self.rows, self.spec.agents))

    def step(self, actions: Tensor) -> Transition:
        """Advance every row: int64 [B, N], or float [B, N, 5] if continuous; truncates after ``episode_steps``."""
        self._ended = None
        self.scenario.world.step(self.forces(actions))
        reward = self.scenario.reward()
        observations = reached = self.scenario.observe()
        truncated, success = self._false, self._unknown
        self.state = ended = self.scenario.world.state.clone()
        self._elapsed += 1
        if self._elapsed == self.steps:
            truncated, success = self._true, self.scenario.success()
            observations = self.reset()
            self._ended = ended
        return Transition(
            observations=observations,
            next_observations=reached,
            state=self.state,
            next_state=ended,
            reward=reward,
            terminated=self._false,
            truncated=truncated,
            available_actions=None,
            success=success,
        )

    def snapshot(self) -> dict[str, Tensor]:
        """State of the world [B, S], elapsed steps and started episodes, int64 []; on the CPU."""
        return {
            "state": self.scenario.world.state.to("cpu", copy=True),
            "elapsed": torch.tensor(self._elapsed),
            "episodes": torch.tensor(self._starts.counter),
        }

    def restore(self, snapshot: dict[str, Tensor]) -> Tensor:
        """Go back to ``snapshot``; returns the observations to act on."""
        self._elapsed, self._ended = int(snapshot["elapsed"]), None
        self._starts.counter = int(snapshot["episodes"])
        self._put(snapshot["state"])
        self.state = self.scenario.world.state.clone()
        return self.scenario.observe()

    def _put(self, state: Tensor) -> None:
        self.scenario.world.state.copy_(state)
        self.scenario.world.refresh()
        self.scenario.begun()

    def frame(self, row: int) -> dict[str, Any]:
        """What ``protocol.Environment.frame`` asks for: particles, and the distances that the reward counts."""
        scenario, world = self.scenario, self.scenario.world
        now = world.state.clone()
        if self._ended is not None:
            self._put(self._ended)
        entities = world.entities
        kinds = (("agent", entities.agents), ("object", entities.objects), ("landmark", entities.landmarks))
        roles = [role for role, members in kinds for _ in members]
        there = scenario.there(row)
        targets, links = scenario.targets()[row], scenario.links()[row]
        if scenario.varying:
            targets, links = targets[: len(there) // 2], links[: len(there) // 2]
        shown = {
            "kind": "particles",
            "positions": world.positions[row, there].cpu().numpy(),
            "sizes": np.array([entities.all[i].size for i in there]),
            "roles": [roles[i] for i in there],
            "extent": scenario.extent,
            "targets": targets.cpu().numpy().copy(),
            "links": links.cpu().numpy(),
        }
        if self._ended is not None:
            self._put(now)
        return shown

    def references(self, seed: int) -> dict[str, float]:
        """``uniform`` and ``scripted`` (see references.py), simulated once; the same for every seed."""
        if self._references is None:
            self._references = self._simulate()
        return dict(self._references)

    def _simulate(self) -> dict[str, float]:
        place = {"copies": references.episodes(self.spec.agents), "device": self.device, "stream": "references"}
        discrete = {**self.parameters, "continuous": False}
        world = ParticleEnvironment(discrete, task=self.spec.name, seeds=[0], **place)
        scenario, controls = world.scenario, world.controls
        generator = torch.Generator().manual_seed(0)
        shape = (world.rows, self.spec.agents)
        policies = {
            "uniform": lambda: torch.randint(ACTIONS, shape, generator=generator).to(self.device),
            "scripted": lambda: references.head_for_targets(scenario, controls, self.steps),
        }
        return {name: references.mean_return(world, policy) for name, policy in policies.items()}
