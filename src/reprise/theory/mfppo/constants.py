"""The schedules and constants of MF-PPO's algorithm 1, lemma 4.3 and theorem 4.1, each in one place.

``upsilon`` is the paper's policy update parameter and ``iterations`` its K.
"""

from __future__ import annotations

import numpy as np


def proximity(upsilon: float, iterations: int) -> float:
    """The weight of the KL term, upsilon_k = upsilon sqrt(K), the same at every iteration (algorithm 1)."""
    return upsilon * np.sqrt(iterations)


def temperature(upsilon: float, iterations: int, k: int) -> float:
    """tau_k: tau_0 = 1 and tau_k = upsilon sqrt(K) / k (algorithm 1)."""
    return upsilon * np.sqrt(iterations) / k if k else 1.0


def m_exact(largest: np.ndarray) -> np.ndarray:
    """What theorem 4.1's M is when Q is exact: M = E_{nu*} max |Q|^2 / 2 <= rbar^2 / 2.

    The three-point lemma leaves <Q, pi_{k+1} - pi_k> - upsilon_k KL(pi_{k+1} || pi_k). By Hoelder the first term is at
    most c x with x = ||pi_{k+1} - pi_k||_1 and c = max |Q|, by Pinsker the second is at least upsilon_k x^2 / 2, and
    c x - upsilon_k x^2 / 2 <= c^2 / (2 upsilon_k). With V and Q normalised by 1 - gamma, |Q| <= rbar = max |r|. The
    printed M, E max F_{theta_0}^2 + 2 R_A^2, bounds the same c^2 / 2 for a network, which exact values do not have.
    """
    return np.square(largest) / 2


def m_printed(reward_bound: np.ndarray, gamma: float) -> np.ndarray:
    """The constant of the proof sketch, rbar^2 / (2 (1 - gamma)^2) (last display before lemma 4.3).

    It takes |Q| <= rbar / (1 - gamma), true of values that are not normalised; the paper's are (section 2), so it is
    1 / (1 - gamma)^2 times `m_exact` of rbar.
    """
    return m_exact(reward_bound / (1 - gamma))


def m_spread(spread: np.ndarray) -> np.ndarray:
    """Ours: the same with c = (max_a Q - min_a Q) / 2, since adding a function of the state to Q changes nothing."""
    return m_exact(spread / 2)


def theorem_4_1(
    upsilon: float, iterations: int, gamma: float, meta_actions: int, m: np.ndarray, errors: np.ndarray | float = 0.0
) -> np.ndarray:
    """Right side of theorem 4.1; ``errors`` is the sum over k of eps_k + eps'_k, 0 for exact values and updates."""
    root = np.sqrt(iterations)
    return (upsilon * (np.log(meta_actions) + errors) + m / upsilon) / ((1 - gamma) * root)
