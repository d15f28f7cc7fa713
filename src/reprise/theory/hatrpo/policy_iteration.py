"""HATRPO's algorithm 1 on tabular games, exactly: every agent in turn maximises its penalised surrogate.

One iteration for a batch of games; the order of the agents is the same for all games of the batch. Beside the paper's
update there are the variants it argues against or leaves open: the penalty scaled by kappa, simultaneous updates, and
agents that do not see the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory.hatrpo.penalised_step import penalised_step
from reprise.theory.hatrpo.surrogates import penalty_coefficient
from reprise.theory.tabular import Evaluation, evaluate, max_kl, own, product


class Update(NamedTuple):
    """policies [G, N, S, A] after one iteration; expected [G], the sum over agents of what each maximised: by lemma 2
    the return rises by at least that much when the updates are sequential and kappa is 1."""

    policies: np.ndarray
    expected: np.ndarray


def update(
    games: MarkovGames,
    found: Evaluation,
    policies: np.ndarray,
    order: Sequence[int],
    floor: float,
    kappa: float | np.ndarray = 1.0,
    simultaneous: bool = False,
    blind: bool = False,
) -> Update:
    """One iteration of algorithm 1 from ``policies`` [G, N, S, A], whose exact values are ``found``.

    kappa: factor of the penalty C, one or [G]; 1 is the paper's, 0 the greedy update.
    simultaneous: every agent takes the others as they were (separate trust regions of section 2.3).
    blind: an agent's policy is the same in every state, so that a step cannot improve every state on its own.
    """
    penalty = kappa * penalty_coefficient(found.advantage, games.gamma)
    new, expected = policies.copy(), np.zeros(games.count)
    for agent in order:
        weights = own(found.advantage, policies if simultaneous else new, agent)
        step = _blind_step if blind else penalised_step
        new[:, agent] = step(policies[:, agent], weights, found.visitation, penalty, floor)
        gain = ((new - policies)[:, agent] * weights).sum(axis=2)
        expected += (found.visitation * gain).sum(axis=1) - penalty * max_kl(policies[:, agent], new[:, agent])
    return Update(new, expected)


def order_of(generator: np.random.Generator | None, agents: int) -> list[int]:
    """A random permutation of the agents, or 0, 1, ..., N - 1 without a generator."""
    return list(range(agents)) if generator is None else generator.permutation(agents).tolist()


class Path(NamedTuple):
    """returns [G, K + 1] before and after K iterations; expected [G, K]; policies [G, N, S, A] at the end."""

    returns: np.ndarray
    expected: np.ndarray
    policies: np.ndarray


def iterate(
    games: MarkovGames,
    policies: np.ndarray,
    iterations: int,
    generator: np.random.Generator | None,
    floor: float,
    **variant,
) -> Path:
    """``iterations`` of ``update``, each in an order of ``order_of``; ``variant`` is passed on."""
    found = evaluate(games, product(policies))
    returns, expected = [found.returns], []
    for _ in range(iterations):
        step = update(games, found, policies, order_of(generator, games.agents), floor, **variant)
        policies, found = step.policies, evaluate(games, product(step.policies))
        returns.append(found.returns)
        expected.append(step.expected)
    return Path(np.stack(returns, axis=1), np.stack(expected, axis=1), policies)


def _blind_step(
    old: np.ndarray, weights: np.ndarray, visitation: np.ndarray, penalty: np.ndarray, floor: float
) -> np.ndarray:
    """``penalised_step`` among policies that do not depend on the state: one "state" with the summed objective."""
    pooled = (visitation[..., None] * weights).sum(axis=1, keepdims=True)
    alone = penalised_step(old[:, :1], pooled, np.ones((len(old), 1)), penalty, floor)
    return np.broadcast_to(alone, old.shape)


def repeated(games: MarkovGames, policies: np.ndarray, times: int) -> tuple[MarkovGames, np.ndarray]:
    """The whole batch ``times`` times over."""
    again = np.tile(np.arange(games.count), times)
    return games.chosen(again), policies[again]


def log_spaced(last: int, points: int) -> np.ndarray:
    """0 and about ``points`` whole numbers up to ``last``, evenly in their logarithm."""
    return np.unique(np.concatenate([[0], np.geomspace(1, last, points).round()])).astype(int)
