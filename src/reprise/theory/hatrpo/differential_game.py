"""HATRPO's figure 1: two Gaussian agents on r = a1 a2, trust-region steps taken at once and in turn.

One state and one step: a policy is its mean, its standard deviation being 1, and J(mu) = E[a1 a2]. Surrogates are
integrated numerically (Gauss-Hermite, exact for polynomials) and maximised over a grid of the KL ball with its ends.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.theory.study import Parameters, Records, generator

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(8)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def reward(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """r(a1, a2) = a1 a2 (figure 1)."""
    return first * second


def expected_reward(means: np.ndarray) -> np.ndarray:
    """J of means [..., 2]: the integral of r over both agents' actions."""
    first, second = (means[..., i, None] + _NODES for i in (0, 1))
    values = reward(first[..., :, None], second[..., None, :])
    return np.einsum("...ij,i,j->...", values, _WEIGHTS, _WEIGHTS)


def ball(mean: np.ndarray, delta: float, points: int) -> np.ndarray:
    """Means [..., points] with KL(N(mean, 1) || N(., 1)) = (difference)^2 / 2 <= delta, ends included (equation 3)."""
    return mean[..., None] + np.sqrt(2 * delta) * np.linspace(-1, 1, points)


def trust_region_step(means: np.ndarray, agent: int, others: np.ndarray, delta: float, points: int) -> np.ndarray:
    """The mean [...] in ``agent``'s ball that maximises its surrogate E_{a^i ~ new, a^-i ~ others}[A].

    A differs from r by a constant, so the expected reward is maximised. ``means`` and ``others`` [..., 2].
    """
    candidates = ball(means[..., agent], delta, points)
    joint = np.repeat(others[..., None, :], points, axis=-2)
    joint[..., agent] = candidates
    best = expected_reward(joint).argmax(axis=-1)
    return np.take_along_axis(candidates, best[..., None], axis=-1)[..., 0]


def simultaneous(means: np.ndarray, delta: float, points: int) -> np.ndarray:
    """Both agents step against the other's old mean (section 2.3)."""
    return np.stack([trust_region_step(means, i, means, delta, points) for i in (0, 1)], axis=-1)


def sequential(means: np.ndarray, delta: float, points: int, order: Sequence[int]) -> np.ndarray:
    """Each agent of ``order`` steps against the other's current mean (section 3)."""
    new = means.copy()
    for agent in order:
        new[..., agent] = trust_region_step(means, agent, new, delta, points)
    return new


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """The paper's start, repeated steps from it, the landscape, and the first step from random starts."""
    delta, points = parameters.delta, parameters.grid_points
    rules = {
        "individual, simultaneous": lambda means: simultaneous(means, delta, points),
        "sequential, agent 1 first": lambda means: sequential(means, delta, points, (0, 1)),
        "sequential, agent 2 first": lambda means: sequential(means, delta, points, (1, 0)),
    }
    start = np.array([parameters.start_1, parameters.start_2])
    for name, rule in rules.items():
        path = [start]
        for _ in range(parameters.steps):
            path.append(rule(path[-1]))
        path = np.stack(path)
        step = np.arange(len(path))
        records.add("mean_1", name, path[:, 0], x=step)
        records.add("mean_2", name, path[:, 1], x=step)
        records.add("return", name, expected_reward(path), x=step)
        change = expected_reward(path[1]) - expected_reward(path[0])
        as_said = -change if rule is rules["individual, simultaneous"] else change
        records.add("figure_1_margin", name, as_said)
        records.add("figure_1_reversed_margin", name, -as_said)
        records.add("change", name, change)
    ends = ball(start, delta, 2)
    for agent in (0, 1):
        records.add("ball", f"agent {agent + 1}", ends[agent], x=[0, 1])
    axis = np.linspace(-parameters.extent, parameters.extent, parameters.landscape_points)
    for mean in axis:
        records.add("landscape", f"{mean:.3f}", expected_reward(np.stack([np.full_like(axis, mean), axis], -1)), x=axis)
    for seed in seeds:
        draws = generator(seed, "starts").uniform(-parameters.extent, parameters.extent, (parameters.starts, 2))
        for name, rule in rules.items():
            change = expected_reward(rule(draws)) - expected_reward(draws)
            records.add("random_start_change", name, change, game=np.arange(len(draws)), seed=seed)
            records.add("random_start_lowered", name, change < 0, game=np.arange(len(draws)), seed=seed)
