"""Exact values of mean-field MDPs. V and Q are normalised by 1 - gamma as in the paper (section 2), so that they lie
between the smallest and the largest reward. Shapes as in ``environments/mean_field.py``; policies are [..., X, M]."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reprise.environments.mean_field import MeanFieldMDP


class Optimum(NamedTuple):
    """value [..., X], V of the optimal policy; policy [..., X, M], deterministic; law [..., X], its stationary law nu*
    (the paper measures progress under nu*, eq. 4.1)."""

    value: np.ndarray
    policy: np.ndarray
    law: np.ndarray


def chain(mdp: MeanFieldMDP, policy: np.ndarray) -> np.ndarray:
    """The policy's transition matrix [..., X, X]."""
    return (policy[..., None, :] @ mdp.transitions)[..., 0, :]


def evaluate(mdp: MeanFieldMDP, policy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """V [..., X] and Q [..., X, M] of a policy: V = (1 - gamma) r_pi + gamma P_pi V."""
    reward = (1 - mdp.gamma) * (policy * mdp.rewards).sum(axis=-1)
    system = np.eye(mdp.states) - mdp.gamma * chain(mdp, policy)
    value = np.linalg.solve(system, reward[..., None])[..., 0]
    return value, backup(mdp, value)


def backup(mdp: MeanFieldMDP, value: np.ndarray) -> np.ndarray:
    """Q [..., X, M] = (1 - gamma) r + gamma E V(next)."""
    following = (mdp.transitions @ value[..., None, :, None])[..., 0]
    return (1 - mdp.gamma) * mdp.rewards + mdp.gamma * following


def stationary(mdp: MeanFieldMDP, policy: np.ndarray) -> np.ndarray:
    """The stationary law [..., X] of a policy: nu P_pi = nu, nu sums to one (unique: the resets make d ergodic)."""
    system = np.eye(mdp.states) - np.swapaxes(chain(mdp, policy), -1, -2)
    system[..., -1, :] = 1.0  # the equations add up to zero: the last one gives way to the sum
    right = np.zeros(mdp.states)
    right[-1] = 1.0
    return np.linalg.solve(system, np.broadcast_to(right[:, None], (*system.shape[:-1], 1)))[..., 0]


def optimum(mdp: MeanFieldMDP) -> Optimum:
    """An optimal policy by policy iteration; a policy is kept where no meta-action gains more than rounding."""
    choice = mdp.rewards.argmax(axis=-1)
    while True:
        policy = np.eye(mdp.meta_actions)[choice]
        value, q = evaluate(mdp, policy)
        better = q.max(axis=-1) > np.take_along_axis(q, choice[..., None], axis=-1)[..., 0] + 1e-12
        if not better.any():
            return Optimum(value, policy, stationary(mdp, policy))
        choice = np.where(better, q.argmax(axis=-1), choice)


def performance(law: np.ndarray, value: np.ndarray) -> np.ndarray:
    """L(pi) = E_{nu*} V^pi [...] (eq. 4.1); ``law`` is nu*, ``value`` is V^pi."""
    return (law * value).sum(axis=-1)
