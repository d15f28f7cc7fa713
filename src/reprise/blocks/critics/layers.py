"""Affine layers with hand-written derivatives, on rows of one run, into memory that is used again.

A layer's parameters are one matrix [in + 1, out] whose last row is the bias. At the sizes of these networks autograd's
fresh memory costs as much as the matrix products; here a chunk's activations stay in the processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from reprise.blocks.streams import Streams

Tensors = dict[str, torch.Tensor]


def initial_layer(streams: Streams, name: str, rows: int, columns: int, scale: float = 1.0) -> torch.Tensor:
    """Weights and bias [R, 1, rows, columns], uniform in +-scale / sqrt(rows - 1): torch.nn.Linear's default."""
    bound = scale / math.sqrt(rows - 1)
    return (2.0 * bound) * streams.uniform(name, 0, (1, rows, columns)) - bound


class Buffers:
    """Named pieces of memory, kept from call to call and grown when needed."""

    def __init__(self) -> None:
        self._memory: Tensors = {}

    def __call__(self, key: str, like: torch.Tensor, *shape: int) -> torch.Tensor:
        """Uninitialised memory of this shape, with the type and place of ``like``."""
        size, held = math.prod(shape), self._memory.get(key)
        if held is None or held.numel() < size or held.dtype != like.dtype or held.device != like.device:
            held = self._memory[key] = torch.empty(size, dtype=like.dtype, device=like.device)
        return held[:size].view(shape)

    def size(self) -> int:
        """Bytes held."""
        return sum(each.numel() * each.element_size() for each in self._memory.values())


def affine(inputs: Sequence[torch.Tensor], layer: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """[r, columns]: the inputs ([r, ..] each, thought side by side) times ``layer`` [rows, columns].

    Inputs that fill every row of ``layer`` bring the constant column themselves; else the last row is added as bias.
    """
    first, end = inputs[0], inputs[0].shape[1]
    if sum(x.shape[1] for x in inputs) == layer.shape[0]:
        torch.mm(first, layer[:end], out=out)
    else:
        torch.addmm(layer[-1], first, layer[:end], out=out)
    for x in inputs[1:]:
        out.addmm_(x, layer[end : end + x.shape[1]])
        end += x.shape[1]
    return out


def add_gradient(gradient: torch.Tensor, inputs: Sequence[torch.Tensor], slope: torch.Tensor) -> None:
    """Add the gradient of ``affine`` in its layer, given that in its result, ``slope`` [r, columns]."""
    end = 0
    for x in inputs:
        gradient[end : end + x.shape[1]].addmm_(x.t(), slope)
        end += x.shape[1]
    if end < gradient.shape[0]:
        gradient[-1].add_(slope.sum(0))


def relu_slope(slope: torch.Tensor, activation: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """``slope`` where the ReLU was active (its result ``activation`` is positive), else 0."""
    return torch.ops.aten.threshold_backward.grad_input(slope, activation, 0, grad_input=out)


class Perceptron:
    """Linear-ReLU-...-Linear on rows [r, in] -> [r, out].

    Args:
        names: of the layers in the dictionaries of weights and gradients, first to last.
        buffers: memory, shared with the owner.
    """

    def __init__(self, names: Sequence[str], buffers: Buffers):
        self.names, self.buffers = tuple(names), buffers

    def forward(self, weights: Tensors, inputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The activations of every layer, the output [r, out] last; they hold until the next call."""
        activations: list[torch.Tensor] = []
        for name in self.names:
            layer, source = weights[name], activations[-1:] or inputs
            out = self.buffers(f"{name}.out", layer, inputs[0].shape[0], layer.shape[1])
            affine(source, layer, out)
            activations.append(out if name == self.names[-1] else out.relu_())
        return activations

    def backward(
        self,
        weights: Tensors,
        inputs: Sequence[torch.Tensor],
        activations: list[torch.Tensor],
        slope: torch.Tensor,
        gradients: Tensors | None,
    ) -> torch.Tensor:
        """From the ``slope`` [r, out] at the output: adds to ``gradients`` (None: not wanted).

        Returns the slope [r, H] before the first layer's ReLU (its product with that layer's weights is the slope at
        the inputs, left to the caller, who seldom wants all columns).
        """
        for i in range(len(self.names) - 1, -1, -1):
            layer, below = weights[self.names[i]], [activations[i - 1]] if i else inputs
            if gradients is not None:
                add_gradient(gradients[self.names[i]], below, slope)
            if i:
                down = self.buffers(f"{self.names[i]}.slope", slope, *below[0].shape)
                torch.mm(slope, layer[:-1].t(), out=down)
                slope = relu_slope(down, below[0], out=down)
        return slope
