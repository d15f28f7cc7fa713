"""A linear function of state rows, as one matrix product while its matrix is small."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Largest matrix: below it one product beats gathering and subtracting, on a CPU by up to 1.5 times.
LARGEST = 2**16


class LinearMap:
    """``function`` of rows [B, F] to [B, G], which must be linear.

    Its matrix is its value on the unit vectors. With entries 0, 1 and -1 only, as in differences of positions, the
    product is exact, for at most two terms of each sum are not zero. (On a GPU that takes full float32 products,
    torch's default.)

    Args:
        function: the definition; used as it is where its matrix would have more than ``LARGEST`` entries.
        rows: an example of its argument, for F, device and dtype.
        outputs: G.
    """

    def __init__(self, function: Callable[[Tensor], Tensor], rows: Tensor, outputs: int):
        inputs = rows.shape[1]
        self._function = function
        self._matrix = None
        if inputs * outputs <= LARGEST:
            self._matrix = function(torch.eye(inputs, dtype=rows.dtype, device=rows.device))

    def __call__(self, rows: Tensor, out: Tensor | None = None) -> Tensor:
        """The function's values, [B, G], in ``out`` where it is given."""
        if self._matrix is not None:
            return torch.mm(rows, self._matrix, out=out)
        values = self._function(rows)
        return values if out is None else out.copy_(values)
