"""Independent Q-learning (Tan 1993; Tampuu et al. 2015) in PyMARL's form, individual parameters for every agent.

Agent i minimises  E[ (Q_i(s, a_i) - y_i)^2 ],  y_i = r + gamma Q'_i(s', argmax_a Q_i(s', a))   (double Q-learning),
over episodes drawn from replay; Q' is a copy of Q made every ``target_interval`` episodes (oxwhirl/pymarl,
src/learners/q_learner.py). A time limit is no end of the world: the target keeps its future, as in PyMARL.

``recurrent: false`` is a feed-forward Q per agent, enough where the state is observed; ``recurrent: true`` is PyMARL's
GRU agent on observation and last action, unrolled over whole episodes.
"""

from __future__ import annotations

import torch

from reprise.blocks.hyper import Hyper
from reprise.blocks.learner import DiscreteLearner
from reprise.blocks.networks import StackedMLP
from reprise.blocks.optimiser import RMSprop, clip_by_agent
from reprise.blocks.recurrent import StackedGRU
from reprise.blocks.replay import EpisodeReplay
from reprise.blocks.rollout import Rollout, by_run
from reprise.blocks.streams import BlockUniforms

Tensors = dict[str, torch.Tensor]


class IQL(DiscreteLearner):
    """R x N independent Q-learners for discrete actions.

    Hyperparameters: hidden, lr, rms_alpha, rms_eps, gradient_clip, gamma, double_q, epsilon_start, epsilon_end,
    epsilon_decay (env steps), replay_episodes, batch_episodes, learner_steps (per rollout), target_interval
    (episodes), recurrent, copies.
    """

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        super().__init__(spec, hyper, seeds, copies, device)
        self.tabular = not hyper.recurrent
        size, hidden = spec.observation_size, hyper.hidden
        if hyper.recurrent:
            inputs = size + self.choices  # observation and last action; an agent id says nothing to a net of one's own
            self.network = StackedGRU(self.streams, "q", self.agents, inputs, hidden, self.choices)
        else:
            sizes = [size, hidden, hidden, self.choices]
            self.network = StackedMLP(self.streams, "q", self.agents, sizes, layer_norm=False, gain=1.0)
        self.target: Tensors = {k: p.clone() for k, p in self.network.parameters.items()}
        self.optimiser = RMSprop(self.network.parameters, hyper.lr, hyper.rms_alpha, hyper.rms_eps)
        self.replay = EpisodeReplay(self.streams, hyper.replay_episodes)
        self.uniforms = BlockUniforms(self.streams, "action", (copies, self.agents, 2))
        self.env_steps = 0
        self.copied = torch.zeros(self.runs, dtype=torch.int64)  # episodes at the last copy to the target

    # ---- acting -----------------------------------------------------------------------------------------------

    def rollout_length(self) -> int:
        """One whole episode per copy."""
        return self.spec.episode_limit

    def epsilon(self) -> torch.Tensor:
        """Exploration rate [R, 1]: linear from start to end over ``epsilon_decay`` env steps."""
        start, end = self.hyper.epsilon_start, self.hyper.epsilon_end
        return start + (end - start) * (self.env_steps / self.hyper.per_run("epsilon_decay")).clamp(max=1.0)

    def initial_memory(self, rows: int):
        """Hidden state [rows, N, H] and last action [rows, N] (-1: none yet), or None without recurrence."""
        if not self.hyper.recurrent:
            return None
        last = torch.full((rows, self.agents), -1, device=self.device)
        return {"hidden": torch.zeros(rows, self.agents, self.hyper.hidden, device=self.device), "last": last}

    @torch.no_grad()
    def _values(self, observations: torch.Tensor, memory):
        """Q-values [B, N, A] and the hidden state after this step."""
        if not self.hyper.recurrent:
            return self.outputs(lambda x: self.network(self.network.parameters, x), observations), None
        stacked = (
            x.unflatten(0, (self.runs, len(x) // self.runs)).transpose(1, 2)
            for x in (self._inputs(observations, memory["last"]), memory["hidden"])
        )
        q, hidden = self.network.step(self.network.parameters, *stacked)
        return q.transpose(1, 2).flatten(0, 1), hidden.transpose(1, 2).flatten(0, 1)

    def _inputs(self, observations: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """Observation and last action (-1: zeros) as one vector: [..., O + A]."""
        if self.spec.one_hot:
            observations = torch.nn.functional.one_hot(observations, self.spec.observation_size).float()
        action = torch.nn.functional.one_hot(last.clamp(min=0), self.choices) * (last >= 0).unsqueeze(-1)
        return torch.cat([observations, action.float()], -1)

    def greedy(self, observations, available, memory):
        """The action of highest value of each agent: [B, N]."""
        q, hidden = self._values(observations, memory)
        if available is not None:
            q = q.masked_fill(~available, -torch.inf)
        actions = q.argmax(-1)
        return actions, None if memory is None else {"hidden": hidden, "last": actions}

    def act(self, observations, available, memory):
        """Epsilon-greedy actions [B, N]; a random action is uniform over the available ones."""
        actions, memory = self.greedy(observations, available, memory)
        uniform = self.uniforms.next()
        explore = (uniform[..., 0] < self.epsilon().unsqueeze(-1)).flatten(0, 1)
        pick = uniform[..., 1].flatten(0, 1)
        if available is None:
            random = (pick * self.choices).long().clamp(max=self.choices - 1)
        else:
            rank = (pick * available.sum(-1)).long() + 1
            random = (available.cumsum(-1) >= rank.unsqueeze(-1)).int().argmax(-1)
        actions = torch.where(explore, random, actions)
        return actions, {}, None if memory is None else memory | {"last": actions}

    # ---- learning ---------------------------------------------------------------------------------------------

    def update(self, rollout: Rollout) -> Tensors:
        """Store the rollout's episodes, then ``learner_steps`` gradient steps. Metrics [R]."""
        self._store(rollout)
        self.env_steps += rollout.reward.shape[0] * self.copies
        zero = torch.zeros(self.runs, device=self.device)
        metrics = {"value_loss": zero, "gradient_norm": zero, "value": zero}
        self.freezer.remember(self.learned())
        if len(self.replay) >= self.hyper.batch_episodes:
            for _ in range(self.hyper.learner_steps):
                metrics = self._learn(self.replay.sample(self.hyper.batch_episodes))
            self._copy_target()
            self._table = None
        self.updates += 1
        metrics["epsilon"] = self.epsilon().squeeze(-1)
        metrics["rollout_reward"] = by_run(rollout.reward, self.runs).mean((1, 2))
        self.freezer.check(self, metrics, self.updates)
        return metrics

    def _store(self, rollout: Rollout) -> None:
        def episodes(x: torch.Tensor) -> torch.Tensor:  # [T, R*C, ...] -> [R, C, T, ...]
            return by_run(x, self.runs).transpose(1, 2)

        small = torch.int16 if self.spec.one_hot else rollout.observations.dtype
        fields = {
            "observations": episodes(rollout.observations).to(small),
            "next_observations": episodes(rollout.next_observations).to(small),
            "actions": episodes(rollout.actions).to(torch.int16),
            "reward": episodes(rollout.reward),
            "terminated": episodes(rollout.terminated),
        }
        if rollout.available_actions is not None:
            fields["available"] = episodes(rollout.available_actions)
        self.replay.insert(fields)

    def _learn(self, episodes: Tensors) -> Tensors:
        gamma = self.hyper.per_run("gamma").unsqueeze(-1)
        reward = episodes["reward"].flatten(1).unsqueeze(1)
        future = (~episodes["terminated"]).flatten(1).unsqueeze(1)
        actions = _per_agent(episodes["actions"]).long()
        split = self._recurrent if self.hyper.recurrent else self._feed_forward
        future_of, q_of, inputs = split(episodes)
        held = {}

        def loss_of(output: torch.Tensor) -> torch.Tensor:
            target = held["target"] = reward + gamma * future * future_of(output.detach())
            chosen = q_of(output).gather(-1, actions.unsqueeze(-1)).squeeze(-1)
            return (chosen - target).square().mean(-1)

        loss, gradients = self.network.loss_and_gradients(self.network.parameters, inputs, loss_of)
        target = held["target"]
        norm = clip_by_agent(gradients, self.hyper.gradient_clip)
        self.optimiser.step(gradients)
        return {"value_loss": loss.mean(1), "gradient_norm": norm.mean(1), "value": target.mean((1, 2))}

    @torch.no_grad()
    def _feed_forward(self, episodes: Tensors):
        """How to find in the network's output the future's value [R, N, M] and the samples' Q-values; its inputs."""
        observations, following = (_per_agent(episodes[k]) for k in ("observations", "next_observations"))
        if not self.spec.one_hot:
            online = self.network(self.network.parameters, following)
            value = self._future(online, self.network(self.target, following))
            return lambda output: value, lambda output: output, observations
        # One-hot observations: S distinct inputs, evaluated once; samples look their rows up.
        rows, next_rows = observations.long(), following.long()
        value = self._future(self.network(self.network.parameters, None), self.network(self.target, None))

        def q_of(output: torch.Tensor) -> torch.Tensor:
            return output.gather(2, rows.unsqueeze(-1).expand(*rows.shape, output.shape[-1]))

        return lambda output: value.gather(2, next_rows), q_of, None

    @torch.no_grad()
    def _recurrent(self, episodes: Tensors):
        """As ``_feed_forward``, over whole episodes: one pass over T + 1 observations gives Q-values and futures."""

        def by_agent(x: torch.Tensor) -> torch.Tensor:  # [R, E, T, N, ...] -> [R, N, E, T, ...]
            return x.movedim(3, 1)

        first, following = (by_agent(episodes[k]) for k in ("observations", "next_observations"))
        if self.spec.one_hot:
            first, following = first.long(), following.long()
        actions = by_agent(episodes["actions"]).long()
        seen = torch.cat([first, following[:, :, :, -1:]], 3)
        last = torch.cat([torch.full_like(actions[..., :1], -1), actions], 3)
        whole = self._inputs(seen, last)
        target = self.network.sequence(self.target, whole)[:, :, :, 1:]

        def future_of(output: torch.Tensor) -> torch.Tensor:
            return self._future(output[:, :, :, 1:], target).flatten(2)

        return future_of, lambda output: output[:, :, :, :-1].flatten(2, 3), whole

    def _future(self, online: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Q'(s', argmax Q(s', .)) with double Q-learning, max Q'(s', .) without: [..., A] -> [...]."""
        if not self.hyper.double_q:
            return target.max(-1).values
        return target.gather(-1, online.argmax(-1, keepdim=True)).squeeze(-1)

    def _copy_target(self) -> None:
        """Copy Q to Q' in the runs whose last copy lies ``target_interval`` episodes back."""
        interval = self.hyper.per_run("target_interval").squeeze(-1).cpu()
        due = self.replay.inserted - self.copied >= interval
        if bool(due.any()):
            self.copied = torch.where(due, torch.full_like(self.copied, self.replay.inserted), self.copied)
            chosen = due.to(self.device)
            for k, p in self.network.parameters.items():
                self.target[k][chosen] = p[chosen]

    # ---- state ------------------------------------------------------------------------------------------------

    def learned(self) -> Tensors:
        """Every tensor an update changes, leading dimension R."""
        named = {f"q.{k}": p for k, p in self.network.parameters.items()}
        named |= {f"q.target.{k}": p for k, p in self.target.items()}
        return named | {f"q.rms.{k}": p for k, p in self.optimiser.state().items()}

    def state_dict(self) -> Tensors:
        """All that a resume needs, replay included."""
        counters = {
            "updates": torch.tensor(self.updates),
            "env_steps": torch.tensor(self.env_steps),
            "uniforms": torch.tensor(self.uniforms.counter),
            "copied": self.copied,
        }
        return self.learned() | counters | self.replay.state_dict() | self.freezer.state_dict()

    def load_state_dict(self, state: Tensors) -> None:
        """Continue exactly where ``state_dict`` was taken, on this device."""
        for name, tensor in self.learned().items():
            tensor.copy_(state[name])
        self.updates, self.env_steps = int(state["updates"]), int(state["env_steps"])
        self.uniforms.counter, self.copied = int(state["uniforms"]), state["copied"].cpu()
        self.replay.load_state_dict(state)
        self.freezer.load_state_dict(state)
        self._table = None

    def policy_state(self) -> Tensors:
        """The Q-networks, for policy.safetensors."""
        return {f"q.{k}": p for k, p in self.network.parameters.items()}

    def load_policy(self, state: Tensors) -> None:
        """Q-networks from policy.safetensors."""
        for k, p in self.network.parameters.items():
            p.copy_(state[f"q.{k}"])
        self._table = None


def _per_agent(x: torch.Tensor) -> torch.Tensor:
    """[R, E, T, N, ...] -> [R, N, E*T, ...]."""
    return x.movedim(3, 1).flatten(2, 3)
