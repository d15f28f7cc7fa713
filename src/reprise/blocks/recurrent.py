"""A stacked recurrent Q-network: PyMARL's rnn_agent.py for R x N independent agents."""

from __future__ import annotations

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

    def sequence(self, p: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        """Whole episodes from zero memory: inputs [R, N, E, T, inputs] -> outputs [R, N, E, T, outputs]."""
        encoded = self._encode(p, inputs.flatten(2, 3)).unflatten(2, inputs.shape[2:4])
        memory, outputs = self.initial(inputs.shape[2]), []
        for t in range(inputs.shape[3]):
            output, memory = self._cell(p, encoded[:, :, :, t], memory)
            outputs.append(output)
        return torch.stack(outputs, dim=3)

    def _encode(self, p: Tensors, inputs: torch.Tensor) -> torch.Tensor:
        return torch.relu(inputs @ p["w0"] + p["b0"]) @ p["wi"] + p["bi"]

    def _cell(self, p: Tensors, gates: torch.Tensor, memory: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        reset, update, new = gates.chunk(3, -1)
        h_reset, h_update, h_new = (memory @ p["wh"] + p["bh"]).chunk(3, -1)
        reset, update = torch.sigmoid(reset + h_reset), torch.sigmoid(update + h_update)
        candidate = torch.tanh(new + reset * h_new)
        memory = candidate + update * (memory - candidate)
        return memory @ p["w1"] + p["b1"], memory
