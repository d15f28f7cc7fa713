"""Proposition 3.1: how many different inputs a permutation-invariant network tells apart."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import comb, log


def printed(local_states: int, agents: int) -> int:
    """Histograms of N agents over |S| states as proposition 3.1 counts them: by the number k of states in use."""
    return sum(comb(agents - 1, k - 1) * comb(local_states, k) for k in range(1, min(local_states, agents) + 1))


def off_by_one(local_states: int, agents: int) -> int:
    """A planted error: N instead of N - 1 in the first binomial coefficient."""
    return sum(comb(agents, k - 1) * comb(local_states, k) for k in range(1, min(local_states, agents) + 1))


def enumerated(local_states: int, agents: int) -> int:
    """The same, one by one."""
    return sum(1 for _ in combinations_with_replacement(range(local_states), agents))


def exponent(local_states: int, agents: int) -> float:
    """Slope of log count on log N between N and 2 N agents."""
    return log(printed(local_states, 2 * agents) / printed(local_states, agents)) / log(2)
