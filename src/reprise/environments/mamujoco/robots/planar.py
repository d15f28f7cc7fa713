"""Robots in a vertical plane: Hopper, HalfCheetah, Walker2d. Constants: gymnasium 1.4.0, envs/mujoco/*_v5.py."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from reprise.environments.mamujoco.robots.base import Bounds, Partitions, Robot, squares


class HalfCheetah(Robot):
    """Runs as fast as it can; it cannot fall."""

    model_file = "half_cheetah.xml"
    frame_skip = 5
    noise = 0.1
    normal_velocities = True
    partitions: ClassVar[Partitions] = {"2x3": ((0, 1, 2), (3, 4, 5)), "6x1": tuple((i,) for i in range(6))}
    control_cost = 0.1

    def reward(self, before, after, healthy, controls):
        """Velocity minus cost of control."""
        return self.velocity(before, after) - self.control_cost * squares(controls)


class Walker2d(Robot):
    """Walks; an episode ends when its torso is too low, too high or too far inclined."""

    model_file = "walker2d_v5.xml"
    frame_skip = 4
    bounds: ClassVar[Bounds] = {"qvel": 10.0}
    local_bounds: ClassVar[Bounds] = {}  # gymnasium-robotics clips them for the hopper only
    noise = 5e-3
    partitions: ClassVar[Partitions] = {"2x3": ((2, 1, 0), (5, 4, 3))}
    control_cost = 1e-3
    alive = 1.0
    heights = (0.8, 2.0)
    angles = (-1.0, 1.0)

    def healthy(self, features):
        """Height and angle of the torso lie within their open ranges."""
        start = self.columns["qpos"].start
        height, angle = features[:, start + 1], features[:, start + 2]
        upright = (self.angles[0] < angle) & (angle < self.angles[1])
        return upright & (self.heights[0] < height) & (height < self.heights[1])

    def reward(self, before, after, healthy, controls):
        """Velocity plus 1 while healthy, minus cost of control."""
        return self.velocity(before, after) + self.alive * healthy - self.control_cost * squares(controls)


class Hopper(Walker2d):
    """Hops on one leg."""

    model_file = "hopper.xml"
    local_bounds = None
    partitions: ClassVar[Partitions] = {"3x1": ((0,), (1,), (2,))}
    heights = (0.7, np.inf)
    angles = (-0.2, 0.2)
    largest = 100.0

    def healthy(self, features):
        """Besides, all but the horizontal position lies within (-100, 100)."""
        state = features[:, self.columns["qpos"].start + 2 : self.columns["qvel"].stop]
        return super().healthy(features) & (np.abs(state) < self.largest).all(1)
