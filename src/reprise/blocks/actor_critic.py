"""Independent actor-critic learners, stacked over runs and agents: all that DPO and IPPO have in common.

Each agent of each run has its own actor and its own critic V_i and sees its own samples only. A paper's update is the
``policy_loss`` of a subclass and, where it has one, its ``after_epochs`` rule; nothing here knows an algorithm's name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from reprise.blocks import distributions
from reprise.blocks.advantages import gae, normalise
from reprise.blocks.hyper import Hyper
from reprise.blocks.learner import DiscreteLearner
from reprise.blocks.networks import StackedMLP
from reprise.blocks.optimiser import Adam, clip_by_agent
from reprise.blocks.rollout import Rollout, by_agent, by_run
from reprise.blocks.streams import BlockUniforms

Tensors = dict[str, torch.Tensor]
CPU_CHUNK = 12  # at most so many runs; measured in benchmarks/


@dataclass
class Batch:
    """The samples of one update, M per agent: R runs, N agents, D distinct network inputs, A actions.

    inputs       [R, N, D, O], or None when they are all one-hot observations in order (D = S): the tabular case
    rows         [R, N, M] which distinct input a sample has, or None when D = M and the order is the same
    weights      [R, N, D] share of the samples at each point of ``old_log`` (sums to 1)
    actions, old_log_prob, advantages, returns, values   [R, N, M]
    old_log      [R, N, D, A] log-probabilities of the policy that collected the samples
    available    [R, N, D, A] bool or None
    per_sample   old_log and weights are per sample (D = M) although the inputs are distinct ones: shuffled rows
    """

    inputs: torch.Tensor | None
    rows: torch.Tensor | None
    weights: torch.Tensor
    actions: torch.Tensor
    old_log_prob: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    values: torch.Tensor
    old_log: torch.Tensor
    available: torch.Tensor | None
    per_sample: bool = False

    def of_runs(self, runs: slice) -> Batch:
        """The batch of a chunk of runs."""
        tensors = {k: v[runs] if isinstance(v, torch.Tensor) else v for k, v in vars(self).items()}
        return Batch(**tensors)

    def at_samples(self, per_input: torch.Tensor) -> torch.Tensor:
        """[R, N, D] or [R, N, D, A] -> the same at each sample, [R, N, M] or [R, N, M, A]."""
        if self.rows is None:
            return per_input
        if per_input.dim() == 3:
            return per_input.gather(2, self.rows)
        return per_input.gather(2, self.rows.unsqueeze(-1).expand(*self.rows.shape, per_input.shape[-1]))

    def at_actions(self, log: torch.Tensor) -> torch.Tensor:
        """Log-probabilities [R, N, D, A] -> those of the samples' actions [R, N, M]."""
        if self.rows is None:
            return log.gather(-1, self.actions.unsqueeze(-1)).squeeze(-1)
        return log.flatten(2).gather(2, self.rows * log.shape[-1] + self.actions)

    def at_points(self, log: torch.Tensor) -> torch.Tensor:
        """New log-probabilities [R, N, D, A] at the points of ``old_log``."""
        return self.at_samples(log) if self.per_sample else log

    def mean(self, per_point: torch.Tensor) -> torch.Tensor:
        """Sample mean [R, N] of a quantity [R, N, D] at the points of ``old_log``."""
        return (self.weights * per_point).sum(-1)

    def shuffled(self, permutation: torch.Tensor) -> Batch:
        """Rows of all agents of a run mixed by ``permutation`` [R, N*M]: the released code's fault.

        Its feed-forward generator permutes the rows of all agents and then deals them to the agents' networks in
        order (onpolicy/utils/shared_buffer.py, feed_forward_generator; rMAPPOPolicy.py, evaluate_actions).
        """
        runs, agents, count = self.actions.shape

        def mix(x: torch.Tensor) -> torch.Tensor:
            flat = x.flatten(1, 2)
            index = permutation.view(runs, agents * count, *[1] * (flat.dim() - 2)).expand_as(flat)
            return flat.gather(1, index).view_as(x)

        rows = self.rows if self.rows is None else mix(self.rows)
        inputs = mix(self.inputs) if self.rows is None else self.inputs
        available = self.available if self.available is None else mix(self.available)
        return Batch(
            inputs, rows, torch.full_like(self.advantages, 1.0 / count), mix(self.actions), mix(self.old_log_prob),
            mix(self.advantages), mix(self.returns), mix(self.values), mix(self.at_samples(self.old_log)), available,
            per_sample=self.rows is not None,
        )  # fmt: skip


