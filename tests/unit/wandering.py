"""A world of random numbers whose episodes end at any time, and small learners from it, for replays and DDPG."""

from __future__ import annotations

from dataclasses import replace

import torch
from learners import hyperparameters

from reprise.blocks.hyper import Hyper
from reprise.blocks.rollout import Rollout
from reprise.environments.protocol import Box, Spec

AGENTS, STATE, NUMBERS, LIMIT, STEPS, COPIES = 3, 4, 2, 7, 5, 2
TASK = "mamujoco/HalfCheetah-3x2"
SMALL = {"width": 8, "actor_width": 8, "batch": 6, "rollout_length": STEPS, "warmup": 0, "copies": COPIES}
SMALL |= {"actor_updates": 2, "critic_updates": 2}


def observe(states: torch.Tensor) -> torch.Tensor:
    """What agent i sees: the state times i + 1."""
    return states[..., None, :] * torch.arange(1.0, AGENTS + 1)[:, None]


def spec(**changes) -> Spec:
    """The task's description."""
    task = Spec(
        name="test/wandering", agents=AGENTS, observation_size=STATE, one_hot=False, state_size=STATE,
        actions=Box(NUMBERS, -1.0, 1.0), episode_limit=LIMIT, backend="test", exact=False, return_bounds=(-9.0, 9.0),
        observe=observe,
    )  # fmt: skip
    return replace(task, **changes)


class Wandering:
    """Rollouts of R runs, COPIES copies each, that follow each other; what a run does depends on its seed alone.

    An episode terminates at a step with probability ``risk`` and is cut after LIMIT steps.
    """

    def __init__(self, seeds, risk: float = 0.15):
        self.generators, self.risk = [torch.Generator().manual_seed(seed) for seed in seeds], risk
        self.state = self._numbers(COPIES, STATE)
        self.elapsed = torch.zeros(len(self.state), dtype=torch.int64)

    def _numbers(self, *shape: int) -> torch.Tensor:
        return torch.cat([torch.randn(*shape, generator=each) for each in self.generators])

    def next(self, steps: int = STEPS) -> Rollout:
        """The next ``steps`` steps of every copy."""
        parts = [self._step() for _ in range(steps)]
        state, next_state, actions, reward, terminated, truncated = (torch.stack(x) for x in zip(*parts, strict=True))
        return Rollout(
            observe(state), actions, reward, terminated, truncated, observe(next_state), None, {}, state, next_state
        )

    def _step(self):
        before, reached, fresh = self.state, *self._numbers(2 * COPIES, STATE).view(-1, 2, COPIES, STATE).unbind(1)
        reached, fresh = reached.flatten(0, 1), fresh.flatten(0, 1)
        self.elapsed += 1
        terminated = self._numbers(COPIES) < torch.distributions.Normal(0, 1).icdf(torch.tensor(self.risk))
        truncated = self.elapsed >= LIMIT
        ended = terminated | truncated
        self.elapsed[ended] = 0
        self.state = torch.where(ended.unsqueeze(1), fresh, reached)
        actions = self._numbers(COPIES, AGENTS, NUMBERS).clamp(-1, 1)
        return before, reached, actions, self._numbers(COPIES), terminated, truncated


def make(cls, algorithm: str, seeds=(0, 1), task: Spec | None = None, settings=None, **changes):
    """A learner with the repository's values for MuJoCo, made small; ``changes`` and per-run ``settings`` on top."""
    values = hyperparameters(algorithm, TASK)
    assert set(changes) <= set(values), "a change must name a declared hyperparameter"
    hyper = Hyper([values | SMALL | changes | each for each in settings or [{}] * len(seeds)])
    hyper.provide(total_env_steps=10 * STEPS * COPIES)
    return cls(task or spec(), hyper, list(seeds), COPIES, "cpu")
