"""MADDPG (Lowe et al. 2017) for agents with actors of their own and a shared team reward.

In the numbers of Lowe et al., with a critic of the state x and all actions, the others' from the replay in (5):

    grad J(mu_i) = E[ grad mu_i(o_i) grad_{a_i} Q(x, a_1 .. a_N) at a_i = mu_i(o_i) ]                   (5)
    L(Q)         = E[ (Q(x, a_1 .. a_N) - y)^2 ],   y = r + gamma Q'(x', mu'_1(o'_1) .. mu'_N(o'_N))    (6)

Lowe et al. give each agent a critic since each may have a reward of its own. Here all share one, so that (6) is the
same for every agent and one critic is enough (as in HARL, Zhong et al. 2024, critics/continuous_q_critic.py). What is
common to DDPG for teams is in ``blocks/deterministic.py``.
"""

from __future__ import annotations

import torch

from reprise.blocks.deterministic import DeterministicActorCritic
from reprise.blocks.hyper import Hyper
from reprise.blocks.transition_replay import Transitions


class IndividualMADDPG(DeterministicActorCritic):
    """R runs of MADDPG, N agents with an actor each and one critic.

    Hyperparameters: those of ``DeterministicActorCritic``, standardise_state, copies.
    """

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        size = spec.state_size + spec.agents * getattr(spec.actions, "size", 0)
        super().__init__(spec, hyper, seeds, copies, device, critics=1, critic_size=size, states=True)

    def critic_inputs(self, observations, state: torch.Tensor, actions: torch.Tensor) -> torch.Tensor:
        """State and joint action, [R, 1, M, S + N * k]."""
        return torch.cat([self._state(state), actions.transpose(1, 2).flatten(2)], -1).unsqueeze(1)

    def _state(self, state: torch.Tensor) -> torch.Tensor:
        """States [R, M, S], with ``standardise_state`` each by its own mean and deviation."""
        if not self.hyper.standardise_state:
            return state
        centred = state - state.mean(-1, keepdim=True)
        return centred / centred.square().mean(-1, keepdim=True).sqrt()

    def action_slope(self, batch: Transitions, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The team's value [R, N, M] with agent i's action of the batch replaced, and its slope [R, N, M, k] in it."""
        critic, k = self.critic, self.action_size
        joint = self.critic_inputs(None, batch.state, batch.actions).repeat(1, self.agents, 1, 1)  # [R, N, M, in]
        first = self.spec.state_size
        own = [slice(first + i * k, first + (i + 1) * k) for i in range(self.agents)]
        for i, columns in enumerate(own):
            joint[:, i, :, columns] = actions[:, i]
        layers, values = critic.linearise(critic.parameters, joint.flatten(1, 2).unsqueeze(1))
        slope = critic.input_gradient(critic.parameters, layers, torch.ones_like(values)).view_as(joint)
        return values.view(joint.shape[:3]), torch.stack([slope[:, i, :, columns] for i, columns in enumerate(own)], 1)
