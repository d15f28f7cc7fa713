"""Circle control: N agents spread equally over a circle around one landmark.

After Agarwal et al. 2020 (marl_transfer, simple_formation) as the released code of DPO has it (circle_control_full).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from reprise.environments.mpe.scenarios.base import Matched


class CircleControl(Matched):
    """Targets: N points on a circle, turned with the agents. Parameters: landmark_range, circle_radius."""

    def __init__(self, parameters: Mapping[str, Any], *arguments: Any):
        super().__init__(parameters, *arguments)
        angles = torch.arange(self.agents, dtype=torch.float64) * (2 * math.pi / self.agents)
        spokes = torch.polar(torch.full_like(angles, parameters["circle_radius"]), angles)
        self._spokes = spokes.to(self.world.points)
        self._agents, self._centre = self.world.points.split([self.agents, 1], dim=1)
        self._one = torch.ones_like(self.world.state[:, :1])

    def landmarks(self) -> int:
        """The centre."""
        return 1

    def start_numbers(self) -> int:
        """A point per entity."""
        return 2 * self.agents + 2

    def start(self, uniform: Tensor) -> Tensor:
        """Agents uniform on [-1, 1]^2, the landmark on [-landmark_range, landmark_range]^2."""
        positions = (2 * uniform - 1).unflatten(1, (self.agents + 1, 2))
        positions[:, -1] *= self.parameters["landmark_range"]
        return positions

    def target_points(self) -> Tensor:
        """N points; the first at the least angle, in [0, 2 pi), under which an agent is seen from the centre."""
        least = (self._agents - self._centre).angle().remainder_(2 * math.pi).amin(1, keepdim=True)
        return torch.polar(self._one, least) * self._spokes + self._centre
