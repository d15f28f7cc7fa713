"""Simple spread with matched distances: N agents share out N landmarks.

After Agarwal et al. 2020 (marl_transfer, simple_spread) as the released code of DPO has it (navigation_control_full).
"""

from __future__ import annotations

from torch import Tensor

from reprise.environments.mpe.scenarios.base import Matched


class SimpleSpread(Matched):
    """Targets: the landmarks. Parameter: landmark_range, half the width of the square in which they lie."""

    def landmarks(self) -> int:
        """N."""
        return self.agents

    def start_numbers(self) -> int:
        """A point per entity."""
        return 4 * self.agents

    def start(self, uniform: Tensor) -> Tensor:
        """Agents uniform on [-1, 1]^2, landmarks on [-landmark_range, landmark_range]^2."""
        positions = (2 * uniform - 1).unflatten(1, (2 * self.agents, 2))
        positions[:, self.agents :] *= self.parameters["landmark_range"]
        return positions

    def target_points(self) -> Tensor:
        """The landmarks."""
        return self.world.points[:, self.agents :]

    def target_distances(self) -> Tensor:
        """Those that the world has already."""
        return self.world.landmark_distances
