"""Equations 3 to 18 of the DPO paper as they stand there, batched over games; each in one place under its number.

K_i = max_s KL(old_i(.|s) || new_i(.|s)) is written ``divergences`` [G, N] throughout. ``old`` and ``new`` are the
agents' policies [G, N, S, A], ``found`` the exact evaluation of the old joint policy, ``r_max`` [G] a bound of |r|.
"""

from __future__ import annotations

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.tabular import Evaluation


def reward_bound(games: MarkovGames) -> np.ndarray:
    """r_max [G]: the largest |r| of each game, the smallest value that section 3.1 allows."""
    return np.abs(games.rewards).max(axis=(1, 2))


def m(r_max: np.ndarray, gamma: float) -> np.ndarray:
    """M = r_max / (1 - gamma), which the proof of lemma 3.1 takes for a bound of |A_old|. It is not one."""
    return r_max / (1 - gamma)


def m_tilde(r_max: np.ndarray, gamma: float) -> np.ndarray:
    """M-tilde = 2 r_max / (1 - gamma)^2 of equation 8."""
    return 2 * r_max / (1 - gamma) ** 2


def m_hat(r_max: np.ndarray, gamma: float, agents: int) -> np.ndarray:
    """M-hat = sqrt((N - 1) / N) 2 r_max / (1 - gamma)^2 of equation 12."""
    return np.sqrt((agents - 1) / agents) * 2 * r_max / (1 - gamma) ** 2


def c(r_max: np.ndarray, gamma: float) -> np.ndarray:
    """C = 4 gamma r_max / (1 - gamma)^3 of equations 3 and 12."""
    return 4 * gamma * r_max / (1 - gamma) ** 3


def c_without_root(r_max: np.ndarray, gamma: float, agents: int) -> np.ndarray:
    """Ours: C + (N - 1) r_max / (1 - gamma)^2, with which sum_i (L_i - constant K_i) bounds J(new) - J(old) from below.

    L_joint differs from sum_i L_i in the second order only. Changing one agent after the other, agent k adds at most
    span(A) / 2 * 2 TV_k * sum_{j<k} 2 TV_j per state; span(A) <= 2 r_max / (1 - gamma), 2 TV_j TV_k <= TV_j^2 + TV_k^2
    and TV^2 <= KL / 2 give (N - 1) r_max / (1 - gamma)^2 * sum_i K_i. Equation 3 adds C sum_i K_i.
    """
    return c(r_max, gamma) + (agents - 1) * r_max / (1 - gamma) ** 2


def divergences_of(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """K_i [G, N] of two sets of policies; never below 0, as rounding of equal policies would have it."""
    return np.maximum(tabular.max_kl(old, new), 0.0)


def joint_surrogate(found: Evaluation, new: np.ndarray) -> np.ndarray:
    """L_joint [G] of equation 4."""
    return np.einsum("gs,gsj,gsj->g", found.visitation, tabular.product(new), found.advantage)


def own_surrogates(found: Evaluation, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """L_i of equation 6 for every agent: [G, N]."""
    return np.stack(
        [
            np.einsum("gs,gsa,gsa->g", found.visitation, new[:, i], tabular.own(found.advantage, old, i))
            for i in range(old.shape[1])
        ],
        axis=1,
    )


def lemma_3_1(divergences: np.ndarray, r_max: np.ndarray, gamma: float) -> np.ndarray:
    """M-tilde sqrt(sum_{j != i} K_j), equation 8: [G, N], the bound of |L_joint - L_i| for each agent i."""
    others = np.maximum(divergences.sum(axis=1, keepdims=True) - divergences, 0.0)
    return m_tilde(r_max, gamma)[:, None] * np.sqrt(others)


def penalty(divergences: np.ndarray, r_max: np.ndarray, gamma: float) -> np.ndarray:
    """M-hat sum_i sqrt(K_i) + C sum_i K_i, what theorem 3.2 subtracts: [G]."""
    agents = divergences.shape[1]
    root = m_hat(r_max, gamma, agents) * np.sqrt(divergences).sum(axis=1)
    return root + c(r_max, gamma) * divergences.sum(axis=1)


def chain(
    found: Evaluation, old: np.ndarray, new: np.ndarray, r_max: np.ndarray, gamma: float
) -> dict[str, np.ndarray]:
    """The right-hand sides of the proof of theorem 3.2, equations 3, 13, 14, 15 and 16, each [G] and each said to be no
    more than the one before (equation 15 with the square root that its typesetting lost)."""
    agents = old.shape[1]
    divergences = divergences_of(old, new)
    total = divergences.sum(axis=1)
    together = c(r_max, gamma) * np.maximum(tabular.max_kl(tabular.product(old), tabular.product(new)), 0.0)
    apart = c(r_max, gamma) * total
    mean = own_surrogates(found, old, new).mean(axis=1)
    root = m_tilde(r_max, gamma) * np.sqrt((agents - 1) / agents * total)
    return {
        "3": joint_surrogate(found, new) - together,
        "13": mean - lemma_3_1(divergences, r_max, gamma).mean(axis=1) - together,
        "14": mean - root - together,
        "15": mean - root - apart,
        "16": mean - penalty(divergences, r_max, gamma),
    }


def move_threshold(agents: int) -> float:
    """1 / sqrt(2 N (N - 1)): with M-hat and C scaled by more than this, equation 17 is largest at the old policy.

    L_i <= TV_max span(Q_i) / (1 - gamma) <= 2 r_max TV_max / (1 - gamma)^2 and sqrt(K_i) >= sqrt(2) TV_max, so the
    penalty M-hat sqrt(K_i) is at least sqrt(2 N (N - 1)) times the gain L_i / N. Two agents: 1/2.
    """
    return 1 / np.sqrt(2 * agents * (agents - 1))
