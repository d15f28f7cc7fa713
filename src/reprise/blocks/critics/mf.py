"""``mf``, the critic of MF-PPO (Li et al. 2021, sections 3 and 5): a DeepSet (Zaheer et al. 2017).

Q(s, a) = h( 1/n sum_i phi(o_i, a_i) ),   phi: Linear-ReLU,   h: Linear-ReLU-Linear,   n agents present
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from reprise.blocks.critics.base import Sizes, Team, TeamCritic
from reprise.blocks.critics.layers import Perceptron, Tensors, add_gradient, relu_slope


class MeanFieldCritic(TeamCritic):
    """Two hidden layers in all, as the paper says; which layers lie before the mean it does not say."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.head = Perceptron(["h0", "h1"], self.buffers)

    @staticmethod
    def shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
        h = sizes.width
        return {"phi": (sizes.observations + sizes.actions + 1, h), "h0": (h + 1, h), "h1": (h + 1, 1)}

    @staticmethod
    def footprint(sizes: Sizes) -> int:
        return sizes.agents * (sizes.observations + sizes.actions + 1 + 2 * sizes.width)

    def forward(self, weights: Tensors, team: Team) -> tuple[torch.Tensor, _Kept]:
        inputs = self._inputs(team)
        flat = inputs.flatten(0, 1)
        features = self.buffers("features", flat, flat.shape[0], self.sizes.width)
        torch.mm(flat, weights["phi"], out=features).relu_()  # 0 where an agent is absent, as its inputs are
        mean = features.unflatten(0, inputs.shape[:2]).sum(1).div_(team.count)
        layers = self.head.forward(weights, [mean])
        return layers[-1][:, 0], _Kept(flat, features, mean, layers)

    def backward(
        self, weights: Tensors, team: Team, kept: _Kept, slope: torch.Tensor, gradients: Tensors | None
    ) -> torch.Tensor | None:
        at_head = self.head.backward(weights, [kept.mean], kept.layers, slope[:, None], gradients)
        at_mean = (at_head @ weights["h0"][:-1].t()).div_(team.count)
        each = kept.features.unflatten(0, team.observations.shape[:2])
        down = self.buffers("down", each, *each.shape)
        relu_slope(at_mean[:, None].expand_as(each), each, out=down)
        if gradients is not None:
            add_gradient(gradients["phi"], [kept.inputs], down.flatten(0, 1))
            return None
        return down @ weights["phi"][self._action_rows()].t()


class _Kept(NamedTuple):
    """``inputs`` [mN, in + 1], ``features`` [mN, H] = phi, their ``mean`` [m, H], the ``layers`` of h."""

    inputs: torch.Tensor
    features: torch.Tensor
    mean: torch.Tensor
    layers: list[torch.Tensor]
