"""The average and the minimum gap of exact MA-PPO against K and N, beside rivals, schedules and planted errors.

Rivals: the softmax over joint actions (a centralised agent's PPO, which is natural policy gradient on the joint
policies; MA-PPO itself is natural policy gradient on the conditional ones) and independent agents with product
policies. Schedules: a constant penalty, the same for every K, and one that grows like K, so that the K steps have a
constant sum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.zhao import conditional, rate
from reprise.theory.zhao.games import draw

SQUARE_ROOT = ("MA-PPO", "centralised", "product", "negated", "reversed")
CONSTANT = ("constant step", "product, constant step")
METHODS = (*SQUARE_ROOT, *CONSTANT, "constant sum")
WRONG = {"negated": rate.negated, "reversed": rate.reversed_order}


def penalty_of(method: str, beta: float, iterations: int, smallest: int) -> float:
    """beta_K: beta sqrt(K); for the constant step that of the smallest K; for the constant sum beta K."""
    if method == "constant sum":
        return beta * iterations
    return rate.penalty_of(beta, smallest if method in CONSTANT else iterations)


def iterates(method: str, games: MarkovGames, iterations: int, penalty: float) -> Iterator[tuple]:
    """(exact values, policies) of pi_0, ..., pi_K."""
    if method.startswith("product"):
        yield from rate.product_ppo(games, iterations, penalty)
        return
    table = rate.centralised(games) if method == "centralised" else games
    for iterate in rate.ma_ppo(table, iterations, penalty, WRONG.get(method, conditional.localised)):
        yield iterate.found, iterate.policies


def greedy(policies: np.ndarray) -> np.ndarray:
    """The deterministic product policy of the most probable actions, [G, N, S, A]."""
    return np.eye(policies.shape[-1])[policies.argmax(axis=-1)]


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    for seed in seeds:
        for agents in parameters.agents:
            games = draw(generator(seed, f"rate_in_k {agents}"), parameters, agents)
            best, _ = tabular.optimum(games)
            for method in METHODS:
                if method == "reversed" and agents == 1:
                    continue  # one agent has no order
                for iterations in parameters.iterations:
                    penalty = penalty_of(method, parameters.beta, iterations, parameters.iterations[0])
                    _record(records, seed, games, best, method, iterations, penalty, parameters)


def _record(
    records: Records,
    seed: int,
    games: MarkovGames,
    best: np.ndarray,
    method: str,
    iterations: int,
    penalty: float,
    parameters: Parameters,
) -> None:
    gaps = np.empty((games.count, iterations + 1))
    for k, (found, policies) in enumerate(iterates(method, games, iterations, penalty)):
        gaps[:, k], last = best - found.returns, policies
    average = gaps[:, :-1].mean(axis=1)
    series, rows = f"{method}, N = {games.agents}", {"game": np.arange(games.count), "seed": seed}
    records.add("average_gap", series, average, x=iterations, **rows)
    records.add("minimum_gap", series, gaps[:, :-1].min(axis=1), x=iterations, **rows)
    records.add("last_gap", series, gaps[:, -1], x=iterations, **rows)
    longest = iterations == parameters.iterations[-1]
    if method in ("MA-PPO", "centralised", "negated"):
        factor = average * np.sqrt(iterations)
        records.add("factor", f"{method}, K = {iterations}", factor, x=games.agents, **rows)
        if longest:
            records.add("factor", f"{method}, largest K", factor, x=games.agents, **rows)
    if method == "MA-PPO":
        predicted = rate.distance_bound(games, penalty, iterations)
        records.add("share_of_distance", series, average / predicted, x=iterations, **rows)
        records.add("distance", f"N = {games.agents}", predicted, x=iterations, seed=seed)
    if longest:
        records.add("final_gap", method, gaps[:, -1], x=games.agents, **rows)
        if method in ("MA-PPO", "centralised", "product"):
            shown = np.unique(np.geomspace(1, iterations + 1, parameters.points).astype(int)) - 1
            records.add("gap_at", series, gaps[:, shown].mean(axis=0), x=shown + 1, seed=seed)
        if method == "product, constant step" and games.agents > 1:
            _where(records, seed, games, best, greedy(last))


def _where(records: Records, seed: int, games: MarkovGames, best: np.ndarray, policies: np.ndarray) -> None:
    """Where independent agents end: their greedy product policy against the optimum and against deviations."""
    gap = best - tabular.evaluate(games, tabular.product(policies)).returns
    deviation = tabular.nash_gap(games, policies)
    rows = {"game": np.arange(games.count), "seed": seed, "x": games.agents}
    optimal, nash = gap <= 1e-9, deviation <= 1e-9
    records.add("product_greedy_gap", f"N = {games.agents}", gap, **rows)
    records.add("product_end", "optimal", optimal, **rows)
    records.add("product_end", "suboptimal Nash point", nash & ~optimal, **rows)
    records.add("product_end", "neither", ~nash & ~optimal, **rows)
