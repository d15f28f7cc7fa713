"""DPO's exact update with M-hat and C scaled by kappa: for which kappa does J stay monotone, and how fast does it grow?

Not in the paper. At kappa = 1 equation 18 does not move (``exact_update``); the practical algorithm replaces both
constants by small adaptive ones, which is a kappa far below 1 and outside the theorem. Beside it: the same rule without
its root term, HATRPO's algorithm 1 under the same kappa, and greedy steps without a penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from reprise.environments.markov_games import MarkovGames, draw
from reprise.theory import tabular
from reprise.theory.dpo import updates
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.tabular import Evaluation

PENALISED = {"DPO": updates.dpo, "DPO without root": updates.dpo_without_root, "in turn": updates.in_turn}
UNPENALISED = {"greedy at once": updates.greedy_at_once, "greedy in turn": updates.greedy_in_turn}

LOWERED = 1e-10  # a change of J below minus this counts as a decrease; rounding is about 1e-14


def iterate(
    games: MarkovGames, policies: np.ndarray, step: Callable, updates_made: int, kappa: np.ndarray | None = None
) -> np.ndarray:
    """J after 0, 1, .. updates: [G, updates_made + 1]. ``step(games, policies, found, kappa)`` gives the new policies.

    A game whose policies a step leaves exactly as they were has arrived, and is not stepped again.
    """
    kappa = np.ones(games.count) if kappa is None else kappa
    returns = np.empty((games.count, updates_made + 1))
    live = np.arange(games.count)
    for k in range(updates_made):
        found = tabular.evaluate(games, tabular.product(policies))
        returns[live, k:] = found.returns[:, None]
        new = step(games, policies, found, kappa)
        moved = (new != policies).any(axis=(1, 2, 3))
        live, games, policies, kappa = live[moved], games.chosen(moved), new[moved], kappa[moved]
        if not live.size:
            return returns
    returns[live, updates_made] = tabular.evaluate(games, tabular.product(policies)).returns
    return returns


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    p = parameters
    kappas = 10 ** np.linspace(np.log10(p.lowest_kappa), 0, p.kappas)
    for place, agents in enumerate(p.agents):
        stream = generator(seeds[0], f"scaled constants {agents}")
        games = draw(stream, p.games, states=p.states, agents=agents, actions=p.actions, gamma=p.gamma)
        policies = tabular.random_policies(stream, games)
        best, _ = tabular.optimum(games)
        numbers = place * p.games + np.arange(p.games)
        # One batch for all kappas: game g under kappa k is row k * games + g.
        many = games.chosen(np.tile(np.arange(p.games), p.kappas))
        row_kappa = np.repeat(kappas, p.games)
        for name, rule in PENALISED.items():
            returns = iterate(
                many, np.tile(policies, (p.kappas, 1, 1, 1)), partial(_scaled, rule), p.updates, row_kappa
            )
            returns = returns.reshape(p.kappas, p.games, -1)
            _record(records, f"{name}, N = {agents}", returns, best, numbers, kappas)
        for name, rule in UNPENALISED.items():
            returns = iterate(games, policies, partial(_plain, rule), p.updates)[None]
            _record(records, f"{name}, N = {agents}", returns, best, numbers, np.zeros(1))


def _scaled(
    rule: Callable, games: MarkovGames, policies: np.ndarray, found: Evaluation, kappa: np.ndarray
) -> np.ndarray:
    return rule(games, policies, found, kappa).policies


def _plain(rule: Callable, games: MarkovGames, policies: np.ndarray, found: Evaluation, _: np.ndarray) -> np.ndarray:
    return rule(games, policies, found)


def _record(records: Records, series: str, returns: np.ndarray, best: np.ndarray, numbers, kappas) -> None:
    """``returns`` [kappas, games, updates + 1]; ``best`` [games], the optimum over joint policies."""
    x = kappas[:, None]
    change = np.diff(returns, axis=2)
    way = (best - returns[:, :, 0])[..., None]
    records.add("share_lowered", series, (change < -LOWERED).mean(axis=2), x=x, game=numbers)
    records.add("ever_lowered", series, (change < -LOWERED).any(axis=2), x=x, game=numbers)
    records.add("worst_change", series, (change / way).min(axis=2), x=x, game=numbers)
    records.add("progress", series, ((returns - returns[:, :, :1]) / way)[..., -1], x=x, game=numbers)
    records.add("moved", series, (np.abs(change) > 0).any(axis=2), x=x, game=numbers)
