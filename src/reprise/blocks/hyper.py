"""Hyperparameters of a cohort: python values where all runs agree, one number per run where a sweep differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from reprise.errors import RepriseError, unknown


class Hyper:
    """Read access to the hyperparameters of R runs.

    ``hyper.actor_lr`` is the python value all runs share; ``hyper.per_run("d_target")`` is float32 [R, 1] and may
    differ between the runs of a sweep. A key that the algorithm's YAML does not declare is an error.

    ``hyper.total_env_steps``, the env steps of a run's whole budget (for schedules), is known once the algorithm is
    made, since its rollouts decide it where a budget counts updates: read it in ``update``, not in the constructor.
    """

    def __init__(self, values: Sequence[Mapping[str, Any]], device: torch.device | str = "cpu"):
        self._values = [dict(v) for v in values]
        self._device = torch.device(device)
        self._tensors: dict[str, torch.Tensor] = {}

    def __getattr__(self, key: str) -> Any:
        if key.startswith("__"):
            raise AttributeError(key)
        self._require(key)
        values = [v[key] for v in self._values]
        if any(v != values[0] for v in values):
            raise RepriseError(
                f"hyperparameter '{key}' differs within a cohort; list it under `sweepable` only if "
                "the algorithm reads it with per_run()"
            )
        return values[0]

    def per_run(self, key: str) -> torch.Tensor:
        """The values of ``key``: float32 [R, 1]."""
        if key not in self._tensors:
            self._require(key)
            self._tensors[key] = self._column(key)
        return self._tensors[key]

    def provide(self, **values: Any) -> None:
        """Add facts of the training that all runs share, to be read as hyperparameters are.

        Raises ValueError when the YAML declares one of these names.
        """
        for own in self._values:
            if taken := sorted(own.keys() & values.keys()):
                raise ValueError(f"not a hyperparameter but a fact of the training: {', '.join(taken)}")
            own |= values

    def _column(self, key: str) -> torch.Tensor:
        return torch.tensor([[float(v[key])] for v in self._values], dtype=torch.float32, device=self._device)

    def _require(self, key: str) -> None:
        if key not in self._values[0]:
            raise unknown("hyperparameter", key, self._values[0], "the algorithm reads what its YAML does not declare")
