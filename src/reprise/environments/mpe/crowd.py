"""The world of many agents: rules as in ``world.py``, but each agent touches and sees only what is near.

Contacts are rare and sight is short, so nothing is kept for pairs. ``refresh`` goes through the rows in chunks that
stay in cache, finds each agent's neighbours exactly, and keeps what follows from them (``sight.py``). All of it is a
function of the state alone: there is no list of neighbours that could go stale.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from reprise.environments.mpe import neighbours
from reprise.environments.mpe.sight import Eyes, Sight, Survey
from reprise.environments.mpe.world import Dialect, Entities
from reprise.errors import RepriseError

# Agents of a chunk: what is kept of each, besides its pairs, stays in cache. The results do not depend on it.
AGENTS_CPU, AGENTS_CUDA = 2**13, 2**18


class Crowd:
    """B copies of a world of N agents of one size, at most one object, and landmarks that do not collide.

    Attributes:
        state: [B, S], [velocities 2M | positions 2E], and if ``varying`` [.. | N presences, 1 or 0]; call ``refresh``
            after writing. velocities [B, M, 2], positions [B, E, 2], present [B, N] (or [B, 0]): views of it.
        survey: what follows from the state; there from the first ``place`` or ``refresh`` on.
        size: of an observation, O. constant: how many trailing entries of a state an episode leaves as they are.

    Args:
        entities: what is in it. dialect: its rules. eyes: what agents see. varying: agents, and as many landmarks, may
            be absent. rows: B. device, dtype: of every tensor.

    Raises:
        RepriseError: more to see than there is, or more than neighbours can be told apart.
    """

    def __init__(
        self,
        entities: Entities,
        dialect: Dialect,
        eyes: Eyes,
        varying: bool,
        rows: int,
        device: torch.device,
        dtype: torch.dtype,
    ):
        self.entities, self.dialect, self.eyes, self.varying = entities, dialect, eyes, varying
        self.agents, self.total = len(entities.agents), len(entities.all)
        self.movable = self.agents + len(entities.objects)
        marks = len(entities.landmarks)
        for seen, there, what in ((eyes.others, self.agents - 1, "other agents"), (eyes.landmarks, marks, "landmarks")):
            if seen > there:
                raise RepriseError(f"{seen} {what} cannot be seen: there are {there}")
        if max(self.agents, marks) > neighbours.MOST_POINTS:
            raise RepriseError(f"at most {neighbours.MOST_POINTS} agents or landmarks, got {max(self.agents, marks)}")
        self.size = 4 + 2 * (len(entities.objects) + eyes.landmarks + eyes.others) + varying
        self.constant = 2 * marks + self.agents * varying
        self._lengths = [2 * self.movable, 2 * self.total, self.agents * varying]
        self.state = torch.zeros(rows, sum(self._lengths), device=device, dtype=dtype)
        self.velocities, self.positions, self.present = self.split(self.state)
        self._moving = self.positions[:, : self.movable]

        masses = [each.mass for each in entities.all[: self.movable]]
        self._rate = (dialect.time_step / torch.tensor(masses, device=device, dtype=torch.float64)).to(dtype)[:, None]
        radius = entities.agents[0].size
        first_agent = dialect.contact_distance == "first_agent"
        self.touch = 2 * radius
        self.object_touch = [self.touch if first_agent else radius + each.size for each in entities.objects]
        solid = torch.tensor([each.collides for each in entities.agents], dtype=torch.float64, device=device)
        self.solid = None if bool(solid.all()) else solid
        agents = torch.arange(self.agents, device=device)
        every = agents.expand(self.agents, -1)
        # The others of each agent, in order: [N - 1, N].
        self.others = every[every != agents[:, None]].view(self.agents, -1).T

    def parts(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Velocities, positions and presences of states, entries first: [S, ..]."""
        return states.split(self._lengths)

    def split(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Velocities [.., M, 2], positions [.., E, 2] and presences [.., N] of state rows, as views."""
        velocities, positions, present = states.split(self._lengths, dim=-1)
        return velocities.unflatten(-1, (-1, 2)), positions.unflatten(-1, (-1, 2)), present

    def place(self, positions: Tensor, present: Tensor | None = None) -> None:
        """Put every entity at ``positions`` [B, E, 2], at rest; ``present`` [B, N] where it varies."""
        self.velocities.zero_()
        self.positions.copy_(positions)
        if self.varying:
            self.present.copy_(present)
        self.refresh()

    def step(self, forces: Tensor) -> None:
        """Advance one time step under ``forces`` [B, N, 2] on the agents and the contacts between all."""
        total, rules = self.survey.contacts, self.dialect
        total[:, : self.agents] += forces * self.present[..., None] if self.varying else forces
        if rules.position_first:
            self._moving += self.velocities * rules.time_step
        self.velocities.mul_(1.0 - rules.damping).add_(total.mul_(self._rate))
        if not rules.position_first:
            self._moving += self.velocities * rules.time_step
        self.refresh()

    def refresh(self) -> None:
        """Find the neighbours anew after writing into the state."""
        shapes = ((self.agents, self.size), (self.movable, 2), (len(self.entities.landmarks),), ())
        self.survey = Survey(*(self.state.new_empty(len(self.state), *shape) for shape in shapes))
        for rows in self._chunks(self.state):
            Sight(self, self.state[rows]).survey(Survey(*(each[rows] for each in self.survey)))

    def observe(self, states: Tensor) -> Tensor:
        """Observations [.., N, O] of any ``states`` [.., S], to the last bit what the world shows in them."""
        flat = states.reshape(-1, states.shape[-1])
        observations = flat.new_empty(len(flat), self.agents, self.size)
        for rows in self._chunks(flat):
            Sight(self, flat[rows]).observe(observations[rows])
        return observations.view(*states.shape[:-1], self.agents, self.size)

    def _chunks(self, states: Tensor) -> Iterator[slice]:
        most = AGENTS_CUDA if states.device.type == "cuda" else AGENTS_CPU
        size = max(1, most // self.agents // neighbours.WIDTH) * neighbours.WIDTH
        return (slice(first, first + size) for first in range(0, len(states), size))
