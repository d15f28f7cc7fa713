"""Lemma 4.3 over thousands of random mean-field MDPs, with planted errors of critic and actor in place of networks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments import mean_field
from reprise.theory.mfppo import neural_lemma, values
from reprise.theory.mfppo.algorithm import log_softmax
from reprise.theory.mfppo.neural_errors import mean_square
from reprise.theory.mfppo.neural_lemma import Iteration
from reprise.theory.study import Parameters, Records, generator

DIRECTIONS = ("random errors", "aligned errors")


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Per game: ratios left / right of the proof's two steps (at most 1), and the margin of (4.3) (at least 0)."""
    for seed in seeds:
        for direction in DIRECTIONS:
            step, logs, initial, radius = instance(generator(seed, direction), parameters, direction)
            kl = neural_lemma.descent(step, *logs)
            for name, reading in neural_lemma.readings(step, initial, radius).items():
                series = f"{name}, {direction}"
                for quantity, sides in neural_lemma.STEPS.items():
                    left, right = sides(step, reading)
                    records.add(f"{quantity}_ratio", series, left / right, game=np.arange(len(left)), seed=seed)
                left, right = neural_lemma.recursion(step, reading, kl)
                records.add("recursion_margin", series, right - left, game=np.arange(len(left)), seed=seed)


def instance(random: np.random.Generator, parameters: Parameters, direction: str):
    """An iteration in each of ``games`` random MDPs: (step, (log pi_k, log pi_{k+1}), F at the start [R, X, M], R [R]).

    Root mean squares of the errors are log-uniform; "aligned errors" point where Cauchy and Schwarz's inequality is an
    equation. The ball is the smallest that holds a critic which changes by at most R.
    """
    games = parameters.games
    mdp = mean_field.draw(random, games, gamma=parameters.gamma, resolution=parameters.resolution)
    best = values.optimum(mdp)
    energy = parameters.energy * random.standard_normal(mdp.rewards.shape)
    logs = log_softmax(energy)
    policy, law = np.exp(logs), values.stationary(mdp, np.exp(logs))
    q = values.evaluate(mdp, policy)[1]
    proximity = np.exp(random.uniform(*np.log(parameters.proximities), games))
    tau = proximity / random.integers(1, parameters.iterations + 1, games)
    if direction == "random errors":
        errors = random.standard_normal((2, *q.shape))
    else:
        toward = (best.law / law)[..., None] * (best.policy - policy)
        errors = np.stack([toward / policy, toward])
    sigma = law[..., None] * policy, np.broadcast_to(law[..., None] / mdp.meta_actions, policy.shape)
    size = np.exp(random.uniform(*np.log(parameters.errors), (2, games)))
    evaluation, regression = (
        error * (rms / np.sqrt(mean_square(weight, error)))[:, None, None]
        for error, rms, weight in zip(errors, size, sigma, strict=True)
    )
    critic = q + evaluation
    following = energy + critic / proximity[:, None, None] + regression / tau[:, None, None]
    next_logs = log_softmax(following)
    next_law = values.stationary(mdp, np.exp(next_logs))
    initial = parameters.initial * random.standard_normal(q.shape)
    step = Iteration(
        policy, np.exp(next_logs), law, next_law, q, critic, energy, following, proximity, tau, best.policy, best.law
    )
    return step, (logs, next_logs), initial, np.abs(critic - initial).max(axis=(1, 2))
