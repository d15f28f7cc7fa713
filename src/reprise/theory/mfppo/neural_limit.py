"""MF-PPO's algorithm 1 where T -> infinity: critics at the fixed point of sampled TD, regressions without error.

What is left of algorithms 2 and 3 is the bias of N sampled agents, so that its effect on the rate in K is seen alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reprise.environments import mean_field
from reprise.environments.mean_field import MeanFieldMDP
from reprise.theory.mfppo import neural_errors, values
from reprise.theory.mfppo.algorithm import log_softmax
from reprise.theory.mfppo.constants import temperature
from reprise.theory.study import Parameters, Records, generator


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """limit_average_gap, limit_final_gap: x is K, series "crowding, N = 20" or "random games, exact".

    slope_change: slope of the average gap in K with N agents minus that with exact values, per game.
    """
    span = np.log(parameters.iterations)
    for seed in seeds:
        kinds = {
            "crowding": single(mean_field.crowding(parameters.gamma)),
            "random games": linear_games(generator(seed, "linear games"), parameters),
        }
        for kind, mdp in kinds.items():
            game = np.arange(len(mdp.rewards))
            slopes = {}
            for name, agents in ({"exact": None} | {f"N = {n}": n for n in parameters.agents}).items():
                traces = [gaps(mdp, k, parameters.upsilon, agents) for k in parameters.iterations]
                average = np.array([trace[:-1].mean(axis=0) for trace in traces])
                slopes[name] = np.polyfit(span, np.log(average), 1)[0]
                for iterations, trace, mean in zip(parameters.iterations, traces, average, strict=True):
                    at = {"x": iterations, "game": game, "seed": seed}
                    records.add("limit_average_gap", f"{kind}, {name}", mean, **at)
                    records.add("limit_final_gap", f"{kind}, {name}", trace[-1], **at)
            exact = slopes.pop("exact")
            for name, slope in slopes.items():
                records.add("slope_change", f"{kind}, {name}", slope - exact, game=game, seed=seed)


def single(mdp: MeanFieldMDP) -> MeanFieldMDP:
    """``mdp`` as a batch of one game."""
    return replace(mdp, transitions=mdp.transitions[None], rewards=mdp.rewards[None])


def linear_games(random: np.random.Generator, parameters: Parameters) -> MeanFieldMDP:
    """Random games whose agents leave a state at a rate that does not depend on d, as in the crowding game.

    Then d' has a mean linear in d and Q of the uniform policy is linear in d: assumption 1 holds of pi_0.
    """
    flip = np.broadcast_to(random.uniform(0.05, 0.95, (parameters.games, 1, 2, 2)), (parameters.games, 2, 2, 2))
    pay = random.uniform(-1.0, 1.0, (parameters.games, 2, 2, 2))
    return mean_field.build(flip, pay, gamma=parameters.gamma)


def gaps(mdp: MeanFieldMDP, iterations: int, upsilon: float, agents: int | None) -> np.ndarray:
    """L(pi*) - L(pi_k) [K + 1, G] of a batch of G games; ``agents`` None: exact values in place of networks.

    F_{k+1} is the mean of the critics so far, what the actor's regression would find without error.
    """
    table, best = neural_errors.Table(mdp), values.optimum(mdp)
    count = len(mdp.rewards)
    policy, mean, found = np.full_like(mdp.rewards, 1 / mdp.meta_actions), np.zeros_like(mdp.rewards), []
    for k in range(iterations + 1):
        value, critic = values.evaluate(mdp, policy)
        found.append(values.performance(best.law, best.value - value))
        if agents is not None:
            law = values.stationary(mdp, policy)
            critic = table.mean(neural_errors.limit(mdp, policy, law, np.full(count, agents)))
        mean = (critic + k * mean) / (k + 1)
        policy = np.exp(log_softmax(mean / temperature(upsilon, iterations, k + 1)))
    return np.array(found)
