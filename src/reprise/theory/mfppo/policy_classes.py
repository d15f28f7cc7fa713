"""What permutation-invariant policies can reach when they are deterministic, or factorised with shared parameters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.mfppo import symmetry

FORBIDDEN = -1e6
"""Reward of an action that a class of policies cannot take: far below any value of the games here."""


def deterministic(games: MarkovGames, everyone: list[symmetry.Permutation]) -> np.ndarray:
    """Best return [G] of a deterministic invariant policy: the optimum over actions that symmetric states allow."""
    restricted = replace(games, rewards=np.where(symmetry.fixed(everyone), games.rewards, FORBIDDEN))
    return tabular.evaluate(games, tabular.optimum(restricted)[1]).returns


def factorised(
    games: MarkovGames, local_states: int, generator: np.random.Generator, *, starts: int, steps: int, step: float
) -> np.ndarray:
    """Best return [G] found of nu(a | s) = prod_i mu(a_i | o_i) with one mu for all agents (section 2), o_i the agent's
    own local state and the histogram of all.

    Natural policy gradient from ``starts`` random mu; the set is not convex, so that this is a lower bound.
    """
    seen = symmetry.observations(local_states, games.agents)
    repeated = games.chosen(np.repeat(np.arange(games.count), starts))
    member = np.eye(seen.max() + 1)[seen]  # [N, S, O]
    logits = generator.normal(0.0, 1.0, (repeated.count, seen.max() + 1, games.actions))
    best = np.full(repeated.count, -np.inf)
    for _ in range(steps):
        shared = np.exp(logits - logits.max(axis=2, keepdims=True))
        shared /= shared.sum(axis=2, keepdims=True)
        policies = shared[:, seen]  # [G, N, S, A]
        found = tabular.evaluate(repeated, tabular.product(policies))
        best = np.maximum(best, found.returns)
        gain = np.stack([tabular.own(found.advantage, policies, i) for i in range(games.agents)], axis=1)
        weight = np.einsum("gs,nso->go", found.visitation, member)
        logits += step * np.einsum("gs,nso,gnsa->goa", found.visitation, member, gain) / weight[..., None]
    return best.reshape(games.count, starts).max(axis=1)
