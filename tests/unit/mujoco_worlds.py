"""Multi-agent MuJoCo tasks as configured, for tests."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from reprise.environments.mamujoco.environment import MultiAgentMujoco
from reprise.experiments import config

ROOT = Path(__file__).resolve().parents[2]


@cache
def _environment():
    return config.load(ROOT).environments["mamujoco"]


def tasks() -> list[str]:
    """The tasks of config/environments/mamujoco.yaml."""
    return list(_environment().tasks)


def make(task="HalfCheetah-3x2", seeds=(0,), copies=2, stream="environment", threads=1, **changes) -> MultiAgentMujoco:
    """An environment of ``task``; ``changes`` override its parameters."""
    entries = {**_environment().parameters, **_environment().tasks[task].parameters}
    return MultiAgentMujoco(
        {name: entry.value for name, entry in entries.items()} | changes,
        task=f"mamujoco/{task}",
        seeds=list(seeds),
        copies=copies,
        device=torch.device("cpu"),
        stream=stream,
        threads=threads,
    )


def actions(environment: MultiAgentMujoco, steps: int, seed: int = 0, rows: int | None = None) -> torch.Tensor:
    """Uniform random actions float32 [steps, B, N, k]; the same for every row."""
    spec = environment.spec
    shape = (steps, 1, spec.agents, spec.actions.size)
    drawn = 2.0 * torch.rand(shape, generator=torch.Generator().manual_seed(seed)) - 1.0
    return drawn.expand(steps, rows or environment.rows, spec.agents, spec.actions.size)
