"""Actions on the simplex: softmax of noisy logits, weights in [0, 1] that sum to 1; and the derivatives."""

from __future__ import annotations

from typing import NamedTuple

import torch

LEAST = 2.0**-32  # below the smallest positive number that Streams.uniform draws; keeps log(0) out of the noise


def gumbel(uniform: torch.Tensor) -> torch.Tensor:
    """Standard Gumbel numbers -log(-log u) from uniform ones in [0, 1), any shape."""
    return -torch.log(-torch.log(uniform.clamp(min=LEAST)))


class Disturbed(NamedTuple):
    """Logits with noise, [..., A] each, and what a gradient needs of the noise.

    logits        as the network gave them
    noisy         what the actions are the softmax of
    deviation     standard deviation of Gaussian noise, or None for noise of fixed size
    by_log_std    derivative of ``noisy`` in the network's log-deviation, or None
    """

    logits: torch.Tensor
    noisy: torch.Tensor
    deviation: torch.Tensor | None
    by_log_std: torch.Tensor | None


def disturb(logits, log_std, noise, low: float, high: float) -> Disturbed:
    """Logits plus noise: Gaussian with a log-deviation clamped to [low, high], or of fixed size (``log_std`` None).

    ``noise`` (None: none) is standard normal or the disturbance itself; all tensors are [..., A].
    """
    if log_std is None:
        return Disturbed(logits, logits if noise is None else logits + noise, None, None)
    deviation = log_std.clamp(low, high).exp()
    if noise is None:
        return Disturbed(logits, logits, deviation, torch.zeros_like(log_std))
    shift = deviation * noise
    return Disturbed(logits, logits + shift, deviation, shift * ((log_std > low) & (log_std < high)))


def executable(logits: torch.Tensor) -> torch.Tensor:
    """softmax(logits) [..., A] rounded to half precision, in float32: a replay that stores half loses nothing."""
    return logits.softmax(-1).half().float()


def through_softmax(actions: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The gradient in the logits of a function whose gradient in ``actions`` = softmax(logits) is given: [..., A]."""
    return actions * (gradient - (gradient * actions).sum(-1, keepdim=True))
