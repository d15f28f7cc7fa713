"""``gcn``: PIC's graph network (Liu et al. 2019) on the fully connected graph (maddpg/models/graph_net.py, 'gcn_max').

    layer(x)_i = 1/n [ relu( 1/n sum_{j != i} (W x_j + b) ) + relu( W' x_i + b' ) ],   n agents present
    Q(s, a)    = v . max_i layer2(layer1(o, a))_i + v0

PIC multiplies by the N x N matrix (1 - I)/N; the sum over the others is the sum over all minus oneself. ReLU commutes
with positive factors, so that the first layer's 1/n are applied to its narrow inputs and the last to the pooled values.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from reprise.blocks.critics.base import Sizes, Team, TeamCritic
from reprise.blocks.critics.layers import Tensors, add_gradient, relu_slope


class GraphCritic(TeamCritic):
    """Layers ``others0``, ``self0``: W and W' of the first graph layer; ``others1``, ``self1``; ``head``: v."""

    @staticmethod
    def shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
        first, h = (sizes.observations + sizes.actions + 1, sizes.width), sizes.width
        return {"others0": first, "self0": first, "others1": (h + 1, h), "self1": (h + 1, h), "head": (h + 1, 1)}

    @staticmethod
    def footprint(sizes: Sizes) -> int:
        return sizes.agents * (2 * (sizes.observations + sizes.actions + 1) + 9 * sizes.width)

    def prepare(self, weights: Tensors) -> Tensors:
        """Adds ``both``: the second layer's weights side by side, [H, 2H], so that its halves are one product."""
        return weights | {"both": torch.cat([-weights["others1"][:-1], weights["self1"][:-1]], 1)}

    def forward(self, weights: Tensors, team: Team) -> tuple[torch.Tensor, _Kept]:
        alone, h = self._inputs(team), self.sizes.width
        m, agents, _ = alone.shape
        share = team.count.reciprocal()
        alone.mul_(share[:, None])
        others = self.buffers("others", alone, *alone.shape)
        torch.sub(alone.sum(1, keepdim=True), alone, out=others).mul_(share[:, None])
        if team.present is not None:
            others.mul_(team.present)
        from_others, from_self, hidden = (self.buffers(k, alone, m * agents, h) for k in ("o0", "s0", "hidden"))
        torch.mm(others.flatten(0, 1), weights["others0"], out=from_others).relu_()
        torch.mm(alone.flatten(0, 1), weights["self0"], out=from_self).relu_()
        torch.add(from_others, from_self, out=hidden)

        # Second layer, both halves in one product: [sum - own W | own W'], then what all agents of a sample share.
        halves = self.buffers("halves", alone, m, agents, 2 * h)
        torch.mm(hidden, weights["both"], out=halves.flatten(0, 1))
        total = hidden.view(m, agents, h).sum(1)
        shared = self.buffers("shared", alone, m, 2 * h)
        torch.addmm(weights["others1"][-1] * (team.count - 1.0), total, weights["others1"][:-1], out=shared[:, :h])
        shared[:, h:] = weights["self1"][-1]
        halves.add_(shared[:, None]).relu_()
        out = self.buffers("out", alone, m, agents, h)
        torch.addcmul(halves[..., h:], halves[..., :h], share[:, None], out=out)
        if team.present is not None:
            out.masked_fill_(team.present == 0, -torch.inf)
        best = out.amax(1)
        pooled = best * share
        value = torch.addmm(weights["head"][-1], pooled, weights["head"][:-1])[:, 0]
        return value, _Kept(alone, others, from_others, from_self, hidden, halves, out, total, best, pooled)

    def backward(
        self, weights: Tensors, team: Team, kept: _Kept, slope: torch.Tensor, gradients: Tensors | None
    ) -> torch.Tensor | None:
        h, share = self.sizes.width, team.count.reciprocal()
        m, agents, _ = kept.out.shape
        at_best = (slope[:, None] * share) * weights["head"][:-1, 0]
        # The maximum passes its slope to the agent that has it, in equal parts where several have.
        winners = kept.out.ge_(kept.best[:, None])
        at_best.div_(winners.sum(1))
        at_halves = self.buffers("at_halves", kept.halves, *kept.halves.shape)
        torch.mul(winners, (at_best * share)[:, None], out=at_halves[..., :h])
        torch.mul(winners, at_best[:, None], out=at_halves[..., h:])
        relu_slope(at_halves, kept.halves, out=at_halves)
        at_total = at_halves[..., :h].sum(1)
        flat = at_halves.flatten(0, 1)

        at_hidden = self.buffers("at_hidden", flat, m, agents, h)
        torch.mm(flat, weights["both"].t(), out=at_hidden.flatten(0, 1))
        at_hidden.add_((at_total @ weights["others1"][:-1].t())[:, None])
        at_hidden = at_hidden.flatten(0, 1)
        at_others = relu_slope(at_hidden, kept.from_others, out=kept.from_others)
        at_self = relu_slope(at_hidden, kept.from_self, out=kept.from_self)
        if gradients is None:
            return self._at_actions(weights, team, at_others, at_self, share)

        add_gradient(gradients["head"], [kept.pooled], slope[:, None])
        at_both = self.buffers("at_both", flat, h, 2 * h)
        torch.mm(kept.hidden.t(), flat, out=at_both)
        gradients["others1"][:-1].sub_(at_both[:, :h]).addmm_(kept.total.t(), at_total)
        gradients["others1"][-1].add_((at_total * (team.count - 1.0)).sum(0))
        gradients["self1"][:-1].add_(at_both[:, h:])
        gradients["self1"][-1].add_(at_halves[..., h:].sum((0, 1)))
        gradients["others0"].addmm_(kept.others.flatten(0, 1).t(), at_others)
        gradients["self0"].addmm_(kept.alone.flatten(0, 1).t(), at_self)
        return None

    def _at_actions(self, weights, team: Team, at_others, at_self, share) -> torch.Tensor:
        """Slope at the actions [m, N, A]: the first layer's inputs backwards, in the actions' columns only."""
        rows, scale = self._action_rows(), share[:, None]
        if team.present is not None:
            scale = scale * team.present
        direct = (at_self @ weights["self0"][rows].t()).view(team.actions.shape)
        passed = (at_others @ weights["others0"][rows].t()).view(team.actions.shape).mul_(scale)
        return direct.add_(passed.sum(1, keepdim=True)).sub_(passed).mul_(scale)


class _Kept(NamedTuple):
    """What the derivative needs.

    First layer: its inputs ``alone`` and ``others`` [m, N, in + 1], scaled; its terms ``from_others``, ``from_self``
    and their sum ``hidden`` [mN, H]. Second layer: its terms ``halves`` [m, N, 2H], their sum ``out`` [m, N, H], and
    the ``total`` of ``hidden`` over agents [m, H]. Pool: ``best`` and, after its 1/n, ``pooled`` [m, H].
    """

    alone: torch.Tensor
    others: torch.Tensor
    from_others: torch.Tensor
    from_self: torch.Tensor
    hidden: torch.Tensor
    halves: torch.Tensor
    out: torch.Tensor
    total: torch.Tensor
    best: torch.Tensor
    pooled: torch.Tensor
