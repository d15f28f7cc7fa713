"""The adapter with rows of the toy (toy_parallel.py), made and played: shared by its tests."""

from __future__ import annotations

import json
from pathlib import Path

import torch
import toy_parallel

from reprise.environments.pettingzoo.environment import PettingZooEnvironment

PARAMETERS = {
    "factory": "toy_parallel.Toy",
    "arguments": "{}",
    "max_steps": 20,
    "reward": "mean",
    "state": "observations",
    "action_masks": False,
    "rebuild": False,
    "deterministic": True,
    "workers": 2,
    "timeout": 20.0,
}


def make(seeds=(0, 1), copies=2, stream="environment", arguments=None, **parameters) -> PettingZooEnvironment:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return PettingZooEnvironment(
        PARAMETERS | {"arguments": text} | parameters,
        task="toys/toy",
        seeds=seeds,
        copies=copies,
        device=torch.device("cpu"),
        cache=Path("unused"),
        stream=stream,
    )


def draw(generator, rows: int, available=None) -> torch.Tensor:
    """Random discrete actions of the toy."""
    weights = torch.rand(rows, 3, toy_parallel.CHOICES, generator=generator)
    return (weights if available is None else weights.masked_fill(~available, -1.0)).argmax(-1)


def play(environment, steps: int, seed: int = 0, rows: slice = slice(None), count: int = 4) -> list:
    """Transitions of random actions; ``rows`` picks those of ``count`` rows' actions that the environment has."""
    generator = torch.Generator().manual_seed(seed)
    return [environment.step(draw(generator, count)[rows]) for _ in range(steps)]


def same(first, second) -> bool:
    return all(torch.equal(a, b) if isinstance(a, torch.Tensor) else a is b for a, b in zip(first, second, strict=True))
