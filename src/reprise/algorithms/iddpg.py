"""Independent DDPG (Lillicrap et al. 2016, for each agent alone), individual parameters for every agent.

Agent i's critic sees what the agent sees and does, Q_i(o_i, a_i), and the team's reward:

    L(Q_i)  = E[ (Q_i(o_i, a_i) - y_i)^2 ],   y_i = r + gamma Q'_i(o'_i, mu'_i(o'_i))
    J(mu_i) = E[ Q_i(o_i, mu_i(o_i)) ]

The others are part of its world (DPO, Su and Lu 2022, section 5: the baseline on continuous tasks). What is common to
DDPG for teams is in ``blocks/deterministic.py``.
"""

from __future__ import annotations

import torch

from reprise.blocks.deterministic import DeterministicActorCritic
from reprise.blocks.hyper import Hyper
from reprise.blocks.transition_replay import Transitions


class IDDPG(DeterministicActorCritic):
    """R x N independent DDPG learners. Hyperparameters: those of ``DeterministicActorCritic``, and copies."""

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        size = spec.observation_size + getattr(spec.actions, "size", 0)
        super().__init__(spec, hyper, seeds, copies, device, critics=spec.agents, critic_size=size)

    def critic_inputs(self, observations, state, actions: torch.Tensor) -> torch.Tensor:
        """Each agent's observation and action, [R, N, M, O + k]."""
        return torch.cat([observations, actions], -1)

    def action_slope(self, batch: Transitions, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Each agent's own value [R, N, M] and its slope [R, N, M, k] in the agent's action."""
        critic, inputs = self.critic, self.critic_inputs(batch.observations, None, actions)
        layers, values = critic.linearise(critic.parameters, inputs)
        slope = critic.input_gradient(critic.parameters, layers, torch.ones_like(values))
        return values.squeeze(-1), slope[..., -self.action_size :]
