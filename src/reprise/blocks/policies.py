"""Networks whose output is a policy: logits of discrete actions, or the mean of Gaussian ones."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch

from reprise.blocks.distributions import MASKED, Categorical, Gaussian, Policy
from reprise.blocks.networks import StackedMLP
from reprise.blocks.streams import BlockNormals, BlockUniforms, Streams
from reprise.errors import RepriseError

Tensors = dict[str, torch.Tensor]
LossOfPolicy = Callable[[Policy], torch.Tensor]


class CategoricalMLP(StackedMLP):
    """R x N policies on A discrete actions: the output is the logits."""

    def policy(self, parameters: Tensors, inputs: torch.Tensor | None, available=None) -> Categorical:
        """The policies [R', N, D] at inputs [R', N, D, in] (None: all one-hot ones), ``available`` [R', N, D, A]."""
        return self.distribution(parameters, self(parameters, inputs), available)

    def distribution(self, parameters: Tensors, output: torch.Tensor, available=None) -> Categorical:
        """The policies that an output [R', N, D, A] stands for."""
        return Categorical.of(output, available)

    def at_rows(self, output: torch.Tensor, available=None) -> Categorical:
        """The policies [B, N] of an output [B, N, A] at B rows, run after run."""
        return Categorical.of(output, available)

    def policy_loss_and_gradients(
        self, parameters: Tensors, inputs: torch.Tensor | None, loss_of: LossOfPolicy, available=None
    ) -> tuple[torch.Tensor, Tensors]:
        """The loss [R', N] of the policies at the inputs, and its gradient in ``parameters``, network by network."""
        return self.loss_and_gradients(parameters, inputs, lambda output: loss_of(Categorical.of(output, available)))

    @torch.no_grad()
    def curvature(
        self, parameters: Tensors, layers, policy: Categorical, direction: Tensors, unweighted=False
    ) -> Tensors:
        """The second derivative of the mean KL(policy || new) at new = policy, times ``direction``: F v = J' M J v.

        ``layers`` are what ``linearise`` kept at ``parameters``, where ``policy`` is. With ``unweighted``, that of the
        mean ``unweighted_kl``. Unavailable actions' logits do not move.
        """
        possible = policy.logits > 0.5 * MASKED
        probabilities, moved = policy.logits.softmax(-1), self.push_forward(parameters, layers, direction) * possible
        centred = moved - (probabilities * moved).sum(-1, keepdim=True)
        if unweighted:
            gradient = (centred - probabilities * centred.sum(-1, keepdim=True)) * possible
        else:
            gradient = probabilities * centred
        return self.pull_back(parameters, layers, gradient / gradient.shape[2])


class GaussianMLP(StackedMLP):
    """R x N Gaussian policies: the output is the mean, the deviation is a parameter of its own that no state changes.

    Args:
        start: initial value of the parameter ``log_std`` [R, N, 1, k].
        limit: 0: the deviation is exp(log_std) (on-policy code, distributions.py, DiagGaussian); above 0 it is
            limit * sigmoid(log_std) (TRPO-in-MARL and HARL, DiagGaussian, with std_y_coef = limit, std_x_coef = 1).
    The other arguments are those of ``StackedMLP``.
    """

    def __init__(self, streams, name, agents, sizes, layer_norm, gain, *, start: float, limit: float):
        super().__init__(streams, name, agents, sizes, layer_norm, gain)
        self.limit = limit
        shape = (len(streams.seeds), agents, 1, sizes[-1])
        self.parameters["log_std"] = torch.full(shape, start, device=streams.device)

    def log_std(self, parameter: torch.Tensor) -> torch.Tensor:
        """Log of the deviation, from the parameter ``log_std``."""
        if self.limit == 0:
            return parameter
        return torch.nn.functional.logsigmoid(parameter) + math.log(self.limit)

    def policy(self, parameters: Tensors, inputs: torch.Tensor | None, available=None) -> Gaussian:
        """The policies [R', N, D] at inputs [R', N, D, in] (None: all one-hot ones)."""
        return self.distribution(parameters, self(parameters, inputs))

    def distribution(self, parameters: Tensors, output: torch.Tensor, available=None) -> Gaussian:
        """The policies that an output [R', N, D, k] stands for."""
        return Gaussian(output, self.log_std(parameters["log_std"]))

    def at_rows(self, output: torch.Tensor, available=None) -> Gaussian:
        """The policies [B, N] of an output [B, N, k] at B rows, run after run."""
        log_std = self.log_std(self.parameters["log_std"]).transpose(1, 2)  # [R, 1, N or 1, k]
        rows = output.unflatten(0, (len(log_std), -1))
        return Gaussian(output, log_std.expand_as(rows).flatten(0, 1))

    def policy_loss_and_gradients(
        self, parameters: Tensors, inputs: torch.Tensor | None, loss_of: LossOfPolicy, available=None
    ) -> tuple[torch.Tensor, Tensors]:
        """The loss [R', N] of the policies at the inputs, and its gradient in ``parameters``, network by network."""
        leaf = parameters["log_std"].detach().requires_grad_()
        return self.loss_and_gradients(
            parameters, inputs, lambda output: loss_of(Gaussian(output, self.log_std(leaf))), {"log_std": leaf}
        )

    @torch.no_grad()
    def curvature(self, parameters: Tensors, layers, policy: Gaussian, direction: Tensors, unweighted=False) -> Tensors:
        """The second derivative of the mean KL(policy || new) at new = policy, times ``direction``: F v = J' M J v.

        ``layers`` are what ``linearise`` kept at ``parameters``, where ``policy`` is; ``unweighted`` means nothing
        here. In the mean M is 1 / variance, in the log-deviation 2.
        """
        moved = self.push_forward(parameters, layers, direction)
        gradient = moved * (-2.0 * policy.log_std).exp()
        slope = 1.0 if self.limit == 0 else torch.sigmoid(-parameters["log_std"])  # of log_std() in its parameter
        deviation = {"log_std": 2.0 * direction["log_std"] * slope**2}
        return self.pull_back(parameters, layers, gradient / gradient.shape[2]) | deviation


PolicyMLP = CategoricalMLP | GaussianMLP


def make_policy(
    streams: Streams,
    name: str,
    networks: int,
    sizes: Sequence[int],
    spec,
    *,
    layer_norm: bool,
    gain: float,
    log_std: float,
    std_limit: float,
) -> PolicyMLP:
    """The policy networks for the task ``spec``; ``sizes`` without the output.

    ``log_std`` and ``std_limit`` are ``start`` and ``limit`` of Gaussian policies; discrete ones have none.

    Raises RepriseError for vectors of another range than [-1, 1].
    """
    actions = spec.actions
    if hasattr(actions, "n"):
        return CategoricalMLP(streams, name, networks, [*sizes, actions.n], layer_norm, gain)
    if (actions.low, actions.high) != (-1.0, 1.0):
        raise RepriseError(
            f"task {spec.name}: actions in [{actions.low:g}, {actions.high:g}]; Gaussian policies are for [-1, 1]"
        )
    return GaussianMLP(
        streams, name, networks, [*sizes, actions.size], layer_norm, gain, start=log_std, limit=std_limit
    )


def action_noise(streams: Streams, spec, copies: int) -> BlockUniforms:
    """The numbers that actions are sampled with, a step at a time: [R, copies, N] or [R, copies, N, k]."""
    if hasattr(spec.actions, "n"):
        return BlockUniforms(streams, "action", (copies, spec.agents))
    return BlockNormals(streams, "action", (copies, spec.agents, spec.actions.size))
