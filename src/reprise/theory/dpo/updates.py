"""Exact policy updates on a game's tables: DPO's equation 18, the same without its root term, and HATRPO's algorithm 1,
each with its constants scaled by kappa; and the unpenalised steps they are compared with."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular, trust_region
from reprise.theory.dpo import surrogates
from reprise.theory.dpo.simultaneous import mixture_step
from reprise.theory.tabular import Evaluation

Kappa = np.ndarray | float  # [G] or one number


class Update(NamedTuple):
    """policies [G, N, S, A]; level [G, N]: max_s KL(old || new) of each agent, 0 where it stayed; value [G, N]: the
    surrogate that each agent reached, 0 at the old policy."""

    policies: np.ndarray
    level: np.ndarray
    value: np.ndarray


def dpo(games: MarkovGames, policies: np.ndarray, found: Evaluation, kappa: Kappa = 1.0) -> Update:
    """Equation 18, all agents at once."""
    root = kappa * surrogates.m_hat(surrogates.reward_bound(games), games.gamma, games.agents)
    return _at_once(games, policies, found, root, kappa * surrogates.c(surrogates.reward_bound(games), games.gamma))


def dpo_without_root(games: MarkovGames, policies: np.ndarray, found: Evaluation, kappa: Kappa = 1.0) -> Update:
    """Equation 18 with M-hat = 0, which the paper's section 4.5 identifies with IPPO-KL."""
    linear = kappa * surrogates.c(surrogates.reward_bound(games), games.gamma)
    return _at_once(games, policies, found, 0.0, linear)


def _at_once(games: MarkovGames, policies: np.ndarray, found: Evaluation, root: Kappa, linear: Kappa) -> Update:
    steps = []
    for agent in range(games.agents):
        weights = tabular.own(found.advantage, policies, agent) / games.agents
        steps.append(trust_region.maximise(policies[:, agent], weights, found.visitation, root=root, linear=linear))
    return _stacked(steps)


def in_turn(games: MarkovGames, policies: np.ndarray, found: Evaluation, kappa: Kappa = 1.0) -> Update:
    """HATRPO's algorithm 1 in the fixed order of the agents: each knows what those before it do now, and pays
    4 gamma max|A| / (1 - gamma)^2 times its own KL."""
    linear = kappa * 4 * games.gamma * np.abs(found.advantage).max(axis=(1, 2)) / (1 - games.gamma) ** 2
    new, steps = policies.copy(), []
    for agent in range(games.agents):
        weights = tabular.own(found.advantage, new, agent)
        steps.append(trust_region.maximise(policies[:, agent], weights, found.visitation, linear=linear))
        new[:, agent] = steps[-1].policy
    return _stacked(steps)


def _stacked(steps: list[trust_region.Step]) -> Update:
    return Update(*(np.stack([getattr(step, name) for step in steps], axis=1) for name in ("policy", "level", "value")))


def greedy_at_once(games: MarkovGames, policies: np.ndarray, found: Evaluation) -> np.ndarray:
    """Every agent takes the action that equation 6 is largest at."""
    return mixture_step(games, policies, found, 1.0, sequential=False)


def greedy_in_turn(games: MarkovGames, policies: np.ndarray, found: Evaluation) -> np.ndarray:
    """The same one after the other, each knowing what those before it do now: then J cannot fall."""
    return mixture_step(games, policies, found, 1.0, sequential=True)
