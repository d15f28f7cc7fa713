"""Theorem 4.1 with exact values: algorithm 1 on mean-field MDPs for several K and upsilon, and other steps too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reprise.environments import mean_field
from reprise.environments.mean_field import MeanFieldMDP
from reprise.theory.mfppo import constants, planted, recursion, values
from reprise.theory.mfppo.algorithm import closed_form
from reprise.theory.study import Parameters, Records, generator

OTHER_STEPS = {
    "constant step": (lambda upsilon, iterations: upsilon, closed_form),
    "steps of constant sum": (lambda upsilon, iterations: upsilon * iterations, closed_form),
    "constant temperature": (lambda upsilon, iterations: upsilon, planted.without_memory),
    "critic read in mirror image": (constants.proximity, planted.mirrored_critic),
}
"""What is not algorithm 1: upsilon_k as a function of (upsilon, K), and the update."""


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Gaps, the theorem's right sides, lemma 4.3's smallest margins and the identities' largest errors, per game.

    Game 0 is the game of the figures (`mean_field.crowding`), the others are drawn. x is K, but the iteration k where
    the quantity's name begins with "along".
    """
    for seed in seeds:
        mdp = games(generator(seed, "games"), parameters.games, parameters.gamma)
        best = values.optimum(mdp)
        for upsilon in parameters.upsilons:
            for iterations in parameters.iterations:
                weight = constants.proximity(upsilon, iterations)
                found = recursion.run(mdp, best, iterations, weight)
                for quantity, value in measures(mdp, found, upsilon, iterations).items():
                    _add(records, quantity, f"upsilon = {upsilon:g}", value, iterations, seed)
        for name, (step, update) in OTHER_STEPS.items():
            for iterations in parameters.other_iterations:
                weight = step(parameters.other_upsilon, iterations)
                found = recursion.run(mdp, best, iterations, weight, update)
                _add(records, "other_average_gap", name, found.gap.mean(axis=0), iterations, seed)
        few = replace(
            mdp, transitions=mdp.transitions[: parameters.wrong_games], rewards=mdp.rewards[: parameters.wrong_games]
        )
        _wrong(records, seed, few, max(parameters.upsilons), parameters.wrong_iterations)
        _along(records, seed, parameters)


def games(random: np.random.Generator, drawn: int, gamma: float) -> MeanFieldMDP:
    """A batch of `mean_field.crowding` and ``drawn`` random games."""
    first = mean_field.crowding(gamma)
    others = mean_field.draw(random, drawn, gamma=gamma, resolution=len(first.grid) - 1)
    return replace(
        others,
        transitions=np.concatenate([first.transitions[None], others.transitions]),
        rewards=np.concatenate([first.rewards[None], others.rewards]),
    )


def readings(mdp: MeanFieldMDP, found: recursion.Run) -> dict[str, np.ndarray]:
    """M [...] as the exact case has it, as the proof sketch prints it, and ours, measured along the run."""
    bound = np.abs(mdp.rewards).max(axis=(-1, -2))  # rbar of assumption 2
    return {
        "exact": constants.m_exact(bound),
        "printed": constants.m_printed(bound, mdp.gamma),
        "spread": constants.m_spread(found.spread.max(axis=0)),
    }


def measures(mdp: MeanFieldMDP, found: recursion.Run, upsilon: float, iterations: int) -> dict[str, np.ndarray]:
    """Every quantity of one run of algorithm 1 by its name, each [...] (one number per game)."""
    weight, smallest = constants.proximity(upsilon, iterations), found.gap.min(axis=0)
    result = {
        "average_gap": found.gap.mean(axis=0),
        "min_gap": smallest,
        "three_point_error": found.three_point,
        "performance_difference_error": found.difference,
        "improvement": found.improvement,
    }
    for name, m in readings(mdp, found).items():
        bound = constants.theorem_4_1(upsilon, iterations, mdp.gamma, mdp.meta_actions, m)
        result[f"bound_{name}"] = bound
        result[f"theorem_4_1_{name}_margin"] = bound - smallest
        result[f"theorem_4_1_{name}_ratio"] = found.gap.mean(axis=0) / bound
        result[f"lemma_4_3_{name}_margin"] = recursion.margins(found, mdp.gamma, weight, m).min(axis=0)
    return result


def _wrong(records: Records, seed: int, mdp: MeanFieldMDP, upsilon: float, iterations: int) -> None:
    """Margins when every step descends: they must fail where the bounds say anything at all."""
    best, weight = values.optimum(mdp), constants.proximity(upsilon, iterations)
    found = recursion.run(mdp, best, iterations, weight, planted.reversed_sign)
    measured = measures(mdp, found, upsilon, iterations)
    for name in ("theorem_4_1_exact_margin", "lemma_4_3_exact_margin"):
        _add(records, f"wrong_{name}", "ascent reversed", measured[name], iterations, seed)


def _along(records: Records, seed: int, parameters: Parameters) -> None:
    """Both sides of lemma 4.3 at every iteration of one run on `mean_field.crowding`."""
    mdp = mean_field.crowding(parameters.gamma)
    weight = constants.proximity(parameters.along_upsilon, parameters.along_iterations)
    found = recursion.run(mdp, values.optimum(mdp), parameters.along_iterations, weight)
    left = (1 - mdp.gamma) * found.gap
    at = {"x": np.arange(parameters.along_iterations), "seed": seed}
    records.add("along_left", "left side", left, **at)
    for name, m in readings(mdp, found).items():
        records.add("along_right", f"M {name}", left + recursion.margins(found, mdp.gamma, weight, m), **at)


def _add(records: Records, quantity: str, label: str, value: np.ndarray, iterations: int, seed: int) -> None:
    """One number per game, the game of the figures apart from the random ones."""
    numbers = np.arange(len(value))
    for name, part in (("crowding game", slice(0, 1)), ("random games", slice(1, None))):
        records.add(quantity, f"{name}, {label}", value[part], x=iterations, game=numbers[part], seed=seed)
