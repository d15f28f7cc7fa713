"""Algorithms 2 and 3 of MF-PPO: T projected stochastic steps on a critic (TD) and an actor (regression), averaged.

A step changes the weights by -eta * residual * (gradient of F at the sampled agents). F is linear in the values f of
the network, so the residual-weighted gradient is the gradient of c . f with c = A_t f - b_t:
TD (algorithm 2): A_t = mean of z (z - gamma z')^T and b_t = mean of (1 - gamma) r z; regression (algorithm 3):
A_t = mean of z z^T and b_t = A_t y, y the target. z [I] are the shares of the N sampled agents among the inputs,
the mean is over a mini-batch; the paper's batch is 1.

Shapes: R replicates, T steps, B samples a step, X joint states, M meta-actions, I inputs of the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from reprise.environments.mean_field import MeanFieldMDP
from reprise.theory.mfppo import networks

CHUNK = 256  # steps whose samples are drawn at once


@dataclass(frozen=True)
class Start:
    """What actor and critic start from, and the ball around it: x [I, C], weights [C, R, m], signs [R, m]."""

    x: np.ndarray
    weights: np.ndarray
    signs: np.ndarray
    radius: float

    def values(self, weights: np.ndarray) -> np.ndarray:
        """f [R, I] of the networks at ``weights``."""
        return networks.Forward(self.x, weights, self.signs).values


class Schedule(NamedTuple):
    """T, the step size eta, and the samples per step."""

    steps: int
    rate: float
    batch: int


class Solution(NamedTuple):
    """Values f [R, I] of the ``average`` of theta(0) ... theta(T - 1), which lemmas 4.1 and 4.2 analyse, and of the
    ``last`` iterate theta(T), which the text outputs; ``travel`` [R] = ||theta(T) - theta(0)||."""

    average: np.ndarray
    last: np.ndarray
    travel: np.ndarray


def initialise(mdp: MeanFieldMDP, generators: Sequence[np.random.Generator], width: int, radius: float) -> Start:
    """A start of ``width`` neurons for every generator."""
    x = networks.inputs(mdp.meta_actions)
    weights, signs = networks.initial(generators, x.shape[1], width)
    return Start(x, weights, signs, radius)


def critic(
    mdp: MeanFieldMDP,
    start: Start,
    policy: np.ndarray,
    law: np.ndarray,
    agents: Sequence[int],
    schedule: Schedule,
    generators: Sequence[np.random.Generator],
    factor: float = 1.0,
) -> Solution:
    """Algorithm 2: TD on (s, d, abar) ~ sigma_k, a' ~ pi_k. ``policy`` [R, X, M]; ``law`` nu_k [R, X]; ``agents`` N.

    ``factor`` multiplies the mean embedding: F is ``factor`` times what the returned values give.
    """
    rewards = (1 - mdp.gamma) * mdp.rewards.ravel()
    samplers = [Sampler(mdp, law[r], policy[r], policy[r], agents[r]) for r in range(len(agents))]

    def system(r: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        pair, here, after, there = samplers[r].draw(generators[r], steps * schedule.batch, successor=True)
        z, following = (shares(mdp, *found) for found in ((pair, here), (after, there)))
        matrix, right = _mean(z, z - mdp.gamma * following, rewards[pair], schedule.batch)
        return factor**2 * matrix, factor * right

    return descend(start, _systems(system, len(agents), schedule.steps), schedule)


def actor(
    mdp: MeanFieldMDP,
    start: Start,
    target: np.ndarray,
    law: np.ndarray,
    agents: Sequence[int],
    schedule: Schedule,
    generators: Sequence[np.random.Generator],
) -> Solution:
    """Algorithm 3: regression on the values ``target`` [R, I], samples (s, d) ~ nu_k and abar uniform."""
    uniform = np.full((mdp.states, mdp.meta_actions), 1 / mdp.meta_actions)
    samplers = [Sampler(mdp, law[r], uniform, uniform, agents[r]) for r in range(len(agents))]

    def system(r: int, steps: int) -> tuple[np.ndarray, np.ndarray]:
        pair, here = samplers[r].draw(generators[r], steps * schedule.batch, successor=False)
        z = shares(mdp, pair, here)
        return _mean(z, z, z @ target[r], schedule.batch)

    return descend(start, _systems(system, len(agents), schedule.steps), schedule)


def descend(start: Start, systems: Iterator[tuple[np.ndarray, np.ndarray]], schedule: Schedule) -> Solution:
    """theta(t + 1) = Proj(theta(t) - eta * gradient of (A_t f - b_t) . f) from theta(0) = theta_0."""
    weights, total = start.weights, np.zeros_like(start.weights)
    for matrix, right in systems:
        total += weights
        forward = networks.Forward(start.x, weights, start.signs)
        residual = (matrix @ forward.values[..., None])[..., 0] - right
        weights = networks.project(weights - forward.gradient(schedule.rate * residual), start.weights, start.radius)
    travel = np.sqrt(np.square(weights - start.weights).sum(axis=(0, 2)))
    return Solution(start.values(total / schedule.steps), start.values(weights), travel)


def _systems(system, replicates: int, steps: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """A_t [R, I, I] and b_t [R, I] of every step, drawn by replicate in chunks."""
    for first in range(0, steps, CHUNK):
        size = min(CHUNK, steps - first)
        drawn = [system(r, size) for r in range(replicates)]
        matrices, rights = (np.stack(parts, axis=1) for parts in zip(*drawn, strict=True))
        yield from zip(matrices, rights, strict=True)


def _mean(z: np.ndarray, difference: np.ndarray, target: np.ndarray, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Means over each batch of z difference^T [T, I, I] and of target z [T, I]."""
    z, difference = (part.reshape(-1, batch, part.shape[1]) for part in (z, difference))
    transposed = z.transpose(0, 2, 1)
    return transposed @ difference / batch, (transposed @ target.reshape(-1, batch, 1))[..., 0] / batch


