"""Which actuators each agent moves."""

from __future__ import annotations

from reprise.environments.mamujoco.robots import Robot
from reprise.errors import RepriseError, unknown


def actuators(robot: Robot, agents: int, joints: int, kind: str, task: str) -> list[list[int]]:
    """The actuators of each agent, [N][k].

    Args:
        robot: whose actuators are dealt.
        agents: N. joints: k, per agent.
        kind: ``consecutive`` blocks, which is what the released codes of both papers ran whatever joint names they list
            (actions are concatenated and given to the robot as they are); or ``library``, those of gymnasium-robotics.
        task: for messages.

    Raises:
        RepriseError: N * k is not the number of actuators, or the library has no such partition.
    """
    number = robot.model.nu
    if agents * joints != number:
        raise RepriseError(f"{task}: {agents} agents with {joints} joints each, but the robot has {number} joints")
    if kind == "consecutive":
        return [list(range(first, first + joints)) for first in range(0, number, joints)]
    name = f"{agents}x{joints}"
    if name not in robot.partitions:
        raise unknown("partition of gymnasium-robotics", name, robot.partitions, task)
    return [list(part) for part in robot.partitions[name]]
