"""Multi-agent MuJoCo behind the package's protocol: auto-reset, random starts, resume, reference returns."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
import torch
from torch import Tensor

from reprise.blocks.streams import Streams
from reprise.environments.mamujoco import references, robots
from reprise.environments.mamujoco.engine import Engine
from reprise.environments.mamujoco.partitions import actuators
from reprise.environments.mamujoco.views import FullState, Local, observe
from reprise.environments.protocol import Box, Spec, Transition
from reprise.errors import unknown

VIEWS = ("full_state", "local")


class MultiAgentMujoco:
    """N agents that each move k joints of one robot, in B copies; the reward is the robot's own, shared.

    Physics is float64, on the host; observations are float32. An action of -1 and 1 is the end of an actuator's range;
    beyond it MuJoCo clamps the torque, and the cost of control counts what was asked, as in gymnasium. A start is a
    function of run seed, stream, copy, number of resets and of episodes since.

    Args:
        parameters: robot, agents (N), joints (k), partition, view, neighbours, swimmer_timestep, episode_steps: see
            config/environments/mamujoco.yaml.
        task: name shown on figures. seeds: run seeds (R). copies: C, rows b = r * C + c. device: of every tensor.
        cache: unused. stream: name of the random stream, see ``registry.make``.
        threads: how many step the copies; no number depends on it.

    Attributes:
        features: what the robots' observations and rewards are made of, float64 [B, F] (``robots/base.py``).
        reached: the same as the last step left it, before an auto-reset.

    Raises:
        RepriseError: an unknown robot, partition or view, or agents and joints that do not fit the robot; the robots'
            models are not installed.
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
        threads: int = 1,
    ):
        name, agents, joints = str(parameters["robot"]), int(parameters["agents"]), int(parameters["joints"])
        if name not in robots.ROBOTS:
            raise unknown("robot", name, robots.ROBOTS, task)
        if parameters["view"] not in VIEWS:
            raise unknown("view", parameters["view"], VIEWS, task)
        self.parameters, self.device, self.stream = dict(parameters), torch.device(device), stream
        self.robot = robots.make(name, agents * joints, float(parameters["swimmer_timestep"]))
        self.actuators = actuators(self.robot, agents, joints, parameters["partition"], task)
        if parameters["view"] == "local":
            self.view = Local(self.robot, self.actuators, int(parameters["neighbours"]))
        else:
            self.view = FullState(self.robot, agents)
        self.rows = len(seeds) * copies
        self.engine = Engine(self.robot, self.rows, threads)
        self.spec = Spec(
            name=task,
            agents=agents,
            observation_size=self.view.size,
            one_hot=False,
            state_size=self.robot.state_size,
            actions=Box(joints, -1.0, 1.0),
            episode_limit=int(parameters["episode_steps"]),
            backend=f"mujoco {mujoco.__version__}",
            exact=False,
            return_bounds=(-math.inf, math.inf),
            observe=partial(observe, self.view) if isinstance(self.view, FullState) else None,
        )
        low, high = self.robot.model.actuator_ctrlrange.T
        self._middle, self._half = (low + high) / 2.0, (high - low) / 2.0
        # Where the action of each actuator stands among the agents' actions.
        order = np.argsort(np.concatenate(self.actuators))
        self._order = slice(None) if np.array_equal(order, np.arange(len(order))) else order
        self._streams = [(Streams([seed]), f"{stream} {copy}") for seed in seeds for copy in range(copies)]
        self._references: dict[str, float] | None = None
        self._round = 0
        self.reset()

    def reset(self) -> Tensor:
        """Start an episode in every row; observations float32 [B, N, O]."""
        self._round += 1
        self._episodes = np.zeros(self.rows, dtype=np.int64)
        self._elapsed = np.zeros(self.rows, dtype=np.int64)
        for row in range(self.rows):
            self.begin(row)
        self.features = self.reached = self.engine.read()
        observations, self.state = self._observe(self.features)
        return observations

    def begin(self, row: int) -> None:
        """Put one row to the start of its episode."""
        streams, name = self._streams[row]
        step = self._round << 32 | int(self._episodes[row])
        model, noise = self.robot.model, self.robot.noise
        uniform = 2.0 * streams.uniform(name, step, (model.nq + model.nv,))[0].numpy().astype(np.float64) - 1.0
        velocities = uniform[model.nq :]
        if self.robot.normal_velocities:
            velocities = streams.normal(f"{name} velocities", step, (model.nv,))[0].numpy().astype(np.float64)
        self.engine.start(row, model.qpos0 + noise * uniform[: model.nq], noise * velocities)

    def _observe(self, features: np.ndarray) -> tuple[Tensor, Tensor]:
        """Observations [b, N, O] and states [b, S] of some rows."""
        state = self.robot.state(features).astype(np.float32)
        observations = torch.from_numpy(self.view(features, state))
        return observations.to(self.device), torch.from_numpy(state).to(self.device)

    def controls(self, actions: Tensor) -> np.ndarray:
        """What the actuators are asked for, float64 [B, U], by actions [B, N, k]."""
        flat = actions.detach().cpu().numpy().reshape(self.rows, -1)[:, self._order]
        return self._middle + self._half * flat

    def step(self, actions: Tensor) -> Transition:
        """Play the joint actions float [B, N, k]; rows whose episode ends start the next one."""
        controls = self.controls(actions)
        before, after = self.features, self.engine.step(controls)
        healthy = self.robot.healthy(after)
        reward = self.robot.reward(before, after, healthy, controls)
        self._elapsed += 1
        terminated, truncated = ~healthy, self._elapsed >= self.spec.episode_limit
        reached, reached_state = observations, self.state = self._observe(after)
        self.features = self.reached = after
        ended = np.flatnonzero(terminated | truncated)
        if len(ended):
            observations, self.state = self._restart(ended, observations, self.state)
        return Transition(
            observations=observations,
            next_observations=reached,
            state=self.state,
            next_state=reached_state,
            reward=torch.from_numpy(reward).to(self.device, torch.float32),
            terminated=torch.from_numpy(terminated).to(self.device),
            truncated=torch.from_numpy(truncated).to(self.device),
            available_actions=None,
            success=None,
        )

    def _restart(self, ended: np.ndarray, observations: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Start the next episode of some rows; what to act on then."""
        self._elapsed[ended] = 0
        self._episodes[ended] += 1
        for row in ended:
            self.begin(row)
        self.features = self.reached.copy()
        self.features[ended] = self.engine.read()[ended]
        rows = torch.from_numpy(ended).to(self.device)
        fresh, fresh_state = self._observe(self.features[ended])
        return observations.index_copy(0, rows, fresh), state.index_copy(0, rows, fresh_state)

    def snapshot(self) -> dict[str, Tensor]:
        """Physics [B, P] (mjSTATE_INTEGRATION, warm start included), features [B, F] (what is seen of it lags a physics
        step behind), steps of the running episodes and episodes since the last reset, int64 [B], and resets, int64 [];
        on the CPU."""
        return {
            "physics": torch.from_numpy(self.engine.state()),
            "features": torch.from_numpy(self.features.copy()),
            "elapsed": torch.from_numpy(self._elapsed.copy()),
            "episodes": torch.from_numpy(self._episodes.copy()),
            "round": torch.tensor(self._round),
        }

    def restore(self, snapshot: dict[str, Tensor]) -> Tensor:
        """Go back to ``snapshot``; returns the observations to act on."""
        self.engine.set_state(snapshot["physics"].numpy())
        self.features = self.reached = snapshot["features"].numpy().copy()
        self._elapsed, self._episodes = snapshot["elapsed"].numpy().copy(), snapshot["episodes"].numpy().copy()
        self._round = int(snapshot["round"])
        observations, self.state = self._observe(self.features)
        return observations

    def frame(self, row: int) -> dict[str, Any]:
        """One row for a renderer: kind ``robot``; ``model``, the MuJoCo xml, which has a camera named track;
        ``positions`` [nq] and ``velocities`` [nv], MuJoCo's qpos and qvel; ``seconds``, how long a step takes."""
        features, columns = self.reached[row], self.robot.columns
        return {
            "kind": "robot",
            "model": self.robot.xml,
            "positions": features[columns["qpos"]].copy(),
            "velocities": features[columns["qvel"]].copy(),
            "seconds": self.robot.seconds,
        }

    def references(self, seed: int) -> dict[str, float]:
        """``uniform`` and ``idle`` (see references.py), simulated once; the same for every seed."""
        if self._references is None:
            place = {"copies": references.EPISODES, "device": torch.device("cpu"), "stream": "references"}
            self._references = references.simulate(
                MultiAgentMujoco(self.parameters, task=self.spec.name, seeds=[0], **place)
            )
        return dict(self._references)
