"""A tiny continuous task: two agents move in the plane and are paid for being near one target, together."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from reprise.blocks.hyper import Hyper
from reprise.blocks.streams import Streams
from reprise.environments.protocol import Box, Spec, Transition
from reprise.experiments.evaluation import Evaluator
from reprise.experiments.rollouts import Collector

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from learners import hyperparameters

AGENTS, LIMIT, SPEED = 2, 15, 0.25


class Reach:
    """Each agent moves by SPEED times its action (cut to [-1, 1]); the reward is minus the mean distance to the target.

    Agent 0 sees the target, agent 1 only where agent 0 is and its own place. Episodes last 15 steps.
    """

    def __init__(self, seeds, copies: int, stream: str):
        self.device, self.streams, self.stream, self.copies = torch.device("cpu"), Streams(seeds), stream, copies
        self.spec = Spec(
            name="test/reach", agents=AGENTS, observation_size=7, one_hot=False, state_size=6,
            actions=Box(2, -1.0, 1.0), episode_limit=LIMIT, backend="test", exact=False,
            return_bounds=(-1e3, 0.0),
        )  # fmt: skip
        self.episodes = 0

    def reset(self) -> torch.Tensor:
        """Agents near the middle, the target anywhere in [-1, 1]^2."""
        numbers = 2.0 * self.streams.uniform(self.stream, self.episodes, (self.copies, 6)).flatten(0, 1) - 1.0
        self.episodes, self.elapsed = self.episodes + 1, 0
        self.places, self.target = 0.3 * numbers[:, :4].unflatten(1, (2, 2)), numbers[:, 4:]
        return self.observations()

    @property
    def state(self) -> torch.Tensor:
        """All places and the target."""
        return torch.cat([self.places.flatten(1), self.target], 1)

    def observations(self) -> torch.Tensor:
        """Target (agent 0) or zeros, own place, the other's place, and which agent it is."""
        hidden = torch.stack([self.target, 0 * self.target], 1)
        number = torch.tensor([0.0, 1.0]).view(1, 2, 1).expand(len(hidden), -1, -1)
        return torch.cat([hidden, self.places, self.places.flip(1), number], 2)

    def step(self, actions: torch.Tensor) -> Transition:
        """Move all; every episode ends by its limit."""
        self.places = self.places + SPEED * actions.clamp(-1.0, 1.0)
        reward = -(self.places - self.target.unsqueeze(1)).norm(dim=-1).mean(1)
        self.elapsed += 1
        after, state = self.observations(), self.state
        ended = torch.full(reward.shape, self.elapsed >= LIMIT)
        seen = self.reset() if self.elapsed >= LIMIT else after
        return Transition(seen, after, self.state, state, reward, ended & False, ended, None, None)


# Of algorithms that learn from a replay: 1 gradient step per 15 env steps; episodes of 15 steps need no far future.
OFF_POLICY = {"rollout_length": LIMIT, "warmup": 600, "batch": 100, "width": 64, "actor_width": 64, "n_step": 1}
OFF_POLICY |= {"critic_updates": 16, "actor_updates": 16, "tau": 0.02, "lr": 1e-3, "critic_lr": 1e-3}


class ReachPlay:
    """One cohort on Reach: ``update()`` trains, ``returns()`` are those of the greedy policies, [R].

    The values are those of the config for the task ``like``, with ``changes``.
    """

    def __init__(self, cls, algorithm: str, seeds, like: str = "stochastic_game/s5n2a3", **changes):
        values = hyperparameters(algorithm, like)
        small = {"hidden": 32, "copies": 16, "rollout_length": 4 * LIMIT, "epochs": 8, "critic_epochs": 8, "gamma": 0.9}
        values |= {k: v for k, v in small.items() if k in values} | changes
        copies = values["copies"]
        hyper = Hyper([values] * len(seeds))
        hyper.provide(total_env_steps=100_000)
        environment = Reach(seeds, copies, "environment")
        self.algorithm = cls(environment.spec, hyper, seeds, copies, "cpu")
        length = self.algorithm.rollout_length()
        self.collector = Collector(environment, self.algorithm, length, len(seeds) * copies)
        self.evaluator = Evaluator(Reach(seeds, 64, "evaluation"), len(seeds), 64)
        self.steps_per_update = length * copies

    def train(self, steps: int) -> dict[str, torch.Tensor]:
        """Updates for ``steps`` env steps of every run; the last metrics."""
        for _ in range(steps // self.steps_per_update):
            metrics = self.algorithm.update(self.collector.collect())
        return metrics

    def returns(self) -> torch.Tensor:
        """Mean return of 64 greedy episodes, [R]."""
        return torch.from_numpy(self.evaluator.evaluate(self.algorithm).returns).mean(1)
