"""Counter-based random numbers: one stream per run, so that a run does not depend on its cohort.

Every number is a pure function of (run seed, stream name, step): nothing has to be saved for an exact resume but a
step counter, and a run trained alone draws what it draws among others, on any device (numbers are made on the host).
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import torch


class Streams:
    """The random streams of a cohort's runs.

    Args:
        seeds: one integer per run (R of them).
        device: where the drawn tensors go.
    """

    def __init__(self, seeds: Sequence[int], device: torch.device | str = "cpu"):
        self.seeds = [int(seed) for seed in seeds]
        self.device = torch.device(device)

    def _generators(self, name: str, step: int) -> list[np.random.Generator]:
        # Philox: key = (run seed, stream), counter = step in the high word, so blocks never overlap below 2**64 draws.
        word = zlib.crc32(name.encode())
        return [
            np.random.Generator(np.random.Philox(key=(seed << 32) | word, counter=int(step) << 192))
            for seed in self.seeds
        ]

    def _stack(self, arrays: list[np.ndarray]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)).to(self.device)

    def uniform(self, name: str, step: int, shape: Sequence[int]) -> torch.Tensor:
        """Uniform numbers in [0, 1): float32 [R, *shape]."""
        return self._stack([g.random(tuple(shape), dtype=np.float32) for g in self._generators(name, step)])

    def normal(self, name: str, step: int, shape: Sequence[int]) -> torch.Tensor:
        """Standard normal numbers: float32 [R, *shape]."""
        return self._stack([g.standard_normal(tuple(shape), dtype=np.float32) for g in self._generators(name, step)])

    def integers(self, name: str, step: int, high: int, shape: Sequence[int]) -> torch.Tensor:
        """Uniform integers in [0, high): int64 [R, *shape]."""
        return self._stack([g.integers(0, high, tuple(shape)) for g in self._generators(name, step)])

    def permutations(self, name: str, step: int, size: int) -> torch.Tensor:
        """One random permutation of range(size) per run: int64 [R, size]."""
        return self._stack([g.permutation(size) for g in self._generators(name, step)])


class BlockUniforms:
    """Uniform numbers of one stream, a step at a time, drawn ahead in blocks (one host call per run and block).

    Args:
        streams: the cohort's streams.
        name: stream name.
        shape: shape of one step's numbers, without the run dimension.
        block: steps drawn at once.

    ``counter`` is the number of steps handed out; setting it is all that a resume needs.
    """

    def __init__(self, streams: Streams, name: str, shape: Sequence[int], block: int = 128):
        self.streams, self.name, self.shape, self.block = streams, name, tuple(shape), block
        self.counter = 0
        self._held = -1
        self._numbers: torch.Tensor | None = None

    def next(self) -> torch.Tensor:
        """The next step's numbers: float32 [R, *shape]."""
        number, offset = divmod(self.counter, self.block)
        if number != self._held:
            drawn = self._draw(number, (self.block, *self.shape))
            self._numbers, self._held = drawn.transpose(0, 1).contiguous(), number
        self.counter += 1
        return self._numbers[offset]

    def _draw(self, number: int, shape: tuple[int, ...]) -> torch.Tensor:
        return self.streams.uniform(self.name, number, shape)


class BlockNormals(BlockUniforms):
    """Standard normal numbers in the same way."""

    def _draw(self, number: int, shape: tuple[int, ...]) -> torch.Tensor:
        return self.streams.normal(self.name, number, shape)
