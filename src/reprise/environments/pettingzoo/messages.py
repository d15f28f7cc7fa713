"""What a worker is told and what it answers when it cannot go on."""

from __future__ import annotations

import struct
from dataclasses import dataclass

# Shared by a worker and its parent: the row being served, and the number of calls made into the environment.
MARK = struct.Struct("=qq")


@dataclass(frozen=True)
class Rules:
    """How the parallel API becomes one team's episodes.

    Attributes:
        max_steps: an episode is cut after so many steps.
        reward: ``mean`` or ``sum`` over the agents.
        action_masks: hand over which actions are available; an agent that has left has action 0 alone.
        own_state: the global state is the environment's ``state()``.
        rebuild: make a new environment for every episode, where ``reset`` leaves something behind.
    """

    max_steps: int
    reward: str
    action_masks: bool
    own_state: bool
    rebuild: bool


@dataclass(frozen=True)
class Job:
    """What a worker is for.

    Attributes:
        factory: dotted path of a callable that makes a parallel environment.
        arguments: its keyword arguments, a JSON object.
        rules: see ``Rules``.
        check: check that the environment is deterministic before anything else.
        timeout: seconds after which the parent gives up on a call into the environment.
        first: number of its first row.
        keys: for each row what the seeds of its episodes come from: run seed, stream, copy.
    """

    factory: str
    arguments: str
    rules: Rules
    check: bool
    timeout: float
    first: int
    keys: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True)
class Fault:
    """Why a worker gives up. ``expected``: found by a check of this package, not an exception of third parties."""

    text: str
    expected: bool
