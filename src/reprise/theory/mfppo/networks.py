"""Two-layer permutation-invariant networks of MF-PPO (section 4), for many replicates at once.

F(s, d, abar) = E_{s' ~ d} f(s, s', abar) with f(s, s', abar) = m^(-1/2) sum_j u_j relu(theta_j . x(s, s', abar)), x
being its arguments' three one-hots, of unit norm. Two local states leave I = 2 * 2 * M distinct inputs (s, s', abar):
a network *is* its I values, and F is linear in the fraction d of agents in state 1, or in the fraction among N sampled
agents. That is the mean embedding of definition 4.1; the prefactor (m N)^(-1/2) that section 4 prints with the sum over
the N agents is sqrt(N) times it (`printed_factor`).

Shapes: R replicates, m neurons, C = 4 + M input coordinates. Weights are [C, R, m], so that neurons are contiguous.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LOCAL_STATES = 2


def inputs(meta_actions: int) -> np.ndarray:
    """x(s, s', abar) [I, C], unit norm; row (s * 2 + s') * M + abar."""
    s, other, action = (grid.ravel() for grid in np.indices((LOCAL_STATES, LOCAL_STATES, meta_actions)))
    rows = np.zeros((s.size, 2 * LOCAL_STATES + meta_actions))
    for block in (s, LOCAL_STATES + other, 2 * LOCAL_STATES + action):
        rows[np.arange(s.size), block] = 1 / np.sqrt(3)
    return rows


def initial(generators: Sequence[np.random.Generator], coordinates: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """theta_0 [C, R, m] with rows N(0, I/C) and u [R, m] uniform on {-1, 1}: a generator per replicate."""
    drawn = [(g.standard_normal((coordinates, width)), g.choice([-1.0, 1.0], width)) for g in generators]
    weights = np.stack([first for first, _ in drawn], axis=1) / np.sqrt(coordinates)
    return weights, np.stack([second for _, second in drawn])


class Forward:
    """The values f [R, I] of networks at ``weights``, and what their gradient needs."""

    def __init__(self, x: np.ndarray, weights: np.ndarray, signs: np.ndarray):
        self._x, self._shape = x, weights.shape
        self._signs = signs / np.sqrt(weights.shape[2])
        before = (x @ weights.reshape(len(weights), -1)).reshape(len(x), *weights.shape[1:])
        self._active = before > 0
        np.maximum(before, 0, out=before)
        self.values = np.einsum("irm,rm->ri", before, self._signs)

    def gradient(self, coefficients: np.ndarray) -> np.ndarray:
        """Gradient [C, R, m] of sum_i coefficients[r, i] f_i in the weights (0 for a neuron at its kink)."""
        passed = self._active * coefficients.T[:, :, None]
        gradient = (self._x.T @ passed.reshape(len(self._x), -1)).reshape(self._shape)
        gradient *= self._signs
        return gradient


def project(weights: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """Orthogonal projection of each replicate's weights onto the Euclidean ball around ``centre``."""
    offset = weights - centre
    norm = np.sqrt(np.einsum("crm,crm->r", offset, offset))
    if (norm <= radius).all():
        return weights
    return centre + offset * np.minimum(1.0, radius / np.maximum(norm, radius))[:, None]


def embedding(fractions: np.ndarray, local_state: np.ndarray, meta_actions: int) -> np.ndarray:
    """Matrix [X * M, I] that takes the values f to F(s, d, abar) at the joint states (local_state, fractions) [X]."""
    rows = np.zeros((len(fractions), meta_actions, LOCAL_STATES, LOCAL_STATES, meta_actions))
    state, action = np.indices(rows.shape[:2])
    rows[state, action, local_state[:, None], 0, action] = 1 - fractions[:, None]
    rows[state, action, local_state[:, None], 1, action] = fractions[:, None]
    return rows.reshape(len(fractions) * meta_actions, -1)


def slope(local_state: np.ndarray, meta_actions: int) -> np.ndarray:
    """Matrix [X * M, I] that takes f to dF/dd = f(s, 1, abar) - f(s, 0, abar)."""
    ones = np.ones(len(local_state))
    return embedding(ones, local_state, meta_actions) - embedding(0 * ones, local_state, meta_actions)


def printed_factor(agents: int) -> float:
    """What multiplies the mean embedding under section 4's printed prefactor (m N)^(-1/2) of a sum over N agents."""
    return np.sqrt(agents)
