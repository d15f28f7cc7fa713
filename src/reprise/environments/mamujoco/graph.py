"""Which joints are how far from an agent's own: breadth-first over joints that touch the same body."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import mujoco


def touching(model: mujoco.MjModel, driven: Collection[int]) -> list[set[int]]:
    """Sets of ``driven`` joints that touch a common body, from the model's tree.

    A joint touches the body that it moves and the body that this one hangs on; a body without joints is one piece with
    its parent.
    """

    def piece(body: int) -> int:
        return body if body == 0 or model.body_jntnum[body] else piece(int(model.body_parentid[body]))

    sets: dict[int, set[int]] = {}
    for joint in driven:
        moved = int(model.jnt_bodyid[joint])
        for body in (moved, piece(int(model.body_parentid[moved]))):
            sets.setdefault(body, set()).add(joint)
    return [joints for joints in sets.values() if len(joints) > 1]


def by_distance(own: Collection[int], edges: Sequence[Collection[int]], furthest: int) -> list[set[int]]:
    """The joints at distance 0, 1, .. ``furthest`` from any of ``own``."""
    found, seen = [set(own)], set(own)
    for _ in range(furthest):
        reached = {joint for edge in edges if not found[-1].isdisjoint(edge) for joint in edge} - seen
        found.append(reached)
        seen |= reached
    return found
