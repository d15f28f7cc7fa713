"""Policy evaluation from offline data by ridge regression with a count bonus: pessimistic, plain, or optimistic.

The linear form of pessimism (as in PEVI of Jin, Yang and Wang, 2021), our instantiation of section 5 of Zhao et al.:

    Q(s, a) = clip(phi' w - c sqrt(phi' Lambda^-1 phi), 0, Vmax),   Lambda = ridge I + sum_i phi_i phi_i',

w the ridge regression of r + gamma V(s') on phi, V(s) = E_pi Q(s, .), as a fixed point of V.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reprise.theory.zhao.offline import Data


class Prior(NamedTuple):
    """What the regression falls back to without data: ``reward`` + ``future`` gamma (mean of V over states)."""

    reward: float
    future: float


def priors(gamma: float) -> dict[str, Prior]:
    """The three that are compared, for rewards in [0, 1].

    "zero": plain ridge regression, which thereby assumes the worst value there is; "middle": half of Vmax, which is
    still worse than most of what a good policy meets; "neutral": a reward of 1/2, then an average state.
    """
    return {"zero": Prior(0.0, 0.0), "middle": Prior(0.5 / (1 - gamma), 0.0), "neutral": Prior(0.5, 1.0)}


class RidgeBound:
    """Evaluates policies on the data sets ``data`` (B of them) with features ``phi`` [B, SJ, d].

    ``penalty`` is c: 0 is plain evaluation, below 0 is optimism. ``value_limit`` is Vmax. A fixed point is approached
    by at most ``sweeps`` backups per policy, until V moves by no more than ``tolerance``.
    """

    def __init__(
        self,
        data: Data,
        phi: np.ndarray,
        *,
        gamma: float,
        ridge: float,
        penalty: float,
        prior: Prior,
        value_limit: float,
        sweeps: int,
        tolerance: float,
    ):
        rows, states, joint = data.pairs.shape
        counts = data.pairs.reshape(rows, -1)
        gram = np.einsum("bfd,bf,bfe->bde", phi, counts, phi, optimize=True) + ridge * np.eye(phi.shape[2])
        gain = phi @ np.linalg.solve(gram, phi.swapaxes(1, 2))  # [B, SJ, SJ]: phi' Lambda^-1 phi
        bonus = np.sqrt(np.einsum("bff->bf", gain))
        unknown = 1.0 - (gain @ counts[..., None])[..., 0]  # how much of the prior is left: 1 / (n + 1) when one-hot
        rewards = (gain @ data.rewards.reshape(rows, -1, 1))[..., 0]
        self.shape = (rows, states, joint)
        self.offset = rewards + prior.reward * unknown - penalty * bonus
        self.carry = gamma * gain @ data.moves.reshape(rows, states * joint, states)
        self.carry += gamma * prior.future * unknown[..., None] / states
        self.value_limit, self.sweeps, self.tolerance = value_limit, sweeps, tolerance
        self.value = np.full((rows, states), 0.5 * value_limit)
        self.residual = np.zeros(rows)

    def __call__(self, policy: np.ndarray) -> np.ndarray:
        """Q [B, S, J] for the joint policy [B, S, J], from the last policy's values onwards; ``residual`` [B] is how
        far V is from its fixed point (with misspecified features the map need not contract)."""
        for _ in range(self.sweeps):
            q = self._backup()
            value = (policy * q).sum(axis=2)
            self.residual = np.abs(value - self.value).max(axis=1)
            self.value = value
            if self.residual.max() <= self.tolerance:
                break
        return self._backup()

    def _backup(self) -> np.ndarray:
        raw = self.offset + (self.carry @ self.value[..., None])[..., 0]
        return np.clip(raw, 0.0, self.value_limit).reshape(self.shape)
