"""Returns that frame those of learned policies: uniformly random actions, and a script that heads for the targets.

Both are means over simulated episodes, always the same ones, for no exact value is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reprise.environments.mpe.scenarios.base import Scenario

# Episodes for few agents (the standard error of the mean return is at most 0.5 % in every task), at least, and the most
# entries that their [B, N, N] distances may have: many agents are slow to match, and their mean varies less.
EPISODES, FEWEST, ENTRIES = 4096, 8, 2**18


def episodes(agents: int) -> int:
    """How many episodes are simulated."""
    return max(FEWEST, min(EPISODES, ENTRIES // agents**2))


def head_for_targets(scenario: Scenario, controls: Tensor, steps: int) -> Tensor:
    """Actions [B, N] after which each agent, left alone for ``steps``, would stop nearest to its goal.

    Greedy: other agents in the way are not seen.
    """
    world, rules, targets = scenario.world, scenario.world.dialect, scenario.goals()
    here, velocities = world.positions[:, : world.agents], world.velocities[:, : world.agents]
    if rules.position_first:
        here = here + rules.time_step * velocities
    after = (1 - rules.damping) * velocities[:, :, None] + rules.time_step * controls
    coasting = rules.time_step * sum((1 - rules.damping) ** k for k in range(steps))
    return (here[:, :, None] + coasting * after - targets[:, :, None]).norm(dim=-1).argmin(2)


def mean_return(environment: Any, policy: Callable[[], Tensor]) -> float:
    """Mean return of the episodes that ``environment`` starts next, one per row, under ``policy``."""
    environment.reset()
    returns = torch.zeros(environment.rows, dtype=torch.float64, device=environment.device)
    for _ in range(environment.steps):
        returns += environment.step(policy()).reward
    return float(returns.mean())
