"""Deep deterministic policy gradient for teams (Lillicrap et al. 2016): all that IDDPG and MADDPG have in common.

Each agent has an actor mu_i of its own observation; what a critic sees is the subclass's. On transitions over m steps,

    L(Q)    = E[ (Q(x, a) - y)^2 ],   y = sum_j gamma^j r_j + gamma^m Q'(x', mu'(o'))
    J(mu_i) = E[ Q(x, a) ],           followed through grad_{a_i} Q at a_i = mu_i(o_i)

Q' and mu' follow Q and mu at rate tau. A time limit is no end of the world: y keeps its future. Nothing here knows an
algorithm's name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from reprise.blocks.hyper import Hyper
from reprise.blocks.learner import Learner
from reprise.blocks.networks import StackedMLP
from reprise.blocks.optimiser import Adam, Tensors, agent_norm, clip_by_agent
from reprise.blocks.rollout import Rollout, by_run
from reprise.blocks.streams import BlockNormals, BlockUniforms, Streams
from reprise.blocks.transition_replay import TransitionReplay, Transitions
from reprise.errors import RepriseError


class PlainMLP(StackedMLP):
    """R x N multilayer perceptrons that start as torch.nn.Linear does: uniform in +-1 / sqrt(inputs)."""

    def __init__(self, streams: Streams, name: str, networks: int, sizes: Sequence[int]):
        super().__init__(streams, name, networks, sizes, layer_norm=False, gain=1.0)
        for key, p in self.parameters.items():
            bound = 1.0 / math.sqrt(sizes[int(key[1:])])
            p.copy_((2.0 * bound) * streams.uniform(f"{name}.{key}", 0, p.shape[1:]) - bound)

    @property
    def count(self) -> int:
        """Numbers of one run's networks."""
        return sum(p[0].numel() for p in self.parameters.values())

    def _buffer(self, key: str, like: torch.Tensor, shape) -> torch.Tensor:
        # One piece of memory per shape: a critic sees batches of two sizes by turns.
        return super()._buffer(f"{key} {tuple(shape)}", like, shape)

    @torch.no_grad()
    def input_gradient(self, parameters: Tensors, layers, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient in the inputs [R, N, D, in], from that in the outputs [R, N, D, out]; after ``linearise``."""
        for i in range(len(layers) - 1, -1, -1):
            w, hidden = parameters[f"w{i}"], layers[i].hidden
            down = self._buffer(f"gi{i}", w, hidden.shape)
            torch.bmm(gradient.flatten(0, 1), w.flatten(0, 1).transpose(1, 2), out=down.flatten(0, 1))
            if i:
                torch.ops.aten.threshold_backward.grad_input(down, hidden, 0, grad_input=down)
            gradient = down
        return gradient


class DeterministicActorCritic(Learner):
    """R runs of N deterministic actors that learn from a replay.

    Args: the contract of docs/architecture.md; ``critics`` and ``critic_size``, how many critics there are in a run
    and how many numbers each sees; ``states``, whether these include the global state. Hyperparameters read here:
    width, actor_width, gamma, tau, batch, actor_updates, critic_updates, replay (transitions), lr, critic_lr, lr_decay,
    adam_eps, gradient_clip (0: none), rollout_length, warmup (env steps), exploration_noise, n_step, and the budget's
    total_env_steps.

    Raises RepriseError for a task with other actions than vectors in [-1, 1] or with one-hot observations.
    """

    needs_state = True

    def __init__(
        self, spec, hyper: Hyper, seeds, copies: int, device, *, critics: int, critic_size: int, states: bool = False
    ):
        if hasattr(spec.actions, "n") or (spec.actions.low, spec.actions.high) != (-1.0, 1.0) or spec.one_hot:
            raise RepriseError(
                f"task {spec.name}: this algorithm is for actions in [-1, 1] and observations that are vectors"
            )
        if hyper.actor_updates != hyper.critic_updates:
            raise RepriseError("actor_updates and critic_updates must be equal: both learn from the same batches")
        super().__init__(spec, hyper, seeds, copies, device)
        self.action_size = spec.actions.size
        sizes = [spec.observation_size, hyper.actor_width, hyper.actor_width, self.action_size]
        self.actor = PlainMLP(self.streams, "actor", self.agents, sizes)
        self.critic = PlainMLP(self.streams, "critic", critics, [critic_size, hyper.width, hyper.width, 1])
        self.actor_target = {k: p.clone() for k, p in self.actor.parameters.items()}
        self.critic_target = {k: p.clone() for k, p in self.critic.parameters.items()}
        self.actor_optimiser = Adam(self.actor.parameters, hyper.lr, hyper.adam_eps)
        self.critic_optimiser = Adam(self.critic.parameters, hyper.critic_lr, hyper.adam_eps)
        self.replay = TransitionReplay(
            self.streams, hyper.replay, spec, steps=self.rollout_length(), copies=copies, states=states
        )
        shape = (copies, self.agents, self.action_size)
        self.normals = BlockNormals(self.streams, "action", shape)
        self.uniforms = BlockUniforms(self.streams, "warmup", shape)
        self.env_steps = 0

    def describe(self) -> dict[str, int]:
        """Trainable numbers of one run's critics and actors."""
        return {"critic_parameters": self.critic.count, "actor_parameters": self.actor.count}

    # ---- acting -----------------------------------------------------------------------------------------------

    def rollout_length(self) -> int:
        """Steps per copy between updates; the episode limit unless the config says otherwise."""
        return self.hyper.rollout_length or self.spec.episode_limit

    @torch.no_grad()
    def greedy(self, observations, available, memory):
        """The actors' actions [B, N, k]."""
        inputs = observations.unflatten(0, (self.runs, -1)).transpose(1, 2)
        return self.actor(self.actor.parameters, inputs).tanh_().transpose(1, 2).flatten(0, 1), None

    def act(self, observations, available, memory):
        """Actions with Gaussian noise, cut to [-1, 1], or uniform ones during the warm-up: [B, N, k]."""
        if self.env_steps < self.hyper.warmup:
            return 2.0 * self.uniforms.next().flatten(0, 1) - 1.0, {}, None
        actions, _ = self.greedy(observations, available, memory)
        noise = self.hyper.exploration_noise * self.normals.next().flatten(0, 1)
        return actions.add_(noise).clamp_(-1.0, 1.0), {}, None

    # ---- learning ---------------------------------------------------------------------------------------------

    def critic_inputs(self, observations, state, actions: torch.Tensor) -> torch.Tensor:
        """What the critics see [R, critics, M, in] of observations [R, N, M, O], states [R, M, S] or None, and actions
        [R, N, M, k]."""
        raise NotImplementedError

    def action_slope(self, batch: Transitions, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Values [R, N, M] where each agent in turn acts as ``actions`` [R, N, M, k] say, and their slopes in these."""
        raise NotImplementedError

    def update(self, rollout: Rollout) -> Tensors:
        """Store the rollout; after the warm-up, ``critic_updates`` steps of the critics and the actors.

        Metrics [R] are those of the last step, and 0 before the first.
        """
        hyper = self.hyper
        self.replay.insert(rollout)
        self.freezer.remember(self.learned())
        left = max(0.0, 1.0 - self.env_steps / hyper.total_env_steps) if hyper.lr_decay else 1.0
        self.actor_optimiser.lr, self.critic_optimiser.lr = left * hyper.lr, left * hyper.critic_lr
        metrics = {name: torch.zeros(self.runs, device=self.device) for name in METRICS}
        if self.env_steps >= hyper.warmup and len(self.replay) >= hyper.batch:
            for _ in range(hyper.critic_updates):
                metrics = self._learn()
        self.updates += 1
        self.env_steps += len(rollout.reward) * self.copies
        metrics["rollout_reward"] = by_run(rollout.reward, self.runs).mean((1, 2))
        self.freezer.check(self, metrics, self.updates)
        return metrics

    def _learn(self) -> Tensors:
        """One step of the critics, then of the actors, on one batch; the targets follow both."""
        batch = self.replay.sample(self.hyper.batch, self.hyper.n_step, self.hyper.per_run("gamma"))
        metrics = self.improve_critic(batch) | self.improve_actor(batch)
        tau = self.hyper.per_run("tau").view(-1, 1, 1, 1)
        for net, target in ((self.critic, self.critic_target), (self.actor, self.actor_target)):
            for name, p in net.parameters.items():
                target[name].lerp_(p, tau)
        return metrics

    @torch.no_grad()
    def target(self, batch: Transitions) -> torch.Tensor:
        """y of the critics' losses, [R, critics, M]."""
        actions = self.actor.linearise(self.actor_target, batch.next_observations)[1].tanh()
        inputs = self.critic_inputs(batch.next_observations, batch.next_state, actions)
        future = self.critic.linearise(self.critic_target, inputs)[1].squeeze(-1)
        return batch.reward.unsqueeze(1) + batch.discount.unsqueeze(1) * future

    @torch.no_grad()
    def improve_critic(self, batch: Transitions) -> Tensors:
        """One step on the critics' losses."""
        target, parameters = self.target(batch), self.critic.parameters
        inputs = self.critic_inputs(batch.observations, batch.state, batch.actions)
        layers, output = self.critic.linearise(parameters, inputs)
        error = output - target.unsqueeze(-1)
        gradients = self.critic.pull_back(parameters, layers, error * (2.0 / error.shape[2]))
        norm = self._step(self.critic_optimiser, gradients)
        loss = error.square().mean((1, 2, 3))
        return {"value_loss": loss, "value_gradient_norm": norm, "value": target.mean((1, 2))}

    @torch.no_grad()
    def policy_gradient(self, batch: Transitions) -> tuple[Tensors, Tensors]:
        """The gradient of -J in the actors' parameters, and metrics [R]."""
        parameters = self.actor.parameters
        layers, output = self.actor.linearise(parameters, batch.observations)
        actions = output.tanh()
        values, slope = self.action_slope(batch, actions)
        down = slope * (actions.square() - 1.0) / values.shape[2]
        gradients = self.actor.pull_back(parameters, layers, down)
        saturated = (actions.abs() > 0.99).float().mean((1, 2, 3))
        return gradients, {"policy_loss": -values.mean((1, 2)), "saturated": saturated}

    def improve_actor(self, batch: Transitions) -> Tensors:
        """One step along the policy gradient."""
        gradients, metrics = self.policy_gradient(batch)
        return metrics | {"policy_gradient_norm": self._step(self.actor_optimiser, gradients)}

    def _step(self, optimiser: Adam, gradients: Tensors) -> torch.Tensor:
        """Clip, unless ``gradient_clip`` is 0, and step; the networks' mean gradient norm before, [R]."""
        limit = self.hyper.gradient_clip
        norm = clip_by_agent(gradients, limit) if limit else agent_norm(gradients)
        optimiser.step(gradients)
        return norm.mean(1)

    # ---- state ------------------------------------------------------------------------------------------------

    def learned(self) -> Tensors:
        """Every tensor that an update changes, leading dimension R."""
        named = {}
        for name, net, target, optimiser in (
            ("critic", self.critic, self.critic_target, self.critic_optimiser),
            ("actor", self.actor, self.actor_target, self.actor_optimiser),
        ):
            named |= {f"{name}.{k}": p for k, p in net.parameters.items()}
            named |= {f"{name}.target.{k}": p for k, p in target.items()}
            named |= {f"{name}.adam.{k}": p for k, p in optimiser.state().items()}
        return named

    def state_dict(self) -> Tensors:
        """All that a resume needs beside the ``archives``."""
        counters = {
            "updates": self.updates, "env_steps": self.env_steps, "steps": self.critic_optimiser.steps,
            "normals": self.normals.counter, "uniforms": self.uniforms.counter,
        }  # fmt: skip
        counters = {name: torch.tensor(value) for name, value in counters.items()}
        return self.learned() | counters | self.replay.state_dict() | self.freezer.state_dict()

    def load_state_dict(self, state: Tensors) -> None:
        """Continue exactly where ``state_dict`` was taken, on this device."""
        for name, tensor in self.learned().items():
            tensor.copy_(state[name])
        self.updates, self.env_steps = int(state["updates"]), int(state["env_steps"])
        self.actor_optimiser.steps = self.critic_optimiser.steps = int(state["steps"])
        self.normals.counter, self.uniforms.counter = int(state["normals"]), int(state["uniforms"])
        self.replay.load_state_dict(state)
        self.freezer.load_state_dict(state)

    def archives(self) -> dict[str, Callable[[], Tensors]]:
        """What belongs to the state and never changes again, for checkpoints: full blocks of the replay."""
        return self.replay.archives()

    def load_archive(self, name: str, tensors: Tensors) -> None:
        """Take up one of the ``archives``, after ``load_state_dict``."""
        self.replay.load_archive(name, tensors)

    def policy_state(self) -> Tensors:
        """The actors, for policy.safetensors."""
        return {f"actor.{k}": p for k, p in self.actor.parameters.items()}

    def load_policy(self, state: Tensors) -> None:
        """The actors from policy.safetensors."""
        for k, p in self.actor.parameters.items():
            p.copy_(state[f"actor.{k}"])


METRICS = (
    "value_loss", "value_gradient_norm", "value", "policy_loss", "saturated", "policy_gradient_norm",
)  # fmt: skip
