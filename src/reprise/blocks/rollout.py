"""What a rollout hands to an algorithm's update."""

from __future__ import annotations

from typing import NamedTuple

import torch


class Rollout(NamedTuple):
    """T steps of B = R * C environment rows (row r * C + c: run r, copy c), N agents.

    observations       [T, B, N] int64 (one-hot index) or [T, B, N, O] float32
    actions            [T, B, N] int64, or [T, B, N, A] float32 where they are vectors
    reward             [T, B] float32, shared by the agents
    terminated         [T, B] bool: the episode ended in a state without a future
    truncated          [T, B] bool: the episode was cut at its limit
    next_observations  as observations: what the step led to, before any reset
    available_actions  [T, B, N, A] bool or None
    extras             what act() returned beside the actions, each [T, B, N, ...]
    state, next_state  global states [T, B, S] that belong to both observations; None unless the algorithm's class
                       says ``needs_state = True``
    """

    observations: torch.Tensor
    actions: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    truncated: torch.Tensor
    next_observations: torch.Tensor
    available_actions: torch.Tensor | None
    extras: dict[str, torch.Tensor]
    state: torch.Tensor | None = None
    next_state: torch.Tensor | None = None


def by_run(tensor: torch.Tensor, runs: int) -> torch.Tensor:
    """[T, R*C, ...] -> [R, T, C, ...]."""
    return tensor.unflatten(1, (runs, -1)).transpose(0, 1)


def by_agent(tensor: torch.Tensor, runs: int) -> torch.Tensor:
    """[T, R*C, N, ...] -> [R, N, T*C, ...]: the samples of each agent of each run."""
    return tensor.unflatten(1, (runs, -1)).permute(1, 3, 0, 2, *range(4, tensor.dim() + 1)).flatten(2, 3)
