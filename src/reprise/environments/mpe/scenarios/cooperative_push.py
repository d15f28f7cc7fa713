"""Cooperative push: N agents push a ball to a target.

After PIC (Liu et al. 2019, simple_coop_push), which Li et al. 2021 (MF-PPO) played with a reward of their own:

    r = - ball_weight * distance of the ball from its target
        - approach_weight * distance of the agent nearest to the ball
        + contact_bonus * number of agents nearer to the ball than the sum of both sizes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reprise.environments.mpe.placement import first_apart
from reprise.environments.mpe.scenarios.team import Team
from reprise.environments.mpe.sight import Eyes
from reprise.environments.mpe.world import Entities, Entity

# Tries for a target far enough from the ball, where their number is not a parameter. One fails in four of five cases at
# the worst; if all did, the farthest would be taken.
TRIES = 64
# The ball is pushed by agents at most this far (cosine) beside the line from it to the target.
BEHIND = 0.8


class CooperativePush(Team):
    """Parameters beyond those of ``Team``: ball_size, ball_mass, ghosts (agents that touch nothing, the first ones),
    start_margin, target_spacing, target_tries (null: until it fits), ball_weight, approach_weight, contact_bonus.
    """

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.reward_bounds = (-math.inf, self.parameters["contact_bonus"] * self.agents)

    def entities(self) -> Entities:
        """N agents, the ball, the target."""
        values, ghosts = self.parameters, min(self.parameters["ghosts"], self.agents)
        agents = [self.agent(collides=False)] * ghosts + [self.agent()] * (self.agents - ghosts)
        ball = Entity(size=values["ball_size"], mass=values["ball_mass"])
        return Entities(agents=agents, objects=[ball], landmarks=[self.landmark()])

    def eyes(self) -> Eyes:
        """The ball, the target, and other agents."""
        values = self.parameters
        return Eyes(values["others_seen"], 1, values["others_order"], "index", own_position_twice=False)

    def _tries(self) -> int:
        return self.parameters["target_tries"] or TRIES

    def start_numbers(self) -> int:
        """A point per agent, one for the ball, tries for the target."""
        return 2 * (self.agents + 1 + self._tries())

    def begin(self, uniform: Tensor) -> None:
        """Agents uniform on the arena; ball and target too, but for a margin, ``target_spacing`` apart."""
        values = self.parameters
        points = (2 * uniform - 1).unflatten(1, (-1, 2))
        agents = points[:, : self.agents] * self.extent
        inner = points[:, self.agents :] * (self.extent - values["start_margin"])
        ball, tries = inner[:, 0], inner[:, 1:]
        target = first_apart(tries, ball, values["target_spacing"], to_the_end=values["target_tries"] is None)
        self.world.place(torch.cat([agents, ball[:, None], target[:, None]], dim=1))
        self.begun()

    def _places(self) -> tuple[Tensor, Tensor, Tensor]:
        """Agents [B, N, 2], ball and target [B, 2]."""
        positions = self.world.positions
        return positions[:, : self.agents], positions[:, -2], positions[:, -1]

    def reward(self) -> Tensor:
        """[B]."""
        values, (agents, ball, target) = self.parameters, self._places()
        distances = (agents - ball[:, None]).norm(dim=2)
        reward = (ball - target).norm(dim=1) * -values["ball_weight"] - distances.amin(1) * values["approach_weight"]
        if values["contact_bonus"] > 0:
            near = distances < values["agent_size"] + values["ball_size"]
            reward += near.to(reward.dtype).sum(1) * values["contact_bonus"]
        return reward

    def success(self) -> Tensor:
        """1 where the ball is nearer than ``success_distance`` to its target, else 0: [B]."""
        _, ball, target = self._places()
        return ((ball - target).norm(dim=1) < self.parameters["success_distance"]).to(ball.dtype)

    def targets(self) -> Tensor:
        """The ball, where the agents should be, and the target, where the ball should be: [B, 2, 2]."""
        return self.world.positions[:, self.agents :]

    def links(self) -> Tensor:
        """The nearest agent with the ball, and the ball (entity N) with the target: int64 [B, 2, 2]."""
        nearest, _ = self.nearest_agents(self.world.positions[:, self.agents : self.agents + 1])
        agents = torch.cat([nearest, torch.full_like(nearest, self.agents)], dim=1)
        return torch.stack([agents, torch.arange(2, device=agents.device).expand_as(agents)], dim=2)

    def goals(self) -> Tensor:
        """Through the ball to the target for who is behind the ball; for others the place behind it: [B, N, 2]."""
        agents, ball, target = self._places()
        way = torch.nn.functional.normalize(target - ball, dim=1)[:, None]
        clear = self.parameters["ball_size"] + 2 * self.parameters["agent_size"]
        seen = torch.nn.functional.normalize(ball[:, None] - agents, dim=2)
        ahead = (seen * way).sum(2, keepdim=True)
        # Who is in front goes round: to the side on which it is.
        across = torch.stack([-way[..., 1], way[..., 0]], dim=2)
        side = ((agents - ball[:, None]) * across).sum(2, keepdim=True).sign()
        behind = ball[:, None] - way * clear
        beside = ball[:, None] + side * across * 2 * clear
        return torch.where(ahead > BEHIND, target[:, None], torch.where(ahead > 0, behind, beside))
