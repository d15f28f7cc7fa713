"""What agents see: the full state or their own joints and those nearby."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from reprise.environments.mamujoco.graph import by_distance, touching
from reprise.environments.mamujoco.robots import Robot
from reprise.environments.mamujoco.robots.base import BODY_WIDTHS, FREE, squares


class FullState:
    """The single agent's observation and the agent's number, one-hot, standardised by the vector's own mean and std.

    So do the released codes of DPO and HATRPO, whatever agent_obsk says (mujoco_multi.py: get_obs).
    """

    def __init__(self, robot: Robot, agents: int):
        self.agents = agents
        self.size = robot.state_size + agents
        self._number = np.eye(agents)

    def __call__(self, features: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Observations float32 [B, N, O] of features [B, F] that show the ``state`` float32 [B, S]."""
        return self.of_state(state)

    def of_state(self, state: np.ndarray) -> np.ndarray:
        """Observations float32 [B, N, O] of states float32 [B, S]; those of a state do not depend on the other rows.

        The numbers of all agents have the same mean and deviation, those of [state, 1, 0, ..].
        """
        state = state.astype(np.float64)
        rows, size = state.shape
        seen = np.empty((rows, self.agents, self.size), dtype=np.float32)
        mean = ((state.sum(1) + 1.0) / self.size)[:, None]
        centred = state - mean
        # The squared deviations of the agent's number are one (1 - mean)^2 and N - 1 times mean^2.
        deviations = squares(centred)[:, None] + 1.0 - 2.0 * mean + self.agents * mean**2
        scale = np.sqrt(self.size / deviations)
        seen[:, :, :size] = (centred * scale)[:, None]
        seen[:, :, size:] = (self._number - mean[:, None]) * scale[:, None]
        return seen


def observe(view: FullState, states: Tensor) -> Tensor:
    """``spec.observe``: observations float32 [..., N, O] of states float32 [..., S], on their device."""
    seen = torch.from_numpy(view.of_state(states.reshape(-1, states.shape[-1]).cpu().numpy()))
    return seen.view(*states.shape[:-1], *seen.shape[1:]).to(states.device)


class Local:
    """Own joints, positions of joints up to ``distance`` edges away, and the root; then the agent's number, one-hot.

    The parts and their order are those of gymnasium-robotics' ``agent_obsk`` (obsk.py), padded with zeros to the length
    of the longest. The number is what a line of the released codes adds (mujoco_multi.py: get_obs, commented out).
    """

    def __init__(self, robot: Robot, actuators: Sequence[Sequence[int]], distance: int):
        agents = len(actuators)
        seen = [_columns(robot, part, distance) for part in actuators]
        length = max(len(columns) for columns in seen)
        self.lengths = [len(columns) for columns in seen]
        self.size = length + agents
        self._columns = np.array([columns + [0] * (length - len(columns)) for columns in seen])
        self._absent = np.array([[i >= len(columns) for i in range(length)] for columns in seen])
        limit = np.full(robot.features, np.inf)
        for name, bound in (robot.bounds if robot.local_bounds is None else robot.local_bounds).items():
            limit[robot.columns[name]] = bound
        self._limit = limit[self._columns]
        self._number = np.eye(agents, dtype=np.float32)

    def parts(self, features: np.ndarray) -> np.ndarray:
        """What each agent sees, without its number: float64 [B, N, length of the longest]."""
        own = np.clip(features[:, self._columns], -self._limit, self._limit)
        own[:, self._absent] = 0.0
        return own

    def __call__(self, features: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Observations float32 [B, N, O] of features [B, F]."""
        own = self.parts(features)
        seen = np.empty((len(features), len(self._number), self.size), dtype=np.float32)
        seen[:, :, : own.shape[2]] = own
        seen[:, :, own.shape[2] :] = self._number
        return seen


def _columns(robot: Robot, own: Sequence[int], distance: int) -> list[int]:
    """The features that an agent with the actuators ``own`` sees, in gymnasium-robotics' order."""
    model = robot.model
    driven = [int(joint) for joint in model.actuator_trnid[:, 0]]
    if robot.edges is None:
        edges = touching(model, driven)
    else:
        edges = [{model.joint(name).id for name in edge} for edge in robot.edges]
    positions, velocities = robot.columns["qpos"].start, robot.columns["qvel"].start
    columns: list[int] = []
    shown: set[tuple[str, int]] = set()
    for nearness, joints in enumerate(by_distance([driven[i] for i in own], edges, distance)):
        for joint in sorted(joints, key=lambda joint: model.joint(joint).name):
            columns.append(positions + int(model.jnt_qposadr[joint]))
            if nearness == 0:
                columns += _beside_position(robot, joint, shown)
    if robot.shows_root:
        first = min(driven)
        columns += range(positions + robot.hidden, positions + int(model.jnt_qposadr[first]))
        columns += range(velocities, velocities + int(model.jnt_dofadr[first]))
    return columns


def _beside_position(robot: Robot, joint: int, shown: set[tuple[str, int]]) -> list[int]:
    """What an agent sees of its own joint beside the position; of a body only what is not in ``shown`` yet."""
    columns = []
    for name in robot.blocks[1:]:
        start = robot.columns[name].start
        if name not in BODY_WIDTHS:
            offset = FREE if name == "qfrc_actuator" else 0
            columns.append(start + int(robot.model.jnt_dofadr[joint]) - offset)
            continue
        width = BODY_WIDTHS[name]
        for body in robot.bodies(robot.model.joint(joint).name):
            if (name, body) not in shown:
                columns += range(start + (body - 1) * width, start + body * width)
                shown.add((name, body))
    return columns
