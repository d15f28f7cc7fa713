"""Theorem 3.3 of the DPO paper: the exact update of equation 18, with the stated constants, stays at the old policy.

Each agent's problem is solved exactly. Beside it, penalty and gain are compared at every level of KL, so that one
number per game says by how much both constants would have to shrink before the first agent moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames, draw
from reprise.theory import tabular, trust_region
from reprise.theory.dpo import surrogates, updates
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.tabular import Evaluation


def penalty_over_gain(games: MarkovGames, policies: np.ndarray, found: Evaluation, levels: np.ndarray) -> np.ndarray:
    """The smallest ratio [G] of equation 17's penalty to its gain L_i / N, over the agents and the KL ``levels``.

    At each level the gain is that of the best policy, so 1 / ratio is the kappa below which an agent starts to move.
    """
    r_max = surrogates.reward_bound(games)
    root, linear = surrogates.m_hat(r_max, games.gamma, games.agents), surrogates.c(r_max, games.gamma)
    least = np.full(games.count, np.inf)
    for agent in range(games.agents):
        weights = tabular.own(found.advantage, policies, agent) / games.agents
        for level in levels:
            gain = trust_region.best_at(policies[:, agent], weights, found.visitation, level).gain
            with np.errstate(divide="ignore"):  # an agent with nothing to gain never moves
                least = np.minimum(least, (root * np.sqrt(level) + linear * level) / gain)
    return least


def candidate_values(
    stream: np.random.Generator, games: MarkovGames, policies: np.ndarray, found: Evaluation
) -> np.ndarray:
    """The largest value [G] of equation 17 among one random candidate policy per agent, at random distances."""
    other = tabular.random_policies(stream, games)
    step = 10 ** stream.uniform(-4, 0, (games.count, games.agents, 1, 1))
    new = (1 - step) * policies + step * other
    r_max = surrogates.reward_bound(games)
    divergences = tabular.max_kl(policies, new)
    root = surrogates.m_hat(r_max, games.gamma, games.agents)[:, None] * np.sqrt(divergences)
    gains = surrogates.own_surrogates(found, policies, new) / games.agents
    return (gains - root - surrogates.c(r_max, games.gamma)[:, None] * divergences).max(axis=1)


def extreme_game(agents: int) -> tuple[MarkovGames, np.ndarray]:
    """One state, no future, reward 1 or -1 by agent 0's action alone, uniform policies: here the bound is attained."""
    rewards = np.where(np.arange(2**agents) < 2 ** (agents - 1), 1.0, -1.0)
    games = MarkovGames(rewards[None, None], np.ones((1, 1, 2**agents, 1)), np.ones((1, 1)), agents, 2, 0.0)
    return games, np.full((1, agents, 1, 2), 0.5)


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    p = parameters
    levels = 10 ** np.linspace(np.log10(p.lowest_level), np.log10(p.highest_level), p.levels)
    first = 0
    for agents in p.agents:
        games, policies = extreme_game(agents)
        found = tabular.evaluate(games, tabular.product(policies))
        over = _over_bound(games, policies, found, levels)
        records.add("ratio_over_bound", f"N = {agents}, one-shot", over, game=-1)
        # Planted: the bound without the factor sqrt((N - 1) / N) of M-hat.
        records.add(
            "planted_ratio_over_bound", f"N = {agents}, one-shot", over * np.sqrt((agents - 1) / agents), game=-1
        )
        for gamma in p.gammas:
            stream = generator(seeds[0], f"exact update {agents} {gamma}")
            games = draw(
                stream, p.games, states=p.states, agents=agents, actions=p.actions, gamma=gamma,
                concentration=p.concentration,
            )  # fmt: skip
            policies = tabular.random_policies(stream, games)
            _record(records, p, stream, games, policies, levels, first + np.arange(p.games))
            first += p.games


def _over_bound(games: MarkovGames, policies: np.ndarray, found: Evaluation, levels: np.ndarray) -> np.ndarray:
    return penalty_over_gain(games, policies, found, levels) * surrogates.move_threshold(games.agents)


def _record(records: Records, p: Parameters, stream, games: MarkovGames, policies, levels, numbers) -> None:
    series = f"N = {games.agents}, γ = {games.gamma:g}"
    found = tabular.evaluate(games, tabular.product(policies))
    stated = updates.dpo(games, policies, found)
    records.add("distance_moved", series, np.abs(stated.policies - policies).max(axis=(1, 2, 3)), game=numbers)
    after = tabular.evaluate(games, tabular.product(stated.policies)).returns
    records.add("return_change", series, after - found.returns, game=numbers)
    records.add("candidate_value", series, candidate_values(stream, games, policies, found), game=numbers)
    over = _over_bound(games, policies, found, levels)
    records.add("ratio_over_bound", series, over, game=numbers)
    records.add("start_kappa", series, surrogates.move_threshold(games.agents) / over, game=numbers)
    # Without the root term, and with the paper's own C, the rule does move.
    no_root = updates.dpo_without_root(games, policies, found)
    after = tabular.evaluate(games, tabular.product(no_root.policies)).returns
    records.add("without_root_distance", series, np.abs(no_root.policies - policies).max(axis=(1, 2, 3)), game=numbers)
    records.add("without_root_change", series, after - found.returns, game=numbers)
    # Planted: constants so small that the rule must move, and no penalty at all, with which J must fall somewhere.
    small = updates.dpo(games, policies, found, p.planted_kappa)
    records.add("planted_distance", series, np.abs(small.policies - policies).max(axis=(1, 2, 3)), game=numbers)
    greedy = tabular.evaluate(games, tabular.product(updates.greedy_at_once(games, policies, found))).returns
    records.add("planted_return_change", series, greedy - found.returns, game=numbers)
