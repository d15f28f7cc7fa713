"""The kinds of values that config entries may hold: type and range of each."""

from __future__ import annotations

import math
from typing import Any, Literal, get_args

Kind = Literal[
    "float",
    "positive",
    "nonnegative",
    "fraction",
    "integer",
    "count",
    "natural",
    "switch",
    "choice",
    "text",
    "optional_count",
    "floats",
    "positives",
    "nonnegatives",
    "counts",
]
KINDS = get_args(Kind)

_REAL = {  # kind: (lowest, is the lowest itself allowed, highest, words)
    "float": (-math.inf, False, math.inf, "a finite number"),
    "positive": (0.0, False, math.inf, "a number > 0"),
    "nonnegative": (0.0, True, math.inf, "a number >= 0"),
    "fraction": (0.0, True, 1.0, "a number from 0 to 1"),
}
_WHOLE = {
    "integer": (-math.inf, "a whole number"),
    "count": (1, "a whole number >= 1"),
    "natural": (0, "a whole number >= 0"),
    "optional_count": (1, "a whole number >= 1 or null"),
}
# Lists of one value or more: kind of each.
_LISTS = {"floats": "float", "positives": "positive", "nonnegatives": "nonnegative", "counts": "count"}


def check(kind: str, value: Any, choices: list | None = None) -> Any:
    """``value`` in the canonical type of ``kind`` (reals become float, so that 1 and 1.0 hash alike).

    Raises ValueError saying what was expected.
    """
    if kind in _LISTS:
        if not isinstance(value, list) or not value:
            raise ValueError(f"a list of values expected, got {value!r}")
        return [check(_LISTS[kind], each) for each in value]
    if kind == "switch":
        if not isinstance(value, bool):
            raise ValueError(f"true or false expected, got {value!r}")
        return value
    if kind == "choice":
        if value not in (choices or []):
            raise ValueError(f"one of {', '.join(map(str, choices or []))} expected, got {value!r}")
        return value
    if kind == "text":
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"a text expected, got {value!r}")
        return value
    if kind == "optional_count" and value is None:
        return None
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in _REAL:
        low, closed, high, words = _REAL[kind]
        if not number or not math.isfinite(value) or value > high or value < low or (value == low and not closed):
            raise ValueError(f"{words} expected, got {value!r}")
        return float(value)
    low, words = _WHOLE[kind]
    if not number or isinstance(value, float) or value < low:
        raise ValueError(f"{words} expected, got {value!r}")
    return value
