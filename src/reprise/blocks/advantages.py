"""Generalised advantage estimation (Schulman et al. 2015b) and advantage normalisation."""

from __future__ import annotations

import torch

from reprise.blocks.rollout import Rollout, by_run


def gae(
    reward: torch.Tensor,
    value: torch.Tensor,
    next_value: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: torch.Tensor | float,
    lam: torch.Tensor | float,
) -> torch.Tensor:
    """Advantages [T, ...] = sum_l (gamma lam)^l delta_{t+l}, delta_t = r_t + gamma V(s_{t+1}) - V(s_t).

    All arguments [T, ...], broadcastable; ``next_value`` is the value of what the step led to, before any reset.
    A terminated step has no future; a truncated one keeps gamma V(s_{t+1}) but ends the sum. To treat the time limit
    as an end of the world, as the released code does, pass it as terminated.
    """
    delta = reward + gamma * next_value * ~terminated - value
    decay = gamma * lam * ~(terminated | truncated)
    advantage = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + decay[t] * running
        advantage[t] = running
    return advantage


def of_rollout(
    rollout: Rollout,
    values: torch.Tensor,
    next_values: torch.Tensor,
    gamma: torch.Tensor,
    lam: torch.Tensor,
    bootstrap_at_limit: bool,
) -> torch.Tensor:
    """Advantages [R, V, T*C] of V critics per run from their values and those of what each step led to, same shape.

    gamma, lam: [R, 1]. Without ``bootstrap_at_limit`` a time limit is an end of the world.
    """
    runs, copies = len(values), rollout.reward.shape[1] // len(values)

    def by_time(x):  # [R, V, T*C] -> [T, R, V, C]
        return x.unflatten(2, (-1, copies)).permute(2, 0, 1, 3)

    def shared(x):  # [T, R*C] -> [T, R, 1, C]
        return by_run(x, runs).transpose(0, 1).unsqueeze(2)

    terminated, truncated = shared(rollout.terminated), shared(rollout.truncated)
    if not bootstrap_at_limit:
        terminated, truncated = terminated | truncated, torch.zeros_like(truncated)
    result = gae(
        shared(rollout.reward), by_time(values), by_time(next_values), terminated, truncated,
        gamma.unsqueeze(-1), lam.unsqueeze(-1),
    )  # fmt: skip
    return result.permute(1, 2, 0, 3).flatten(2)


def normalise(advantages: torch.Tensor, dims: tuple[int, ...], eps: float) -> torch.Tensor:
    """(A - mean) / (std + eps) over ``dims``; std of the population, as numpy's in the released code."""
    mean = advantages.mean(dims, keepdim=True)
    std = advantages.std(dims, keepdim=True, correction=0)
    return (advantages - mean) / (std + eps)
