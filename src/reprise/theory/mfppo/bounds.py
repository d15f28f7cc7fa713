"""Lemma 4.3 and theorem 4.1 over thousands of small random mean-field MDPs: every iteration of every game."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments import mean_field
from reprise.theory.mfppo import constants, planted, recursion, values
from reprise.theory.mfppo.exact import measures
from reprise.theory.study import Parameters, Records, generator

KEPT = (
    "lemma_4_3_exact_margin",
    "lemma_4_3_spread_margin",
    "theorem_4_1_exact_margin",
    "theorem_4_1_spread_margin",
    "theorem_4_1_spread_ratio",
    "three_point_error",
    "performance_difference_error",
    "improvement",
)
"""The quantities of `exact.measures` that are recorded for every game; margins at M = "printed" exceed "exact"."""


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """x is K, the series names upsilon.

    "literal_lemma_4_3_margin" takes assumption 2 as printed, r <= rbar without a lower bound: a constant is taken from
    every game's rewards, which changes no gap, until their maximum is ``literal_reward_bound``.
    "wrong_lemma_4_3_margin" is the margin (M = "spread") of steps whose critic is read in mirror image.
    """
    literal = constants.m_exact(np.array(parameters.literal_reward_bound))
    for seed in seeds:
        random = generator(seed, "bounds")
        mdp = mean_field.draw(random, parameters.games, gamma=parameters.gamma, resolution=parameters.resolution)
        best, game = values.optimum(mdp), np.arange(parameters.games)
        for upsilon in parameters.upsilons:
            for iterations in parameters.iterations:
                weight = constants.proximity(upsilon, iterations)
                found = recursion.run(mdp, best, iterations, weight)
                measured = {
                    name: value for name, value in measures(mdp, found, upsilon, iterations).items() if name in KEPT
                }
                measured["literal_lemma_4_3_margin"] = recursion.margins(found, mdp.gamma, weight, literal).min(axis=0)
                for quantity, value in measured.items():
                    records.add(quantity, f"upsilon = {upsilon:g}", value, x=iterations, game=game, seed=seed)
            iterations = min(parameters.iterations)
            weight = constants.proximity(upsilon, iterations)
            found = recursion.run(mdp, best, iterations, weight, planted.mirrored_critic)
            margin = measures(mdp, found, upsilon, iterations)["lemma_4_3_spread_margin"]
            name = f"critic read in mirror image, upsilon = {upsilon:g}"
            records.add("wrong_lemma_4_3_margin", name, margin, x=iterations, game=game, seed=seed)
