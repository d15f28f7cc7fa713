"""Runs whose numbers become non-finite are put back to their state before the update and frozen."""

from __future__ import annotations

import json

import torch

Tensors = dict[str, torch.Tensor]


class Freezer:
    """Which of R runs are alive, and what happened to the others.

    ``remember`` before an update, ``check`` after it: a run with a non-finite metric or parameter is restored and
    never changes again; ``divergences`` holds, per frozen run, the update and the last metrics before and after.
    """

    def __init__(self, runs: int, device):
        self.alive = torch.ones(runs, dtype=torch.bool, device=device)
        self.divergences: list[dict] = []
        self._before: Tensors = {}
        self._last: Tensors = {}

    def remember(self, state: Tensors) -> None:
        """Keep a copy of the per-run tensors (leading dimension R) of ``state``."""
        runs = len(self.alive)
        self._before = {k: v.clone() for k, v in state.items() if v.dim() and len(v) == runs and v.is_floating_point()}

    def check(self, algorithm, metrics: Tensors, update: int) -> None:
        """Freeze the runs that ``metrics`` [R] or the learned tensors show to be non-finite."""
        learned = algorithm.learned()
        finite = torch.stack([torch.isfinite(m) for m in metrics.values()]).all(0)
        for tensor in learned.values():
            finite &= torch.isfinite(tensor.flatten(1).sum(1))
        fell = self.alive & ~finite
        self.alive &= finite
        if bool(fell.any()):
            for run in fell.nonzero().flatten().tolist():
                described = {k: _number(m[run]) for k, m in metrics.items()}
                previous = {k: _number(m[run]) for k, m in self._last.items()}
                culprit = next((k for k, v in described.items() if not isinstance(v, float)), "parameters")
                self.divergences.append(
                    {
                        "run": run,
                        "update": update,
                        "reason": f"non-finite {culprit} at update {update}",
                        "last_batch": described,
                        "before": previous,
                    }
                )
        if not bool(self.alive.all()):
            for name, tensor in learned.items():
                keep = self.alive.view(-1, *[1] * (tensor.dim() - 1))
                tensor.copy_(torch.where(keep, tensor, self._before[name]))
        self._last = metrics

    def state_dict(self) -> Tensors:
        """Tensors for a checkpoint."""
        text = torch.tensor(list(json.dumps(self.divergences).encode()), dtype=torch.uint8)
        return {"frozen.alive": self.alive, "frozen.divergences": text}

    def load_state_dict(self, state: Tensors) -> None:
        """Restore from ``state_dict``."""
        self.alive.copy_(state["frozen.alive"])
        self.divergences = json.loads(bytes(state["frozen.divergences"].cpu().tolist()).decode())


def _number(x: torch.Tensor) -> float | str:
    """JSON has no nan: a non-finite number becomes its name."""
    value = float(x)
    return value if value == value and abs(value) != float("inf") else str(value)
