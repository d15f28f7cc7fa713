"""``vdn``: value decomposition (Sunehag et al. 2017) as a critic: the sum of one shared local critic over the agents.

Q(s, a) = sum_i q(o_i, a_i),   q: Linear-ReLU-Linear-ReLU-Linear
"""

from __future__ import annotations

import torch

from reprise.blocks.critics.base import Sizes, Team, TeamCritic
from reprise.blocks.critics.layers import Perceptron, Tensors


class ValueDecomposition(TeamCritic):
    """The sum runs over the agents present."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.net = Perceptron(["l0", "l1", "l2"], self.buffers)

    @staticmethod
    def shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
        h = sizes.width
        return {"l0": (sizes.observations + sizes.actions + 1, h), "l1": (h + 1, h), "l2": (h + 1, 1)}

    @staticmethod
    def footprint(sizes: Sizes) -> int:
        return sizes.agents * (sizes.observations + sizes.actions + 1 + 4 * sizes.width)

    def forward(self, weights: Tensors, team: Team) -> tuple[torch.Tensor, tuple]:
        inputs = [self._inputs(team).flatten(0, 1)]
        layers = self.net.forward(weights, inputs)
        local = layers[-1].view(team.observations.shape[:2])
        if team.present is not None:
            local = local * team.present[..., 0]
        return local.sum(1), (inputs, layers)

    def backward(
        self, weights: Tensors, team: Team, kept: tuple, slope: torch.Tensor, gradients: Tensors | None
    ) -> torch.Tensor | None:
        inputs, layers = kept
        each = slope[:, None].expand(team.observations.shape[:2])
        if team.present is not None:
            each = each * team.present[..., 0]
        down = self.net.backward(weights, inputs, layers, each.reshape(-1, 1), gradients)
        if gradients is not None:
            return None
        at_actions = down @ weights["l0"][self._action_rows()].t()
        return at_actions.view(team.actions.shape)
