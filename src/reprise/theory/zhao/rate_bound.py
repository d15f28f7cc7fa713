"""Thousands of random games: the minimum gap of exact MA-PPO under the bound of `rate`, the identity behind the bound.

The a-priori bound has Qmax = 1 / (1 - gamma) in it; `measured` puts in its place the spans of the localised action
values that the run met, and bounds the average gap. Planted wrong updates go through the same code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.zhao import conditional, rate
from reprise.theory.zhao.games import draw

WRONG = {"negated": rate.negated, "reversed": rate.reversed_order}


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    betas = {"small beta": parameters.beta, "best beta": rate.best_beta(parameters.actions, parameters.gamma)}
    longest = parameters.iterations[-1]
    for seed in seeds:
        for agents in parameters.agents:
            games = draw(generator(seed, f"rate_bound {agents}"), parameters, agents)
            best = rate.star(games)
            uniform = conditional.joint(conditional.softmax(conditional.zero_logits(games)))
            first = best.returns - tabular.evaluate(games, uniform).returns
            for name, beta in betas.items():
                for iterations in parameters.iterations:
                    rows = {"game": np.arange(games.count), "seed": seed, "x": iterations}
                    explicit = rate.explicit_bound(games, beta, iterations)
                    records.add("explicit_bound", f"N = {agents}, {name}", explicit, seed=seed, x=iterations)
                    for quantity, value in _judged(games, best, beta, iterations, conditional.localised):
                        if quantity != "explicit_bound":  # one number for all games
                            records.add(quantity, f"N = {agents}, {name}", value, **rows)
                        if quantity.endswith("_bound"):
                            records.add(f"{quantity}_informs", f"N = {agents}, {name}", value < first, **rows)
            for name, values in WRONG.items():
                if agents == 1 and name == "reversed":
                    continue  # one agent has no order
                rows = {"game": np.arange(games.count), "seed": seed, "x": longest}
                for quantity, value in _judged(games, best, parameters.beta, longest, values):
                    if not quantity.endswith("_bound"):
                        records.add(f"{name}_{quantity}", f"N = {agents}", value, **rows)


def _judged(
    games: MarkovGames, best: rate.Star, beta: float, iterations: int, values: rate.Values
) -> Iterator[tuple[str, np.ndarray]]:
    """(quantity, per game) of one run of K iterations: identity, bounds, and the margins of the gaps below them."""
    penalty = rate.penalty_of(beta, iterations)
    total = steps = moments = 0.0
    lowest = np.full(games.count, np.inf)
    for k, iterate in enumerate(rate.ma_ppo(games, iterations, penalty, values)):
        if k == iterations:
            break
        gap = best.returns - iterate.found.returns
        total, lowest = total + gap, np.minimum(lowest, gap)
        steps = steps + rate.step_bound(games, penalty, rate.spans(iterate.values))
        moments = moments + rate.log_moment(best, iterate, penalty)
    average = total / iterations
    terms = rate.mean_gap_terms(games, best, iterate.policies, moments, penalty, iterations)
    measured = rate.distance_bound(games, penalty, iterations) + steps / iterations
    explicit = np.full(games.count, rate.explicit_bound(games, beta, iterations))
    yield "identity_error", np.abs(terms.sum(axis=0) - average)
    yield "measured_bound", measured
    yield "measured_margin", measured - average
    yield "explicit_bound", explicit
    yield "explicit_margin", explicit - lowest
