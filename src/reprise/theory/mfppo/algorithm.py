"""MF-PPO's algorithm 1 with exact values: mirror descent on the policies of mean-field MDPs, batched over games.

A policy is kept as its energy over its temperature, F / tau [..., X, M] (the exponent); pi is its softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from reprise.environments.mean_field import MeanFieldMDP
from reprise.theory.mfppo import values

Update = Callable[[np.ndarray, np.ndarray, float], np.ndarray]


class Step(NamedTuple):
    """Iteration k: value [..., X] and q [..., X, M] of pi_k; log_policy and next_log_policy [..., X, M]."""

    k: int
    value: np.ndarray
    q: np.ndarray
    log_policy: np.ndarray
    next_log_policy: np.ndarray


def closed_form(q: np.ndarray, exponent: np.ndarray, proximity: float) -> np.ndarray:
    """Exponent of the maximiser of <Q, pi> - upsilon_k KL(pi || pi_k): Q / upsilon_k + F / tau (proposition 3.2)."""
    return q / proximity + exponent


def log_softmax(exponent: np.ndarray) -> np.ndarray:
    """Logarithms of the probabilities proportional to exp(exponent), over the last axis."""
    shifted = exponent - exponent.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def iterate(mdp: MeanFieldMDP, iterations: int, proximity: float, update: Update = closed_form) -> Iterator[Step]:
    """``iterations`` steps from the uniform policy, each with the exact Q of the current policy.

    ``update(q, exponent, proximity)`` gives the next exponent; another one than `closed_form` is a planted error.
    """
    exponent = np.zeros_like(mdp.rewards)
    log_policy = log_softmax(exponent)
    for k in range(iterations):
        value, q = values.evaluate(mdp, np.exp(log_policy))
        exponent = update(q, exponent, proximity)
        following = log_softmax(exponent)
        yield Step(k, value, q, log_policy, following)
        log_policy = following
