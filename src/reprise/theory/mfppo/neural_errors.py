"""Errors of neural critics and actors (lemmas 4.1 and 4.2 of MF-PPO), exactly on the tables, and their limit in T.

Shapes: R replicates, X joint states, M meta-actions, I inputs of the network. Errors are mean squares, as the lemmas
define them. The expectation over the N sampled agents needs only the mean and variance of the binomial: F is linear in
their share.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from reprise.environments.mean_field import MeanFieldMDP
from reprise.theory.mfppo import networks
from reprise.theory.mfppo.algorithm import log_softmax


class Table:
    """From a network's values to F on the tables of one mean-field MDP."""

    def __init__(self, mdp: MeanFieldMDP):
        self._shape = (mdp.states, mdp.meta_actions)
        self.embedding = networks.embedding(mdp.fraction, mdp.local_state, mdp.meta_actions)
        self.slope = networks.slope(mdp.local_state, mdp.meta_actions)
        self.spread = np.repeat(mdp.fraction * (1 - mdp.fraction), mdp.meta_actions)

    def mean(self, f: np.ndarray) -> np.ndarray:
        """F(s, d, abar) [R, X, M], the mean embedding."""
        return (f @ self.embedding.T).reshape(len(f), *self._shape)

    def variance(self, f: np.ndarray, agents: np.ndarray) -> np.ndarray:
        """Variance [R, X, M] of F over N agents drawn from d: (dF/dd)^2 d (1 - d) / N; ``agents`` [R]."""
        found = np.square(f @ self.slope.T) * self.spread / np.asarray(agents)[:, None]
        return found.reshape(len(f), *self._shape)


def mean_square(law: np.ndarray, error: np.ndarray) -> np.ndarray:
    """E_law error^2 [R]; both [R, X, M]."""
    return (law * np.square(error)).sum(axis=(1, 2))


def limit(mdp: MeanFieldMDP, policy: np.ndarray, law: np.ndarray, agents: np.ndarray) -> np.ndarray:
    """Values f [R, I] where algorithm 2's expected step vanishes with N sampled agents: what T -> infinity leads to.

    E[z (z - gamma z')^T] f = (1 - gamma) E[z r]. The agents sampled at (s, d) and at (s', d') are independent, so the
    sampling enters through E[z z^T] only: it adds the binomial variance d (1 - d) / N, the regressor's own noise, which
    draws the slope of F in d towards 0 (errors in variables). ``mdp`` may be a batch of R games.
    """
    table = Table(mdp)
    sigma = (law[..., None] * policy).reshape(len(policy), -1)  # [R, X M]
    z = table.embedding
    after = (policy[..., None] * z.reshape(*policy.shape[1:], -1)).sum(axis=2)  # E[z | s, d], [R, X, I]
    games = mdp.transitions.shape[:-3]
    following = mdp.transitions.reshape(*games, -1, mdp.states) @ after  # E[z' | s, d, abar], [R, X M, I]
    noise = (sigma * table.spread / np.asarray(agents)[:, None])[:, None] * table.slope.T @ table.slope
    weighted = sigma[:, None] * z.T  # [R, I, X M]
    system = weighted @ z + noise - mdp.gamma * weighted @ following
    right = weighted @ ((1 - mdp.gamma) * mdp.rewards.reshape(*games, -1, 1))
    return np.linalg.solve(system, right)[..., 0]


def acting_on_samples(mdp: MeanFieldMDP, f: np.ndarray, tau: float, agents: int) -> np.ndarray:
    """The policy [R, X, M] that sees N sampled agents instead of d: exp(F / tau) averaged over the binomial law."""
    counts = np.arange(agents + 1)
    weight = binom.pmf(counts, agents, mdp.fraction[:, None])  # [X, N + 1]
    total = np.zeros((len(f), mdp.states, mdp.meta_actions))
    for n in counts:
        z = networks.embedding(np.full(mdp.states, n / agents), mdp.local_state, mdp.meta_actions)
        exponent = (f @ z.T).reshape(total.shape) / tau
        total += weight[:, n, None] * np.exp(log_softmax(exponent))
    return total
