"""The four-legged ant. Constants: gymnasium 1.4.0, envs/mujoco/ant_v5.py."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from reprise.environments.mamujoco.robots.base import Bounds, Partitions, Robot, squares

TORSO = 1


class Ant(Robot):
    """Walks; an episode ends when its torso is too low or too high. Contact forces are seen and cost."""

    model_file = "ant.xml"
    frame_skip = 5
    hidden = 2
    blocks = ("qpos", "qvel", "cfrc_ext")
    bounds: ClassVar[Bounds] = {"cfrc_ext": 1.0}
    noise = 0.1
    normal_velocities = True
    # Actuators: hip and ankle of leg 4, 1, 2, 3.
    partitions: ClassVar[Partitions] = {
        "2x4": ((2, 3, 4, 5), (6, 7, 0, 1)),
        "4x2": ((2, 3), (4, 5), (6, 7), (0, 1)),
    }
    control_cost = 0.5
    contact_cost = 5e-4
    alive = 1.0
    heights = (0.2, 1.0)

    def anchor(self, data):
        """x of the torso, as computed in the last physics step (one behind its position, as in gymnasium)."""
        return data.xpos[TORSO, :1]

    def healthy(self, features):
        """The torso's height lies within its closed range, and all positions and velocities are finite."""
        height = features[:, self.columns["qpos"].start + 2]
        finite = np.isfinite(features[:, : self.columns["qvel"].stop]).all(1)
        return finite & (self.heights[0] <= height) & (height <= self.heights[1])

    def reward(self, before, after, healthy, controls):
        """Velocity plus 1 while healthy, minus costs of control and of contact forces."""
        forces = np.clip(after[:, self.columns["cfrc_ext"]], -self.bounds["cfrc_ext"], self.bounds["cfrc_ext"])
        costs = self.control_cost * squares(controls) + self.contact_cost * squares(forces)
        return self.velocity(before, after) + self.alive * healthy - costs

    def bodies(self, joint):
        """As gymnasium-robotics has them: hip: torso and leg; ankle: leg and the two bodies below it."""
        part, leg = joint.split("_")
        first = 3 * int(leg) - 1
        return (TORSO, first) if part == "hip" else (first, first + 1, first + 2)
