"""A step of trust-region policy optimisation (Schulman et al. 2015a), batched over runs with masks.

Maximise the surrogate g(theta) subject to mean KL(old || new) <= delta: the direction x solves
(F + damping I) x = grad g by conjugate gradients, F being the curvature of the mean KL; its length
sqrt(2 delta / x'(F + damping I) x) would reach the bound if KL were quadratic; a backtracking line search then looks at
the true surrogate and the true KL.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from reprise.blocks.distributions import Policy
from reprise.blocks.policies import PolicyMLP
from reprise.blocks.team_batch import Samples

Tensors = dict[str, torch.Tensor]
TINY = 1e-30  # keeps 0 / 0 (a gradient of 0) a number


class Settings(NamedTuple):
    """``delta``: [R', 1] bound on the mean KL. ``iterations``, ``tolerance`` (of the squared residual), ``damping``: of
    the conjugate gradients. ``steps``: lengths tried, each ``backtrack`` times the last; ``accept``: least improvement,
    as a share of what the gradient promises. ``unweighted_kl``, ``ratio_per_number``: what the released code does.
    """

    delta: torch.Tensor
    iterations: int
    tolerance: float
    damping: float
    steps: int
    backtrack: float
    accept: float
    unweighted_kl: bool
    ratio_per_number: bool


def dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """[R, P], [R, P] -> [R, 1]."""
    return (a * b).sum(-1, keepdim=True)


def conjugate_gradient(
    product: Callable[[torch.Tensor], torch.Tensor], b: torch.Tensor, iterations: int, tolerance: float
) -> torch.Tensor:
    """x [R, P] with product(x) = b, run by run; a run whose squared residual is below ``tolerance`` stops."""
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    size = dot(b, b)
    for _ in range(iterations):
        going = size >= tolerance
        image = product(direction)
        step = torch.where(going, size / dot(direction, image).clamp(min=TINY), 0.0)
        x = x + step * direction
        residual = residual - step * image
        following = dot(residual, residual)
        direction = torch.where(going, residual + following / size.clamp(min=TINY) * direction, direction)
        size = torch.where(going, following, size)
    return x


class Flat:
    """Parameters [R, 1, ...] by name as one vector [R, P] per run, and back."""

    def __init__(self, like: Tensors):
        self.shapes = {k: p.shape for k, p in like.items()}
        self.sizes = [p[0].numel() for p in like.values()]

    def __call__(self, tensors: Tensors) -> torch.Tensor:
        return torch.cat([tensors[k].flatten(1) for k in self.shapes], 1)

    def named(self, vector: torch.Tensor) -> Tensors:
        """The vector's parts, as views."""
        parts = vector.split(self.sizes, 1)
        return {k: part.view(shape) for (k, shape), part in zip(self.shapes.items(), parts, strict=True)}


def trust_region_step(actor: PolicyMLP, parameters: Tensors, samples: Samples, settings: Settings) -> Tensors:
    """Change ``parameters`` [R, 1, ...] in place where a step is accepted.

    Metrics [R, 1]: accepted (0 or 1), kl (true mean KL of the step taken), improvement (of the surrogate, by the step
    taken), expected_improvement (what the gradient promised for it), fraction (of the full step; 0: none).
    """
    flat = Flat(parameters)

    def surrogate(policy: Policy) -> torch.Tensor:
        return (samples.ratio(policy) * samples.weights).mean(-1)

    value, gradients = actor.policy_loss_and_gradients(parameters, samples.inputs, surrogate, samples.available)
    gradient, start = flat(gradients), flat(parameters)
    with torch.no_grad():
        layers, output = actor.linearise(parameters, samples.inputs)
        old = actor.distribution(parameters, output, samples.available).each(torch.clone)

        def curvature(vector: torch.Tensor) -> torch.Tensor:
            image = actor.curvature(parameters, layers, old, flat.named(vector), settings.unweighted_kl)
            return flat(image) + settings.damping * vector

        direction = conjugate_gradient(curvature, gradient, settings.iterations, settings.tolerance)
        length = (2.0 * settings.delta / dot(direction, curvature(direction)).clamp(min=TINY)).sqrt()
        end, result = _line_search(actor, flat, start, length * direction, gradient, value, old, samples, settings)
        for k, p in flat.named(end).items():
            parameters[k].copy_(p)
    return result


def _line_search(
    actor: PolicyMLP, flat: Flat, start, step, gradient, value, old: Policy, samples: Samples, settings: Settings
) -> tuple[torch.Tensor, Tensors]:
    """The first length that keeps the bound and improves enough, and the metrics of ``trust_region_step``."""
    promised, fraction = dot(gradient, step), torch.ones_like(value)
    end = start
    accepted = torch.zeros_like(value, dtype=torch.bool)
    zero = torch.zeros_like(value)
    found = {"kl": zero, "improvement": zero, "expected_improvement": zero, "fraction": zero}
    for _ in range(settings.steps):
        candidate = start + fraction * step
        named = flat.named(candidate)
        policy = actor.distribution(named, actor.linearise(named, samples.inputs)[1], samples.available)
        # In double precision: near a small bound single precision would blur which side a step is on.
        exact = (old.each(torch.Tensor.double), policy.each(torch.Tensor.double))
        kl = exact[0].kl(exact[1]).mean(-1)
        bound = exact[0].unweighted_kl(exact[1]).mean(-1) if _unweighted(old, settings) else kl
        improvement = _improved(policy, samples, settings) - value
        here = {
            "kl": kl.float(),
            "improvement": improvement,
            "expected_improvement": fraction * promised,
            "fraction": fraction,
        }
        enough = (improvement > 0) & (improvement > settings.accept * fraction * promised)
        taken = ~accepted & (bound < settings.delta) & enough
        end = torch.where(taken, candidate, end)
        found = {k: torch.where(taken, here[k], v) for k, v in found.items()}
        accepted = accepted | taken
        if bool(accepted.all()):
            break
        fraction = fraction * settings.backtrack
    return end, found | {"accepted": accepted.float()}


def _unweighted(old: Policy, settings: Settings) -> bool:
    return settings.unweighted_kl and hasattr(old, "unweighted_kl")


def _improved(policy: Policy, samples: Samples, settings: Settings) -> torch.Tensor:
    """The surrogate [R, 1] that the line search looks at."""
    if not settings.ratio_per_number:
        return (samples.ratio(policy) * samples.weights).mean(-1)
    # The released line search adds up the ratios of an action's numbers, where its gradient took their product.
    ratios = (policy.log_prob_parts(samples.actions) - samples.old_parts).exp()
    return (ratios.sum(-1) * samples.weights).mean(-1)
