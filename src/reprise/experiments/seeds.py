"""Seed lists as people write them: `0`, `0-4`, `0,3`, `0-2,5`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

from reprise.errors import RepriseError

LARGEST = 2**31 - 1  # run tables hold seeds as int32
MOST = 100_000


def parse(text: str | int, place: str = "--seeds") -> tuple[int, ...]:
    """The seeds that ``text`` names, ascending. RepriseError for anything else, duplicates included."""
    seeds: list[int] = []
    for part in str(text).split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part)
        if not match:
            raise RepriseError(f"{place}: '{text}' is no seed list; write 0, 0-4 or 0,3")
        first = int(match[1])
        last = int(match[2]) if match[2] is not None else first
        if last < first:
            raise RepriseError(f"{place}: the range '{part.strip()}' runs backwards; write {last}-{first}")
        if last > LARGEST or last - first >= MOST:
            raise RepriseError(f"{place}: '{part.strip()}' is too large: at most {MOST} seeds, none above {LARGEST}")
        seeds.extend(range(first, last + 1))
    seeds.sort()
    for seed, following in pairwise(seeds):
        if seed == following:
            raise RepriseError(f"{place}: seed {seed} stands twice in '{text}'")
    return tuple(seeds)


def segments(seeds: Iterable[int]) -> list[tuple[int, ...]]:
    """``seeds`` cut into contiguous ascending stretches."""
    stretches: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if stretches and stretches[-1][-1] == seed - 1:
            stretches[-1].append(seed)
        else:
            stretches.append([seed])
    return [tuple(stretch) for stretch in stretches]


def text(seeds: Iterable[int]) -> str:
    """The shortest way to write ``seeds``: '0-4', '0,3', '0-2,5'."""
    return ",".join(f"{part[0]}-{part[-1]}" if len(part) > 1 else str(part[0]) for part in segments(seeds))
