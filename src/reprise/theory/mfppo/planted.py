"""Wrong versions of algorithm 1 that the checks must refuse, and steps other than the paper's.

An ``update(q, exponent, proximity)`` takes the place of `algorithm.closed_form`.
"""

from __future__ import annotations

import numpy as np

MIRRORED = (0, 2, 1, 3)
"""Each meta-action's index when its map is read with the local states in reverse order."""


def reversed_sign(q: np.ndarray, exponent: np.ndarray, proximity: float) -> np.ndarray:
    """Descends where it should ascend."""
    return exponent - q / proximity


def mirrored_critic(q: np.ndarray, exponent: np.ndarray, proximity: float) -> np.ndarray:
    """Takes the value of the meta-action whose map has the local states in reverse order."""
    return exponent + q[..., MIRRORED] / proximity


def without_memory(q: np.ndarray, _exponent: np.ndarray, proximity: float) -> np.ndarray:
    """Keeps close to the uniform policy instead of the current one: a constant temperature."""
    return q / proximity
