"""Features of the log-linear policies and critics of Zhao et al.: one-hot, and random ones that fit nothing exactly.

phi^m(s, a^{1:m}) is a row of [F, d], F = S A^{m+1} for agent m = 0..N-1 (state, then the actions, agent 0 the most
significant digit); ``||phi|| <= 1`` as in section 4.
"""

from __future__ import annotations

import numpy as np


def one_hot(games: int, entries: int) -> np.ndarray:
    """phi [G, F, F]: every function of the entries is linear in them, so that nothing is misspecified."""
    return np.broadcast_to(np.eye(entries), (games, entries, entries))


def random_directions(generator: np.random.Generator, games: int, entries: int, dimension: int) -> np.ndarray:
    """phi [G, F, d] = (1, u) / sqrt(2) with u uniform on the unit sphere of d - 1 dimensions, so that ||phi|| = 1.

    The constant lets the features carry the mean of the values; of what is left they fit about (d - 1) / F."""
    drawn = generator.standard_normal((games, entries, dimension - 1))
    drawn /= np.linalg.norm(drawn, axis=2, keepdims=True)
    return np.concatenate([np.ones((games, entries, 1)), drawn], axis=2) / np.sqrt(2.0)
