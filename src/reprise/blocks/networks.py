"""Stacked networks: the parameters of all runs and agents as tensors with leading dimensions [R, N].

One forward pass is a batched matrix product over R*N independent networks; no agent and no run shares anything.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from reprise.blocks.streams import Streams

LossOfOutput = Callable[[torch.Tensor], torch.Tensor]
LAYER_NORM_EPS = 1e-5  # torch.nn.LayerNorm's default


def orthogonal(streams: Streams, name: str, agents: int, rows: int, columns: int, gain: float) -> torch.Tensor:
    """Orthogonal matrices [R, N, rows, columns] scaled by ``gain`` (Saxe et al. 2014), as torch.nn.init.orthogonal_."""
    tall, wide = max(rows, columns), min(rows, columns)
    gaussian = streams.normal(name, 0, (agents, tall, wide)).double().cpu()
    q, r = torch.linalg.qr(gaussian)
    # QR is unique only up to signs: fixing them by R's diagonal makes the matrix uniformly distributed.
    q = q * torch.diagonal(r, dim1=-2, dim2=-1).sign().unsqueeze(-2)
    matrix = q if rows >= columns else q.transpose(-1, -2)
    return (gain * matrix).float().contiguous().to(streams.device)


class StackedMLP:
    """R x N multilayer perceptrons with ReLU, evaluated together.

    Args:
        streams: random streams, one per run (initial weights).
        name: stream prefix, also the prefix of the parameters' names.
        agents: N.
        sizes: layer sizes, input first; ``[in, 128, 128, out]`` is the papers' "3-layer MLP, 128".
        layer_norm: LayerNorm on the input and after each hidden ReLU, as in the released on-policy code
            (onpolicy/algorithms/utils/mlp.py).
        gain: of the last layer's orthogonal weights; hidden layers have sqrt(2), biases start at zero.

    Parameters: ``w<i>`` [R, N, in, out], ``b<i>`` [R, N, 1, out], and
    with LayerNorm ``g<i>``, ``c<i>`` [R, N, 1, in].
    """

    def __init__(self, streams: Streams, name: str, agents: int, sizes: Sequence[int], layer_norm: bool, gain: float):
        self.name, self.agents, self.sizes, self.layer_norm = name, agents, tuple(sizes), layer_norm
        self._buffers: dict[str, torch.Tensor] = {}
        runs, device = len(streams.seeds), streams.device
        self.parameters: dict[str, torch.Tensor] = {}
        last = len(sizes) - 2
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            if layer_norm:
                self.parameters[f"g{i}"] = torch.ones(runs, agents, 1, fan_in, device=device)
                self.parameters[f"c{i}"] = torch.zeros(runs, agents, 1, fan_in, device=device)
            scale = gain if i == last else math.sqrt(2.0)
            self.parameters[f"w{i}"] = orthogonal(streams, f"{name}.w{i}", agents, fan_in, fan_out, scale)
            self.parameters[f"b{i}"] = torch.zeros(runs, agents, 1, fan_out, device=device)

    def forward(self, parameters: dict[str, torch.Tensor], inputs: torch.Tensor | None) -> torch.Tensor:
        """Outputs [R', N, D, out] of the networks with ``parameters`` (a chunk of R' runs) at D inputs each.

        ``inputs``: [R', N, D, in] float32, or None for all one-hot vectors in order (D = in): the tabular case, where
        the first product is the weight matrix itself.
        """
        hidden = inputs
        for i in range(len(self.sizes) - 1):
            w, b = parameters[f"w{i}"], parameters[f"b{i}"]
            if self.layer_norm:
                if hidden is None:
                    hidden = torch.eye(self.sizes[0], dtype=w.dtype, device=w.device)
                hidden = _layer_norm(hidden) * parameters[f"g{i}"] + parameters[f"c{i}"]
            hidden = w + b if hidden is None else _affine(hidden, w, b)
            if i < len(self.sizes) - 2:
                hidden = torch.relu(hidden)
        return hidden

    __call__ = forward

    def loss_and_gradients(
        self,
        parameters: dict[str, torch.Tensor],
        inputs: torch.Tensor | None,
        loss_of: LossOfOutput,
        leaves: dict[str, torch.Tensor] | None = None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The loss [R', N] at the networks' outputs and its gradient in ``parameters``, network by network.

        ``loss_of`` maps outputs [R', N, D, out] to losses [R', N] and is differentiated by autograd; the layers are
        differentiated here, into buffers that are used again (the gradients hold until the next call): at these
        sizes autograd's fresh memory costs as much as the matrix products. ``leaves`` are parameters that are no
        layer's and that ``loss_of`` reads itself; autograd differentiates them.
        """
        leaves = leaves or {}
        layers, output = self.linearise(parameters, inputs)
        output = output.detach().requires_grad_()
        loss = loss_of(output)
        gradient, *others = torch.autograd.grad(loss.sum(), [output, *leaves.values()])
        gradients = self.pull_back(parameters, layers, gradient) | dict(zip(leaves, others, strict=True))
        return loss.detach(), gradients

    def _buffer(self, key: str, like: torch.Tensor, shape: torch.Size | tuple[int, ...]) -> torch.Tensor:
        held = self._buffers.get(key)
        if held is None or held.shape != tuple(shape):
            held = self._buffers[key] = torch.empty(shape, dtype=like.dtype, device=like.device)
        return held

    @torch.no_grad()
    def linearise(self, parameters, inputs) -> tuple[list[_Layer], torch.Tensor]:
        """The outputs and what ``pull_back`` and ``push_forward`` need: buffers that the next call overwrites."""
        hidden, layers, last = inputs, [], len(self.sizes) - 2
        for i in range(last + 1):
            w, b = parameters[f"w{i}"], parameters[f"b{i}"]
            rows = self.sizes[0] if inputs is None else inputs.shape[2]
            layer = _Layer(hidden, hidden)
            if self.layer_norm:
                if hidden is None:
                    hidden = torch.eye(rows, dtype=w.dtype, device=w.device).expand(*w.shape[:2], -1, -1)
                layer = self._normalised(i, parameters, hidden)
            out = self._buffer(f"h{i}", w, (*w.shape[:2], rows, w.shape[3]))
            if layer.fed is None:
                torch.add(w, b, out=out)
            else:
                torch.bmm(layer.fed.flatten(0, 1), w.flatten(0, 1), out=out.flatten(0, 1))
                out.add_(b)
            hidden = out if i == last else torch.relu_(out)
            layers.append(layer)
        return layers, hidden

    def _normalised(self, i: int, parameters, hidden: torch.Tensor) -> _Layer:
        """LayerNorm before layer ``i``, with what its derivative needs."""
        normal, mean, scale = torch.native_layer_norm(hidden, hidden.shape[-1:], None, None, LAYER_NORM_EPS)
        fed = self._buffer(f"n{i}", normal, normal.shape)
        torch.addcmul(parameters[f"c{i}"], normal, parameters[f"g{i}"], out=fed)
        return _Layer(hidden, fed, normal, mean, scale)

    @torch.no_grad()
    def pull_back(self, parameters, layers: list[_Layer], gradient) -> dict[str, torch.Tensor]:
        """The gradient of a function in the layers' parameters, from that in the outputs [R', N, D, out] (J' u)."""
        gradients = {}
        for i in range(len(layers) - 1, -1, -1):
            w, layer = parameters[f"w{i}"], layers[i]
            gradients[f"b{i}"] = gradient.sum(2, keepdim=True)
            if layer.fed is None:  # one-hot inputs in order: the product with the identity
                gradients[f"w{i}"] = gradient
                break
            gradients[f"w{i}"] = gw = self._buffer(f"gw{i}", w, w.shape)
            flat = gradient.flatten(0, 1)
            torch.bmm(layer.fed.flatten(0, 1).transpose(1, 2), flat, out=gw.flatten(0, 1))
            if i == 0 and layer.normal is None:
                break
            down = self._buffer(f"gh{i}", w, layer.fed.shape)
            torch.bmm(flat, w.flatten(0, 1).transpose(1, 2), out=down.flatten(0, 1))
            if layer.normal is not None:
                gradients[f"g{i}"] = (down * layer.normal).sum(2, keepdim=True)
                gradients[f"c{i}"] = down.sum(2, keepdim=True)
                if i == 0:
                    break
                down, _, _ = torch.ops.aten.native_layer_norm_backward(
                    down.mul_(parameters[f"g{i}"]), layer.hidden, layer.hidden.shape[-1:], layer.mean, layer.scale,
                    None, None, [True, False, False],
                )  # fmt: skip
            gradient = torch.ops.aten.threshold_backward.grad_input(down, layer.hidden, 0, grad_input=down)
        return {k: gradients[k] for k in parameters if k in gradients}

    @torch.no_grad()
    def push_forward(self, parameters, layers: list[_Layer], direction: dict[str, torch.Tensor]) -> torch.Tensor:
        """How the outputs [R', N, D, out] change per step along ``direction`` in the parameters (J v)."""
        moved = None
        for i, layer in enumerate(layers):
            w, dw, db = parameters[f"w{i}"], direction[f"w{i}"], direction[f"b{i}"]
            if moved is not None:
                moved = torch.ops.aten.threshold_backward(moved, layer.hidden, 0)  # the derivative of the ReLU below
            if layer.normal is not None:
                moved = self._push_through_norm(i, parameters, layer, direction, moved)
            if layer.fed is None:  # one-hot inputs in order
                moved = dw + db
                continue
            change = _affine(layer.fed, dw, db)
            if moved is not None:
                change.flatten(0, 1).baddbmm_(moved.flatten(0, 1), w.flatten(0, 1))
            moved = change
        return moved

    def _push_through_norm(self, i: int, parameters, layer: _Layer, direction, moved) -> torch.Tensor:
        change = torch.addcmul(direction[f"c{i}"], layer.normal, direction[f"g{i}"])
        if moved is None:
            return change
        along = (moved * layer.normal).mean(-1, keepdim=True)
        centred = moved - moved.mean(-1, keepdim=True) - along * layer.normal
        return change.addcmul_(centred * layer.scale, parameters[f"g{i}"])


class _Layer(NamedTuple):
    """What a layer's derivative needs: the activations below it, what its product was fed, and its LayerNorm's parts.

    ``hidden`` is after the ReLU below (None: one-hot inputs in order); ``fed`` is ``hidden`` itself without LayerNorm.
    """

    hidden: torch.Tensor | None
    fed: torch.Tensor | None
    normal: torch.Tensor | None = None
    mean: torch.Tensor | None = None
    scale: torch.Tensor | None = None


def _affine(x: torch.Tensor, w: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """x @ w + b over the leading dimensions [R, N] as one batched product."""
    lead = w.shape[:2]
    x = x.expand(*lead, *x.shape[-2:])
    return torch.baddbmm(b.flatten(0, 1), x.flatten(0, 1), w.flatten(0, 1)).unflatten(0, lead)


def _layer_norm(x: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.layer_norm(x, x.shape[-1:], eps=LAYER_NORM_EPS)
