"""On-policy MF-PPO: PPO (Schulman et al. 2017) for N alike agents with a permutation-invariant critic of them all.

The MF-PPO paper (Li et al. 2021) builds its experiments on MADDPG because, it says, off-policy learning is faster
whatever the critic; this is the on-policy side of that remark, with the networks of MADDPG as actor and critic. The
form is MAPPO's (Yu et al. 2022): all agents share one policy and the advantage of one central critic V(o), and

    maximise  E_i[ min( u_i A, clip(u_i, 1 - eps, 1 + eps) A ) ] + c H,     u_i = pi(z_i|o_i) / pi_old(z_i|o_i),
    minimise  E[ (V(o) - R)^2 ],                                            R = A + V_old (A by GAE).

z_i ~ N(mean(o_i), diag(sigma^2)) are an agent's logits; what it does is softmax(z_i), a map that belongs to the world,
so that ratio and entropy H are the Gaussian's. sigma does not depend on the observation.
"""

from __future__ import annotations

import math

import torch

from reprise.blocks.actors import make_actor
from reprise.blocks.advantages import gae, normalise
from reprise.blocks.critics import make_critic, width_for
from reprise.blocks.hyper import Hyper
from reprise.blocks.learner import SimplexLearner
from reprise.blocks.optimiser import Adam, Tensors, clip_by_agent
from reprise.blocks.rollout import Rollout, by_run
from reprise.blocks.simplex import executable
from reprise.blocks.value_norm import ValueNorm

ALL = slice(None)  # runs: they learn together


