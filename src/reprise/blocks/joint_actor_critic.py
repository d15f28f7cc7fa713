"""Actor-critics of a team whose critic sees the global state: all that HAPPO, HATRPO and MAPPO have in common.

One critic V(s) gives the joint advantage A(s, a), which is the only estimator that they need (HATRPO paper, section
4.1: proposition 2 turns it into every agent's by ratios of policies). How the policies follow it is ``improve`` of a
subclass; nothing here knows an algorithm's name.
"""

from __future__ import annotations

import torch

from reprise.blocks.advantages import normalise, of_rollout
from reprise.blocks.hyper import Hyper
from reprise.blocks.learner import PolicyLearner
from reprise.blocks.networks import StackedMLP
from reprise.blocks.optimiser import Adam, clip_by_agent
from reprise.blocks.policies import make_policy
from reprise.blocks.rollout import Rollout, by_agent, by_run
from reprise.blocks.team_batch import TeamBatch, take_rows
from reprise.blocks.value_norm import ValueNorm

Tensors = dict[str, torch.Tensor]
# Runs learn together up to so many samples on a processor: it bounds memory, and speed hardly depends on it
# (benchmarks/mujoco_training.py, chunks).
CPU_SAMPLES = 20_000


class JointActorCritic(PolicyLearner):
    """R runs of a team of N agents with separate policies, or with one that they share.

    Args: the contract of docs/architecture.md. Subclasses define ``improve``; hyperparameters read here: hidden,
    hidden_layers, layer_norm, actor_gain, log_std_start, std_limit, share_parameters, critic, critic_lr, lr_decay,
    adam_eps, gradient_clip, gamma, gae_lambda, bootstrap_at_limit, advantage_eps, value_norm,
    value_norm_beta, critic_epochs, critic_minibatches, value_clip, huber_delta, huber_one_sided, rollout_length.
    """

    needs_state = True

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        super().__init__(spec, hyper, seeds, copies, device)
        width, norm = [hyper.hidden] * hyper.hidden_layers, hyper.layer_norm
        self.networks = 1 if hyper.share_parameters else self.agents
        self.actor = make_policy(
            self.streams, "actor", self.networks, [spec.observation_size, *width], spec,
            layer_norm=norm, gain=hyper.actor_gain, log_std=hyper.log_std_start, std_limit=hyper.std_limit,
        )  # fmt: skip
        joint = hyper.critic == "joint"
        self.critics = 1 if joint else self.networks
        sees = spec.state_size if joint else spec.observation_size
        self.critic = StackedMLP(self.streams, "critic", self.critics, [sees, *width, 1], norm, 1.0)
        self.critic_optimiser = Adam(self.critic.parameters, hyper.critic_lr, hyper.adam_eps)
        self.value_norm = ValueNorm(self.runs, self.critics, hyper.value_norm_beta, hyper.value_norm, self.device)

    def describe(self) -> dict[str, int]:
        """Trainable numbers of one run's critics and of its policies."""
        networks = {"critic_parameters": self.critic.parameters, "actor_parameters": self.actor.parameters}
        return {name: sum(p[0].numel() for p in parameters.values()) for name, parameters in networks.items()}

    def rollout_length(self) -> int:
        """Steps per copy between updates; the episode limit unless the config says otherwise."""
        return self.hyper.rollout_length or self.spec.episode_limit

    def actor_outputs(self, inputs: torch.Tensor | None) -> torch.Tensor:
        """The agents' networks, or the one that all share, at each agent's inputs."""
        if inputs is None:
            return self.actor(self.actor.parameters, None).expand(-1, self.agents, -1, -1)
        return self.by_own(self.actor(self.actor.parameters, self.by_network(inputs)))

    def by_network(self, x: torch.Tensor) -> torch.Tensor:
        """[R, N, M, ...] -> [R, networks, M', ...]: a shared network takes the samples of all agents in a row."""
        return x if self.networks == self.agents else x.flatten(1, 2).unsqueeze(1)

    def by_own(self, x: torch.Tensor) -> torch.Tensor:
        """[R, networks, M', ...] -> [R, N, M, ...], the way back."""
        return x if self.networks == self.agents else x.squeeze(1).unflatten(1, (self.agents, -1))

    # ---- learning ---------------------------------------------------------------------------------------------

    def improve(self, batch: TeamBatch, runs: slice) -> Tensors:
        """Update the policies of the chunk ``runs``; metrics [R', N or networks]."""
        raise NotImplementedError

    def _vectors(self, x: torch.Tensor, size: int) -> torch.Tensor:
        """One-hot observations or states as vectors; others as they are."""
        return torch.nn.functional.one_hot(x, size).float() if self.spec.one_hot else x

    def _seen(self, rollout: Rollout, state: torch.Tensor, observations: torch.Tensor) -> torch.Tensor:
        """The critics' inputs [R, critics, M, S]: global states, or each agent's observations."""
        if self.hyper.critic == "joint":
            return self._vectors(by_run(state, self.runs).flatten(1, 2).unsqueeze(1), self.spec.state_size)
        return self.by_network(self._vectors(by_agent(observations, self.runs), self.spec.observation_size))

    @torch.no_grad()
    def prepare(self, rollout: Rollout) -> TeamBatch:
        """Advantages, targets and the old policies at the samples of a rollout."""
        hyper, critic = self.hyper, self.critic
        seen = self._seen(rollout, rollout.state, rollout.observations)
        following = self._seen(rollout, rollout.next_state, rollout.next_observations)
        values, next_values = (critic(critic.parameters, x).squeeze(-1) for x in (seen, following))

        def by_estimator(x: torch.Tensor) -> torch.Tensor:  # [R, critics, M'] -> [R, 1 or N, M]
            x = self.value_norm.denormalise(x)
            return x if hyper.critic == "joint" else self.by_own(x)

        now = by_estimator(values)
        gamma, lam = (hyper.per_run(k) for k in ("gamma", "gae_lambda"))
        advantages = of_rollout(rollout, now, by_estimator(next_values), gamma, lam, hyper.bootstrap_at_limit)
        targets = advantages + now
        targets = targets if hyper.critic == "joint" else self.by_network(targets)
        advantages = normalise(advantages, (2,), hyper.advantage_eps).expand(-1, self.agents, -1)
        inputs = self._vectors(by_agent(rollout.observations, self.runs), self.spec.observation_size)
        available = rollout.available_actions
        available = None if available is None else by_agent(available, self.runs)
        actions = by_agent(rollout.actions, self.runs)
        policies = self.policies(slice(None), inputs, available)
        parts = self.by_own(policies.log_prob_parts(self.by_network(actions)))
        return TeamBatch(inputs, available, actions, parts.sum(-1), parts, advantages, targets, values, seen)

    def policies(self, runs: slice, inputs: torch.Tensor, available: torch.Tensor | None):
        """The policies [R', networks, M'] of a chunk of runs at inputs [R', N, M, O]."""
        parameters = {k: p[runs] for k, p in self.actor.parameters.items()}
        masks = None if available is None else self.by_network(available)
        return self.actor.policy(parameters, self.by_network(inputs), masks)

    def update(self, rollout: Rollout) -> Tensors:
        """One update of policies and critics. Metrics [R], means over agents."""
        batch = self.prepare(rollout)
        self.freezer.remember(self.state_dict())
        self.set_rates(self.share_of_rate(len(rollout.reward)))
        parts: list[Tensors] = []
        for runs in self._chunks(batch.advantages.shape[-1]):
            chunk = batch.of_runs(runs)
            with torch.no_grad():
                before = self.policies(runs, chunk.inputs, chunk.available).each(torch.clone)
            metrics = self.improve(chunk, runs)
            with torch.no_grad():
                after = self.policies(runs, chunk.inputs, chunk.available)
                metrics |= {"entropy": after.entropy().mean(-1), "kl": before.kl(after).mean(-1)}
            metrics |= self._fit_values(chunk, runs)
            metrics["value"] = chunk.targets.mean(-1)
            parts.append({k: v.mean(1) for k, v in metrics.items()})
        self.updates += 1
        self._table = None
        result = {k: torch.cat([part[k] for part in parts]) for k in parts[0]}
        result["rollout_reward"] = by_run(rollout.reward, self.runs).mean((1, 2))
        self.freezer.check(self, result, self.updates)
        return result

    def share_of_rate(self, steps: int) -> float:
        """What a linear decay over the budget leaves of the learning rates, for updates of ``steps`` steps per copy."""
        if not self.hyper.lr_decay:
            return 1.0
        return 1.0 - self.updates * steps * self.copies / self.hyper.total_env_steps

    def set_rates(self, share: float) -> None:
        """Set the learning rates to ``share`` of their values."""
        self.critic_optimiser.lr = self.hyper.critic_lr * share

    def _chunks(self, samples: int) -> list[slice]:
        """Runs that learn together: on a processor up to CPU_SAMPLES samples of each agent, on a GPU all."""
        size = self.runs
        if self.device.type == "cpu":
            size = max(1, min(self.runs, CPU_SAMPLES // samples))
        return [slice(r, min(r + size, self.runs)) for r in range(0, self.runs, size)]

    def minibatches(self, name: str, epoch: int, samples: int, count: int, runs: slice) -> list[torch.Tensor | None]:
        """The rows [R', m] of ``count`` parts of a random order of the samples; a whole batch keeps its order: [None].

        ``epoch`` numbers the shuffles of stream ``name``. What does not fill the last part is left out, as in the
        released codes.
        """
        if count == 1:
            return [None]
        order = self.streams.permutations(name, epoch, samples)[runs]
        size = samples // count
        return [order[:, i * size : (i + 1) * size] for i in range(count)]

    # ---- the critics ------------------------------------------------------------------------------------------

    def value_loss(self, values: torch.Tensor, old: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Mean loss [R', V] of values [R', V, M] in the critics' units: half a square, Huber's where that is set.

        With ``value_clip`` > 0 the greater of it and that of the value clipped around ``old`` (both released codes).
        """

        def loss(error: torch.Tensor) -> torch.Tensor:  # error: target minus value
            delta = self.hyper.huber_delta
            if delta == 0:
                return 0.5 * error.square()
            linear = delta * (error.abs() - 0.5 * delta)
            if self.hyper.huber_one_sided:  # utils/util.py, huber_loss: its linear branch asks for e > delta
                linear = torch.where(error > 0, linear, 0.0)
            return torch.where(error.abs() <= delta, 0.5 * error.square(), linear)

        result = loss(targets - values)
        if (limit := self.hyper.value_clip) > 0:
            result = torch.maximum(result, loss(targets - old - (values - old).clamp(-limit, limit)))
        return result.mean(-1)

    def _fit_values(self, batch: TeamBatch, runs: slice) -> Tensors:
        """All critic steps of a chunk; metrics [R', V] of the last one."""
        hyper, steps = self.hyper, 0
        parameters = {k: p[runs] for k, p in self.critic.parameters.items()}
        samples = batch.targets.shape[-1]
        for epoch in range(hyper.critic_epochs):
            number = self.updates * hyper.critic_epochs + epoch
            for rows in self.minibatches("critic", number, samples, hyper.critic_minibatches, runs):
                seen, old, targets = batch.seen, batch.values, batch.targets
                if rows is not None:
                    seen, old, targets = (take_rows(x, rows) for x in (seen, old, targets))
                self.value_norm.update(targets, runs)
                wanted = self.value_norm.normalise(targets, runs)
                loss, gradients = self.critic.loss_and_gradients(
                    parameters, seen, lambda v, old=old, wanted=wanted: self.value_loss(v.squeeze(-1), old, wanted)
                )
                steps += 1
                norm = clip_by_agent(gradients, hyper.gradient_clip)
                total = hyper.critic_epochs * hyper.critic_minibatches
                self.critic_optimiser.step(gradients, runs, number=self.updates * total + steps)
        return {"value_loss": loss, "value_gradient_norm": norm}

    # ---- state ------------------------------------------------------------------------------------------------

    def learned(self) -> Tensors:
        """Every tensor an update changes, leading dimension R, by name (the tensors themselves, not copies)."""
        named = {f"value_norm.{k}": p for k, p in self.value_norm.state().items()}
        for net in (self.actor, self.critic):
            named |= {f"{net.name}.{k}": p for k, p in net.parameters.items()}
        return named | {f"critic.adam.{k}": p for k, p in self.critic_optimiser.state().items()}

    def state_dict(self) -> Tensors:
        """All that a resume needs: learned tensors, counters, frozen runs."""
        counters = {"updates": torch.tensor(self.updates), "noise": torch.tensor(self.noise.counter)}
        return self.learned() | counters | self.freezer.state_dict()

    def load_state_dict(self, state: Tensors) -> None:
        """Continue exactly where ``state_dict`` was taken, on this device."""
        for name, tensor in self.learned().items():
            tensor.copy_(state[name])
        self.updates, self.noise.counter = int(state["updates"]), int(state["noise"])
        self.freezer.load_state_dict(state)
        self._table = None
