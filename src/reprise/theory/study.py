"""What an exact study is made of: its parameters, and the rows it records.

A study is a function ``run(parameters, seeds, records)`` in a module of this package, named by ``module`` in
``config/studies/<study>.yaml``. It draws all randomness from ``generator(seed, name)``, and records every number that
a figure draws or a claim is judged on; it judges nothing itself.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

COLUMNS = ("quantity", "series", "seed", "game", "x", "value")


class Parameters:
    """A study's parameters by name, as config/studies/<study>.yaml gives them for a tier; read-only."""

    def __init__(self, values: Mapping[str, Any]):
        self.__dict__.update(values)

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"parameters are read-only: {name}")


def generator(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one purpose of one seed: counter-based, independent of every other name and seed."""
    return np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, zlib.crc32(name.encode())])))


class Records:
    """The rows of a study: one number per (quantity, series, seed, game, x).

    ``quantity`` is what was measured ("gap"), ``series`` which line or group of the figure it belongs to ("N = 2"),
    ``game`` the unit of statistics within a seed, ``x`` the abscissa (iteration, kappa, number of agents).
    """

    def __init__(self, check: Callable[[], None] = lambda: None):
        self._check = check  # called at every add: a study can be stopped between its parts
        self._blocks: list[tuple[str, str, np.ndarray]] = []

    def add(self, quantity: str, series: str, value: Any, *, x: Any = 0.0, game: Any = 0, seed: int = 0) -> None:
        """Add numbers; ``value``, ``x`` and ``game`` broadcast against one another.

        ``records.add("gap", "N = 2", gap, x=iterations, game=np.arange(G)[:, None])`` for gap [G, K].
        """
        self._check()
        block = np.broadcast_arrays(*np.atleast_1d(seed, game, x, value))
        self._blocks.append((quantity, series, np.stack([np.ravel(part).astype(np.float64) for part in block])))

    def columns(self) -> dict[str, Any]:
        """The rows as columns, in the order they were added."""
        numbers = np.concatenate([block for *_, block in self._blocks], axis=1) if self._blocks else np.zeros((4, 0))
        texts = [[text[k] for text in self._blocks for _ in range(text[2].shape[1])] for k in (0, 1)]
        seed, game, x, value = numbers
        return {
            "quantity": texts[0],
            "series": texts[1],
            "seed": seed.astype(np.int32),
            "game": game.astype(np.int32),
            "x": np.ascontiguousarray(x),
            "value": np.ascontiguousarray(value),
        }
