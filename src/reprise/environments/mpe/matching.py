"""The cheapest one-to-one matching of N agents to N targets, exact, for a batch of cost matrices."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import torch
from torch import Tensor

# Up to this size all N! matchings are compared at once (6! = 720); beyond, scipy solves row by row on the host.
ALL_PERMUTATIONS = 6


class Matching:
    """Minimum-cost matchings of N x N matrices.

    Args:
        size: N. device, dtype: of the cost matrices.
    """

    def __init__(self, size: int, device: torch.device, dtype: torch.dtype):
        self.size = size
        self._columns = self._members = None
        if size <= ALL_PERMUTATIONS:
            self._columns = torch.tensor(list(permutations(range(size))), device=device)
            chosen = torch.nn.functional.one_hot(self._columns, size)  # [N!, N, N]
            self._members = chosen.flatten(1).T.to(dtype).contiguous()

    def cost(self, costs: Tensor) -> Tensor:
        """Least total cost of ``costs`` [B, N, N]: [B]."""
        if self._members is not None:
            return torch.mm(costs.flatten(1), self._members).amin(1)
        return costs.gather(2, self.columns(costs)[..., None])[..., 0].sum(1)

    def columns(self, costs: Tensor) -> Tensor:
        """Target of each agent in the cheapest matching of ``costs`` [B, N, N]: int64 [B, N]."""
        if self._members is not None:
            return self._columns[torch.mm(costs.flatten(1), self._members).argmin(1)]
        from scipy.optimize import linear_sum_assignment  # 0.2 s to import, and only for many agents

        host = costs.cpu().numpy()
        return torch.from_numpy(np.stack([linear_sum_assignment(each)[1] for each in host])).to(costs.device)
