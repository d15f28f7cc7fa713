"""What every stacked learner has (runs, agents, streams, frozen runs), and what each kind of action adds to it."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reprise.blocks.distributions import Policy
from reprise.blocks.divergence import Freezer
from reprise.blocks.hyper import Hyper
from reprise.blocks.policies import action_noise
from reprise.blocks.streams import Streams
from reprise.errors import RepriseError

Tensors = dict[str, torch.Tensor]


class Learner:
    """R runs of N agents; see the contract in docs/architecture.md.

    Args: environment ``spec``, hyperparameters, one seed per run, ``copies`` of the environment per run, device.
    """

    tabular = False  # whether the greedy policy is a table over one-hot observations

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        self.spec, self.hyper, self.copies, self.device = spec, hyper, copies, torch.device(device)
        self.runs, self.agents = len(seeds), spec.agents
        self.streams = Streams(seeds, device)
        self.freezer = Freezer(self.runs, self.device)
        self.updates = 0

    def initial_memory(self, rows: int):
        """Feed-forward: no memory."""
        return None

    @property
    def alive(self) -> torch.Tensor:
        """Which runs have not diverged: [R] bool."""
        return self.freezer.alive

    @property
    def divergences(self) -> list[dict]:
        """What froze each diverged run."""
        return self.freezer.divergences


class SimplexLearner(Learner):
    """A learner whose agents pick ``action_size`` weights that sum to 1, from observations that are vectors.

    Raises RepriseError for a task with other actions than weights in [0, 1], or with one-hot observations.
    """

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        if hasattr(spec.actions, "n") or (spec.actions.low, spec.actions.high) != (0.0, 1.0):
            raise RepriseError(f"task {spec.name}: this algorithm's actions are vectors in [0, 1], not its own")
        if spec.one_hot:
            raise RepriseError(f"task {spec.name}: one-hot observations; this algorithm's networks are for vectors")
        super().__init__(spec, hyper, seeds, copies, device)
        self.action_size = spec.actions.size

    def shares(self, observations: torch.Tensor) -> torch.Tensor:
        """Weights [R, M, N] that average over M observations [R, M, N, O] and the agents present in each.

        They sum to 1 in every run.
        """
        present = torch.ones_like(observations[..., 0])
        if self.spec.varying:
            present = observations[..., -1]
        return present / present.sum(2, keepdim=True).clamp(min=1.0) / observations.shape[1]


class LookupLearner(Learner):
    """A learner that evaluates its networks once for each distinct observation where these are one-hot."""

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        super().__init__(spec, hyper, seeds, copies, device)
        self._table: torch.Tensor | None = None

    def outputs(self, evaluate: Callable, observations: torch.Tensor) -> torch.Tensor:
        """Network outputs [B, N, A] at observations [B, N] (one-hot) or [B, N, O] of B / R rows per run.

        ``evaluate(inputs)`` gives [R, N, D, A] at inputs [R, N, D, O], or at all S one-hot observations for None: the
        networks see only S distinct observations between two updates, so each is evaluated once and looked up.
        """
        copies = len(observations) // self.runs
        if not self.spec.one_hot:
            inputs = observations.unflatten(0, (self.runs, copies)).transpose(1, 2)
            return evaluate(inputs).transpose(1, 2).flatten(0, 1)
        if self._table is None:
            self._table = evaluate(None).flatten(0, 2)
        network = torch.arange(self.runs * self.agents, device=self.device).view(self.runs, 1, self.agents)
        index = network * self.spec.observation_size + observations.view(self.runs, copies, self.agents)
        return self._table[index.flatten()].view(-1, self.agents, self._table.shape[-1])

    def probabilities(self, observations: torch.Tensor) -> torch.Tensor:
        """The greedy policy at one-hot observations [R, N, S] as probabilities [R, N, S, A] (tabular only)."""
        actions, _ = self.greedy(observations.transpose(1, 2).flatten(0, 1), None, None)
        chosen = torch.nn.functional.one_hot(actions, self.spec.actions.n).float()
        return chosen.unflatten(0, (self.runs, -1)).transpose(1, 2)


class DiscreteLearner(LookupLearner):
    """A learner whose agents pick one of ``choices`` actions.

    Raises RepriseError for a task with continuous actions.
    """

    tabular = True  # the greedy policy depends on the observation alone

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        if not hasattr(spec.actions, "n"):
            raise RepriseError(f"task {spec.name}: continuous actions; this algorithm's networks are for discrete ones")
        super().__init__(spec, hyper, seeds, copies, device)
        self.choices = spec.actions.n


class PolicyLearner(LookupLearner):
    """A learner with stochastic policies on discrete actions or vectors; the greedy action is the policy's mode.

    A subclass has ``actor`` (``blocks/policies.py``), ``noise`` and ``actor_outputs``.
    """

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        super().__init__(spec, hyper, seeds, copies, device)
        self.tabular = hasattr(spec.actions, "n")
        self.noise = action_noise(self.streams, spec, copies)

    def actor_outputs(self, inputs: torch.Tensor | None) -> torch.Tensor:
        """What the actors' networks give [R, N, D, A] at inputs [R, N, D, O], or at all one-hot observations (None)."""
        raise NotImplementedError

    @torch.no_grad()
    def behaviour(self, observations, available) -> Policy:
        """The policies [B, N] at observations [B, N] (one-hot) or [B, N, O]."""
        return self.actor.at_rows(self.outputs(self.actor_outputs, observations), available)

    def act(self, observations, available, memory):
        """Sampled actions [B, N] or [B, N, k]; no extras and no memory."""
        noise = self.noise.next().flatten(0, 1)
        return self.behaviour(observations, available).sample(noise), {}, None

    def greedy(self, observations, available, memory):
        """The most probable action of each agent, [B, N], or the mean, [B, N, k]."""
        return self.behaviour(observations, available).mode(), None

    def policy_state(self) -> Tensors:
        """The actors alone, for policy.safetensors."""
        return {f"actor.{k}": p for k, p in self.actor.parameters.items()}

    def load_policy(self, state: Tensors) -> None:
        """Actors from policy.safetensors."""
        for k, p in self.actor.parameters.items():
            p.copy_(state[f"actor.{k}"])
        self._table = None
