"""Small cohorts on a device, and what their rollouts make the processor wait for."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

from reprise.blocks.streams import Streams
from reprise.experiments import config, evaluation, resolution
from reprise.experiments.rollouts import Collector

ROOT = Path(__file__).parents[2]
TASK = "stochastic_game/s5n2a3"
SEEDS = [0, 1]
ALGORITHMS = ["dpo", "dpo@code", "dpo@code_shuffled", "ippo", "ippo@joint_ratio", "iql", "iql@rnn"]
SMALL = {"hidden": 16, "batch_episodes": 2}  # the second: IQL learns from its first update on


@cache
def project() -> config.Project:
    """The repository's own config."""
    return config.load(ROOT)


class Cohort:
    """The runs of one small cell on ``device``: environment, algorithm, collector and evaluator."""

    def __init__(self, name: str, device: str, cache: Path):
        torch.set_num_threads(1)
        resolved = resolution.resolve(project(), TASK, name, "smoke").config
        values = resolved["algorithm"]["hyperparameters"]
        values = values | {key: value for key, value in SMALL.items() if key in values}
        settings = resolved | {"algorithm": resolved["algorithm"] | {"hyperparameters": values}}
        target, copies = torch.device(device), values["copies"]
        self.environment, second = (
            evaluation.make_environment(settings, SEEDS, count, target, stream, cache)
            for count, stream in ((copies, "environment"), (2, "evaluation"))
        )
        spec = self.environment.spec
        self.algorithm = evaluation.make_algorithm([settings] * len(SEEDS), spec, SEEDS, copies, target)
        length = self.algorithm.rollout_length()
        self.collector = Collector(self.environment, self.algorithm, length, len(SEEDS) * copies)
        self.evaluator = evaluation.Evaluator(second, len(SEEDS), 2)


@contextmanager
def waiting_forbidden(monkeypatch):
    """Any operation that makes the host wait for the GPU raises, except drawing a block of random numbers.

    Those are made on the host, so that every device draws the same; yields the list of the blocks drawn.
    """
    drawn, stack = [], Streams._stack

    def allowed(self, arrays):
        drawn.append(arrays[0].shape)
        torch.cuda.set_sync_debug_mode("default")
        try:
            return stack(self, arrays)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    monkeypatch.setattr(Streams, "_stack", allowed)
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield drawn
    finally:
        torch.cuda.set_sync_debug_mode("default")
