"""Independent PPO (de Witt et al. 2020): the clip version of PPO (Schulman et al. 2017, eq. 7) for each agent alone.

Agent i maximises   E[ min( u_i A_i, clip(u_i, 1 - eps, 1 + eps) A_i ) ],   u_i = pi_i(a_i|s) / pi_old_i(a_i|s).

``ratio_of: joint`` is the clipping that appendix D of the DPO paper calls correct: the joint ratio prod_j u_j in
place of u_i; agent i's gradient still reaches its own parameters only. The KL version of PPO is ``dpo@no_sqrt``.
"""

from __future__ import annotations

import torch

from reprise.blocks.actor_critic import Batch, IndependentActorCritic
from reprise.blocks.distributions import Policy


class IPPO(IndependentActorCritic):
    """R x N independent PPO learners. Hyperparameters read here: clip, entropy, ratio_of."""

    def policy_loss(self, policy: Policy, batch: Batch, runs: slice) -> torch.Tensor:
        """Minus the clipped objective plus the entropy bonus, [R', N]."""
        clip = self.hyper.per_run("clip")[runs].unsqueeze(-1)
        log_ratio = batch.at_actions(policy) - batch.old_log_prob
        if self.hyper.ratio_of == "joint":
            others = (log_ratio.sum(1, keepdim=True) - log_ratio).detach()
            log_ratio = log_ratio + others
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
        surrogate = torch.minimum(ratio * batch.advantages, clipped * batch.advantages).mean(-1)
        bonus = self.hyper.per_run("entropy")[runs] * self.entropy_bonus(policy, batch)
        return -(surrogate + bonus)
