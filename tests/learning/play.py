"""Short trainings on the small games, through the product's own collector and evaluator."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

from reprise.experiments import config, evaluation, resolution
from reprise.experiments.rollouts import Collector

ROOT = Path(__file__).parents[2]


@cache
def project() -> config.Project:
    """The repository's own config."""
    return config.load(ROOT)


class Play:
    """One cohort on one task: ``update()`` trains, ``returns()`` are the exact greedy returns, [R].

    ``sampled_returns()`` are those of ``episodes`` played episodes, where no exact ones are known.
    """

    def __init__(
        self, task: str, algorithm: str, seeds, cache: Path, device: str = "cpu", episodes: int = 2, **changes
    ):
        torch.set_num_threads(1)
        self.cell = resolution.resolve(project(), task, algorithm, "smoke")
        hyper = self.cell.config["algorithm"]["hyperparameters"]
        assert set(changes) <= set(hyper)
        settings = {**self.cell.config, "algorithm": {**self.cell.config["algorithm"]}}
        settings["algorithm"]["hyperparameters"] = hyper | changes
        copies, device = settings["algorithm"]["hyperparameters"]["copies"], torch.device(device)
        self.environment, second = (
            evaluation.make_environment(settings, seeds, c, device, stream, cache)
            for c, stream in ((copies, "environment"), (episodes, "evaluation"))
        )
        spec = self.environment.spec
        self.algorithm = evaluation.make_algorithm([settings] * len(seeds), spec, seeds, copies, device)
        self.collector = Collector(
            self.environment, self.algorithm, self.algorithm.rollout_length(), len(seeds) * copies
        )
        self.evaluator = evaluation.Evaluator(second, len(seeds), episodes)
        self.steps_per_update = self.algorithm.rollout_length() * copies
        self.seeds = seeds

    def update(self) -> dict[str, torch.Tensor]:
        """One rollout and update; its metrics."""
        return self.algorithm.update(self.collector.collect())

    def returns(self) -> torch.Tensor:
        """Exact expected return of the greedy joint policy, [R]."""
        return torch.from_numpy(self.evaluator.evaluate(self.algorithm).expected_return)

    def sampled_returns(self) -> torch.Tensor:
        """Mean return of the greedy policies over the played episodes, [R]."""
        return torch.from_numpy(self.evaluator.evaluate(self.algorithm).returns).mean(1)
