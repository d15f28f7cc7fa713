"""What all team critics share: sizes, parameters, and the walk over runs and chunks of the batch.

A critic's file defines its network on one chunk of one run (``forward``, ``backward``); here chunks are cut so that
their activations stay in the processor's cache, since a pass over whole batches would wait for memory half the time.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch

from reprise.blocks.critics.layers import Buffers, Tensors, initial_layer
from reprise.blocks.streams import Streams

# Numbers in the buffers of one chunk. CPU: 4 MiB in single precision, measured beside an L2 cache of 2 MiB and a large
# L3 (half of it loses 10 % to the calls' own cost, twice gains nothing). GPU: 1 GiB, since there launches cost.
CHUNK = {"cpu": 2**20, "cuda": 2**28}
LAST_SCALE = 0.1  # of the initial last layer, weights and bias (PIC, maddpg/models/graph_net.py and mlp_net.py)


class Sizes(NamedTuple):
    """What a critic's shape depends on: N, O, A (0: a critic of observations) and the hidden width H."""

    agents: int
    observations: int
    actions: int
    width: int


class Team(NamedTuple):
    """m joint observations and actions of one run.

    ``observations`` [m, N, O]; ``actions`` [m, N, A] or None; ``present`` [m, N, 1], 1 or 0, or None when every agent
    always is; ``count`` [m, 1] or [1, 1], how many are.
    """

    observations: torch.Tensor
    actions: torch.Tensor | None
    present: torch.Tensor | None
    count: torch.Tensor


