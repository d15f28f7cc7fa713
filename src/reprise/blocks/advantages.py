"""Generalised advantage estimation (Schulman et al. 2015b) and advantage normalisation."""

from __future__ import annotations

import torch


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


def normalise(advantages: torch.Tensor, dims: tuple[int, ...], eps: float) -> torch.Tensor:
    """(A - mean) / (std + eps) over ``dims``; std of the population, as numpy's in the released code."""
    mean = advantages.mean(dims, keepdim=True)
    std = advantages.std(dims, keepdim=True, correction=0)
    return (advantages - mean) / (std + eps)
