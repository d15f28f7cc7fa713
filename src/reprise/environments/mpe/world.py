"""Physics of the multi-agent particle environments (Lowe et al. 2017) for B copies at once.

Entities stand in one order: N agents, then movable objects (the first M entities move), then fixed landmarks, E in all.
Lengths, times and masses have no unit. The state of a copy is one row, [velocities 2M | positions 2E], so that all that
is linear in it (relative positions, observations) is one matrix product in a small world; see ``linear.py``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from reprise.environments.mpe.linear import LinearMap

# Distances are at least this: two entities on the same spot do not push each other (the original divides 0 by 0).
LEAST_DISTANCE = 1e-12
# Beyond this argument softplus(x) = x to the last bit of a float64.
SOFTPLUS_THRESHOLD = 50.0


@dataclass(frozen=True)
class Entity:
    """A disc: radius ``size``, ``mass``, whether it ``collides`` with others that do, and its ``max_speed``."""

    size: float
    mass: float = 1.0
    collides: bool = True
    max_speed: float = math.inf


@dataclass(frozen=True)
class Entities:
    """What is in the world: agents (N, moved by actions), objects (moved by contacts only), landmarks (fixed)."""

    agents: Sequence[Entity]
    objects: Sequence[Entity] = ()
    landmarks: Sequence[Entity] = ()

    @property
    def all(self) -> list[Entity]:
        """Agents, objects, landmarks: E of them."""
        return [*self.agents, *self.objects, *self.landmarks]


@dataclass(frozen=True)
class Dialect:
    """In what the copies of this world that papers used differ, and the constants that they share.

    Attributes:
        position_first: positions advance with the old velocities (mpe2), not with the new ones (Lowe et al. 2017).
        positive_first: the first action of each axis pushes to +x, +y (Lowe et al. 2017), not to -x, -y (mpe2).
        contact_distance: ``sizes``: discs touch at the sum of their sizes; ``first_agent``: at twice the size of the
            first agent, whatever touches (the vectorised world of Liu et al. 2019, PIC).
        gain: force of an action. time_step, damping: v <- (1 - damping) v + time_step F / mass.
        contact_force, contact_margin: contacts push with contact_force * margin * log(1 + exp(penetration / margin)).
    """

    position_first: bool
    positive_first: bool
    contact_distance: str
    gain: float
    time_step: float
    damping: float
    contact_force: float
    contact_margin: float

    def controls(self) -> Tensor:
        """Force of each of the five actions (stay, two along x, two along y): float64 [5, 2]."""
        sign = self.gain if self.positive_first else -self.gain
        return torch.tensor([[0, 0], [sign, 0], [-sign, 0], [0, sign], [0, -sign]], dtype=torch.float64)


class World:
    """B copies of a world, on one device.

    Attributes:
        velocities: [B, M, 2]. positions: [B, E, 2]. points: [B, E], positions as complex numbers x + iy. Views of
            ``state`` [B, 2M + 2E]; call ``refresh`` after writing.
        offsets: [B, 2, M, E], position of entity e seen from movable entity i, x and y apart.
        distances: [B, M, E], their lengths. Both hold what the last ``place``, ``step`` or ``refresh`` led to.
        agent_distances: [B, N, N]. landmark_distances: [B, N, L], from each agent. Views of ``distances``.

    Args:
        entities: what is in it. dialect: its rules. rows: B. device, dtype: of every tensor.
    """

    def __init__(self, entities: Entities, dialect: Dialect, rows: int, device: torch.device, dtype: torch.dtype):
        self.entities, self.dialect = entities, dialect
        every = entities.all
        self.agents, self.total = len(entities.agents), len(every)
        self.movable = self.agents + len(entities.objects)
        place = {"device": device, "dtype": dtype}
        self.state = torch.zeros(rows, 2 * (self.movable + self.total), **place)
        self.velocities, self.positions = self.split(self.state)
        self.points = torch.view_as_complex(self.positions)
        self._moving = self.positions[:, : self.movable]

        self._relative = LinearMap(self._seen_from_movable, self.state, 2 * self.movable * self.total)
        self.offsets = torch.empty(rows, 2, self.movable, self.total, **place)
        self.distances = torch.empty(rows, self.movable, self.total, **place)
        self.agent_distances = self.distances[:, : self.agents, : self.agents]
        self.landmark_distances = self.distances[:, : self.agents, self.movable :]

        mass = torch.tensor([each.mass for each in every[: self.movable]], **place)
        self._rate = (dialect.time_step / mass)[:, None]
        speeds = [each.max_speed for each in every[: self.movable]]
        self._max_speed = torch.tensor(speeds, **place)[:, None] if min(speeds) < math.inf else None
        self._contacts(every, place)
        self._contact_views = self.distances[..., : self._reached], self.offsets[..., : self._reached]
        size = torch.tensor([each.size for each in entities.agents], **place)
        self._touch = (size[:, None] + size).fill_diagonal_(-1.0)
        self.refresh()

    def _contacts(self, every: list[Entity], place: dict) -> None:
        """Which pairs push each other and from which distance on: [M, K], K up to the last entity that collides."""
        colliding = torch.tensor([each.collides for each in every], device=place["device"])
        self._reached = int(colliding.nonzero().max()) + 1 if colliding.any() else 0
        # Among them each with itself, which does nothing: the offset is zero.
        pairs = (colliding[: self.movable, None] & colliding)[:, : self._reached]
        size = torch.tensor([each.size for each in every], **place)
        if self.dialect.contact_distance == "first_agent":
            size = torch.full_like(size, every[0].size)
        self._contact_distance = (size[: self.movable, None] + size)[:, : self._reached].contiguous()
        # Forces push away, against the offset to the other entity.
        self._strength = pairs * torch.tensor(-self.dialect.contact_force, **place)

    def split(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Velocities [.., M, 2] and positions [.., E, 2] of state rows, as views."""
        velocities, positions = state.split([2 * self.movable, 2 * self.total], dim=-1)
        return velocities.unflatten(-1, (self.movable, 2)), positions.unflatten(-1, (self.total, 2))

    def _seen_from_movable(self, state: Tensor) -> Tensor:
        """Offsets of state rows, [.., 2 * M * E]."""
        axes = self.split(state)[1].transpose(-1, -2)
        return (axes[..., None, :] - axes[..., : self.movable, None]).flatten(-3)

    def refresh(self) -> None:
        """Compute offsets and distances anew after writing into the state."""
        self._relative(self.state, out=self.offsets.flatten(1))
        x, y = self.offsets.unbind(1)
        torch.mul(x, x, out=self.distances)
        self.distances.addcmul_(y, y).sqrt_().clamp_min_(LEAST_DISTANCE)

    def place(self, positions: Tensor) -> None:
        """Put every entity at ``positions`` [B, E, 2], at rest."""
        self.velocities.zero_()
        self.positions.copy_(positions)
        self.refresh()

    def contact_forces(self) -> Tensor:
        """Sum of the contact forces on each movable entity: [B, M, 2]."""
        distance = self._contact_views[0]
        sharpness = 1.0 / self.dialect.contact_margin
        push = softplus(self._contact_distance - distance, sharpness, SOFTPLUS_THRESHOLD)
        push.mul_(self._strength).div_(distance)
        return (self._contact_views[1] * push[:, None]).sum(-1).transpose(1, 2)

    def step(self, forces: Tensor) -> None:
        """Advance one time step under ``forces`` [B, N, 2] on the agents and the contacts between all."""
        total = self.contact_forces()
        total[:, : self.agents].add_(forces)
        if self.dialect.position_first:
            self._moving.add_(self.velocities, alpha=self.dialect.time_step)
        self.velocities.mul_(1.0 - self.dialect.damping).addcmul_(total, self._rate)
        if self._max_speed is not None:
            speed = self.velocities.norm(dim=-1, keepdim=True)
            self.velocities.mul_((self._max_speed / speed.clamp_min_(LEAST_DISTANCE)).clamp_max_(1.0))
        if not self.dialect.position_first:
            self._moving.add_(self.velocities, alpha=self.dialect.time_step)
        self.refresh()

    def touching(self, each: bool = False) -> Tensor:
        """Ordered pairs of agents nearer than the sum of their sizes: int64 [B], or of ``each`` agent [B, N]."""
        return (self.agent_distances < self._touch).sum(-1 if each else (1, 2))
