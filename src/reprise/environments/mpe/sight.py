"""What follows from the states of some rows of a crowd: what is seen, who touches whom, and the contact forces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import softplus

from reprise.environments.mpe.cells import nearest
from reprise.environments.mpe.neighbours import WIDTH, Nearest, gather
from reprise.environments.mpe.world import LEAST_DISTANCE, SOFTPLUS_THRESHOLD

if TYPE_CHECKING:
    from reprise.environments.mpe.crowd import Crowd

# Absent agents and landmarks are looked for this far away, each at a place of its own: nobody sees or touches them.
FAR = 1e6
# Where the softplus of a contact is 0 to the last bit of the forces: this many margins beyond touching.
MARGINS = 40
# Of so many neighbours contacts are asked at first where sight needs another order than by distance.
CONTACTS = 5


@dataclass(frozen=True)
class Eyes:
    """What an agent sees.

    Attributes:
        others, landmarks: how many of the other agents and of the landmarks.
        others_order: ``distance``, nearest first; ``index``; ``x_then_y``, sorted by relative position.
        landmarks_order: ``distance`` or ``index``.
        own_position_twice: who is nearest is asked of the point at twice the agent's position (an error of PIC).
    """

    others: int
    landmarks: int
    others_order: str
    landmarks_order: str
    own_position_twice: bool


class Survey(NamedTuple):
    """What follows from states, for each row.

    Attributes:
        observations: [B, N, O]. contacts: forces on the movable entities [B, M, 2]. gaps: distance of the agent nearest
            to each landmark [B, L]. touching: ordered pairs of agents nearer than the sum of their sizes [B].
    """

    observations: Tensor
    contacts: Tensor
    gaps: Tensor
    touching: Tensor


class Sight:
    """Some rows of a crowd, as planes (see ``neighbours.py``).

    Args:
        world: the crowd. states: [m, S].
    """

    def __init__(self, world: Crowd, states: Tensor):
        self.world, self.rows = world, len(states)
        width = -(-self.rows // WIDTH) * WIDTH
        planes = states.new_empty(states.shape[1], width, dtype=torch.float64)
        planes[:, : self.rows] = states.T
        planes[:, self.rows :] = states[-1:].T
        velocities, positions, self.present = world.parts(planes)
        velocities, positions = (part.unflatten(0, (-1, 2)).transpose(0, 1) for part in (velocities, positions))
        self.velocities, self.agents = velocities[:, : world.agents], positions[:, : world.agents]
        self.objects, self.landmarks = positions[:, world.agents : world.movable], positions[:, world.movable :]
        if world.varying:
            self.agents, self.landmarks = self._only_present(self.agents, FAR), self._only_present(self.landmarks, -FAR)

    def _only_present(self, points: Tensor, far: float) -> Tensor:
        places = far * torch.arange(1, points.shape[1] + 1, dtype=points.dtype, device=points.device)
        return torch.where(self.present > 0, points, places[:, None])

    def observe(self, out: Tensor) -> None:
        """Write the observations into ``out`` [m, N, O]."""
        eyes = self.world.eyes
        others = self._near(eyes.others) if self._by_distance(eyes.others_order) else None
        landmarks = self._marks(least=False) if self._by_distance(eyes.landmarks_order) else None
        self._write(out, others, landmarks)

    def survey(self, out: Survey) -> None:
        """Write all that follows from the states into ``out``."""
        eyes = self.world.eyes
        shared = self._by_distance(eyes.others_order)
        others = self._near(eyes.others if shared else min(CONTACTS, self.world.agents - 1))
        by_distance = self._by_distance(eyes.landmarks_order)
        landmarks = self._marks(least=True, count=eyes.landmarks if by_distance else 0)
        self._write(out.observations, others if shared else None, landmarks if by_distance else None)
        out.gaps.copy_(landmarks.least[:, : self.rows].sqrt().T)
        forces, touching = self._contacts(others)
        self._push_objects(forces)
        out.contacts.copy_(forces[..., : self.rows].permute(2, 1, 0))
        out.touching.copy_(touching[: self.rows])

    def _by_distance(self, order: str) -> bool:
        """Whether what is seen are the true nearest."""
        return order == "distance" and not self.world.eyes.own_position_twice

    def _near(self, count: int) -> Nearest:
        return nearest(self.agents, self.agents, count, others=True)

    def _marks(self, least: bool, count: int | None = None) -> Nearest:
        return nearest(self.agents, self.landmarks, self.world.eyes.landmarks if count is None else count, least=least)

    def _write(self, out: Tensor, others: Nearest | None, landmarks: Nearest | None) -> None:
        """Observations into ``out``, given the neighbours that are known already."""
        world, eyes = self.world, self.world.eyes
        plane = out.new_empty(world.agents, world.size, self.agents.shape[2])
        parts = [self.velocities[:, None], self.agents[:, None]]
        parts += [self.objects[:, :, None] - self.agents[:, None]] if world.movable > world.agents else []
        parts += [self._relative(self.landmarks, self._seen_landmarks(landmarks))] if eyes.landmarks else []
        parts += [self._relative_others(others)] if eyes.others else []
        first = 0
        for part in parts:
            last = first + 2 * part.shape[1]
            plane[:, first:last].unflatten(1, (-1, 2)).copy_(part.permute(2, 1, 0, 3))
            first = last
        if world.varying:
            plane[:, :first].mul_(self.present[:, None])
            plane[:, first] = self.present
        out.view(self.rows, -1).copy_(plane.view(-1, plane.shape[2])[:, : self.rows].T)

    def _relative(self, points: Tensor, indices: Tensor) -> Tensor:
        """Of ``points`` at ``indices`` [k, N, c], seen from the agents: [2, k, N, c]; absent ones at (0, 0)."""
        offsets = gather(points, indices) - self.agents[:, None]
        return offsets.masked_fill_(offsets.abs().amax(0) > FAR / 2, 0.0) if self.world.varying else offsets

    def _centres(self) -> Tensor:
        return 2 * self.agents if self.world.eyes.own_position_twice else self.agents

    def _seen_landmarks(self, known: Nearest | None) -> Tensor:
        if known is not None:
            return known.indices
        eyes = self.world.eyes
        if eyes.landmarks_order == "distance":
            return nearest(self._centres(), self.landmarks, eyes.landmarks).indices
        first = torch.arange(eyes.landmarks, device=self.agents.device)
        return first[:, None, None].expand(-1, *self.agents.shape[1:])

    def _relative_others(self, known: Nearest | None) -> Tensor:
        eyes = self.world.eyes
        if known is not None:
            return self._relative(self.agents, known.indices)
        if eyes.others_order == "distance":
            return self._relative(self.agents, nearest(self._centres(), self.agents, eyes.others, others=True).indices)
        every = self.world.others[:, :, None].expand(-1, -1, self.agents.shape[2])
        offsets = self._relative(self.agents, every)
        if eyes.others_order == "x_then_y":
            for axis in (1, 0):
                order = offsets[axis].sort(dim=0, stable=True).indices
                offsets = offsets.gather(1, order.expand_as(offsets))
        return offsets[:, : eyes.others]

    def _strength(self, distances: Tensor, touch: float) -> Tensor:
        """Force of contacts at ``distances``, by which it is divided; 0 beyond the reach."""
        rules = self.world.dialect
        push = softplus(touch - distances, 1.0 / rules.contact_margin, SOFTPLUS_THRESHOLD)
        push.mul_(rules.contact_force).div_(distances)
        return push.masked_fill_(distances >= touch + MARGINS * rules.contact_margin, 0.0)

    def _contacts(self, near: Nearest) -> tuple[Tensor, Tensor]:
        """Forces [2, M, c] between agents and ordered touching pairs [c], from the ``near``est of each agent."""
        world, touch = self.world, self.world.touch
        forces = self.agents.new_zeros(2, world.movable, self.agents.shape[2])
        if not len(near.indices):
            return forces, forces[0, 0]
        offsets = gather(self.agents, near.indices) - self.agents[:, None]
        distances = _lengths(offsets)
        push = self._strength(distances, touch)
        if world.solid is not None:
            push *= world.solid[near.indices] * world.solid[:, None]
        forces[:, : world.agents] = offsets.mul_(push).sum(1).neg_()
        touching = (distances < touch).sum(0)
        if len(near.indices) < world.agents - 1:
            crowded = distances[-1] < touch + MARGINS * world.dialect.contact_margin
            agents, rows = crowded.nonzero(as_tuple=True)
            if len(agents):
                forces[:, agents, rows], touching[agents, rows] = self._crowded(agents, rows)
        return forces, touching.sum(0)

    def _crowded(self, agents: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The same of agents [F] with so many neighbours in reach that all must be asked: [2, F] and [F]."""
        world = self.world
        offsets = self.agents[:, :, rows] - self.agents[:, agents, rows][:, None]
        distances = _lengths(offsets)
        push = self._strength(distances, world.touch)
        if world.solid is not None:
            push *= world.solid[:, None] * world.solid[agents]
        # Each agent is among those it is compared with: it pushes itself nowhere, and is not counted.
        return offsets.mul_(push).sum(1).neg_(), (distances < world.touch).sum(0) - 1

    def _push_objects(self, forces: Tensor) -> None:
        """Add the forces between agents and objects."""
        world = self.world
        for number, touch in enumerate(world.object_touch):
            offsets = self.objects[:, number, None] - self.agents
            distances = _lengths(offsets)
            push = self._strength(distances, touch)
            if world.solid is not None:
                push *= world.solid[:, None]
            offsets *= push
            forces[:, : world.agents] -= offsets
            forces[:, world.agents + number] += offsets.sum(1)


def _lengths(offsets: Tensor) -> Tensor:
    """Of ``offsets`` [2, ..], at least ``LEAST_DISTANCE``."""
    return (offsets[0].square() + offsets[1].square()).sqrt_().clamp_min_(LEAST_DISTANCE)
