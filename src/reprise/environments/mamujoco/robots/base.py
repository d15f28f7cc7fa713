"""What a robot is: its model, what there is to see of it, its reward, and when it has fallen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import mujoco
import numpy as np

from reprise.environments.mamujoco import models

# Numbers per body or joint of what a robot may show beside positions and velocities; MuJoCo's names. The world (body
# 0) is left out, and so are the six degrees of freedom of a free root, which no actuator drives.
BODY_WIDTHS = {"cinert": 10, "cvel": 6, "cfrc_ext": 6}
FREE = 6

Bounds = Mapping[str, float]
Partitions = Mapping[str, tuple[tuple[int, ...], ...]]


class Robot:
    """One of gymnasium's v5 robots, or a robot like them.

    A row of features is [anchor (1), qpos, qvel, further blocks]; what stands behind the ``hidden`` positions is the
    observation of a single agent that sees all.

    Attributes:
        model_file: xml of gymnasium. frame_skip: physics steps per environment step.
        hidden: leading positions not shown: where the robot is.
        blocks: what it shows, in gymnasium's order.
        bounds: block -> b; the observation has it clipped to [-b, b]. local_bounds: those of local observations, where
            they differ.
        noise: half the width, or standard deviation, of the random start. normal_velocities: velocities start
            normally distributed instead of uniformly.
        partitions: gymnasium-robotics' own partitions, configuration -> the actuators of each agent.
        edges: joints next to each other; None: what the model's bodies say, see graph.py.
        shows_root: local observations have the root's positions and velocities.
    """

    model_file: ClassVar[str]
    frame_skip: ClassVar[int]
    hidden: ClassVar[int] = 1
    blocks: ClassVar[tuple[str, ...]] = ("qpos", "qvel")
    bounds: ClassVar[Bounds] = {}
    local_bounds: ClassVar[Bounds | None] = None
    noise: ClassVar[float]
    normal_velocities: ClassVar[bool] = False
    partitions: ClassVar[Partitions] = {}
    edges: ClassVar[tuple[tuple[str, ...], ...] | None] = None
    shows_root: ClassVar[bool] = True

    def __init__(self, text: str | None = None):
        self.xml = models.xml(self.model_file) if text is None else text
        self.model = models.compile_model(self.xml)
        self.seconds = self.frame_skip * self.model.opt.timestep
        model = self.model
        widths = {"qpos": model.nq, "qvel": model.nv, "qfrc_actuator": model.nv - FREE}
        widths |= {name: width * (model.nbody - 1) for name, width in BODY_WIDTHS.items()}
        ends = 1 + np.cumsum([widths[name] for name in self.blocks])
        self.columns = {name: slice(int(e) - widths[name], int(e)) for name, e in zip(self.blocks, ends, strict=True)}
        self.features = int(ends[-1])
        self.state_size = self.features - 1 - self.hidden

    def parts(self, data: mujoco.MjData) -> list[np.ndarray]:
        """Views of the features of one copy: the anchor, then the blocks."""
        views = {"qpos": data.qpos, "qvel": data.qvel, "qfrc_actuator": data.qfrc_actuator[FREE:]}
        views |= {name: getattr(data, name)[1:] for name in BODY_WIDTHS}
        return [self.anchor(data), *(views[name] for name in self.blocks)]

    def anchor(self, data: mujoco.MjData) -> np.ndarray:
        """View [1] of the coordinate whose velocity is rewarded."""
        return data.qpos[:1]

    def state(self, features: np.ndarray) -> np.ndarray:
        """What a single agent would observe: float64 [B, state_size], a new array."""
        state = features[:, 1 + self.hidden :].copy()
        for name, bound in self.bounds.items():
            columns = slice(self.columns[name].start - 1 - self.hidden, self.columns[name].stop - 1 - self.hidden)
            np.clip(state[:, columns], -bound, bound, out=state[:, columns])
        return state

    def velocity(self, before: np.ndarray, after: np.ndarray) -> np.ndarray:
        """Mean velocity of the anchor during a step [B]."""
        return (after[:, 0] - before[:, 0]) / self.seconds

    def healthy(self, features: np.ndarray) -> np.ndarray:
        """Which rows have not fallen, bool [B]; an episode ends where one has."""
        return np.ones(len(features), dtype=bool)

    def reward(self, before: np.ndarray, after: np.ndarray, healthy: np.ndarray, controls: np.ndarray) -> np.ndarray:
        """Reward of a step [B], from the features around it and the controls [B, U]."""
        raise NotImplementedError

    def bodies(self, joint: str) -> tuple[int, ...]:
        """The bodies whose blocks belong to a joint in local observations."""
        return ()


def squares(values: np.ndarray) -> np.ndarray:
    """Sum of squares of each row [B]."""
    return np.einsum("bi,bi->b", values, values)
