"""Returns of policies that do not look: random actions, and none."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from reprise.environments.mamujoco.environment import MultiAgentMujoco

EPISODES = 8


def mean_return(environment: MultiAgentMujoco, policy: Callable[[], torch.Tensor]) -> float:
    """Mean return of each row's first episode under ``policy`` () -> actions [B, N, k]."""
    environment.reset()
    returns = torch.zeros(environment.rows, dtype=torch.float64)
    running = torch.ones(environment.rows, dtype=torch.bool)
    while running.any():
        step = environment.step(policy())
        returns += torch.where(running, step.reward.double(), 0.0)
        running &= ~(step.terminated | step.truncated)
    return float(returns.mean())


def simulate(environment: MultiAgentMujoco) -> dict[str, float]:
    """``uniform``: actions uniform in [-1, 1]; ``idle``: the middle of each actuator's range, no torque."""
    generator = torch.Generator().manual_seed(0)
    shape = (environment.rows, environment.spec.agents, environment.spec.actions.size)
    return {
        "uniform": mean_return(environment, lambda: 2.0 * torch.rand(shape, generator=generator) - 1.0),
        "idle": mean_return(environment, lambda: torch.zeros(shape)),
    }