class IndependentActorCritic(DiscreteLearner):
    """R x N independent actor-critic learners for discrete actions.

    Args: the contract of docs/architecture.md: environment ``spec``, hyperparameters, one seed per run, copies per
    run, device. Subclasses define ``policy_loss``; hyperparameters read here: hidden, layer_norm, actor_gain,
    actor_lr, critic_lr, adam_eps, epochs, gradient_clip, gamma, gae_lambda, bootstrap_at_limit,
    advantage_normalisation, advantage_eps, entropy, value_clip, shuffle_rows, rollout_length.
    """

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        super().__init__(spec, hyper, seeds, copies, device)
        layers = [spec.observation_size, *[hyper.hidden] * 2]
        norm = hyper.layer_norm
        self.actor = StackedMLP(self.streams, "actor", self.agents, [*layers, self.choices], norm, hyper.actor_gain)
        self.critic = StackedMLP(self.streams, "critic", self.agents, [*layers, 1], norm, 1.0)
        self.actor_optimiser = Adam(self.actor.parameters, hyper.actor_lr, hyper.adam_eps)
        self.critic_optimiser = Adam(self.critic.parameters, hyper.critic_lr, hyper.adam_eps)
        self.uniforms = BlockUniforms(self.streams, "action", (copies, self.agents))

    # ---- acting -----------------------------------------------------------------------------------------------

    def rollout_length(self) -> int:
        """Steps per copy between updates; the episode limit unless the config says otherwise."""
        return self.hyper.rollout_length or self.spec.episode_limit

    @torch.no_grad()
    def logits(self, observations, available) -> torch.Tensor:
        """The actors' logits [B, N, A], unavailable actions masked."""
        outputs = self.outputs(lambda inputs: self.actor(self.actor.parameters, inputs), observations)
        return distributions.masked(outputs, available)

    def act(self, observations, available, memory):
        """Sampled actions [B, N]; no extras and no memory."""
        probabilities = self.logits(observations, available).softmax(-1)
        uniform = self.uniforms.next().reshape(-1, self.agents)
        return distributions.sample(probabilities, uniform), {}, None

    def greedy(self, observations, available, memory):
        """The most probable action of each agent: [B, N]."""
        return self.logits(observations, available).argmax(-1), None

    # ---- learning ---------------------------------------------------------------------------------------------

    def policy_loss(self, log: torch.Tensor, batch: Batch, runs: slice) -> torch.Tensor:
        """The loss [R', N] to minimise, from new log-probabilities [R', N, D, A] of the chunk ``runs``."""
        raise NotImplementedError

    def after_epochs(self, log: torch.Tensor, batch: Batch) -> Tensors:
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

    def entropy_bonus(self, log: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Mean policy entropy [R', N] in nats, for the bonus and the records."""
        return batch.mean(distributions.entropy(batch.at_points(log)))

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

        def by_time(x):  # [R, N, T*C] -> [T, R, N, C]
            return x.unflatten(2, (-1, self.copies)).permute(2, 0, 1, 3)

        def shared(x):  # [T, R*C] -> [T, R, 1, C]
            return by_run(x, runs).transpose(0, 1).unsqueeze(2)

        terminated, truncated = shared(rollout.terminated), shared(rollout.truncated)
        if not hyper.bootstrap_at_limit:
            terminated, truncated = terminated | truncated, torch.zeros_like(truncated)
        gamma, lam = (hyper.per_run(k).unsqueeze(-1) for k in ("gamma", "gae_lambda"))
        advantages = gae(
            shared(rollout.reward), by_time(values), by_time(next_values), terminated, truncated, gamma, lam
        )
        advantages = advantages.permute(1, 2, 0, 3).flatten(2)
        returns = advantages + values
        # "agent": no statistic crosses agents, as a decentralised learner must; "joint" is what the released code does.
        if hyper.advantage_normalisation != "none":
            dims = (2,) if hyper.advantage_normalisation == "agent" else (1, 2)
            advantages = normalise(advantages, dims, hyper.advantage_eps)
        actions = by_agent(rollout.actions, runs)
        old_log = self.log_policy(self.actor.parameters, inputs, available)
        batch = Batch(inputs, rows, weights, actions, values, advantages, returns, values, old_log, available)
        batch.old_log_prob = batch.at_actions(old_log)
        return batch

    def log_policy(self, parameters: Tensors, inputs, available) -> torch.Tensor:
        """Log-probabilities [R', N, D, A]."""
        return distributions.masked(self.actor(parameters, inputs), available).log_softmax(-1)

    def update(self, rollout: Rollout) -> Tensors:
        """One update: ``epochs`` full-batch steps of every actor and every critic. Metrics [R], means over agents."""
        batch = self.prepare(rollout)
        self.freezer.remember(self.state_dict())
        shuffles = None
        if self.hyper.shuffle_rows:
            first, size = self.updates * self.hyper.epochs, self.agents * batch.actions.shape[-1]
            shuffles = [self.streams.permutations("shuffle", first + e, size) for e in range(self.hyper.epochs)]
        metrics: list[Tensors] = [self._learn(runs, batch, shuffles) for runs in self._chunks()]
        merged = {k: torch.cat([m[k] for m in metrics]) for k in metrics[0]}
        with torch.no_grad():
            log = self.log_policy(self.actor.parameters, batch.inputs, batch.available)
            merged["entropy"] = self.entropy_bonus(log, batch)
            merged["kl"] = batch.mean(distributions.kl(batch.old_log, log))
            merged |= self.after_epochs(log, batch)
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

            def policy_loss(logits, part=part):
                log = distributions.masked(logits, part.available).log_softmax(-1)
                return self.policy_loss(log, part, runs)

            loss, gradients = self.actor.loss_and_gradients(actor, part.inputs, policy_loss)
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
        counters = {"updates": torch.tensor(self.updates), "uniforms": torch.tensor(self.uniforms.counter)}
        return self.learned() | counters | self.freezer.state_dict()

    def load_state_dict(self, state: Tensors) -> None:
        """Continue exactly where ``state_dict`` was taken, on this device."""
        for name, tensor in self.learned().items():
            tensor.copy_(state[name])
        self.updates, self.uniforms.counter = int(state["updates"]), int(state["uniforms"])
        self.freezer.load_state_dict(state)
        self._table = None

    def policy_state(self) -> Tensors:
        """The actors alone, for policy.safetensors."""
        return {f"actor.{k}": p for k, p in self.actor.parameters.items()}

    def load_policy(self, state: Tensors) -> None:
        """Actors from policy.safetensors."""
        for k, p in self.actor.parameters.items():
            p.copy_(state[f"actor.{k}"])
        self._table = None