class MFPPO(SimplexLearner):
    """R runs of PPO, N alike agents each.

    Hyperparameters: critic (mf, mlp, gcn, vdn), critic_parameters (0: take ``width``), width, actor_width, gamma,
    gae_lambda, clip, entropy, epochs (each over the whole batch), lr, adam_eps, gradient_clip, log_std_start,
    value_norm, value_norm_beta, advantage_eps, copies.
    """

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        super().__init__(spec, hyper, seeds, copies, device)
        observed, budget = spec.observation_size, hyper.critic_parameters
        self.width = width_for(hyper.critic, self.agents, observed, 0, budget) if budget else hyper.width
        self.critic = make_critic(
            hyper.critic, self.streams, "critic", self.agents, observed, 0, width=self.width, varying=spec.varying
        )
        self.actor = make_actor(
            "local", self.streams, "actor", self.agents, observed, self.action_size, width=hyper.actor_width
        )
        start = torch.full((self.runs, 1, self.action_size), float(hyper.log_std_start), device=self.device)
        self.policy = self.actor.parameters | {"log_std": start}
        self.actor_optimiser = Adam(self.policy, hyper.lr, hyper.adam_eps)
        self.critic_optimiser = Adam(self.critic.parameters, hyper.lr, hyper.adam_eps)
        self.scale = ValueNorm(self.runs, 1, hyper.value_norm_beta, hyper.value_norm, self.device)
        self.acted = 0

    def describe(self) -> dict[str, int]:
        """Trainable numbers of one run's critic and actor, and the critic's width."""
        counts = {"critic_parameters": self.critic.count, "actor_parameters": self.actor.count + self.action_size}
        return counts | {"critic_width": self.width}

    # ---- acting -----------------------------------------------------------------------------------------------

    def rollout_length(self) -> int:
        """One whole episode per copy."""
        return self.spec.episode_limit

    @torch.no_grad()
    def _mean(self, observations: torch.Tensor) -> torch.Tensor:
        """Mean logits [R, M, N, A] at [R, M, N, O]."""
        return self.actor.heads(self.actor.parameters, observations)[0]

    def act(self, observations, available, memory):
        """Actions [B, N, A] and, as an extra, the logits that were drawn; no memory."""
        self.acted += 1
        mean = self._mean(observations.unflatten(0, (self.runs, -1)))
        deviation = self.policy["log_std"].exp().unsqueeze(2)
        logits = (mean + deviation * self.streams.normal("action", self.acted, mean.shape[1:])).flatten(0, 1)
        return executable(logits), {"logits": logits}, None

    def greedy(self, observations, available, memory):
        """The softmax of the mean logits, [B, N, A]."""
        return executable(self._mean(observations.unflatten(0, (self.runs, -1)))).flatten(0, 1), None

    # ---- learning ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def advantages(self, rollout: Rollout) -> tuple[torch.Tensor, torch.Tensor]:
        """Advantages and returns [R, M] of the joint steps of a rollout, M = T * C."""
        values, following = (
            self.scale.denormalise(self.critic.values(self.critic.parameters, _joint(x, self.runs))[:, None])[:, 0]
            for x in (rollout.observations, rollout.next_observations)
        )

        def by_time(x: torch.Tensor) -> torch.Tensor:  # [R, T*C] -> [T, R, C]
            return x.unflatten(1, (-1, self.copies)).transpose(0, 1)

        reward, terminated, truncated = (
            x.unflatten(1, (self.runs, -1)) for x in (rollout.reward, rollout.terminated, rollout.truncated)
        )
        gamma, lam = self.hyper.per_run("gamma"), self.hyper.per_run("gae_lambda")
        found = gae(reward, by_time(values), by_time(following), terminated, truncated, gamma, lam)
        advantages = found.transpose(0, 1).flatten(1)
        return advantages, advantages + values

    def update(self, rollout: Rollout) -> Tensors:
        """One update: ``epochs`` whole-batch steps of the policy, then of the critic. Metrics [R]."""
        self.freezer.remember(self.learned())
        observations, logits = (_joint(x, self.runs) for x in (rollout.observations, rollout.extras["logits"]))
        advantages, returns = self.advantages(rollout)
        self.scale.update(returns[:, None], ALL)
        advantages = normalise(advantages, (1,), self.hyper.advantage_eps)
        old_mean, old_log_std = self._mean(observations), self.policy["log_std"].clone()
        old = log_density(logits, old_mean, old_log_std)
        metrics = {}
        for _ in range(self.hyper.epochs):
            metrics |= self._improve_policy(observations, logits, advantages, old)
        for _ in range(self.hyper.epochs):
            metrics |= self._improve_critic(observations, self.scale.normalise(returns[:, None], ALL)[:, 0])
        kl = divergence(old_mean, old_log_std, self._mean(observations), self.policy["log_std"])
        metrics["kl"] = (self.shares(observations) * kl).flatten(1).sum(1)
        metrics["deviation"] = self.policy["log_std"].exp().mean((1, 2))
        metrics["value"] = returns.mean(1)
        metrics["rollout_reward"] = by_run(rollout.reward, self.runs).mean((1, 2))
        self.updates += 1
        self.freezer.check(self, metrics, self.updates)
        return metrics

    def policy_loss(self, mean, log_std, logits, advantages, old, share) -> tuple[torch.Tensor, torch.Tensor]:
        """Minus the objective, and the share of clipped samples: [R] each.

        ``mean``, ``logits`` [R, M, N, A]; ``log_std`` [R, 1, A]; ``advantages`` [R, M]; ``old``, ``share`` [R, M, N].
        """
        clip = self.hyper.per_run("clip").unsqueeze(-1)
        ratio = (log_density(logits, mean, log_std) - old).exp()
        advantages = advantages.unsqueeze(-1)
        clipped = torch.maximum(torch.minimum(ratio, 1.0 + clip), 1.0 - clip)
        surrogate = torch.minimum(ratio * advantages, clipped * advantages)
        entropy = log_std.sum((1, 2)) + 0.5 * self.action_size * math.log(2 * math.pi * math.e)
        objective = (share * surrogate).flatten(1).sum(1) + self.hyper.per_run("entropy").squeeze(1) * entropy
        return -objective, (share * (ratio != clipped)).flatten(1).sum(1)

    def _improve_policy(self, observations, logits, advantages, old) -> Tensors:
        share = self.shares(observations)
        mean = self._mean(observations).requires_grad_()
        log_std = self.policy["log_std"].clone().requires_grad_()
        loss, clipped = self.policy_loss(mean, log_std, logits, advantages, old, share)
        d_mean, d_log_std = torch.autograd.grad(loss.sum(), [mean, log_std])
        gradients = self.actor.gradients(self.actor.parameters, observations, d_mean, None) | {"log_std": d_log_std}
        norm = clip_by_agent(gradients, self.hyper.gradient_clip).squeeze(1)
        self.actor_optimiser.step(gradients)
        return {"policy_loss": loss.detach(), "policy_gradient_norm": norm, "clipped": clipped.detach()}

    def _improve_critic(self, observations, target) -> Tensors:
        loss, gradients = self.critic.squared_error(self.critic.parameters, observations, None, target)
        norm = clip_by_agent(gradients, self.hyper.gradient_clip).squeeze(1)
        self.critic_optimiser.step(gradients)
        return {"value_loss": loss, "value_gradient_norm": norm}

    # ---- state ------------------------------------------------------------------------------------------------

    def learned(self) -> Tensors:
        """Every tensor that an update changes, leading dimension R."""
        named = {f"value_norm.{k}": p for k, p in self.scale.state().items()}
        for name, parameters, optimiser in (
            ("actor", self.policy, self.actor_optimiser),
            ("critic", self.critic.parameters, self.critic_optimiser),
        ):
            named |= {f"{name}.{k}": p for k, p in parameters.items()}
            named |= {f"{name}.adam.{k}": p for k, p in optimiser.state().items()}
        return named

    def state_dict(self) -> Tensors:
        """All that a resume needs."""
        counters = {"updates": torch.tensor(self.updates), "acted": torch.tensor(self.acted)}
        return self.learned() | counters | self.freezer.state_dict()

    def load_state_dict(self, state: Tensors) -> None:
        """Continue exactly where ``state_dict`` was taken, on this device."""
        for name, tensor in self.learned().items():
            tensor.copy_(state[name])
        self.updates, self.acted = int(state["updates"]), int(state["acted"])
        self.actor_optimiser.steps = self.critic_optimiser.steps = self.updates * self.hyper.epochs
        self.freezer.load_state_dict(state)

    def policy_state(self) -> Tensors:
        """The actor, for policy.safetensors."""
        return {f"actor.{k}": p for k, p in self.policy.items()}

    def load_policy(self, state: Tensors) -> None:
        """The actor from policy.safetensors."""
        for k, p in self.policy.items():
            p.copy_(state[f"actor.{k}"])


def log_density(logits: torch.Tensor, mean: torch.Tensor, log_std: torch.Tensor) -> torch.Tensor:
    """Log-density [R, M, N] of logits under Gaussians [R, M, N, A] with log-deviations [R, 1, A]."""
    log_std = log_std.unsqueeze(2)
    squares = ((logits - mean) * (-log_std).exp()).square()
    return -(0.5 * squares + log_std + 0.5 * math.log(2 * math.pi)).sum(-1)


def divergence(old_mean, old_log_std, mean, log_std) -> torch.Tensor:
    """KL(old || new) [R, M, N] of such Gaussians."""
    old_log_std, log_std = old_log_std.unsqueeze(2), log_std.unsqueeze(2)
    squares = (2 * old_log_std).exp() + (old_mean - mean).square()
    return (log_std - old_log_std + 0.5 * squares * (-2 * log_std).exp() - 0.5).sum(-1)


def _joint(x: torch.Tensor, runs: int) -> torch.Tensor:
    """[T, R*C, N, ...] -> [R, T*C, N, ...]."""
    return by_run(x, runs).flatten(1, 2)
