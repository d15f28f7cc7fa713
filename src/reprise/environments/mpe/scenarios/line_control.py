"""Line control: N agents line up between two landmarks, equally spaced, one at each end.

After Agarwal et al. 2020 (marl_transfer, simple_line) as the released code of DPO has it (formation_control_full).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from reprise.environments.mpe.scenarios.base import Matched

# Turns of 5 degrees by which the second landmark is moved on until it lies in the arena; a circle of them.
TURNS = 72


class LineControl(Matched):
    """Targets: N points from the first landmark to the second. Parameters: landmark_range, line_length."""

    least_agents = 2

    def landmarks(self) -> int:
        """The two ends."""
        return 2

    def start_numbers(self) -> int:
        """A point per agent, one for the first landmark, an angle."""
        return 2 * self.agents + 3

    def start(self, uniform: Tensor) -> Tensor:
        """Agents uniform on [-1, 1]^2, landmark 0 on [-landmark_range, landmark_range]^2.

        Landmark 1 is ``line_length`` away in a uniform direction, turned on by 5 degrees until it is inside (-1, 1)^2.
        """
        points = (2 * uniform[:, :-1] - 1).unflatten(1, (self.agents + 1, 2))
        first = points[:, -1:] * self.parameters["landmark_range"]
        turns = torch.arange(TURNS, device=uniform.device, dtype=uniform.dtype) * math.radians(5)
        angles = uniform[:, -1:] * (2 * math.pi) + turns
        ends = first + self.parameters["line_length"] * torch.stack([angles.cos(), angles.sin()], dim=2)
        inside = (ends.abs() < 1).all(2)
        turn = inside.to(torch.uint8).argmax(1)
        second = ends.gather(1, turn[:, None, None].expand(-1, 1, 2))
        return torch.cat([points[:, :-1], first, second], dim=1)

    def begun(self) -> None:
        """The landmarks stay where they are, and so do the targets."""
        first, second = self.world.points[:, self.agents :, None].unbind(1)
        share = torch.linspace(0, 1, self.agents, device=first.device, dtype=self.world.state.dtype)
        self._targets = first + share * (second - first)

    def target_points(self) -> Tensor:
        """N points, the landmarks first and last."""
        return self._targets
