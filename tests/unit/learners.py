"""Small learners and rollouts for the tests of the algorithms."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from reprise.blocks.hyper import Hyper
from reprise.blocks.rollout import Rollout
from reprise.environments.protocol import Discrete, Spec
from reprise.experiments import config

STATES, AGENTS, ACTIONS, STEPS, COPIES = 6, 3, 4, 8, 2


def spec(one_hot: bool = True) -> Spec:
    """A small task's description."""
    return Spec(
        name="test/small", agents=AGENTS, observation_size=STATES, one_hot=one_hot, state_size=STATES,
        actions=Discrete(ACTIONS), episode_limit=STEPS, backend="test", exact=False, return_bounds=(-8.0, 8.0),
    )  # fmt: skip


@cache
def project() -> config.Project:
    """The repository's own config."""
    return config.load(Path(__file__).parents[2])


def hyperparameters(algorithm: str, task: str = "stochastic_game/s5n2a3", **changes) -> dict:
    """The repository's values of an algorithm or variant for ``task``, with changes."""
    from reprise.experiments.resolution import resolve

    cell = resolve(project(), task, algorithm, "smoke")
    values = dict(cell.config["algorithm"]["hyperparameters"])
    assert set(changes) <= set(values), "a change must name a declared hyperparameter"
    return values | {"hidden": 16} | changes


def make(cls, algorithm: str, seeds=(0, 1), settings=None, one_hot: bool = True, copies: int = COPIES, **changes):
    """A learner for ``seeds``; ``settings`` are per-run changes."""
    values = [hyperparameters(algorithm, **changes) | s for s in (settings or [{}] * len(seeds))]
    return cls(spec(one_hot), Hyper(values), seeds, copies, "cpu")


def rollout(runs: int, seed: int = 0, one_hot: bool = True, copies: int = COPIES, same: bool = False) -> Rollout:
    """Random numbers in the shapes of a rollout; with ``same`` every run gets the same ones."""
    generator = torch.Generator().manual_seed(seed)
    rows = copies * (1 if same else runs)

    def integers(high: int) -> torch.Tensor:
        return torch.randint(high, (STEPS, rows, AGENTS), generator=generator)

    def observations() -> torch.Tensor:
        return integers(STATES) if one_hot else torch.randn(STEPS, rows, AGENTS, STATES, generator=generator)

    truncated = torch.zeros(STEPS, rows, dtype=torch.bool)
    truncated[-1] = True
    terminated = torch.rand(STEPS, rows, generator=generator) < 0.1
    reward = torch.randn(STEPS, rows, generator=generator)
    fields = [observations(), integers(ACTIONS), reward, terminated, truncated, observations()]
    if same:
        fields = [x.repeat(1, runs, *[1] * (x.dim() - 2)) for x in fields]
    return Rollout(*fields, None, {})


def perturb(learner, scale: float = 0.3, seed: int = 3) -> None:
    """Move the networks away from their initial, nearly uniform policies."""
    generator = torch.Generator().manual_seed(seed)
    for net in (getattr(learner, n) for n in ("actor", "critic", "network") if hasattr(learner, n)):
        for p in net.parameters.values():
            p.add_(scale * torch.randn(p.shape, generator=generator))
    learner._table = None
