"""Independent actor-critic learners, stacked over runs and agents: all that DPO and IPPO have in common.

Each agent of each run has its own actor and its own critic V_i and sees its own samples only. A paper's update is the
``policy_loss`` of a subclass and, where it has one, its ``after_epochs`` rule; nothing here knows an algorithm's name.
"""

from __future__ import annotations

import math

import torch

from reprise.blocks.advantages import normalise, of_rollout
from reprise.blocks.batch import Batch
from reprise.blocks.distributions import Policy
from reprise.blocks.hyper import Hyper
from reprise.blocks.learner import PolicyLearner
from reprise.blocks.networks import StackedMLP
from reprise.blocks.optimiser import Adam, clip_by_agent
from reprise.blocks.policies import make_policy
from reprise.blocks.rollout import Rollout, by_agent, by_run

Tensors = dict[str, torch.Tensor]
CPU_CHUNK = 12  # at most so many runs; measured in benchmarks/


class IndependentActorCritic(PolicyLearner):
    """R x N independent actor-critic learners.

    Gaussian policies start with deviation 1, their log-deviation being a parameter that starts, as biases do, at 0
    (PKU-RL/DPO and on-policy, algorithms/utils/distributions.py, DiagGaussian).

    Args: the contract of docs/architecture.md: environment ``spec``, hyperparameters, one seed per run, copies per
    run, device. Subclasses define ``policy_loss``; hyperparameters read here: hidden, layer_norm, actor_gain,
    actor_lr, critic_lr, adam_eps, epochs, gradient_clip, gamma, gae_lambda, bootstrap_at_limit,
    advantage_normalisation, advantage_eps, entropy, value_clip, shuffle_rows, rollout_length.
    """

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        super().__init__(spec, hyper, seeds, copies, device)
        layers = [spec.observation_size, *[hyper.hidden] * 2]
        self.actor = make_policy(
            self.streams, "actor", self.agents, layers, spec,
            layer_norm=hyper.layer_norm, gain=hyper.actor_gain, log_std=0.0, std_limit=0.0,
        )  # fmt: skip
        self.critic = StackedMLP(self.streams, "critic", self.agents, [*layers, 1], hyper.layer_norm, 1.0)
        self.actor_optimiser = Adam(self.actor.parameters, hyper.actor_lr, hyper.adam_eps)
        self.critic_optimiser = Adam(self.critic.parameters, hyper.critic_lr, hyper.adam_eps)

    # ---- acting -----------------------------------------------------------------------------------------------

    def rollout_length(self) -> int:
        """Steps per copy between updates; the episode limit unless the config says otherwise."""
        return self.hyper.rollout_length or self.spec.episode_limit

    def actor_outputs(self, inputs: torch.Tensor | None) -> torch.Tensor:
        """Each agent's own network at its inputs."""
        return self.actor(self.actor.parameters, inputs)

    # ---- learning ---------------------------------------------------------------------------------------------

    def policy_loss(self, policy: Policy, batch: Batch, runs: slice) -> torch.Tensor:
        """The loss [R', N] to minimise, from the new policies [R', N, D] of the chunk ``runs``."""
        raise NotImplementedError

    def after_epochs(self, policy: Policy, batch: Batch) -> Tensors:
        """Rules applied once the epochs are over, given the new policy; metrics [R, N] to report."""
        return {}

    def critic_loss(self, value: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Eq. 7 of DPO: E[(V_i(s) - y_i)^2], [R', N]; with ``value_clip`` > 0 the released code's clipped form."""
        error = (value - batch.returns).square()
        if self.hyper.value_clip > 0:
            limit = self.hyper.value_clip
            clipped = batch.values + (value - batch.values).clamp(-limit, limit)
            error = torch.maximum(error, (clipped - batch.returns).square())
        return error.mean(-1)

    def entropy_bonus(self, policy: Policy, batch: Batch) -> torch.Tensor:
        """Mean policy entropy [R', N] in nats, for the bonus and the records."""
        return batch.mean(batch.at_points(policy).entropy())

    @torch.no_grad()
    def prepare(self, rollout: Rollout) -> Batch:
        """Advantages, targets and the old policy at the samples of a rollout."""
        hyper, runs = self.hyper, self.runs
        observations = by_agent(rollout.observations, runs)
        following = by_agent(rollout.next_observations, runs)
        if self.spec.one_hot:
            inputs, rows, available = None, observations, None
            table = self.critic(self.critic.parameters, None).squeeze(-1)
            values, next_values = table.gather(2, rows), table.gather(2, following)
            counts = torch.zeros_like(table).scatter_add_(2, rows, torch.ones_like(values))
            weights = counts / rows.shape[-1]
        else:
            inputs, rows = observations, None
            values = self.critic(self.critic.parameters, observations).squeeze(-1)
            next_values = self.critic(self.critic.parameters, following).squeeze(-1)
            weights = torch.full_like(values, 1.0 / values.shape[-1])
            available = rollout.available_actions
            available = None if available is None else by_agent(available, runs)

        gamma, lam = (hyper.per_run(k) for k in ("gamma", "gae_lambda"))
        advantages = of_rollout(rollout, values, next_values, gamma, lam, hyper.bootstrap_at_limit)
        returns = advantages + values
        # "agent": no statistic crosses agents, as a decentralised learner must; "joint" is what the released code does.
        if hyper.advantage_normalisation != "none":
            dims = (2,) if hyper.advantage_normalisation == "agent" else (1, 2)
            advantages = normalise(advantages, dims, hyper.advantage_eps)
        actions = by_agent(rollout.actions, runs)
        # A snapshot: what the policy refers to of the actors' parameters moves with them.
        old = self.actor.policy(self.actor.parameters, inputs, available).each(torch.clone)
        batch = Batch(inputs, rows, weights, actions, values, advantages, returns, values, old, available)
        batch.old_log_prob = batch.at_actions(old)
        return batch

    def update(self, rollout: Rollout) -> Tensors:
        """One update: ``epochs`` full-batch steps of every actor and every critic. Metrics [R], means over agents."""
        batch = self.prepare(rollout)
        self.freezer.remember(self.state_dict())
        shuffles = None
        if self.hyper.shuffle_rows:
            first, size = self.updates * self.hyper.epochs, self.agents * batch.advantages.shape[-1]
            shuffles = [self.streams.permutations("shuffle", first + e, size) for e in range(self.hyper.epochs)]
        metrics: list[Tensors] = [self._learn(runs, batch, shuffles) for runs in self._chunks()]
        merged = {k: torch.cat([m[k] for m in metrics]) for k in metrics[0]}
        with torch.no_grad():
            policy = self.actor.policy(self.actor.parameters, batch.inputs, batch.available)
            merged["entropy"] = self.entropy_bonus(policy, batch)
            merged["kl"] = batch.mean(batch.old.kl(policy))
            merged |= self.after_epochs(policy, batch)
            merged["value"] = batch.values.mean(-1)
        self.updates += 1
        self._table = None
        result = {k: v.mean(1) for k, v in merged.items()}
        result["rollout_reward"] = by_run(rollout.reward, self.runs).mean((1, 2))
        self.freezer.check(self, result, self.updates)
        return result

    def _chunks(self) -> list[slice]:
        """Runs that learn together: on a processor so few that their networks stay in its cache, on a GPU all."""
        size = self.runs
        if self.device.type == "cpu":
            size = math.ceil(self.runs / math.ceil(self.runs / CPU_CHUNK))
        return [slice(r, min(r + size, self.runs)) for r in range(0, self.runs, size)]

    def _learn(self, runs: slice, batch: Batch, shuffles) -> Tensors:
        """All epochs of one chunk of runs: its networks stay in the processor's cache from epoch to epoch."""
        whole, hyper = batch.of_runs(runs), self.hyper
        epochs = [whole] * hyper.epochs
        if shuffles is not None:
            epochs = [whole.shuffled(p[runs]) for p in shuffles]
        actor = {k: p[runs] for k, p in self.actor.parameters.items()}
        for epoch, part in enumerate(epochs):

            def policy_loss(policy, part=part):
                return self.policy_loss(policy, part, runs)

            loss, gradients = self.actor.policy_loss_and_gradients(actor, part.inputs, policy_loss, part.available)
            norm = self._step(self.actor_optimiser, gradients, runs, epoch)
        critic = {k: p[runs] for k, p in self.critic.parameters.items()}
        for epoch, part in enumerate(epochs):

            def critic_loss(output, part=part):
                return self.critic_loss(part.at_samples(output.squeeze(-1)), part)

            value_loss, gradients = self.critic.loss_and_gradients(critic, part.inputs, critic_loss)
            value_norm = self._step(self.critic_optimiser, gradients, runs, epoch)
        return {
            "policy_loss": loss,
            "value_loss": value_loss,
            "gradient_norm": norm,
            "value_gradient_norm": value_norm,
        }

    def _step(self, optimiser: Adam, gradients: Tensors, runs: slice, epoch: int) -> torch.Tensor:
        norm = clip_by_agent(gradients, self.hyper.gradient_clip)
        optimiser.step(gradients, runs, number=self.updates * self.hyper.epochs + epoch + 1)
        return norm

    # ---- state ------------------------------------------------------------------------------------------------

    def learned(self) -> Tensors:
        """Every tensor an update changes, leading dimension R, by name (the tensors themselves, not copies)."""
        named = {}
        for net, optimiser in ((self.actor, self.actor_optimiser), (self.critic, self.critic_optimiser)):
            named |= {f"{net.name}.{k}": p for k, p in net.parameters.items()}
            named |= {f"{net.name}.adam.{k}": p for k, p in optimiser.state().items()}
        return named

    def state_dict(self) -> Tensors:
        """All that a resume needs: learned tensors, counters, frozen runs."""
        counters = {"updates": torch.tensor(self.updates), "uniforms": torch.tensor(self.noise.counter)}
        return self.learned() | counters | self.freezer.state_dict()

    def load_state_dict(self, state: Tensors) -> None:
        """Continue exactly where ``state_dict`` was taken, on this device."""
        for name, tensor in self.learned().items():
            tensor.copy_(state[name])
        self.updates, self.noise.counter = int(state["updates"]), int(state["uniforms"])
        self.freezer.load_state_dict(state)
        self._table = None
