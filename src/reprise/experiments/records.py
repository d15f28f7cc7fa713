"""The rows of a run folder while they grow: kept as arrays, saved in checkpoints, turned into columns at the end.

Rows hold only what the computation gave, in float64, never a clock; the order is fixed (setting, seed, then time), so
that equal runs give equal bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from reprise.experiments.evaluation import Evaluation

TIMED = ("rollout_seconds", "update_seconds", "evaluation_seconds", "checkpoint_seconds")


class Records:
    """Evaluation, training and timing rows of the R runs of a cohort.

    Args:
        runs: (setting, seed) of each run, in run order; the setting is None where the cohort is no sweep.
    """

    def __init__(self, runs: Sequence[tuple[str | None, int]]):
        self.runs = list(runs)
        self.sweep = self.runs[0][0] is not None
        self.order = sorted(range(len(self.runs)), key=lambda r: (self.runs[r][0] or "", self.runs[r][1]))
        self._points: dict[str, list[np.ndarray]] = {}

    def add_evaluation(self, env_steps: int, evaluation: Evaluation, alive: np.ndarray) -> None:
        """One evaluation point; runs with ``alive`` [R] False get no row."""
        self._add(
            "evaluations",
            {
                "env_steps": np.int64(env_steps),
                "alive": alive,
                "return": evaluation.returns,
                "length": evaluation.lengths,
                "success": evaluation.success,
                "expected_return": evaluation.expected_return,
            },
        )

    def add_training(self, update: int, env_steps: int, metrics: dict[str, np.ndarray], alive: np.ndarray) -> None:
        """One update: ``metrics`` {name: [R]}; the same names every time."""
        values = {f"metric/{name}": np.asarray(value, np.float64) for name, value in metrics.items()}
        self._add("training", {"update": np.int32(update), "env_steps": np.int64(env_steps), "alive": alive, **values})

    def add_timing(self, update: int, env_steps: int, seconds: dict[str, float]) -> None:
        """What the clock said of one update; ``seconds`` has the keys ``TIMED``."""
        values = {name: np.float64(seconds[name]) for name in TIMED}
        self._add("timings", {"update": np.int32(update), "env_steps": np.int64(env_steps), **values})

    def _add(self, table: str, values: dict[str, np.ndarray]) -> None:
        held = {key for key in self._points if key.startswith(table + ":")}
        new = {f"{table}:{name}": np.array(value) for name, value in values.items()}
        if held and held != new.keys():
            raise ValueError(f"{table}: columns changed from one row to the next: {sorted(held ^ new.keys())}")
        for key, value in new.items():
            self._points.setdefault(key, []).append(value)

    def state(self) -> dict[str, torch.Tensor]:
        """All rows as tensors, for a checkpoint."""
        return {key: torch.from_numpy(np.stack(values)) for key, values in self._points.items()}

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Take up the rows of a checkpoint."""
        self._points = {key: list(tensor.numpy()) for key, tensor in state.items()}

    def _stacked(self, table: str) -> dict[str, np.ndarray]:
        start = table + ":"
        return {key.removeprefix(start): np.stack(v) for key, v in self._points.items() if key.startswith(start)}

    def _identity(self, run: np.ndarray) -> dict[str, object]:
        columns: dict[str, object] = {}
        if self.sweep:
            columns["setting"] = [self.runs[r][0] for r in run]
        columns["seed"] = np.array([self.runs[r][1] for r in run], np.int32)
        return columns

    def evaluations(self) -> dict[str, object]:
        """Columns of evaluations.parquet: a row per run, evaluation point and episode."""
        points = self._stacked("evaluations")
        returns = points["return"]  # [K, R, E]
        episodes = returns.shape[2]
        pairs = [(r, k) for r in self.order for k in range(len(returns)) if points["alive"][k, r]]
        run, point = (
            (np.array(index, np.int64) for index in zip(*pairs, strict=True)) if pairs else np.zeros((2, 0), int)
        )
        repeated = np.repeat(run, episodes)
        return self._identity(repeated) | {
            "env_steps": np.repeat(points["env_steps"][point], episodes).astype(np.int64),
            "episode": np.tile(np.arange(episodes, dtype=np.int32), len(run)),
            "return": returns[point, run].reshape(-1).astype(np.float64),
            "length": points["length"][point, run].reshape(-1).astype(np.int32),
            "success": points["success"][point, run].reshape(-1).astype(np.float64),
            "expected_return": np.repeat(points["expected_return"][point, run], episodes).astype(np.float64),
        }

    def training(self) -> dict[str, object]:
        """Columns of training.parquet: a row per run and update, metrics in alphabetical order."""
        points = self._stacked("training")
        names = sorted(key for key in points if key.startswith("metric/"))
        update = np.concatenate([np.flatnonzero(points["alive"][:, r]) for r in self.order])
        run = np.concatenate([np.full(int(points["alive"][:, r].sum()), r) for r in self.order])
        return (
            self._identity(run)
            | {"update": points["update"][update], "env_steps": points["env_steps"][update]}
            | {name.removeprefix("metric/"): points[name][update, run] for name in names}
        )

    def timings(self) -> dict[str, object]:
        """Columns of timings.parquet: a row per update (0: before the first)."""
        points = self._stacked("timings")
        return {name: points[name] for name in ("update", "env_steps", *TIMED)}
