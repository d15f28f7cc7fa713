"""The samples of one update of independent learners, and how they relate to the networks' distinct inputs."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from reprise.blocks.distributions import Policy


@dataclass
class Batch:
    """The samples of one update, M per agent: R runs, N agents, D distinct network inputs, A actions.

    inputs       [R, N, D, O], or None when they are all one-hot observations in order (D = S): the tabular case
    rows         [R, N, M] which distinct input a sample has, or None when D = M and the order is the same
    weights      [R, N, D] share of the samples at each point of ``old`` (sums to 1)
    actions      [R, N, M], or [R, N, M, k] where they are vectors of k numbers
    old_log_prob, advantages, returns, values   [R, N, M]
    old          [R, N, D] the policies that collected the samples
    available    [R, N, D, A] bool or None
    per_sample   old and weights are per sample (D = M) although the inputs are distinct ones: shuffled rows
    """

    inputs: torch.Tensor | None
    rows: torch.Tensor | None
    weights: torch.Tensor
    actions: torch.Tensor
    old_log_prob: torch.Tensor
    advantages: torch.Tensor
    returns: torch.Tensor
    values: torch.Tensor
    old: Policy
    available: torch.Tensor | None
    per_sample: bool = False

    def of_runs(self, runs: slice) -> Batch:
        """The batch of a chunk of runs."""

        def chunk(value):
            if isinstance(value, torch.Tensor):
                return value[runs]
            return value.each(lambda x: x[runs]) if isinstance(value, Policy) else value

        return Batch(**{k: chunk(v) for k, v in vars(self).items()})

    def at_samples(self, per_input: torch.Tensor) -> torch.Tensor:
        """[R, N, D] or [R, N, D, A] -> the same at each sample, [R, N, M] or [R, N, M, A]."""
        if self.rows is None:
            return per_input
        if per_input.dim() == 3:
            return per_input.gather(2, self.rows)
        return per_input.gather(2, self.rows.unsqueeze(-1).expand(*self.rows.shape, per_input.shape[-1]))

    def at_actions(self, policy: Policy) -> torch.Tensor:
        """Log-probabilities [R, N, M] of the samples' actions under policies [R, N, D]."""
        return policy.log_prob(self.actions, self.rows)

    def at_points(self, policy: Policy) -> Policy:
        """New policies [R, N, D] at the points of ``old``."""
        return policy.each(self.at_samples) if self.per_sample and self.rows is not None else policy

    def mean(self, per_point: torch.Tensor) -> torch.Tensor:
        """Sample mean [R, N] of a quantity [R, N, D] at the points of ``old``."""
        return (self.weights * per_point).sum(-1)

    def shuffled(self, permutation: torch.Tensor) -> Batch:
        """Rows of all agents of a run mixed by ``permutation`` [R, N*M]: the released code's fault.

        Its feed-forward generator permutes the rows of all agents and then deals them to the agents' networks in
        order (onpolicy/utils/shared_buffer.py, feed_forward_generator; rMAPPOPolicy.py, evaluate_actions).
        """
        runs, agents, count = self.advantages.shape

        def mix(x: torch.Tensor) -> torch.Tensor:
            flat = x.flatten(1, 2)
            index = permutation.view(runs, agents * count, *[1] * (flat.dim() - 2)).expand_as(flat)
            return flat.gather(1, index).view_as(x)

        rows = self.rows if self.rows is None else mix(self.rows)
        inputs = mix(self.inputs) if self.rows is None else self.inputs
        available = self.available if self.available is None else mix(self.available)
        return Batch(
            inputs, rows, torch.full_like(self.advantages, 1.0 / count), mix(self.actions), mix(self.old_log_prob),
            mix(self.advantages), mix(self.returns), mix(self.values),
            self.old.each(lambda x: mix(self.at_samples(x))), available, per_sample=self.rows is not None,
        )  # fmt: skip
