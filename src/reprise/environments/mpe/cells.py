"""The neighbours of ``neighbours.py``, to the last bit, without looking at all pairs.

Points are sorted into cells of a few that lie close together, each with its bounding box. The centres of a cell are
compared with the points of the cells whose boxes are nearest to theirs. What is found is exact where the last
neighbour is nearer than the box of every cell left out, and no two distances agree; the other centres, few unless the
points are heaped up, are compared with all points. So the cells decide how long it takes, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from reprise.environments.mpe import neighbours
from reprise.environments.mpe.neighbours import WIDTH, Nearest, least_keys, number_keys, pairs, split_keys, squares

# With fewer points than this, looking at all pairs takes less time.
LEAST_POINTS = 250
# Points of a cell, and cells looked at, for neighbours and for the one point that is nearest.
SIZE, LOOKS, LOOKS_NEAREST = 6, 11, 8
# If more than this part of the centres must be compared with all points, all are: that takes less time then.
ALL = 0.5
# Empty places of a last cell are this far away, and what is nearer than ``REACH`` squared is no empty place.
EMPTY, REACH = 1e150, 1e299


class Cells:
    """Points sorted into cells.

    Args:
        points: planes [2, M, c]. size: points of a cell, p; the last one may have empty places.

    Attributes:
        order: which points, int64 [M, c]. places: where they are, [2, H p, c]; empty places at ``EMPTY``.
        low, high: corners of the bounding boxes, [2, H, c].
    """

    def __init__(self, points: Tensor, size: int):
        self.points, self.size = points, size
        number = points.shape[1]
        self.count = -(-number // size)
        self.order = serpentine(points, math.isqrt(self.count))
        filled = torch.cat([self.order, self.order[-1:].expand(self.count * size - number, -1)])
        self.places = points.gather(1, filled.expand(2, *filled.shape))
        boxes = self.places.unflatten(1, (-1, size))
        self.low, self.high = boxes.amin(2), boxes.amax(2)
        self.places[:, number:] = EMPTY

    def unsorted(self, found: Tensor) -> Tensor:
        """What was ``found`` for each place of each cell, [k, p, H, c], for each point, [k, M, c]."""
        known = found.transpose(1, 2).flatten(1, 2)[:, : len(self.order)]
        return torch.empty_like(known).scatter_(1, self.order.expand(known.shape), known)


def serpentine(points: Tensor, strips: int) -> Tensor:
    """An order of ``points`` [2, M, c] in which those that follow one another are close: int64 [M, c].

    Strips of one height along x, upwards, every other one backwards. As many as fit where uniform points would be.
    """
    scale = points.std(1, keepdim=True).mul_(math.sqrt(12))
    x, y = (points - points.mean(1, keepdim=True)).div_(scale)
    strip = y.add_(0.5).mul_(strips).floor_().clamp_(0, strips - 1)
    along = x.mul_(0.5).clamp_(-0.49, 0.49)
    return torch.where(strip % 2 == 0, strip + along, strip - along).sort(0).indices


def nearest(centres: Tensor, points: Tensor, count: int, *, others: bool = False, least: bool = False) -> Nearest:
    """As ``neighbours.nearest``, in less time where there are many points."""
    if min(centres.shape[1], points.shape[1]) < LEAST_POINTS:
        return neighbours.nearest(centres, points, count, others=others, least=least)
    groups = Cells(centres, SIZE)
    cells = groups if others else Cells(points, SIZE)
    found = _neighbours(groups, cells, count, others) if count else split_keys(centres.new_empty(0, *centres.shape[1:]))
    return Nearest(*found, _least(cells, groups) if least else None)


class Block(NamedTuple):
    """Some groups of centres, g, and their candidates.

    Attributes:
        groups: which. squares: of the distances, [k p, p, g, c]. ranks: of the candidates in the order of their cells,
            int64 [k p, g, c]. bound: no other square is less, [g, c].
    """

    groups: slice
    squares: Tensor
    ranks: Tensor
    bound: Tensor


def _blocks(groups: Cells, cells: Cells, looks: int, others: bool) -> Iterator[Block]:
    """All groups of centres with the points of the ``looks`` cells nearest to each, a few groups at a time."""
    size, rows = cells.size, cells.order.shape[1]
    seen = size * min(looks, cells.count)
    slots = torch.arange(size, device=cells.order.device)[:, None, None]
    columns = torch.arange(rows, device=cells.order.device)
    places = cells.places.flatten(1)
    block = max(1, pairs(places.device) // (max(seen * size, cells.count) * rows))
    work = places.new_empty(2, seen * size * block * rows)
    for first in range(0, groups.count, block):
        some = slice(first, first + block)
        near, bound = _nearest_cells(groups, some, cells, looks, others)
        ranks = (near[:, None] * size + slots).flatten(0, 1)
        there = (ranks * rows + columns).flatten()
        centres = groups.places.unflatten(1, (-1, size))[:, some].transpose(1, 2)
        shape = (seen, size, *bound.shape)
        offsets = work[:, : math.prod(shape)].view(2, *shape)
        for axis in (0, 1):
            candidates = places[axis].index_select(0, there).view(ranks.shape)
            torch.sub(candidates[:, None], centres[axis], out=offsets[axis])
        yield Block(some, squares(*offsets), ranks, bound)


def _nearest_cells(groups: Cells, some: slice, cells: Cells, looks: int, others: bool) -> tuple[Tensor, Tensor]:
    """Cells whose boxes are nearest to those of some groups, int64 [looks, g, c], and the next one's square [g, c]."""
    low, high = groups.low[:, some], groups.high[:, some]
    gaps = torch.maximum(cells.low[:, :, None] - high[:, None], low[:, None] - cells.high[:, :, None])
    keys = squares(*gaps.clamp_min_(0.0))
    if others:
        keys[some].diagonal(dim1=0, dim2=1).fill_(-1.0)  # A group's own cell comes first.
    found = keys.new_empty(min(looks + 1, cells.count), *keys.shape[1:])
    least_keys(number_keys(keys, torch.arange(cells.count, device=keys.device)[:, None, None]), found)
    near, bounds = split_keys(found)
    if looks < cells.count:
        return near[:-1], bounds[-1].clamp_max(REACH)
    return near, torch.full_like(bounds[0], REACH)


