"""Simple spread as first published (Lowe et al. 2017), and as mpe2 has it: cover the landmarks, do not collide.

Agent i:   r_i = - coverage_weight * sum over landmarks of the distance of the nearest agent
                 - collision_penalty * number of agents that i touches (``self_collision``: itself included).
The shared reward is their sum or mean over agents, ``reward_join``.
"""

from __future__ import annotations

import torch
from torch import Tensor

from reprise.environments.mpe.scenarios.base import Scenario
from reprise.environments.mpe.scenarios.simple_spread import SimpleSpread


class SimpleSpreadOriginal(SimpleSpread):
    """Start and observation of ``SimpleSpread``; the reward above; success when every landmark has an agent near it."""

    def __init__(self, *arguments):
        Scenario.__init__(self, *arguments)

    def coverage(self) -> Tensor:
        """Sum over landmarks of the distance of the nearest agent: [B]."""
        return self.world.landmark_distances.amin(1).sum(1)

    def agent_rewards(self) -> Tensor:
        """The agents' own rewards before they are joined: [B, N]."""
        collisions = self.world.touching(each=True) + int(self.parameters["self_collision"])
        covering = self.coverage()[:, None] * self.parameters["coverage_weight"]
        return -covering - collisions * self.parameters["collision_penalty"]

    def reward(self) -> Tensor:
        """[B]."""
        agents, penalty = self.agents, self.parameters["collision_penalty"]
        share = 1.0 if self.parameters["reward_join"] == "sum" else 1.0 / agents
        reward = self.coverage().mul_(-self.parameters["coverage_weight"] * agents * share)
        reward.sub_(self.world.touching(), alpha=penalty * share)
        return reward.sub_(penalty * share * agents) if self.parameters["self_collision"] else reward

    def links(self) -> Tensor:
        """Each landmark with the agent nearest to it: int64 [B, N, 2]."""
        nearest = self.world.landmark_distances.argmin(1)
        return torch.stack([nearest, torch.arange(self.agents, device=nearest.device).expand_as(nearest)], dim=2)

    def success(self) -> Tensor:
        """1 where some agent is nearer than ``success_distance`` to each landmark, else 0: [B]."""
        nearest = self.world.landmark_distances.amin(1)
        return (nearest < self.parameters["success_distance"]).all(1).to(nearest.dtype)