class TeamCritic(ABC):
    """A value of the joint observation and action of N agents, for R runs.

    Args:
        streams: random streams, one per run (initial weights).
        name: prefix of the random streams.
        sizes: N, O, A and H.
        varying: the last entry of an observation is 1 for a present agent and 0 for an absent one; absent agents then
            count for nothing.

    ``parameters``: tensors [R, 1, in + 1, out], one per layer, the bias as last row (the second dimension is where
    networks that agents own have N); ``count``: how many numbers one run trains. All methods take the parameters, so
    that a target's may be used. Gradients hold until the next call.
    """

    per_agent = False  # a value for each agent: [R, M, N] instead of [R, M]

    def __init__(self, streams: Streams, name: str, sizes: Sizes, varying: bool):
        self.sizes, self.varying, self.buffers = sizes, varying, Buffers()
        shapes = self.shapes(sizes)
        last = list(shapes)[-1]
        self.parameters: Tensors = {
            k: initial_layer(streams, f"{name}.{k}", *shape, scale=LAST_SCALE if k == last else 1.0)
            for k, shape in shapes.items()
        }
        self.count = self.size(sizes)

    @staticmethod
    @abstractmethod
    def shapes(sizes: Sizes) -> dict[str, tuple[int, int]]:
        """The layers' shapes (in + 1, out), first to last."""

    @classmethod
    def size(cls, sizes: Sizes) -> int:
        """How many numbers a run's critic of these sizes trains."""
        return sum(rows * columns for rows, columns in cls.shapes(sizes).values())

    @staticmethod
    @abstractmethod
    def footprint(sizes: Sizes) -> int:
        """Numbers that one joint sample touches in buffers, forward and backward."""

    @abstractmethod
    def forward(self, weights: Tensors, team: Team) -> tuple[torch.Tensor, Any]:
        """Values [m] (or [m, N]) and what ``backward`` needs of the way there, both until the next call."""

    @abstractmethod
    def backward(
        self, weights: Tensors, team: Team, kept: Any, slope: torch.Tensor, gradients: Tensors | None
    ) -> torch.Tensor | None:
        """From the slope at the values: add to ``gradients``, or when None return the slope at the actions [m,N,A]."""

    def prepare(self, weights: Tensors) -> Tensors:
        """One run's layers [in + 1, out] and what a critic wants to derive from them once for all chunks."""
        return weights

    @torch.no_grad()
    def values(
        self, parameters: Tensors, observations: torch.Tensor, actions: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Values [R, M] (``per_agent``: [R, M, N]) at observations [R, M, N, O] and actions [R, M, N, A]."""
        values = observations.new_empty(self._shape(observations))
        for run, weights in self._runs(parameters):
            for rows, team in self._chunks(observations, actions, run):
                values[run, rows], _ = self.forward(weights, team)
        return values

    def loss_and_gradients(
        self,
        parameters: Tensors,
        observations: torch.Tensor,
        actions: torch.Tensor | None,
        loss_of: Callable[[torch.Tensor], torch.Tensor],
    ) -> tuple[torch.Tensor, Tensors]:
        """Any loss [R] of the values and its gradient in ``parameters``, run by run.

        ``loss_of`` maps all values ([R, M] or [R, M, N]) to [R] and is differentiated by autograd. It needs them
        before the first derivative, so each chunk is computed twice; ``squared_error`` computes it once.
        """
        values = self.values(parameters, observations, actions).requires_grad_()
        loss = loss_of(values)
        (slopes,) = torch.autograd.grad(loss.sum(), values)

        def slope_of(run: int, rows: slice, _values: torch.Tensor) -> torch.Tensor:
            return slopes[run, rows]

        return loss.detach(), self._learn(parameters, observations, actions, slope_of)

    @torch.no_grad()
    def squared_error(
        self, parameters: Tensors, observations: torch.Tensor, actions: torch.Tensor | None, targets: torch.Tensor
    ) -> tuple[torch.Tensor, Tensors]:
        """Mean squared difference of values and ``targets`` (shaped alike), [R], and its gradient in ``parameters``.

        ``loss_and_gradients`` of the same loss gives the same numbers and takes about a third longer. An absent
        agent's value is 0 whatever the parameters.
        """
        errors, scale = torch.empty_like(targets), 2.0 / targets[0].numel()

        def slope_of(run: int, rows: slice, values: torch.Tensor) -> torch.Tensor:
            return torch.sub(values, targets[run, rows], out=errors[run, rows]) * scale

        gradients = self._learn(parameters, observations, actions, slope_of)
        return errors.square_().flatten(1).mean(1), gradients

    @torch.no_grad()
    def action_gradient(
        self, parameters: Tensors, observations: torch.Tensor, actions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Values, and the gradient of each in the actions [R, M, N, A] it was given.

        ``per_agent``: agent i's own value in its own action, the others' mean held fixed.
        """
        values, slopes = observations.new_empty(self._shape(observations)), torch.empty_like(actions)
        ones = torch.ones_like(values[0])
        for run, weights in self._runs(parameters):
            for rows, team in self._chunks(observations, actions, run):
                values[run, rows], kept = self.forward(weights, team)
                slopes[run, rows] = self.backward(weights, team, kept, ones[rows], None)
        return values, slopes

    @torch.no_grad()
    def _learn(
        self,
        parameters: Tensors,
        observations: torch.Tensor,
        actions: torch.Tensor | None,
        slope_of: Callable[[int, slice, torch.Tensor], torch.Tensor],
    ) -> Tensors:
        """The gradient in ``parameters`` that the slopes at the values, given chunk by chunk, lead to."""
        gradients = {k: self.buffers(f"{k}.gradient", p, *p.shape).zero_() for k, p in parameters.items()}
        for run, weights in self._runs(parameters):
            sums = {k: g[run, 0] for k, g in gradients.items()}
            for rows, team in self._chunks(observations, actions, run):
                values, kept = self.forward(weights, team)
                self.backward(weights, team, kept, slope_of(run, rows, values), sums)
        return gradients

    def working_memory(self) -> int:
        """Bytes kept from call to call so far: a chunk's activations, and the gradients."""
        return self.buffers.size()

    def _shape(self, observations: torch.Tensor) -> torch.Size:
        return observations.shape[: 3 if self.per_agent else 2]

    def _runs(self, parameters: Tensors) -> Iterator[tuple[int, Tensors]]:
        """Run by run, since one run's chunk already fills the cache."""
        for run in range(next(iter(parameters.values())).shape[0]):
            yield run, self.prepare({k: p[run, 0] for k, p in parameters.items()})

    def _chunks(
        self, observations: torch.Tensor, actions: torch.Tensor | None, run: int
    ) -> Iterator[tuple[slice, Team]]:
        batch = observations.shape[1]
        step = max(1, CHUNK[observations.device.type] // self.footprint(self.sizes))
        everyone = observations.new_full((1, 1), float(observations.shape[2]))
        for start in range(0, batch, step):
            rows = slice(start, min(start + step, batch))
            seen = observations[run, rows]
            present = seen[..., -1:] if self.varying else None
            count = everyone if present is None else present.sum(1).clamp_min_(1.0)
            yield rows, Team(seen, None if actions is None else actions[run, rows], present, count)

    def _inputs(self, team: Team, *more: torch.Tensor) -> torch.Tensor:
        """[m, N, in + 1]: what each agent saw and did (and ``more``), then a constant 1; all 0 where it is absent."""
        m, agents, _ = team.observations.shape
        one = self.buffers("one", team.observations, m, agents, 1).fill_(1.0)
        parts = [team.observations, *([] if team.actions is None else [team.actions]), *more, one]
        out = self.buffers("inputs", one, m, agents, sum(p.shape[-1] for p in parts))
        torch.cat(parts, -1, out=out)
        return out if team.present is None else out.mul_(team.present)

    def _action_rows(self) -> slice:
        """The rows of a first layer that an agent's action enters by."""
        return slice(self.sizes.observations, self.sizes.observations + self.sizes.actions)
