"""MADDPG (Lowe et al. 2017) with a shared team reward and interchangeable critics, for agents that are all alike.

One critic Q(o, a) of all agents' observations and actions and one policy mu learn from a replay. In the numbers of
Lowe et al., the policy follows the gradient of (5) and the critic minimises (6):

    J(mu) = E[ Q(o, mu(o)) ] - c E[ logits^2 ],   through grad_a Q(o, a) at a = mu(o)           (5)
    L(Q)  = E[ (Q(o, a) - y)^2 ],   y = r + gamma Q'(o', a'),   a' = mu'(o')                    (6)

Q' and mu' follow Q and mu at rate tau. A time limit is no end of the world: y keeps its future.

Actions are weights: a_i = softmax(z_i), the logits z_i being the network's plus noise: a Gumbel number each (actor
``local``: one network of an agent's own observation, shared by all; Liu et al. 2020, PIC), or a Gaussian one whose
deviation the network gives too (actor ``central``: one network of all observations, which is not equivariant under a
permutation of agents; Li et al. 2021, MF-PPO, section 5). With ``update_noise`` the expectations are over this noise as
well, so that (5) also reaches the deviation, through z_i = mean + deviation * number.

With the critic ``mf_a`` (Yang et al. 2018; MF-PPO, section 5) each agent has a value of its own, Q(o_i, a_i, mean of
the others' actions): (6) is averaged over agents, and (5) follows agent i's value in agent i's action alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from reprise.blocks.actors import make_actor
from reprise.blocks.critics import make_critic, width_for
from reprise.blocks.hyper import Hyper
from reprise.blocks.learner import SimplexLearner
from reprise.blocks.optimiser import Adam, Tensors, agent_norm, clip_by_agent
from reprise.blocks.rollout import Rollout, by_run
from reprise.blocks.simplex import Disturbed, disturb, executable, gumbel, through_softmax
from reprise.blocks.state_replay import Sample, StateReplay
from reprise.errors import RepriseError


class MADDPG(SimplexLearner):
    """R runs of MADDPG, N alike agents each.

    Hyperparameters: critic (mf, mlp, gcn, mf_a, vdn), actor (central, local), critic_parameters (0: take ``width``),
    width, actor_width, gamma, tau, batch, actor_updates, critic_updates, copies, replay (transitions), lr, lr_decay,
    adam_eps, gradient_clip, clip_always, logit_penalty, log_std_min, log_std_max, target_actor, target_after_actor,
    update_noise, evaluation_noise, subsample (agents; 0: all), and the budget's total_env_steps.

    Raises RepriseError for a critic and an actor that do not go together.
    """

    needs_state = True

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        super().__init__(spec, hyper, seeds, copies, device)
        _check(spec, hyper)
        sizes = (self.agents, spec.observation_size, self.action_size)
        budget = hyper.critic_parameters
        self.width = width_for(hyper.critic, *sizes, budget) if budget else hyper.width
        self.critic = make_critic(hyper.critic, self.streams, "critic", *sizes, width=self.width, varying=spec.varying)
        self.actor = make_actor(hyper.actor, self.streams, "actor", *sizes, width=hyper.actor_width)
        self.critic_target = {k: p.clone() for k, p in self.critic.parameters.items()}
        self.actor_target = {k: p.clone() for k, p in self.actor.parameters.items()}
        self.critic_optimiser = Adam(self.critic.parameters, hyper.lr, hyper.adam_eps)
        self.actor_optimiser = Adam(self.actor.parameters, hyper.lr, hyper.adam_eps)
        self.replay = StateReplay(self.streams, hyper.replay, spec)
        self.env_steps, self.acted, self.evaluated = 0, 0, 0

    def describe(self) -> dict[str, int]:
        """Trainable numbers of one run's critic and actor, and the critic's width."""
        counts = {"critic_parameters": self.critic.count, "actor_parameters": self.actor.count}
        return counts | {"critic_width": self.width}

    # ---- acting -----------------------------------------------------------------------------------------------

    def rollout_length(self) -> int:
        """One whole episode per copy."""
        return self.spec.episode_limit

    def noise(self, name: str, step: int, observations: torch.Tensor) -> torch.Tensor:
        """Numbers [R, M, N, A] for the logits at ``observations``: standard Gumbel (local) or normal (central)."""
        shape = (*observations.shape[1:3], self.action_size)
        if self.hyper.actor == "local":
            return gumbel(self.streams.uniform(name, step, shape))
        return self.streams.normal(name, step, shape)

    def policy(self, parameters: Tensors, observations: torch.Tensor, noise: torch.Tensor | None) -> Disturbed:
        """The logits [R, M, N, A] with ``noise``, or without (None)."""
        heads = self.actor.heads(parameters, observations)
        return disturb(*heads, noise, self.hyper.log_std_min, self.hyper.log_std_max)

    @torch.no_grad()
    def _actions(self, observations: torch.Tensor, name: str | None, step: int) -> torch.Tensor:
        """What the agents of B rows do, [B, N, A]: with noise of the stream ``name``, or without (None)."""
        seen = observations.unflatten(0, (self.runs, -1))
        noise = None if name is None else self.noise(name, step, seen)
        return executable(self.policy(self.actor.parameters, seen, noise).noisy).flatten(0, 1)

    def act(self, observations, available, memory):
        """Actions with noise [B, N, A]; no extras and no memory."""
        self.acted += 1
        return self._actions(observations, "action", self.acted), {}, None

    def greedy(self, observations, available, memory):
        """Actions without noise [B, N, A], or with it when ``evaluation_noise``."""
        self.evaluated += 1
        return self._actions(observations, "evaluation" if self.hyper.evaluation_noise else None, self.evaluated), None

    # ---- learning ---------------------------------------------------------------------------------------------

    def update(self, rollout: Rollout) -> Tensors:
        """Store the rollout; once the replay exceeds a batch, ``actor_updates`` and then ``critic_updates`` steps.

        Metrics [R] are those of the last step of either, and 0 before the first.
        """
        hyper = self.hyper
        self.replay.insert(rollout)
        self.freezer.remember(self.learned())
        rate = hyper.lr * (max(0.0, 1.0 - self.env_steps / hyper.total_env_steps) if hyper.lr_decay else 1.0)
        self.actor_optimiser.lr = self.critic_optimiser.lr = rate
        metrics = self._no_metrics()
        if len(self.replay) > hyper.batch:
            for _ in range(hyper.actor_updates):
                metrics |= self.improve_actor(self._draw("agents.actor", self.actor_optimiser.steps, following=False))
            for _ in range(hyper.critic_updates):
                metrics |= self.improve_critic(self._draw("agents.critic", self.critic_optimiser.steps))
        self.updates += 1
        self.env_steps += len(rollout.reward) * self.copies
        metrics["lr"] = torch.full((self.runs,), rate, device=self.device)
        metrics["rollout_reward"] = by_run(rollout.reward, self.runs).mean((1, 2))
        self.freezer.check(self, metrics, self.updates)
        return metrics

    def _no_metrics(self) -> Tensors:
        """What an update reports that took no step."""
        names = ["policy_loss", "policy_gradient_norm", "logit", "value_loss", "value_gradient_norm", "value"]
        names += ["deviation"] if self.hyper.actor == "central" else []
        return {name: torch.zeros(self.runs, device=self.device) for name in names}

    @torch.no_grad()
    def target(self, batch: Sample) -> torch.Tensor:
        """y of equation 6 at a batch [R, M, ...]: [R, M], or [R, M, N] where each agent has a value of its own."""
        following = batch.next_observations
        noise = self._update_noise("noise.critic", self.critic_optimiser.steps, following)
        policy = self.actor_target if self.hyper.target_actor else self.actor.parameters
        actions = self.policy(policy, following, noise).noisy.softmax(-1)
        future = self.critic.values(self.critic_target, following, actions)
        reward, going_on = _like(future, batch.reward), _like(future, ~batch.terminated)
        return reward + _like(future, self.hyper.per_run("gamma")) * going_on * future

    def improve_critic(self, batch: Sample) -> Tensors:
        """One step of equation 6 on a batch [R, M, ...]."""
        observations, target = batch.observations, self.target(batch)
        if self.spec.varying and self.critic.per_agent:
            target = target * observations[..., -1]  # so that absent agents, whose value is 0, have no error
        loss, gradients = self.critic.squared_error(self.critic.parameters, observations, batch.actions, target)
        norm = self._step(self.critic_optimiser, gradients)
        self._follow(self.critic_target, self.critic.parameters)
        return {"value_loss": loss, "value_gradient_norm": norm, "value": target.flatten(1).mean(1)}

    def improve_actor(self, batch: Sample) -> Tensors:
        """One step of equation 5 on a batch [R, M, ...]."""
        gradients, metrics = self.policy_gradient(batch)
        norm = self._step(self.actor_optimiser, gradients)
        if self.hyper.target_actor:
            self._follow(self.actor_target, self.actor.parameters)
        if self.hyper.target_after_actor:
            self._follow(self.critic_target, self.critic.parameters)
        return metrics | {"policy_gradient_norm": norm}

    @torch.no_grad()
    def policy_gradient(self, batch: Sample) -> tuple[Tensors, Tensors]:
        """The gradient of -J in the actor's parameters, by the chain rule through critic and softmax, and metrics [R].

        J averages over the batch and, where each has a value of its own, over agents.
        """
        observations = batch.observations
        noise = self._update_noise("noise.actor", self.actor_optimiser.steps, observations)
        policy = self.policy(self.actor.parameters, observations, noise)
        actions = policy.noisy.softmax(-1)
        values, slope = self.critic.action_gradient(self.critic.parameters, observations, actions)
        by_agent = self.shares(observations)
        share = by_agent if self.critic.per_agent else torch.full_like(values, 1.0 / values.shape[1])
        d_noisy = through_softmax(actions, -_like(slope, share) * slope)
        d_log_std = None if policy.by_log_std is None else d_noisy * policy.by_log_std
        by_entry = _like(slope, by_agent) / self.action_size
        penalty = _like(slope, self.hyper.per_run("logit_penalty")) * by_entry * policy.logits
        gradients = self.actor.gradients(self.actor.parameters, observations, d_noisy + 2 * penalty, d_log_std)
        metrics = {
            "policy_loss": _sum(penalty * policy.logits) - _sum(share * values),
            "logit": _sum(by_entry * policy.logits.square()).sqrt(),
        }
        if policy.deviation is not None:
            metrics["deviation"] = _sum(by_entry * policy.deviation)
        return gradients, metrics

    def _update_noise(self, name: str, step: int, observations: torch.Tensor) -> torch.Tensor | None:
        return self.noise(name, step, observations) if self.hyper.update_noise else None

    def _draw(self, name: str, step: int, following: bool = True) -> Sample:
        """A batch of the replay; with ``subsample``, of that many agents, drawn anew for every step and run."""
        batch = self.replay.sample(self.hyper.batch, following)
        if not self.hyper.subsample:
            return batch
        agents = self.streams.permutations(name, step, self.agents)[:, : self.hyper.subsample]

        def of_agents(x: torch.Tensor | None) -> torch.Tensor | None:  # [R, M, N, ...] -> [R, M, subsample, ...]
            return x if x is None else x.gather(2, agents[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))

        per_agent = ("observations", "actions", "next_observations")
        return batch._replace(**{k: of_agents(getattr(batch, k)) for k in per_agent})

    def _step(self, optimiser: Adam, gradients: Tensors) -> torch.Tensor:
        """Clip and step; the gradients' norms before, [R]."""
        clip = self.hyper.clip_always or optimiser.steps == 0
        norm = clip_by_agent(gradients, self.hyper.gradient_clip) if clip else agent_norm(gradients)
        optimiser.step(gradients)
        return norm.squeeze(1)

    @torch.no_grad()
    def _follow(self, target: Tensors, parameters: Tensors) -> None:
        """target <- (1 - tau) target + tau parameters."""
        for name, p in parameters.items():
            target[name].lerp_(p, _like(p, self.hyper.per_run("tau")))

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
        counters = {name: torch.tensor(getattr(self, name)) for name in COUNTERS}
        steps = {"actor.steps": self.actor_optimiser.steps, "critic.steps": self.critic_optimiser.steps}
        counters |= {name: torch.tensor(value) for name, value in steps.items()}
        return self.learned() | counters | self.replay.state_dict() | self.freezer.state_dict()

    def load_state_dict(self, state: Tensors) -> None:
        """Continue exactly where ``state_dict`` was taken, on this device."""
        for name, tensor in self.learned().items():
            tensor.copy_(state[name])
        for name in COUNTERS:
            setattr(self, name, int(state[name]))
        self.actor_optimiser.steps, self.critic_optimiser.steps = int(state["actor.steps"]), int(state["critic.steps"])
        self.replay.load_state_dict(state)
        self.freezer.load_state_dict(state)

    def archives(self) -> dict[str, Callable[[], Tensors]]:
        """What belongs to the state and never changes again, for checkpoints: full blocks of the replay."""
        return self.replay.archives()

    def load_archive(self, name: str, tensors: Tensors) -> None:
        """Take up one of the ``archives``, after ``load_state_dict``."""
        self.replay.load_archive(name, tensors)

    def policy_state(self) -> Tensors:
        """The actor, for policy.safetensors."""
        return {f"actor.{k}": p for k, p in self.actor.parameters.items()}

    def load_policy(self, state: Tensors) -> None:
        """The actor from policy.safetensors."""
        for k, p in self.actor.parameters.items():
            p.copy_(state[f"actor.{k}"])


COUNTERS = ("updates", "env_steps", "acted", "evaluated")


def _check(spec, hyper: Hyper) -> None:
    if hyper.critic == "mf_a" and hyper.actor != "local":
        raise RepriseError("maddpg: critic mf_a is of independent learners, whose actors are local: set actor: local")
    if hyper.subsample and (hyper.critic, hyper.actor) != ("mf", "local"):
        raise RepriseError("maddpg: subsample is for critic mf and actor local: others need every agent")
    if hyper.subsample > spec.agents:
        raise RepriseError(f"maddpg: subsample {hyper.subsample} of {spec.agents} agents; at most all of them")


def _like(tensor: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """``x`` with trailing dimensions of size 1, as many dimensions as ``tensor`` has."""
    return x.view(*x.shape, *[1] * (tensor.dim() - x.dim()))


def _sum(x: torch.Tensor) -> torch.Tensor:
    """[R, ...] -> [R]."""
    return x.flatten(1).sum(1)
