"""Decentralised policy optimisation (DPO): the practical algorithm of the paper, section 3.5, equations 6, 7, 19, 20.

Agent i maximises   (1/N) L_i(pi_i) - beta_1 sqrt(D_i) - beta_2 D_i,   D_i = E_s KL(pi_old_i(.|s) || pi_i(.|s))   (19)
with L_i(pi_i) = E[ pi_i(a_i|s) / pi_old_i(a_i|s) * A_i(s, a_i) ]  (6), and after each update doubles or halves its
coefficients when D_i leaves the band around d_target (20). Nothing is shared between agents.

The ablations are data: ``no_sqrt`` (beta_1 = 0, which is IPPO-KL), ``no_kl`` (beta_2 = 0). ``code`` is the form the
released program runs (PKU-RL/DPO, onpolicy/algorithms/r_mappo/r_mappo.py): each difference is a hyperparameter here.
"""

from __future__ import annotations

import torch

from reprise.blocks.actor_critic import Batch, IndependentActorCritic
from reprise.blocks.distributions import Policy


class DPO(IndependentActorCritic):
    """R x N independent DPO learners.

    State beside the networks: beta_1, beta_2 [R, N]. Hyperparameters read here: d_target, delta, omega, beta_1,
    beta_2 (initial values), beta_min, beta_max, sqrt_eps, sqrt_of, divide_by_agents, share_penalty, coefficient_rule,
    coefficient_kl, entropy.
    """

    def __init__(self, spec, hyper, seeds, copies, device):
        super().__init__(spec, hyper, seeds, copies, device)
        self.beta_1 = hyper.per_run("beta_1").expand(-1, self.agents).clone()
        self.beta_2 = hyper.per_run("beta_2").expand(-1, self.agents).clone()
        self.policy_weight = 1.0 / self.agents if hyper.divide_by_agents else 1.0
        # What the coefficient rule of `coefficient_kl: last_epoch` looks at: D and its root in the last epoch.
        self.last_kl = torch.zeros_like(self.beta_1)
        self.last_root = torch.zeros_like(self.beta_1)

    def policy_loss(self, policy: Policy, batch: Batch, runs: slice) -> torch.Tensor:
        """Minus the objective of equation 19, [R', N]."""
        ratio = (batch.at_actions(policy) - batch.old_log_prob).exp()
        surrogate = (ratio * batch.advantages).mean(-1)  # L_i, eq. 6
        kl, root = self.penalties(policy, batch)
        with torch.no_grad():
            self.last_kl[runs], self.last_root[runs] = kl, root
        bonus = self.hyper.per_run("entropy")[runs] * self.entropy_bonus(policy, batch)
        penalty = self.beta_1[runs] * root + self.beta_2[runs] * kl
        # The entropy bonus is no part of eq. 19; where one is set it is scaled as the policy term is.
        return -(self.policy_weight * (surrogate + bonus) - penalty)

    def penalties(self, policy: Policy, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """D_i and sqrt(D_i), each [R', N]. The gradient of the root is finite at D = 0 because of ``sqrt_eps``."""
        divergence = batch.old.kl(batch.at_points(policy))
        kl = batch.mean(divergence)
        if self.hyper.sqrt_of == "mean":
            root = (kl.clamp(min=0.0) + self.hyper.sqrt_eps).sqrt()
        else:  # the released code: the root of each sample's divergence, then the mean
            root = batch.mean((divergence.clamp(min=0.0) + self.hyper.sqrt_eps).sqrt())
        if self.hyper.share_penalty:  # the released code: every agent gets the mean over agents
            kl, root = (x.mean(1, keepdim=True).expand_as(x) for x in (kl, root))
        return kl, root

    def after_epochs(self, policy: Policy, batch: Batch) -> dict[str, torch.Tensor]:
        """Equation 20, after the update."""
        kl, root = self.last_kl, self.last_root
        if self.hyper.coefficient_kl == "whole_batch":
            kl, root = self.penalties(policy, batch)
        target = self.hyper.per_run("d_target")
        self.beta_2 = self.adapt(self.beta_2, kl, target)
        if self.hyper.coefficient_rule == "separate":  # the released code: the root against the root of the target
            self.beta_1 = self.adapt(self.beta_1, root, target.sqrt())
        else:
            self.beta_1 = self.adapt(self.beta_1, kl, target)
        return {"beta_1": self.beta_1, "beta_2": self.beta_2}

    def adapt(self, beta: torch.Tensor, measured: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Equation 20: beta * omega above delta * target, beta / omega below target / delta; bounded; 0 stays 0."""
        delta, omega = self.hyper.per_run("delta"), self.hyper.per_run("omega")
        factor = torch.ones_like(beta)
        factor = torch.where(measured > target * delta, omega.expand_as(beta), factor)
        factor = torch.where(measured < target / delta, 1.0 / omega.expand_as(beta), factor)
        bounded = (beta * factor).clamp(self.hyper.beta_min, self.hyper.beta_max)
        return torch.where(beta > 0, bounded, beta)

    def learned(self) -> dict[str, torch.Tensor]:
        """Networks, optimisers and coefficients."""
        return super().learned() | {"beta_1": self.beta_1, "beta_2": self.beta_2}
