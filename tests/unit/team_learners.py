"""A small task with continuous actions, its rollouts, and learners for it, for the tests of maddpg and mfppo."""

from __future__ import annotations

import torch
from learners import project

from reprise.blocks.hyper import Hyper
from reprise.blocks.rollout import Rollout
from reprise.environments.protocol import Box, Spec

AGENTS, ACTIONS, STEPS, COPIES = 3, 4, 6, 2
MOVING, CONSTANT = 3, 2  # numbers of a state: per agent, and of an episode


def observe(states: torch.Tensor) -> torch.Tensor:
    """States [..., S] -> observations [..., N, 6]: an agent's own numbers, the episode's, and whether it is there."""
    own = states[..., : AGENTS * MOVING].unflatten(-1, (AGENTS, MOVING))
    shared = states[..., AGENTS * MOVING : -AGENTS].unsqueeze(-2).expand(*own.shape[:-1], CONSTANT)
    present = states[..., -AGENTS:].unsqueeze(-1)
    return torch.cat([own, shared, torch.ones_like(present)], -1) * present


def spec(varying: bool = False, **changes) -> Spec:
    """The task's description."""
    fields = {
        "name": "test/team", "agents": AGENTS, "observation_size": MOVING + CONSTANT + 1, "one_hot": False,
        "state_size": AGENTS * (MOVING + 1) + CONSTANT, "actions": Box(ACTIONS, 0.0, 1.0), "episode_limit": STEPS,
        "backend": "test", "exact": False, "return_bounds": (-9.0, 9.0), "state_constant": CONSTANT + AGENTS,
        "observe": observe, "varying": varying,
    }  # fmt: skip
    return Spec(**(fields | changes))


def hyperparameters(name: str, **changes) -> dict:
    """The repository's values of an algorithm or variant, with networks and batches made small, and ``changes``."""
    algorithm, _, variant = name.partition("@")
    declared = project().algorithms[algorithm]
    values = {key: entry.value for key, entry in declared.hyperparameters.items()}
    if variant:
        values |= {key: override.value for key, override in declared.variants[variant].set.items()}
    small = {"critic_parameters": 0, "width": 8, "actor_width": 8} | ({"batch": 10} if "batch" in values else {})
    assert set(changes) <= set(values), "a change must name a declared hyperparameter"
    return values | small | changes


def make(cls, name: str, seeds=(0, 1), task: Spec | None = None, total: int = 1200, **changes):
    """A learner for ``seeds``, with a budget of ``total`` env steps."""
    hyper = Hyper([hyperparameters(name, **changes) for _ in seeds])
    learner = cls(task or spec(), hyper, seeds, COPIES, "cpu")
    hyper.provide(total_env_steps=total)
    return learner


def rollout(runs: int, seed: int = 0, same: bool = False) -> Rollout:
    """Random states and actions in the shapes of a rollout; with ``same`` every run gets the same ones."""
    generator = torch.Generator().manual_seed(seed)
    rows = COPIES * (1 if same else runs)
    moving = torch.randn(STEPS + 1, rows, AGENTS * MOVING, generator=generator)
    constant = torch.randn(rows, CONSTANT, generator=generator)
    states = torch.cat([moving, torch.cat([constant, torch.ones(rows, AGENTS)], -1).expand(STEPS + 1, -1, -1)], -1)
    actions = torch.rand(STEPS, rows, AGENTS, ACTIONS, generator=generator).softmax(-1).half().float()
    reward = torch.randn(STEPS, rows, generator=generator)
    truncated = torch.zeros(STEPS, rows, dtype=torch.bool)
    truncated[-1] = True
    if same:
        states, actions, reward, truncated = (
            x.repeat(1, runs, *[1] * (x.dim() - 2)) for x in (states, actions, reward, truncated)
        )
    seen = observe(states)
    return Rollout(
        seen[:-1], actions, reward, torch.zeros_like(truncated), truncated, seen[1:], None, {}, states[:-1], states[1:]
    )
