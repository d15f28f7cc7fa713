"""Policies as distributions over actions, stacked over runs, agents and points: one interface for both action kinds.

A loss written with it holds for discrete and for continuous actions. Leading dimensions are free, [...]; the last one
is that of A actions (``Categorical``) or of the k numbers of a vector (``Gaussian``).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch

MASKED = -1e10  # logit of an unavailable action; the released codes' value (onpolicy/algorithms/utils/distributions.py)
LOG_2_PI = math.log(2.0 * math.pi)


@dataclass(frozen=True)
class Categorical:
    """One of A actions: ``logits`` [..., A], those of unavailable actions ``MASKED``."""

    logits: torch.Tensor

    @classmethod
    def of(cls, logits: torch.Tensor, available: torch.Tensor | None) -> Categorical:
        """From a network's output [..., A] and what is available, bool of the same shape or None."""
        return cls(logits if available is None else logits.masked_fill(~available, MASKED))

    @cached_property
    def log(self) -> torch.Tensor:
        """Log-probabilities [..., A]."""
        return self.logits.log_softmax(-1)

    def each(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Categorical:
        """``function`` (a choice or order of the leading dimensions) applied to the parameters."""
        made = Categorical(function(self.logits))
        if "log" in vars(self):  # known already: not to be computed, and rounded, anew
            vars(made)["log"] = function(self.log)
        return made

    def log_prob(self, actions: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """log pi(action): actions int64 [...] -> [...].

        With ``rows`` [R, N, M] the distributions [R, N, D] are looked up: action m is drawn at point ``rows[..., m]``.
        """
        if rows is None:
            return self.log.gather(-1, actions.unsqueeze(-1)).squeeze(-1)
        return self.log.flatten(2).gather(2, rows * self.log.shape[-1] + actions)

    def log_prob_parts(self, actions: torch.Tensor) -> torch.Tensor:
        """log pi of each number of an action: [..., 1], since an action has only one."""
        return self.log_prob(actions).unsqueeze(-1)

    def entropy(self) -> torch.Tensor:
        """Entropy [...] in nats."""
        return -(self.log.exp() * self.log).sum(-1)

    def kl(self, new: Categorical) -> torch.Tensor:
        """KL(self || new) [...] in nats, exact over the actions."""
        return (self.log.exp() * (self.log - new.log)).sum(-1)

    def unweighted_kl(self, new: Categorical) -> torch.Tensor:
        """sum_a (u_a - 1 - log u_a), u = new / self, [...]: what the released HATRPO takes for the divergence.

        It estimates KL(self || new) when averaged over actions drawn from self, and is none when summed over all
        (TRPO-in-MARL, algorithms/hatrpo_trainer.py, kl_approx; kept in HARL, utils/trpo_util.py).
        """
        change = new.log - self.log
        return (change.exp() - 1.0 - change).sum(-1)

    def mode(self) -> torch.Tensor:
        """The most probable action [...]."""
        return self.logits.argmax(-1)

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        """Inverse-CDF samples: actions int64 [...] from uniform numbers [...] in [0, 1)."""
        cumulative = self.logits.softmax(-1).cumsum(-1)
        # Scaling by the last entry keeps the draw inside the support when rounding leaves the sum below 1.
        return (noise.unsqueeze(-1) * cumulative[..., -1:] >= cumulative[..., :-1]).sum(-1)


@dataclass(frozen=True)
class Gaussian:
    """A vector of k independent normal numbers: ``mean`` [..., k], ``log_std`` broadcastable to it. Not squashed."""

    mean: torch.Tensor
    log_std: torch.Tensor

    def each(self, function: Callable[[torch.Tensor], torch.Tensor]) -> Gaussian:
        """``function`` (a choice or order of the leading dimensions) applied to the parameters."""
        return Gaussian(function(self.mean), function(self.log_std.expand_as(self.mean)))

    def log_prob(self, actions: torch.Tensor, rows: torch.Tensor | None = None) -> torch.Tensor:
        """Log-density of actions [..., k], summed over the k numbers: [...]. ``rows`` as for ``Categorical``."""
        if rows is None:
            return self.log_prob_parts(actions).sum(-1)
        index = rows.unsqueeze(-1).expand(*rows.shape, self.mean.shape[-1])
        return self.each(lambda x: x.gather(2, index)).log_prob(actions)

    def log_prob_parts(self, actions: torch.Tensor) -> torch.Tensor:
        """Log-density of each of the k numbers: [..., k]."""
        scaled = (actions - self.mean) * (-self.log_std).exp()
        return -0.5 * scaled.square() - (self.log_std + 0.5 * LOG_2_PI)

    def entropy(self) -> torch.Tensor:
        """Differential entropy [...] in nats, summed over the k numbers."""
        return (self.log_std + 0.5 * (1.0 + LOG_2_PI)).sum(-1).expand(self.mean.shape[:-1])

    def kl(self, new: Gaussian) -> torch.Tensor:
        """KL(self || new) [...] in nats, analytic, summed over the k numbers."""
        change = 2.0 * (self.log_std - new.log_std)  # log of the ratio of variances
        moved = (self.mean - new.mean) * (-new.log_std).exp()
        return 0.5 * (change.expm1() - change + moved.square()).sum(-1)

    def mode(self) -> torch.Tensor:
        """The mean [..., k]."""
        return self.mean

    def sample(self, noise: torch.Tensor) -> torch.Tensor:
        """mean + std * noise: actions [..., k] from standard normal numbers [..., k]."""
        return self.mean + self.log_std.exp() * noise


Policy = Categorical | Gaussian
