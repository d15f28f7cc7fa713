"""What a third-party environment answered, checked before it is used: a wrong answer is one line that says whose."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

from reprise.errors import RepriseError

RETURNS = {
    "reset": ("observations", "infos"),
    "step": ("observations", "rewards", "terminations", "truncations", "infos"),
}


def checked(call: str, answer: Any) -> tuple[Mapping[str, Any], ...]:
    """What ``reset`` or ``step`` returned, if it is as the parallel API says. RepriseError for older and other APIs."""
    names = RETURNS[call]
    if not isinstance(answer, tuple | list):
        got = type(answer).__name__
    elif len(answer) != len(names):
        got = f"{len(answer)} values"
    else:
        wrong = [name for name, part in zip(names, answer, strict=True) if not isinstance(part, Mapping)]
        if not wrong:
            return tuple(answer)
        got = f"something else as {wrong[0]}"
    raise RepriseError(f"{call} must return dictionaries by agent ({', '.join(names)}); it gave {got}")


def number(agent: str, reward: Any) -> float:
    """A reward; it may be an array with one number. RepriseError unless it is finite."""
    try:
        value = float(reward.item() if hasattr(reward, "item") else reward)
    except (TypeError, ValueError) as error:
        raise RepriseError(f"agent {agent}: its reward is no number: {error}") from error
    if not math.isfinite(value):
        raise RepriseError(f"agent {agent}: its reward is {value}")
    return value


@contextlib.contextmanager
def named(agent: str) -> Iterator[None]:
    """Name the agent in a RepriseError."""
    try:
        yield
    except RepriseError as error:
        raise RepriseError(f"agent {agent}: {error}") from error
