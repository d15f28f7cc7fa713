"""The robots by name."""

from __future__ import annotations

from reprise.environments.mamujoco.robots.ant import Ant
from reprise.environments.mamujoco.robots.base import Robot
from reprise.environments.mamujoco.robots.humanoids import Humanoid, HumanoidStandup
from reprise.environments.mamujoco.robots.planar import HalfCheetah, Hopper, Walker2d
from reprise.environments.mamujoco.robots.swimmer import ManyAgentSwimmer

GYMNASIUM = {kind.__name__: kind for kind in (Hopper, HalfCheetah, Walker2d, Ant, Humanoid, HumanoidStandup)}
ROBOTS = (*GYMNASIUM, ManyAgentSwimmer.__name__)


def make(name: str, joints: int, swimmer_timestep: float) -> Robot:
    """The robot ``name``; a swimmer has as many ``joints`` as the agents move."""
    return GYMNASIUM[name]() if name in GYMNASIUM else ManyAgentSwimmer(joints, swimmer_timestep)
