"""What every stacked learner with discrete actions has: runs, agents, streams, frozen runs, and a table to look up."""

from __future__ import annotations

from collections.abc import Callable

import torch

from reprise.blocks.divergence import Freezer
from reprise.blocks.hyper import Hyper
from reprise.blocks.streams import Streams
from reprise.errors import RepriseError

Tensors = dict[str, torch.Tensor]


class DiscreteLearner:
    """R runs of N independent learners, A actions each; see the contract in docs/architecture.md.

    Args: environment ``spec``, hyperparameters, one seed per run, ``copies`` of the environment per run, device.
    Raises RepriseError for a task with continuous actions.
    """

    tabular = True  # the greedy policy depends on the observation alone

    def __init__(self, spec, hyper: Hyper, seeds, copies: int, device):
        if not hasattr(spec.actions, "n"):
            raise RepriseError(f"task {spec.name}: continuous actions; this algorithm's networks are for discrete ones")
        self.spec, self.hyper, self.copies, self.device = spec, hyper, copies, torch.device(device)
        self.runs, self.agents, self.choices = len(seeds), spec.agents, spec.actions.n
        self.streams = Streams(seeds, device)
        self.freezer = Freezer(self.runs, self.device)
        self.updates = 0
        self._table: torch.Tensor | None = None

    def initial_memory(self, rows: int):
        """Feed-forward: no memory."""
        return None

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
        return self._table[index.flatten()].view(-1, self.agents, self.choices)

    def probabilities(self, observations: torch.Tensor) -> torch.Tensor:
        """The greedy policy at one-hot observations [R, N, S] as probabilities [R, N, S, A] (tabular only)."""
        actions, _ = self.greedy(observations.transpose(1, 2).flatten(0, 1), None, None)
        chosen = torch.nn.functional.one_hot(actions, self.choices).float()
        return chosen.unflatten(0, (self.runs, -1)).transpose(1, 2)

    @property
    def alive(self) -> torch.Tensor:
        """Which runs have not diverged: [R] bool."""
        return self.freezer.alive

    @property
    def divergences(self) -> list[dict]:
        """What froze each diverged run."""
        return self.freezer.divergences
