"""``mlp``: everything that the agents see and do side by side into one network, N(O + A)-H-H-1 with ReLU.

The centralised critic of MADDPG (Lowe et al. 2017) as PIC has it (maddpg/models/mlp_net.py, MlpNet). The order of the
agents matters to it. All observations come first, then all actions, so that neither has to be copied.
"""

from __future__ import annotations

import torch

from reprise.blocks.critics.base import Sizes, Team, TeamCritic
from reprise.blocks.critics.layers import Perceptron, Tensors


class JointCritic(TeamCritic):
    """Absent agents are zeros."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.net = Perceptron(["l0", "l1", "l2"], self.buffers)

    @staticmethod
    def shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
        h = sizes.width
        return {"l0": (sizes.agents * (sizes.observations + sizes.actions) + 1, h), "l1": (h + 1, h), "l2": (h + 1, 1)}

    @staticmethod
    def footprint(sizes: Sizes) -> int:
        return 4 * sizes.width  # the inputs stream by; a chunk must be long, for the first layer's weights may be many

    def forward(self, weights: Tensors, team: Team) -> tuple[torch.Tensor, tuple]:
        inputs = [team.observations.flatten(1)]
        if team.actions is not None:
            actions = team.actions if team.present is None else team.actions * team.present
            inputs.append(actions.flatten(1))
        layers = self.net.forward(weights, inputs)
        return layers[-1][:, 0], (inputs, layers)

    def backward(
        self, weights: Tensors, team: Team, kept: tuple, slope: torch.Tensor, gradients: Tensors | None
    ) -> torch.Tensor | None:
        inputs, layers = kept
        down = self.net.backward(weights, inputs, layers, slope[:, None], gradients)
        if gradients is not None:
            return None
        at_actions = (down @ weights["l0"][inputs[0].shape[1] : -1].t()).unflatten(1, team.actions.shape[1:])
        return at_actions if team.present is None else at_actions.mul_(team.present)