def shares(mdp: MeanFieldMDP, pair: np.ndarray, fraction: np.ndarray) -> np.ndarray:
    """z [n, I] of the pairs x * M + abar [n]: ``fraction`` of the agents at (s, 1, abar), the rest at (s, 0, abar)."""
    z = np.zeros((len(pair), 2 * networks.LOCAL_STATES * mdp.meta_actions))
    row = np.arange(len(pair))
    first = mdp.local_state[pair // mdp.meta_actions] * networks.LOCAL_STATES * mdp.meta_actions
    first = first + pair % mdp.meta_actions
    z[row, first] = 1 - fraction
    z[row, first + mdp.meta_actions] = fraction
    return z


class Sampler:
    """Samples of one replicate: (s, d, abar), its successor, and N agents at both.

    ``law`` [X] of (s, d), ``policy`` [X, M] of abar, ``following`` [X, M] of the successor's meta-action.
    """

    def __init__(self, mdp: MeanFieldMDP, law: np.ndarray, policy: np.ndarray, following: np.ndarray, agents: int):
        self._mdp, self._agents = mdp, agents
        self._pairs = _cumulative((law[:, None] * policy).reshape(1, -1))
        self._next = _cumulative(mdp.transitions.reshape(-1, mdp.states))
        self._following = _cumulative(following)

    def draw(self, generator: np.random.Generator, size: int, successor: bool) -> tuple[np.ndarray, ...]:
        """Pair x * M + abar [size] and the share of the N agents in state 1; with ``successor`` both after it too."""
        pair = _pick(self._pairs, np.zeros(size, dtype=int), generator)
        here = self._sampled(pair // self._mdp.meta_actions, generator)
        if not successor:
            return pair, here
        state = _pick(self._next, pair, generator)
        after = state * self._mdp.meta_actions + _pick(self._following, state, generator)
        return pair, here, after, self._sampled(state, generator)

    def _sampled(self, state: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        return generator.binomial(self._agents, self._mdp.fraction[state]) / self._agents


def _cumulative(laws: np.ndarray) -> np.ndarray:
    """Cumulative laws [L, n], law l shifted to end at l + 1: one ascending array for all of them."""
    sums = laws.cumsum(axis=1)
    return sums / sums[:, -1:] + np.arange(len(laws))[:, None]


def _pick(cumulative: np.ndarray, law: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """An outcome of each ``law`` (row of `_cumulative`)."""
    found = np.searchsorted(cumulative.ravel(), law + generator.random(len(law)), side="right")
    return np.minimum(found - law * cumulative.shape[1], cumulative.shape[1] - 1)
