"""The many-segment swimmer. Constants: released code of HATRPO, manyagent_swimmer.py."""

from __future__ import annotations

from reprise.environments.mamujoco.models import swimmer_xml
from reprise.environments.mamujoco.robots.base import Robot, squares


class ManyAgentSwimmer(Robot):
    """Swims as fast as it can; nothing ends an episode but time.

    Args:
        joints: motors. timestep: seconds of a physics step.
    """

    frame_skip = 4
    hidden = 2
    noise = 0.1
    shows_root = False  # as gymnasium-robotics' obsk.py
    control_cost = 1e-4

    def __init__(self, joints: int, timestep: float):
        super().__init__(swimmer_xml(joints, timestep))

    def reward(self, before, after, healthy, controls):
        """Velocity minus cost of control."""
        return self.velocity(before, after) - self.control_cost * squares(controls)
