"""``mf_a``: a decentralised critic that sees the others' mean action (mean-field actor-critic, Yang et al. 2018).

    Q_i = q(o_i, a_i, 1/(n-1) sum_{j != i} a_j),   q: Linear-ReLU-Linear-ReLU-Linear

Each agent has its own value; the weights are shared, as in the code released with Yang et al. (mlii/mfrl), where all
agents of a group are one model. MF-PPO (Li et al. 2021, section 5) extends it to continuous actions so.
"""

from __future__ import annotations

import torch

from reprise.blocks.critics.base import Sizes, Team, TeamCritic
from reprise.blocks.critics.layers import Perceptron, Tensors


class MeanActionCritic(TeamCritic):
    """Values [R, M, N]; an absent agent's value is 0 and its action is in no mean. Alone, the others' mean is 0."""

    per_agent = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.net = Perceptron(["l0", "l1", "l2"], self.buffers)

    @staticmethod
    def shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
        h = sizes.width
        return {"l0": (sizes.observations + 2 * sizes.actions + 1, h), "l1": (h + 1, h), "l2": (h + 1, 1)}

    @staticmethod
    def footprint(sizes: Sizes) -> int:
        return sizes.agents * (sizes.observations + 2 * sizes.actions + 1 + 4 * sizes.width)

    def forward(self, weights: Tensors, team: Team) -> tuple[torch.Tensor, tuple]:
        others = []
        if team.actions is not None:
            done = team.actions if team.present is None else team.actions * team.present
            others = [(done.sum(1, keepdim=True) - done).div_((team.count - 1.0).clamp_min_(1.0)[:, None])]
        inputs = [self._inputs(team, *others).flatten(0, 1)]
        layers = self.net.forward(weights, inputs)
        values = layers[-1].view(team.observations.shape[:2])
        return values if team.present is None else values * team.present[..., 0], (inputs, layers)

    def backward(
        self, weights: Tensors, team: Team, kept: tuple, slope: torch.Tensor, gradients: Tensors | None
    ) -> torch.Tensor | None:
        inputs, layers = kept
        if team.present is not None:
            slope = slope * team.present[..., 0]
        down = self.net.backward(weights, inputs, layers, slope.reshape(-1, 1), gradients)
        if gradients is not None:
            return None
        at_actions = down @ weights["l0"][self._action_rows()].t()
        return at_actions.view(team.actions.shape)
