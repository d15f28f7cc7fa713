"""Offline data for Zhao et al., section 5: transitions of a behaviour policy, kept as counts. Our design.

A data set enters every estimator below through counts alone, so that n transitions cost no more than one: n(s, a),
n(s, a, s') and the sum of the rewards seen at (s, a). Shapes as in ``environments/markov_games.py``; B data sets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reprise.environments.markov_games import MarkovGames

COVERAGES = ("partial", "full", "removed")


@dataclass(frozen=True)
class Data:
    """``pairs`` [B, S, J]: how often (s, a) was seen; ``moves`` [B, S, J, S]: how often it led to s';
    ``rewards`` [B, S, J]: the sum of the noisy rewards seen there."""

    pairs: np.ndarray
    moves: np.ndarray
    rewards: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """n, the number of transitions, [B]."""
        return self.pairs.sum(axis=(1, 2))


def behaviour(
    generator: np.random.Generator, best: np.ndarray, coverage: str, others: int, elsewhere: float
) -> np.ndarray:
    """The policy that collects the data, [G, S, J]; ``best`` [G, S, J] is the optimal deterministic joint policy.

    "partial": half of the mass on the optimal joint action, half on ``others`` random ones, of which the share
    ``elsewhere`` goes to all that are left; "full": half optimal, half uniform; "removed": as partial with the optimal
    joint action's mass handed to the others, so that the data never show it.
    """
    if coverage == "full":
        return 0.5 * best + 0.5 / best.shape[2]
    # The joint actions in random order, the optimal one last.
    order = np.argsort(np.where(best > 0, 2.0, generator.random(best.shape)), axis=2)
    ranks = np.argsort(order, axis=2)
    some, rest = ranks < others, (ranks >= others) & (best == 0)
    spread = (1 - elsewhere) * some / others + elsewhere * rest / rest.sum(axis=2, keepdims=True)
    return spread if coverage == "removed" else 0.5 * best + 0.5 * spread


def collect(
    generator: np.random.Generator, games: MarkovGames, policy: np.ndarray, sizes: Sequence[int], noise: float
) -> Data:
    """Data of every size for every game, B = sizes x games (size outermost); a larger data set contains the smaller.

    States are uniform, a ~ policy(. | s), s' ~ P(. | s, a), rewards r(s, a) + ``noise`` N(0, 1), all independent.
    Counts of independent draws are multinomial, sums of Gaussians Gaussian: the law is that of the transitions.
    """
    chances = (policy / games.states).reshape(games.count, -1)
    chances /= chances.sum(axis=1, keepdims=True)
    steps = np.diff(np.concatenate([[0], sizes]))[:, None]
    pairs = generator.multinomial(steps, chances).reshape(len(sizes), *games.rewards.shape)
    moves = generator.multinomial(pairs, games.transitions)
    rewards = pairs * games.rewards + noise * np.sqrt(pairs) * generator.standard_normal(pairs.shape)
    grown = [np.cumsum(part, axis=0).astype(np.float64) for part in (pairs, moves, rewards)]
    return Data(*[part.reshape(-1, *part.shape[2:]) for part in grown])
