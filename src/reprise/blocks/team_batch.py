"""The samples of one update of a team with joint advantages, and those that one set of policy networks learns from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from reprise.blocks.distributions import Policy


@dataclass(frozen=True)
class Samples:
    """M samples each for G networks of R runs, k numbers per action where actions are vectors.

    inputs        [R, G, M, O]
    available     [R, G, M, A] bool or None
    actions       [R, G, M] or [R, G, M, k]
    old_log_prob  [R, G, M] log pi_old(action)
    old_parts     [R, G, M, k or 1] the same for each number of an action
    weights       [R, G, M] what the probability ratio is multiplied by: the advantage, times the factor of the agents
                  updated before
    """

    inputs: torch.Tensor
    available: torch.Tensor | None
    actions: torch.Tensor
    old_log_prob: torch.Tensor
    old_parts: torch.Tensor
    weights: torch.Tensor

    def ratio(self, policy: Policy) -> torch.Tensor:
        """pi(action) / pi_old(action), the product over all numbers of an action: [R, G, M]."""
        return (policy.log_prob(self.actions) - self.old_log_prob).exp()

    def each(self, function) -> Samples:
        """``function`` applied to every tensor."""
        return Samples(*(None if x is None else function(x) for x in vars(self).values()))

    def rows(self, index: torch.Tensor) -> Samples:
        """The samples ``index`` [R, m] of each run's networks."""
        return self.each(lambda x: take_rows(x, index))


@dataclass(frozen=True)
class TeamBatch:
    """The samples of one update: M steps of R runs; N agents; V critics (1, or one per agent).

    inputs, available, actions, old_log_prob, old_parts   as in ``Samples``, with G = N
    advantages   [R, N, M], normalised; the joint advantage is the same for all agents
    targets      [R, V', M'] return targets in units of the reward, as the critics' networks see them
    values       [R, V', M'] the critics' outputs before the update
    seen         [R, V', M', S] the critics' inputs
    """

    inputs: torch.Tensor
    available: torch.Tensor | None
    actions: torch.Tensor
    old_log_prob: torch.Tensor
    old_parts: torch.Tensor
    advantages: torch.Tensor
    targets: torch.Tensor
    values: torch.Tensor
    seen: torch.Tensor

    def of_runs(self, runs: slice) -> TeamBatch:
        """The batch of a chunk of runs."""
        return TeamBatch(*(None if x is None else x[runs] for x in vars(self).values()))

    def samples(self) -> Samples:
        """Those of all agents, G = N."""
        return Samples(self.inputs, self.available, self.actions, self.old_log_prob, self.old_parts, self.advantages)

    def of_agents(self, agents: torch.Tensor, factor: torch.Tensor) -> Samples:
        """Those of one agent per run, ``agents`` [R], with weights factor [R, M] * advantage: G = 1."""
        runs = torch.arange(len(agents), device=agents.device)
        own = self.samples().each(lambda x: x[runs, agents].unsqueeze(1))
        return replace(own, weights=own.weights * factor.unsqueeze(1))


def take_rows(x: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows ``index`` [R, m] of x [R, G, M, ...], for all G alike: [R, G, m, ...]."""
    runs = torch.arange(len(index), device=index.device).unsqueeze(1)
    return x.transpose(1, 2)[runs, index].transpose(1, 2)
