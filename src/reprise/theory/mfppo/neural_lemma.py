"""Lemma 4.3 of MF-PPO with measured errors of critic and actor: the recursion and the steps of its proof.

Shapes: R replicates (or games), X joint states, M meta-actions. Everything is an exact sum over the tables.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reprise.theory.mfppo.neural_errors import mean_square


class Iteration(NamedTuple):
    """Iteration k of algorithm 1. policy, following [R, X, M]: pi_k and pi_{k+1}; law, next_law [R, X]: nu_k, nu_{k+1};
    q: Q of pi_k; critic: F of theta_k; energy, next_energy: F / tau before and after (all [R, X, M]); proximity [R]:
    upsilon_k; tau [R]: tau_{k+1}; optimal [R, X, M], optimal_law [R, X]: pi* and nu*."""

    policy: np.ndarray
    following: np.ndarray
    law: np.ndarray
    next_law: np.ndarray
    q: np.ndarray
    critic: np.ndarray
    energy: np.ndarray
    next_energy: np.ndarray
    proximity: np.ndarray
    tau: np.ndarray
    optimal: np.ndarray
    optimal_law: np.ndarray

    @property
    def evaluation(self) -> np.ndarray:
        """epsilon_k of lemma 4.1 [R], of the mean embedding."""
        return mean_square(self.law[..., None] * self.policy, self.critic - self.q)

    @property
    def mismatch(self) -> np.ndarray:
        """e = F_{k+1} / tau_{k+1} - F_k / tau_k - F_theta / upsilon_k [R, X, M]: what the actor's regression left."""
        return self.next_energy - self.energy - self.critic / self.proximity[:, None, None]

    @property
    def improvement(self) -> np.ndarray:
        """epsilon'_{k+1} of lemma 4.2 [R]: (tau_{k+1} e)^2 under nu_k and uniform meta-actions."""
        return mean_square(self.law[..., None] / self.policy.shape[2], self.tau[:, None, None] * self.mismatch)


def phi(optimal: np.ndarray, policy: np.ndarray, law: np.ndarray) -> np.ndarray:
    """phi* of lemma 4.3 [R]: root of E_{nu x pi_0} |d pi* / d pi_0 - d pi / d pi_0|^2, pi_0 uniform."""
    return np.sqrt(policy.shape[2] * (law[..., None] * np.square(optimal - policy)).sum(axis=(1, 2)))


def psi(optimal: np.ndarray, optimal_law: np.ndarray, policy: np.ndarray, law: np.ndarray) -> np.ndarray:
    """psi* of lemma 4.3 [R]: root of E_sigma |d sigma* / d sigma - d(nu* x pi) / d sigma|^2."""
    difference = optimal_law[..., None] * (optimal - policy)
    return np.sqrt((np.square(difference) / (law[..., None] * policy)).sum(axis=(1, 2)))


class Reading(NamedTuple):
    """Lemma 4.3's eps_k and eps'_k [R], and its M [R]."""

    first: np.ndarray
    second: np.ndarray
    m: np.ndarray


def readings(step: Iteration, initial: np.ndarray, radius: np.ndarray | float) -> dict[str, Reading]:
    """Lemma 4.3's quantities in three readings; ``initial`` [R, X, M] is F at the initialisation, ``radius`` R_A = R_Q.

    printed: the errors of lemmas 4.1 and 4.2 as they stand, mean squares; eps'_k then holds a fourth power.
    root: their roots, which have the unit of F.
    derived: what the proof gives. The Cauchy-Schwarz step needs pi_k where the lemma prints phi*_{k+1}, and the density
    nu* / nu_k, since the errors are measured under nu_k; |F_theta| <= |F_theta0| + R gives 2 E max F_theta0^2 + 2 R^2.
    """
    evaluation, improvement = step.evaluation, step.improvement
    actions, density = step.policy.shape[2], step.optimal_law / step.law
    following = phi(step.optimal, step.following, step.next_law)
    current = phi(step.optimal, step.policy, np.square(density) * step.law)
    transport = psi(step.optimal, step.optimal_law, step.policy, step.law)
    largest = (step.optimal_law * np.square(initial).max(axis=2)).sum(axis=1)
    ball, scale = 2 * np.square(radius), actions / np.square(step.tau)

    def first(power: float, factor: np.ndarray) -> np.ndarray:
        return improvement**power * factor / step.tau + evaluation**power * transport / step.proximity

    return {
        "printed": Reading(first(1.0, following), scale * np.square(improvement), largest + ball),
        "root": Reading(first(0.5, following), scale * improvement, largest + ball),
        "derived": Reading(first(0.5, current), scale * improvement * density.max(axis=1), 2 * largest + ball),
    }


def optimality(step: Iteration) -> np.ndarray:
    """(1 - gamma) (L(pi*) - L(pi_k)) = E_{nu*} <Q_k, pi* - pi_k> [R] (Kakade and Langford's lemma 6.1)."""
    return np.einsum("rx,rxm,rxm->r", step.optimal_law, step.q, step.optimal - step.policy)


def descent(step: Iteration, log_policy: np.ndarray, log_following: np.ndarray) -> np.ndarray:
    """E_{nu*} [KL(pi* || pi_k) - KL(pi* || pi_{k+1})] [R]; the entropy of pi* drops out."""
    return np.einsum("rx,rxm,rxm->r", step.optimal_law, step.optimal, log_following - log_policy)


def recursion(step: Iteration, reading: Reading, kl: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both sides of inequality (4.3), [R] each, left <= right; ``kl`` from `descent`."""
    right = step.proximity * (kl + reading.first + reading.second) + reading.m / step.proximity
    return optimality(step), right


def propagation(step: Iteration, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """Where the errors enter (4.3): |E_{nu*} <error of the new energy, pi* - pi_k>| <= eps_k.

    The error is that of F_{k+1} / tau_{k+1} against F_k / tau_k + Q_k / upsilon_k.
    """
    error = step.mismatch + (step.critic - step.q) / step.proximity[:, None, None]
    inner = np.einsum("rx,rxm,rxm->r", step.optimal_law, error, step.optimal - step.policy)
    return np.abs(inner), reading.first


def regression(step: Iteration, reading: Reading) -> tuple[np.ndarray, np.ndarray]:
    """What the actor's error adds to the change of the energy: E_{nu*} max_a e^2 <= eps'_k."""
    return (step.optimal_law * np.square(step.mismatch).max(axis=2)).sum(axis=1), reading.second


STEPS = {"propagation": propagation, "regression": regression}
"""The two steps of the proof in which the measured errors stand, by the name of their records."""
