"""Running normalisation of value targets: critics predict returns in units of their running mean and deviation.

ValueNorm of MAPPO (Yu et al. 2022, appendix; on-policy, HARL common/valuenorm.py). What TRPO-in-MARL calls PopArt
(utils/popart.py) is the same: it does not rescale the output layer.
"""

from __future__ import annotations

import torch

LEAST_DEBIASING, LEAST_VARIANCE = 1e-5, 1e-2  # both released classes' constants


class ValueNorm:
    """One running mean and variance per critic.

    Args:
        runs, critics: R, V.
        beta: weight of the past at each update; the debiased mean starts as that of the first targets.
        active: without it, values and targets are left as they are.
    """

    def __init__(self, runs: int, critics: int, beta: float, active: bool, device):
        self.beta, self.active = beta, active
        self.mean, self.square, self.weight = (torch.zeros(runs, critics, 1, device=device) for _ in range(3))

    def _moments(self, runs: slice) -> tuple[torch.Tensor, torch.Tensor]:
        weight = self.weight[runs].clamp(min=LEAST_DEBIASING)
        mean, square = self.mean[runs] / weight, self.square[runs] / weight
        return mean, (square - mean.square()).clamp(min=LEAST_VARIANCE).sqrt()

    def update(self, targets: torch.Tensor, runs: slice) -> None:
        """Take account of targets [R', V, M] of the chunk ``runs``."""
        if self.active:
            for held, now in (
                (self.mean, targets),
                (self.square, targets.square()),
                (self.weight, torch.ones_like(targets)),
            ):
                held[runs].lerp_(now.mean(-1, keepdim=True), 1.0 - self.beta)

    def normalise(self, targets: torch.Tensor, runs: slice) -> torch.Tensor:
        """Targets [R', V, M] in the critics' units."""
        if not self.active:
            return targets
        mean, deviation = self._moments(runs)
        return (targets - mean) / deviation

    def denormalise(self, values: torch.Tensor) -> torch.Tensor:
        """What the critics' outputs [R, V, M] mean, in units of the reward."""
        if not self.active:
            return values
        mean, deviation = self._moments(slice(None))
        return values * deviation + mean

    def state(self) -> dict[str, torch.Tensor]:
        """The tensors that updates change."""
        return {"mean": self.mean, "square": self.square, "weight": self.weight}
