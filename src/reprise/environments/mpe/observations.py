"""What each agent sees: [own velocity, own position, landmarks and other agents relative to it, silence]."""

from __future__ import annotations

import torch
from torch import Tensor

from reprise.environments.mpe.linear import LinearMap
from reprise.environments.mpe.world import World


class Observer:
    """Observations [B, N, O] of ``world``, O = 4 + 2 (L + N - 1) + channels (N - 1).

    Args:
        world: has N agents and L landmarks.
        vision: what is this far or farther is seen at (0, 0), as if on the agent itself; 0: all is seen.
        channels: size of the messages, which are all zero, of each other agent (communication is never used).
    """

    def __init__(self, world: World, vision: float, channels: int):
        self.world, self.vision, self.channels = world, vision, channels
        agents = range(world.agents)
        seen = [[*range(world.movable, world.total), *(j for j in agents if j != i)] for i in agents]
        self.seen = len(seen[0])
        self.size = 4 + 2 * self.seen + channels * (world.agents - 1)
        device = world.state.device
        self._seen = torch.tensor(seen, device=device).flatten()
        self._pairs = torch.tensor([[i * world.total + j for j in seen[i]] for i in agents], device=device).flatten()
        self._distances = world.distances.flatten(1)
        self._all = LinearMap(self._definition, world.state, world.agents * self.size)

    def _definition(self, state: Tensor) -> Tensor:
        """Observations of state rows, everything seen: [.., N * O]."""
        world, rows = self.world, len(state)
        velocities, positions = world.split(state)
        own = positions[:, : world.agents]
        relative = positions.index_select(1, self._seen).unflatten(1, (world.agents, self.seen)) - own[:, :, None]
        silence = state.new_zeros(rows, world.agents, self.channels * (world.agents - 1))
        return torch.cat([velocities[:, : world.agents], own, relative.flatten(2), silence], dim=2).flatten(1)

    def __call__(self) -> Tensor:
        """Observations of the world as it stands: a new tensor [B, N, O]."""
        world = self.world
        observations = self._all(world.state).view(-1, world.agents, self.size)
        if self.vision > 0:
            near = self._distances.index_select(1, self._pairs) < self.vision
            relative = observations[..., 4 : 4 + 2 * self.seen].view(-1, world.agents, self.seen, 2)
            relative.mul_(near.view(-1, world.agents, self.seen, 1))
        return observations
