"""A stacked recurrent Q-network: PyMARL's rnn_agent.py for R x N independent agents."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from reprise.blocks.networks import orthogonal
from reprise.blocks.streams import Streams

Tensors = dict[str, torch.Tensor]


class StackedGRU:
    """R x N networks Linear-ReLU-GRUCell-Linear (PyMARL src/modules/agents/rnn_agent.py).

    Args:
        streams: random streams, one per run.
        name: prefix of the random streams and of the parameters' names.
        agents: N.
        inputs, hidden, outputs: layer sizes.

    Parameters: ``w0`` [R, N, inputs, H], ``b0``; ``wi``, ``wh`` [R, N, H, 3H], ``bi``, ``bh`` [R, N, 1, 3H] (gates in
    the order reset, update, new, as torch.nn.GRUCell); ``w1`` [R, N, H, outputs], ``b1``.
    """

    def __init__(self, streams: Streams, name: str, agents: int, inputs: int, hidden: int, outputs: int):
        self.name, self.agents, self.hidden = name, agents, hidden
        self._buffers: Tensors = {}
        runs, device = len(streams.seeds), streams.device

        def weight(key: str, rows: int, columns: int) -> torch.Tensor:
            return orthogonal(streams, f"{name}.{key}", agents, rows, columns, 1.0)

        def bias(size: int) -> torch.Tensor:
            return torch.zeros(runs, agents, 1, size, device=device)

        self.parameters: Tensors = {
            "w0": weight("w0", inputs, hidden),
            "b0": bias(hidden),
            "wi": weight("wi", hidden, 3 * hidden),
            "bi": bias(3 * hidden),
            "wh": weight("wh", hidden, 3 * hidden),
            "bh": bias(3 * hidden),
            "w1": weight("w1", hidden, outputs),
            "b1": bias(outputs),
        }

    def initial(self, rows: int) -> torch.Tensor:
        """Zero memory [R, N, rows, H]."""
        w = self.parameters["wh"]
        return torch.zeros(*w.shape[:2], rows, self.hidden, device=w.device)

    def step(self, p: Tensors, inputs: torch.Tensor, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """One time step: inputs [R, N, E, inputs], memory [R, N, E, H] -> outputs [R, N, E, outputs], memory."""
        return self._cell(p, self._encode(p, inputs), memory)

    @torch.no_grad()
    def sequence(self, p: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Whole episodes from zero memory: inputs [R, N, E, T, inputs] -> outputs [R, N, E, T, outputs]."""
        return self._unroll(p, inputs)[0]

    def loss_and_gradients(
        self, p: Tensors, inputs: torch.Tensor, loss_of: Callable[[torch.Tensor], torch.Tensor]
    ) -> tuple[torch.Tensor, Tensors]:
        """The loss [R, N] at the outputs of ``sequence`` and its gradients in ``p``, network by network.

        ``loss_of`` maps outputs [R, N, E, T, outputs] to losses [R, N] and is differentiated by autograd; here is
        backpropagation through time: each weight's gradient is one product over all steps, not a sum of T.
        """
        with torch.no_grad():
            output, trace = self._unroll(p, inputs)
        output = output.detach().requires_grad_()
        loss = loss_of(output)
        (gradient,) = torch.autograd.grad(loss.sum(), output)
        with torch.no_grad():
            gradients = self._backward(p, trace, _by_time(gradient))
        return loss.detach(), {k: g.unflatten(0, p["wh"].shape[:2]) for k, g in gradients.items()}

    def _buffer(self, key: str, *shape: int) -> torch.Tensor:
        held = self._buffers.get(key)
        if held is None or held.shape != shape:
            held = self._buffers[key] = torch.empty(shape, device=self.parameters["wh"].device)
        return held

    def _unroll(self, p: Tensors, inputs: torch.Tensor) -> tuple[torch.Tensor, _Trace]:
        """Outputs [R, N, E, T, outputs], and what their derivative needs: [M = R N, T, E, ...], in reused memory."""
        flat = _by_time(inputs)
        nets, steps, rows = flat.shape[:3]
        w = {k: v.flatten(0, 1) for k, v in p.items()}
        encoded = self._buffer("e", nets, steps * rows, self.hidden)
        gates = self._buffer("gi", nets, steps, rows, 3 * self.hidden)
        torch.baddbmm(w["b0"], flat.flatten(1, 2), w["w0"], out=encoded).relu_()
        torch.baddbmm(w["bi"], encoded, w["wi"], out=gates.flatten(1, 2))
        shape = (nets, steps, rows, self.hidden)
        before, after, reset, update, new, new_h = (self._buffer(k, *shape) for k in ("h", "h'", "r", "z", "n", "m"))
        before[:, 0] = 0.0
        for t in range(steps):
            memory = before[:, t]
            from_memory = torch.baddbmm(w["bh"], memory, w["wh"])
            both = from_memory[..., : 2 * self.hidden].add_(gates[:, t, :, : 2 * self.hidden]).sigmoid_()
            reset[:, t], update[:, t] = both.chunk(2, -1)
            new_h[:, t] = from_memory[..., 2 * self.hidden :]
            candidate = torch.addcmul(gates[:, t, :, 2 * self.hidden :], reset[:, t], new_h[:, t]).tanh_()
            new[:, t] = candidate
            torch.lerp(candidate, memory, update[:, t], out=after[:, t])
            if t + 1 < steps:
                before[:, t + 1] = after[:, t]
        output = torch.baddbmm(w["b1"], after.flatten(1, 2), w["w1"]).unflatten(1, (steps, rows))
        output = output.unflatten(0, inputs.shape[:2]).transpose(2, 3)
        return output, _Trace(flat, encoded, before, after, reset, update, new, new_h)

    def _backward(self, p: Tensors, trace: _Trace, gradient: torch.Tensor) -> Tensors:
        """Gradients [M, ...] of the parameters from those of the outputs [M, T, E, outputs]."""
        _, encoded, before, after, reset, update, new, new_h = trace
        nets, steps, rows = gradient.shape[:3]
        w = {k: v.flatten(0, 1) for k, v in p.items()}
        size = self.hidden
        from_input, from_memory = (self._buffer(k, nets, steps, rows, 3 * size) for k in ("gi", "gh"))
        flat = gradient.flatten(1, 2)
        direct = torch.bmm(flat, w["w1"].transpose(1, 2)).unflatten(1, (steps, rows))
        down, back = torch.zeros_like(before[:, 0]), w["wh"].transpose(1, 2)
        for t in range(steps - 1, -1, -1):
            r, z, n, at_input, at_memory = (x[:, t] for x in (reset, update, new, from_input, from_memory))
            down = down + direct[:, t]
            at_new = down * (1.0 - z) * (1.0 - n * n)  # before the tanh
            at_input[..., :size] = at_new * new_h[:, t] * r * (1.0 - r)
            at_input[..., size : 2 * size] = down * (before[:, t] - n) * z * (1.0 - z)
            at_input[..., 2 * size :] = at_new
            at_memory[..., : 2 * size] = at_input[..., : 2 * size]
            torch.mul(at_new, r, out=at_memory[..., 2 * size :])
            down = torch.baddbmm(down * z, at_memory, back)
        gi, gh = from_input.flatten(1, 2), from_memory.flatten(1, 2)
        below = torch.bmm(gi, w["wi"].transpose(1, 2)).mul_(encoded > 0)

        def product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
            return torch.bmm(left.transpose(1, 2), right)

        return {
            "w0": product(trace.inputs.flatten(1, 2), below), "b0": below.sum(1, keepdim=True),
            "wi": product(encoded, gi), "bi": gi.sum(1, keepdim=True),
            "wh": product(before.flatten(1, 2), gh), "bh": gh.sum(1, keepdim=True),
            "w1": product(after.flatten(1, 2), flat), "b1": flat.sum(1, keepdim=True),
        }  # fmt: skip

    def _encode(self, p: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        return torch.relu(inputs @ p["w0"] + p["b0"]) @ p["wi"] + p["bi"]

    def _cell(self, p: Tensors, gates: torch.Tensor, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        reset, update, new = gates.chunk(3, -1)
        h_reset, h_update, h_new = (memory @ p["wh"] + p["bh"]).chunk(3, -1)
        reset, update = torch.sigmoid(reset + h_reset), torch.sigmoid(update + h_update)
        candidate = torch.tanh(new + reset * h_new)
        memory = candidate + update * (memory - candidate)
        return memory @ p["w1"] + p["b1"], memory


class _Trace(NamedTuple):
    """What backpropagation through time needs, M = R * N networks: [M, T, E, ...], ``encoded`` [M, T * E, H].

    ``before``, ``after``: the memory around each step; ``reset``, ``update``, ``new``: the gates; ``from_memory``: the
    memory's share of the new gate, before the reset gate.
    """

    inputs: torch.Tensor
    encoded: torch.Tensor
    before: torch.Tensor
    after: torch.Tensor
    reset: torch.Tensor
    update: torch.Tensor
    new: torch.Tensor
    from_memory: torch.Tensor


def _by_time(x: torch.Tensor) -> torch.Tensor:
    """[R, N, E, T, ...] -> [R * N, T, E, ...], contiguous."""
    return x.flatten(0, 1).transpose(1, 2).contiguous()