def _neighbours(groups: Cells, cells: Cells, count: int, others: bool) -> tuple[Tensor, Tensor]:
    """The ``count`` nearest points of all centres: indices and squares [count, N, c]."""
    size, rows = groups.size, groups.order.shape[1]
    indices = groups.order.new_empty(count, size, groups.count, rows)
    distances = groups.places.new_empty(indices.shape)
    exact = torch.empty(indices.shape[1:], dtype=torch.bool, device=indices.device)
    order, columns = cells.order.flatten(), torch.arange(rows, device=indices.device)
    numbers = torch.arange(cells.count * size, device=indices.device)[:, None, None, None]
    for some, keys, ranks, bound in _blocks(groups, cells, LOOKS, others):
        number_keys(keys, numbers[: len(keys)])
        if others:
            keys[:size].diagonal(dim1=0, dim2=1).fill_(torch.inf)
        found = keys.new_empty(count + 1, *keys.shape[1:])
        least_keys(keys, found)
        which, near = split_keys(found)
        exact[:, some] = (near[:-1] < near[1:]).all(0) & (near[-2] < bound)
        distances[:, :, some] = near[:-1]
        there = ranks.gather(0, which[:-1].flatten(0, 1)).clamp_max_(len(cells.order) - 1).mul_(rows).add_(columns)
        indices[:, :, some] = order.index_select(0, there.flatten()).view(which[:-1].shape)
    indices, distances = (groups.unsorted(each) for each in (indices, distances))
    left, rows = _missing(groups, exact)
    if len(left) > ALL * exact.numel():
        return neighbours.nearest(groups.points, cells.points, count, others=others)[:2]
    for some, where, centres, points in _compact(groups, cells, left, rows):
        found = neighbours.nearest(centres, points, count, others=some[None] if others else False)
        indices[:, some, where], distances[:, some, where] = found.indices[:, 0], found.squares[:, 0]
    return indices, distances


def _least(groups: Cells, cells: Cells) -> Tensor:
    """Squared distance of the point nearest to each centre, [N, c]."""
    least = groups.places.new_empty(1, groups.size, groups.count, groups.order.shape[1])
    exact = torch.empty(least.shape[1:], dtype=torch.bool, device=least.device)
    for some, squared, _, bound in _blocks(groups, cells, LOOKS_NEAREST, False):
        least[0, :, some] = squared.amin(0)
        exact[:, some] = least[0, :, some] <= bound
    least = groups.unsorted(least)[0]
    left, rows = _missing(groups, exact)
    if len(left) > ALL * exact.numel():
        return neighbours.nearest(cells.points, groups.points, 0, least=True).least
    for some, where, centres, points in _compact(groups, cells, left, rows):
        least[some, where] = neighbours.nearest(points, centres, 0, least=True).least[0]
    return least


def _missing(groups: Cells, exact: Tensor) -> tuple[Tensor, Tensor]:
    """The centres and their rows for which not all is known yet, up to a multiple of ``WIDTH``, the last ones again."""
    left, rows = (~groups.unsorted(exact[None])[0]).nonzero(as_tuple=True)
    more = -len(left) % WIDTH
    return tuple(torch.cat([each, each[-1:].expand(more)]) if len(each) else each for each in (left, rows))


def _compact(groups: Cells, cells: Cells, left: Tensor, rows: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """The centres that are ``left``, as if each were in a row of its own, some at a time.

    Yields:
        which centres and rows, int64 [F]; the centres [2, 1, F] and their points [2, M, F].
    """
    size = max(1, pairs(left.device) // cells.points.shape[1] // WIDTH) * WIDTH
    for some, where in zip(left.split(size), rows.split(size), strict=True):
        if len(some):
            yield some, where, groups.points[:, some, where][:, None], cells.points.index_select(2, where)
