"""What a scenario defines, and the reward that three of them share: the cost of the cheapest matching."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reprise.environments.mpe.matching import Matching
from reprise.environments.mpe.observations import Observer
from reprise.environments.mpe.world import Dialect, Entities, Entity, World

DIALECT = (
    "position_first",
    "positive_first",
    "contact_distance",
    "gain",
    "time_step",
    "damping",
    "contact_force",
    "contact_margin",
)


class Scenario:
    """A task for N agents in B copies of a world.

    A subclass says how many landmarks there are, how many random numbers a start takes and where they put the entities,
    what the reward is, and where each agent should best be.

    Args:
        parameters: agents, agent_size, landmark_size, vision, silent_channels, success_distance and the rules of
            ``Dialect``; a subclass names its own.
        rows: B. device, dtype: of every tensor.
    """

    least_agents = 1
    reward_bounds = (-math.inf, 0.0)  # of one step
    extent = 1.0  # half the width of the arena
    varying = False  # how many agents are present
    start_block = 16  # starts drawn at once; part of what a run's numbers are: changing it changes the version

    def __init__(self, parameters: Mapping[str, Any], rows: int, device: torch.device, dtype: torch.dtype):
        self.parameters, self.agents = parameters, int(parameters["agents"])
        landmark = Entity(size=parameters["landmark_size"], collides=False)
        entities = Entities(
            agents=[Entity(size=parameters["agent_size"])] * self.agents, landmarks=[landmark] * self.landmarks()
        )
        dialect = Dialect(**{name: parameters[name] for name in DIALECT})
        self.world = World(entities, dialect, rows, device, dtype)
        self.observe = Observer(self.world, parameters["vision"], parameters["silent_channels"])
        self.observation_size, self.constant = self.observe.size, 2 * len(entities.landmarks)
        self.matching = Matching(self.agents, device, dtype)
        self._agent_column = self.world.points[:, : self.agents, None]

    def landmarks(self) -> int:
        """L."""
        raise NotImplementedError

    def start_numbers(self) -> int:
        """How many uniform numbers ``start`` takes per copy."""
        raise NotImplementedError

    def start(self, uniform: Tensor) -> Tensor:
        """Positions [B, E, 2] at the start of an episode, from numbers in [0, 1), [B, start_numbers]."""
        raise NotImplementedError

    def begin(self, uniform: Tensor) -> None:
        """Start an episode in every row."""
        self.world.place(self.start(uniform))
        self.begun()

    def look(self, states: Tensor) -> Tensor:
        """Observations [.., N, O] of any ``states`` [.., S], as ``observe`` gives them in the world."""
        rows = states.reshape(-1, states.shape[-1])
        other = type(self)(self.parameters, len(rows), states.device, states.dtype)
        other.world.state.copy_(rows)
        other.world.refresh()
        return other.observe().view(*states.shape[:-1], self.agents, self.observation_size)

    def reward(self) -> Tensor:
        """The agents' shared reward in the world as it stands: [B]."""
        raise NotImplementedError

    def target_points(self) -> Tensor:
        """Where the agents should be, in any order, as complex numbers: [B, N]."""
        raise NotImplementedError

    def targets(self) -> Tensor:
        """Where the agents should be, in any order: [B, N, 2]."""
        return torch.view_as_real(self.target_points())

    def target_distances(self) -> Tensor:
        """Distance of each agent (rows) to each target (columns): [B, N, N]."""
        return (self._agent_column - self.target_points()[:, None]).abs()

    def goals(self) -> Tensor:
        """Where the scripted policy sends each agent, its target in the cheapest matching: [B, N, 2]."""
        chosen = self.matching.columns(self.target_distances())
        return self.targets().gather(1, chosen[..., None].expand(-1, -1, 2))

    def links(self) -> Tensor:
        """Pairs (entity, target) whose distances the reward counts, the cheapest matching: int64 [B, N, 2]."""
        columns = self.matching.columns(self.target_distances())
        return torch.stack([torch.arange(self.agents, device=columns.device).expand_as(columns), columns], dim=2)

    def there(self, row: int) -> list[int]:
        """The entities of a row that are not absent; of agents and landmarks as many, where it varies."""
        return list(range(self.world.total))

    def begun(self) -> None:
        """Called when the world was placed anew: at the start of an episode, or on resume."""

    def success(self) -> Tensor:
        """1 where every target has its agent nearer than ``success_distance`` (cheapest matching), else 0: [B]."""
        costs = self.target_distances()
        matched = costs.gather(2, self.matching.columns(costs)[..., None])[..., 0]
        return (matched < self.parameters["success_distance"]).all(1).to(costs.dtype)


class Matched(Scenario):
    """Reward: minus the mean distance in the cheapest matching of agents to targets, clipped at ``-reward_limit``.

    Before clipping, collision_penalty (0 in the papers) times the number of ordered pairs (i, j) of touching agents,
    i = j included, is divided by 2 N and taken off.
    """

    def __init__(self, parameters: Mapping[str, Any], *arguments: Any):
        super().__init__(parameters, *arguments)
        self.reward_bounds = (-parameters["reward_limit"], 0.0)

    def reward(self) -> Tensor:
        """[B]."""
        cost = self.matching.cost(self.target_distances()).div_(self.agents)
        if self.parameters["collision_penalty"] > 0:
            touching = self.world.touching() + self.agents
            cost.add_(touching, alpha=self.parameters["collision_penalty"] / (2 * self.agents))
        return cost.clamp_(max=self.parameters["reward_limit"]).neg_()
