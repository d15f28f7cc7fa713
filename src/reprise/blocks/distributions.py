"""Categorical policies on logits, stacked over runs and agents."""

from __future__ import annotations

import torch


def masked(logits: torch.Tensor, available: torch.Tensor | None) -> torch.Tensor:
    """Logits [..., A] with unavailable actions at -1e10 (the released code's value, distributions.py)."""
    return logits if available is None else logits.masked_fill(~available, -1e10)


def sample(probabilities: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Inverse-CDF samples: actions int64 [...] from probabilities [..., A] and uniforms [...] in [0, 1)."""
    cumulative = probabilities.cumsum(-1)
    # Scaling by the last entry keeps the draw inside the support when rounding leaves the sum below 1.
    return (uniform.unsqueeze(-1) * cumulative[..., -1:] >= cumulative[..., :-1]).sum(-1)


def kl(old_log: torch.Tensor, new_log: torch.Tensor) -> torch.Tensor:
    """KL(old || new) [...] of categorical log-probabilities [..., A], exact over the actions."""
    return (old_log.exp() * (old_log - new_log)).sum(-1)


def entropy(log: torch.Tensor) -> torch.Tensor:
    """Entropy [...] in nats of categorical log-probabilities [..., A]."""
    return -(log.exp() * log).sum(-1)
