"""The cooperative ratio game of Zhao et al., appendix E: one state, two agents with two actions, random stopping.

In every round the agents choose (a, b), both earn REWARD[a, b], and the game stops with probability STOP[a, b]. The
expected total is a ratio, V = E[REWARD] / E[STOP]: von Neumann's ratio game. Numbers as in the released code
(github.com/zhaoyl18/ratio_game at c8312eb, model.py). Joint policies are [..., 2, 2], axis -2 agent 1's action.
"""

from __future__ import annotations

import numpy as np

REWARD = np.array([[1.0, 0.5], [-0.5, 0.0]])
STOP = np.array([[1.0, 1.0], [0.1, 0.1]])
PURE = REWARD / STOP  # V when both agents keep to one action: 1, 0.5; -5, 0
OPTIMUM = float(PURE.max())
PLATEAU = 5 / 11  # V wherever agent 1 plays both actions with probability 1/2, whatever agent 2 does


def product(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The joint policy of independent agents, ``x`` and ``y`` [..., 2]."""
    return x[..., :, None] * y[..., None, :]


def value(joint: np.ndarray) -> np.ndarray:
    """V [...]: expected total reward until the game stops."""
    return (joint * REWARD).sum((-1, -2)) / (joint * STOP).sum((-1, -2))


def action_value(joint: np.ndarray) -> np.ndarray:
    """Q [..., 2, 2]: one round of (a, b), then ``joint`` until the game stops."""
    return REWARD + (1 - STOP) * value(joint)[..., None, None]


def gradient(joint: np.ndarray) -> np.ndarray:
    """dV / d joint [..., 2, 2], exactly; it is the advantage Q - V times the expected number of rounds."""
    return (REWARD - STOP * value(joint)[..., None, None]) / (joint * STOP).sum((-1, -2))[..., None, None]


def product_gradients(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """dV/dx and dV/dy [..., 2] of independent agents, along the simplex only their differences matter."""
    slopes = gradient(product(x, y))
    return (slopes * y[..., None, :]).sum(-1), (slopes * x[..., :, None]).sum(-2)
