"""Exact nearest neighbours in the plane, for a batch of rows, from elementwise operations and minima alone.

Tensors here are planes, rows last: x and y of E points in c rows are float64 [2, E, c]. So no operation looks at two
rows, each is as wide as the processor's vectors, and minima over points are minima of whole planes.

A pair's key is its squared distance with the last ``INDEX_BITS`` bits of the mantissa replaced by the number of the
point: the least key is the nearest point and says which one it is. Squared distances that agree to 12 digits are
ordered by index.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

INDEX_BITS = 10
MOST_POINTS = 1 << INDEX_BITS
INDEX = MOST_POINTS - 1
# Added to each square: changes none but those of points on one spot, whose keys would otherwise be subnormal numbers,
# which training lets the processor take for 0.
TINY = 2.0**-1000
# Rows are filled up to a multiple of this, so that every operation is made of whole vectors: a processor rounds what is
# left over in another way, and what a row gives would depend on where it stands.
WIDTH = 32
# Pairs looked at together, so that their keys stay in the processor's second cache; a GPU takes as many as its memory
# holds easily. The result does not depend on it.
PAIRS_CPU, PAIRS_CUDA = 2**17, 2**25


class Nearest(NamedTuple):
    """The nearest points of each centre, nearest first.

    Attributes:
        indices: int64 [k, n, c]. squares: their squared distances, float64 [k, n, c].
        least: squared distance of the centre nearest to each point, float64 [M, c]; None if not asked for.
    """

    indices: Tensor
    squares: Tensor
    least: Tensor | None


def pairs(device: torch.device) -> int:
    """How many pairs to look at together on ``device``."""
    return PAIRS_CUDA if device.type == "cuda" else PAIRS_CPU


def squared_distances(centres: Tensor, points: Tensor, work: Tensor) -> Tensor:
    """Between ``centres`` [2, n, c] and ``points`` [2, M, c]: float64 [M, n, c], a view of ``work`` [2, >= M n c]."""
    shape = (points.shape[1], *centres.shape[1:])
    size = shape[0] * shape[1] * shape[2]
    dx, dy = (work[axis, :size].view(shape) for axis in (0, 1))
    torch.sub(points[0, :, None], centres[0], out=dx)
    torch.sub(points[1, :, None], centres[1], out=dy)
    return squares(dx, dy)


def squares(dx: Tensor, dy: Tensor) -> Tensor:
    """dx² + dy², in place of ``dx``: the same operations everywhere, so that the last bit is the same."""
    return dx.mul_(dx).addcmul_(dy, dy)


def nearest(
    centres: Tensor, points: Tensor, count: int, *, others: bool | Tensor = False, least: bool = False
) -> Nearest:
    """The ``count`` nearest of ``points`` [2, M, c] to each of ``centres`` [2, N, c].

    Args:
        others: centre i is point i, which is not its own neighbour; or which point each centre is, int64 [N, c].
        least: also how near the nearest centre is to each point.
    """
    number, (agents, rows) = points.shape[1], centres.shape[1:]
    block = max(1, min(agents, pairs(points.device) // (number * rows)))
    work = points.new_empty(2, number * block * rows)
    found = points.new_empty(count, agents, rows)
    smallest = None
    indices = torch.arange(number, device=points.device)[:, None, None]
    for first in range(0, agents, block):
        keys = squared_distances(centres[:, first : first + block], points, work)
        if least:
            nearer = keys.amin(1)
            smallest = nearer if smallest is None else torch.minimum(smallest, nearer)
        if count:
            number_keys(keys, indices)
            if isinstance(others, Tensor):
                keys.scatter_(0, others[None, first : first + block], torch.inf)
            elif others:
                keys[first : first + block].diagonal(dim1=0, dim2=1).fill_(torch.inf)
            least_keys(keys, found[:, first : first + block])
    return Nearest(*split_keys(found), smallest)


def number_keys(squares: Tensor, numbers: Tensor) -> Tensor:
    """Make keys of ``squares`` and ``numbers``, int64, in place."""
    squares.add_(TINY).view(torch.int64).bitwise_and_(~INDEX).bitwise_or_(numbers)
    return squares


def split_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers, int64, and the squares, without the bits that these took."""
    bits = keys.view(torch.int64)
    return bits & INDEX, (bits & ~INDEX).view(torch.float64)


def least_keys(keys: Tensor, out: Tensor) -> None:
    """The least keys along the first dimension, numbered along it, in order, into ``out`` [k, ..]; spoils ``keys``."""
    for rank, least in enumerate(out):
        torch.amin(keys, 0, out=least)
        if rank + 1 < len(out):
            keys.scatter_(0, (least.view(torch.int64) & INDEX).unsqueeze(0), torch.inf)


def gather(points: Tensor, indices: Tensor) -> Tensor:
    """``points`` [2, M, c] at ``indices`` [k, n, c]: [2, k, n, c]."""
    shape = (2, points.shape[1], *indices.shape[1:])
    return points[:, :, None].expand(shape).gather(1, indices.expand(2, *indices.shape))
