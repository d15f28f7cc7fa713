"""Random places that keep a distance from one another, from numbers drawn beforehand."""

from __future__ import annotations

import torch
from torch import Tensor

# Darts between two looks at whether all rows are done. The places do not depend on it.
LOOK = 16


def spaced(darts: Tensor, number: int, spacing: float) -> Tensor:
    """The first ``number`` of ``darts`` [B, Q, 2], Q >= number, that lie ``spacing`` or more from all kept before.

    That is random sequential adsorption: each place is uniform where it is still allowed. Where the darts run out, the
    last ones take the missing places, whatever their distance.

    Returns:
        [B, number, 2].
    """
    rows, thrown = darts.shape[:2]
    x, y = darts.permute(2, 1, 0).contiguous()
    # Empty places are infinitely far away; one place more than needed takes what is discarded.
    kept = darts.new_full((2, number + 1, rows), float("inf"))
    count = torch.zeros(1, rows, dtype=torch.int64, device=darts.device)
    dx, dy = darts.new_empty(2, number, rows)
    for dart in range(thrown):
        if dart % LOOK == 0 and dart >= number and bool((count == number).all()):
            break
        held = min(dart, number)
        free = count < number
        if held:
            torch.sub(kept[0, :held], x[dart], out=dx[:held])
            torch.sub(kept[1, :held], y[dart], out=dy[:held])
            free &= dx[:held].square_().add_(dy[:held].square_()).amin(0) >= spacing**2
        place = torch.where(free, count, number)
        kept[0].scatter_(0, place, x[dart][None])
        kept[1].scatter_(0, place, y[dart][None])
        count += free
    missing = torch.arange(number, device=darts.device)[:, None] >= count
    last = torch.stack([x[-number:], y[-number:]])
    return torch.where(missing, last, kept[:, :number]).permute(2, 1, 0)


def first_apart(tries: Tensor, point: Tensor, spacing: float, to_the_end: bool) -> Tensor:
    """The first of ``tries`` [B, T, 2] farther than ``spacing`` from ``point`` [B, 2]: [B, 2].

    If none is: the farthest if ``to_the_end``, else the last one.
    """
    distances = (tries - point[:, None]).norm(dim=2)
    apart = distances > spacing
    last = torch.full_like(apart[:, 0], tries.shape[1] - 1, dtype=torch.int64)
    otherwise = distances.argmax(1) if to_the_end else last
    chosen = torch.where(apart.any(1), apart.to(torch.uint8).argmax(1), otherwise)
    return tries.gather(1, chosen[:, None, None].expand(-1, 1, 2))[:, 0]
