"""Policies that follow PPO's clipped objective (Schulman et al. 2017, eq. 7) for a number of epochs."""

from __future__ import annotations

import torch

from reprise.blocks.distributions import Policy
from reprise.blocks.hyper import Hyper
from reprise.blocks.joint_actor_critic import JointActorCritic
from reprise.blocks.optimiser import Adam, clip_by_agent
from reprise.blocks.team_batch import Samples

Tensors = dict[str, torch.Tensor]


class ProximalActorCritic(JointActorCritic):
    """A team whose policies take Adam steps on the clipped objective.

    Hyperparameters read here: actor_lr, epochs, minibatches, clip, entropy.
    """

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        super().__init__(spec, hyper, seeds, copies, device)
        self.actor_optimiser = Adam(self.actor.parameters, hyper.actor_lr, hyper.adam_eps)

    def set_rates(self, share: float) -> None:
        """Set the learning rates to ``share`` of their values."""
        super().set_rates(share)
        self.actor_optimiser.lr = self.hyper.actor_lr * share

    def clipped_loss(self, policy: Policy, samples: Samples, runs: slice) -> torch.Tensor:
        """Minus E[min(u w, clip(u, 1 - eps, 1 + eps) w)] and the entropy bonus, [R', G]; u the ratio, w the weights."""
        clip = self.hyper.per_run("clip")[runs].unsqueeze(-1)
        ratio = samples.ratio(policy)
        clipped = ratio.clamp(1.0 - clip, 1.0 + clip)
        surrogate = torch.minimum(ratio * samples.weights, clipped * samples.weights).mean(-1)
        return -(surrogate + self.hyper.per_run("entropy")[runs] * policy.entropy().mean(-1))

    def follow(
        self, parameters: Tensors, optimiser: Adam, samples: Samples, runs: slice, place: slice, call: int, calls: int
    ) -> Tensors:
        """All epochs of some networks of the chunk ``runs``; metrics [R', G] of the last step.

        Args:
            parameters: [R', G, ...]; ``optimiser`` changes them: its parameters[place] are these.
            call: how many times this was called for the same networks; ``calls``: for any (it numbers the shuffles).
        """
        hyper, step = self.hyper, call * self.hyper.epochs * self.hyper.minibatches
        for epoch in range(calls * hyper.epochs, (calls + 1) * hyper.epochs):
            for rows in self.minibatches("actor", epoch, samples.weights.shape[-1], hyper.minibatches, runs):
                step += 1
                part = samples if rows is None else samples.rows(rows)
                loss, gradients = self.actor.policy_loss_and_gradients(
                    parameters, part.inputs, lambda p, part=part: self.clipped_loss(p, part, runs), part.available
                )
                norm = clip_by_agent(gradients, hyper.gradient_clip)
                optimiser.step(gradients, place, number=step)
        return {"policy_loss": loss, "gradient_norm": norm}

    def learned(self) -> Tensors:
        """Every tensor an update changes."""
        return super().learned() | {f"actor.adam.{k}": p for k, p in self.actor_optimiser.state().items()}
