"""Proposition 3.2 on random problems: the closed form of max <Q, pi> - upsilon KL(pi || pi_k), checked two ways."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reprise.theory.mfppo.algorithm import log_softmax
from reprise.theory.tabular import kl


class Problems(NamedTuple):
    """q and energy (F) [C, M]; temperature (tau) and proximity (upsilon) [C]."""

    q: np.ndarray
    energy: np.ndarray
    temperature: np.ndarray
    proximity: np.ndarray


def draw(random: np.random.Generator, cases: int, meta_actions: int) -> Problems:
    """Q uniform on [-1, 1], F standard normal, tau log-uniform on [0.3, 3], upsilon on [0.1, 10]."""
    return Problems(
        random.uniform(-1, 1, (cases, meta_actions)),
        random.normal(0, 1, (cases, meta_actions)),
        np.exp(random.uniform(np.log(0.3), np.log(3.0), cases)),
        np.exp(random.uniform(np.log(0.1), np.log(10.0), cases)),
    )


def previous(problems: Problems) -> np.ndarray:
    """pi_k [C, M], proportional to exp(F / tau)."""
    return np.exp(log_softmax(problems.energy / problems.temperature[:, None]))


def objective(problems: Problems, policy: np.ndarray) -> np.ndarray:
    """<Q, pi> - upsilon KL(pi || pi_k) [C]."""
    return (problems.q * policy).sum(axis=1) - problems.proximity * kl(policy, previous(problems))


def closed(problems: Problems) -> np.ndarray:
    """Proposition 3.2 [C, M]: proportional to exp(Q / upsilon + F / tau)."""
    return np.exp(
        log_softmax(problems.q / problems.proximity[:, None] + problems.energy / problems.temperature[:, None])
    )


def without_temperature(problems: Problems) -> np.ndarray:
    """A planted error: exp(Q / upsilon + F)."""
    return np.exp(log_softmax(problems.q / problems.proximity[:, None] + problems.energy))


def certificate(problems: Problems, policy: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Largest error [C] of objective(policy) - objective(other) = upsilon KL(other || policy), ``others`` [B, C, M].

    The right side is never negative and zero only at ``policy``: where it holds for every other policy, ``policy`` is
    the one maximiser. It holds of no other ``policy``.
    """
    here = objective(problems, policy)
    errors = [here - objective(problems, other) - problems.proximity * kl(other, policy) for other in others]
    return np.abs(errors).max(axis=0)


def solved(problems: Problems) -> np.ndarray:
    """The maximiser [C, M] as a general convex solver finds it on the simplex (scipy, sequential least squares)."""
    from scipy.optimize import minimize

    old = previous(problems)
    count = problems.q.shape[1]
    found = []
    for q, base, proximity in zip(problems.q, old, problems.proximity, strict=True):

        def loss(p, q=q, base=base, proximity=proximity):
            return proximity * (p * np.log(p / base)).sum() - q @ p

        def slope(p, q=q, base=base, proximity=proximity):
            return proximity * (np.log(p / base) + 1) - q

        sums = {"type": "eq", "fun": lambda p: p.sum() - 1, "jac": np.ones_like}
        options = {"ftol": 1e-15, "maxiter": 500}
        bounds = [(1e-12, 1.0)] * count
        start = np.full(count, 1 / count)
        found.append(minimize(loss, start, jac=slope, bounds=bounds, constraints=sums, options=options).x)
    return np.array(found)
