"""Cooperative navigation: N agents cover N landmarks that keep a distance from one another, without colliding.

After Lowe et al. 2017 (simple_spread), in the arenas that PIC (Liu et al. 2019) gave it for many agents, in which Li et
al. 2021 (MF-PPO) played it:

    r = - coverage_weight * sum over landmarks of the distance of the nearest agent
        - collision_penalty * number of ordered pairs of touching agents (``self_collision``: and each with itself).
"""

from __future__ import annotations

import torch
from torch import Tensor

from reprise.environments.mpe.placement import spaced
from reprise.environments.mpe.scenarios.team import Team
from reprise.environments.mpe.sight import Eyes
from reprise.environments.mpe.world import Entities

# Darts per landmark: five take all landmarks of any task here in practice.
DARTS = 10
# The cost of matching a present agent with an absent landmark.
FORBIDDEN = 1e6


class CooperativeNavigation(Team):
    """Parameters beyond those of ``Team``: landmarks_seen, landmarks_order, own_position_twice, landmark_spacing,
    coverage_weight, collision_penalty, self_collision, success_distance, least_present (null: all are).

    With ``least_present`` an episode has n agents, uniform from it to N: the first n, and the first n landmarks. An
    absent agent sees zeros, touches and covers nothing; the last entry of an observation says who is present.
    """

    def entities(self) -> Entities:
        """N agents and N landmarks."""
        return Entities(agents=[self.agent()] * self.agents, landmarks=[self.landmark()] * self.agents)

    def eyes(self) -> Eyes:
        """The nearest others and the nearest landmarks."""
        names = ("others_order", "landmarks_order", "own_position_twice")
        return Eyes(
            others=self.parameters["others_seen"],
            landmarks=self.parameters["landmarks_seen"],
            **{name: self.parameters[name] for name in names},
        )

    def start_numbers(self) -> int:
        """A point per agent, darts for the landmarks, and how many are present."""
        return 2 * self.agents * (1 + (DARTS if self.parameters["landmark_spacing"] > 0 else 1)) + self.varying

    def begin(self, uniform: Tensor) -> None:
        """Agents uniform on the arena, landmarks as well, ``landmark_spacing`` apart."""
        present = None
        if self.varying:
            uniform, last = uniform[:, :-1], uniform[:, -1:]
            least = self.parameters["least_present"]
            number = least + (last * (self.agents + 1 - least)).long()
            present = (torch.arange(self.agents, device=uniform.device) < number).to(uniform.dtype)
        points = (2 * uniform - 1).mul_(self.extent).unflatten(1, (-1, 2))
        agents, marks = points[:, : self.agents], points[:, self.agents :]
        if self.parameters["landmark_spacing"] > 0:
            marks = spaced(marks, self.agents, self.parameters["landmark_spacing"])
        if self.varying:
            agents, marks = agents * present[..., None], marks * present[..., None]
        self.world.place(torch.cat([agents, marks], dim=1), present)
        self.begun()

    def gaps(self) -> Tensor:
        """Distance of the agent nearest to each landmark: [B, N]; 0 where the landmark is absent."""
        world = self.world
        return world.survey.gaps * world.present if self.varying else world.survey.gaps

    def reward(self) -> Tensor:
        """[B]."""
        penalty, touching = self.parameters["collision_penalty"], self.world.survey.touching
        if self.parameters["self_collision"]:
            touching = touching + (self.world.present.sum(1) if self.varying else self.agents)
        return -self.parameters["coverage_weight"] * self.gaps().sum(1) - penalty * touching

    def success(self) -> Tensor:
        """1 where each landmark has an agent nearer than ``success_distance``, else 0: [B]."""
        return (self.gaps() < self.parameters["success_distance"]).all(1).to(self.world.state.dtype)

    def targets(self) -> Tensor:
        """The landmarks: [B, N, 2]."""
        return self.world.positions[:, self.agents :]

    def links(self) -> Tensor:
        """Each landmark with the agent nearest to it: int64 [B, N, 2]."""
        nearest, _ = self.nearest_agents(self.targets())
        return torch.stack([nearest, torch.arange(self.agents, device=nearest.device).expand_as(nearest)], dim=2)

    def there(self, row: int) -> list[int]:
        """The agents present, and as many landmarks."""
        number = int(self.world.present[row].sum()) if self.varying else self.agents
        return [*range(number), *range(self.agents, self.agents + number)]

    def begun(self) -> None:
        """Who heads where is settled once per episode, and only if somebody asks."""
        self._chosen: Tensor | None = None

    def goals(self) -> Tensor:
        """Each agent's landmark in the cheapest matching at the time of the first call in an episode: [B, N, 2]."""
        if self._chosen is None:
            costs = torch.cdist(self.world.positions[:, : self.agents], self.targets())
            if self.varying:
                costs = torch.where(self.world.present[..., None] == self.world.present[:, None], costs, FORBIDDEN)
            self._chosen = self.matching.columns(costs)
        return self.targets().gather(1, self._chosen[..., None].expand(-1, -1, 2))
