"""What the tasks of large teams share: a crowd that sees its neighbours, in an arena that grows with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reprise.environments.mpe.crowd import Crowd
from reprise.environments.mpe.matching import Matching
from reprise.environments.mpe.scenarios.base import DIALECT, Scenario
from reprise.environments.mpe.sight import Eyes
from reprise.environments.mpe.world import Dialect, Entities, Entity


class Team(Scenario):
    """A task of the ``Crowd``. Parameters: arena (half its width), agent_size, others_seen, others_order, the rules.

    A subclass adds what stands in the world and the parameters of ``Eyes`` that concern it.
    """

    start_block = 1  # a start takes many numbers

    def __init__(self, parameters: Mapping[str, Any], rows: int, device: torch.device, dtype: torch.dtype):
        self.parameters, self.agents = parameters, int(parameters["agents"])
        self.extent = float(parameters["arena"])
        self.varying = (parameters.get("least_present") or self.agents) < self.agents
        dialect = Dialect(**{name: parameters[name] for name in DIALECT})
        self.world = Crowd(self.entities(), dialect, self.eyes(), self.varying, rows, device, dtype)
        self.observation_size, self.constant = self.world.size, self.world.constant
        self.matching = Matching(self.agents, device, dtype)

    def entities(self) -> Entities:
        """What is in the world."""
        raise NotImplementedError

    def eyes(self) -> Eyes:
        """What an agent sees."""
        raise NotImplementedError

    def agent(self, collides: bool = True) -> Entity:
        """One of the team."""
        return Entity(size=self.parameters["agent_size"], collides=collides)

    def landmark(self) -> Entity:
        """A place that nobody can touch."""
        return Entity(size=self.parameters["landmark_size"], collides=False)

    def observe(self) -> Tensor:
        """Observations of the world as it stands: [B, N, O]."""
        return self.world.survey.observations

    def look(self, states: Tensor) -> Tensor:
        """Observations [.., N, O] of any ``states`` [.., S]."""
        return self.world.observe(states)

    def nearest_agents(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Of ``points`` [B, K, 2], the agent nearest to each, int64 [B, K], and its distance [B, K]."""
        from reprise.environments.mpe import neighbours

        agents = self.world.positions[:, : self.agents]
        planes = [each.permute(2, 1, 0).double().contiguous() for each in (points, agents)]
        found = neighbours.nearest(*planes, 1)
        return found.indices[0].T, found.squares[0].sqrt().T
