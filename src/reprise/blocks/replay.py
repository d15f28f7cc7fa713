"""A ring of whole episodes per run, for off-policy learners."""

from __future__ import annotations

import torch

from reprise.blocks.streams import Streams

Tensors = dict[str, torch.Tensor]


class EpisodeReplay:
    """The last ``capacity`` episodes of each of R runs, T steps each.

    Fields are tensors [R, capacity, T, ...], allocated at the first insertion in the dtype they arrive in. Episodes
    are drawn uniformly with replacement, by the run's own stream.
    """

    def __init__(self, streams: Streams, capacity: int):
        self.streams, self.capacity = streams, capacity
        self.fields: Tensors = {}
        self.inserted = 0
        self.draws = 0

    def __len__(self) -> int:
        return min(self.inserted, self.capacity)

    def insert(self, episodes: Tensors) -> None:
        """Add C episodes per run: each field [R, C, T, ...]."""
        count = next(iter(episodes.values())).shape[1]
        slots = (torch.arange(count, device=self.streams.device) + self.inserted) % self.capacity
        for name, tensor in episodes.items():
            if name not in self.fields:
                shape = (tensor.shape[0], self.capacity, *tensor.shape[2:])
                self.fields[name] = torch.zeros(shape, dtype=tensor.dtype, device=tensor.device)
            self.fields[name][:, slots] = tensor
        self.inserted += count

    def sample(self, count: int) -> Tensors:
        """``count`` episodes per run: each field [R, count, T, ...]."""
        drawn = self.streams.integers("replay", self.draws, len(self), (count,))
        self.draws += 1
        runs = torch.arange(len(drawn), device=drawn.device).unsqueeze(1)
        return {name: field[runs, drawn] for name, field in self.fields.items()}

    def state_dict(self) -> Tensors:
        """The filled part of the ring and its counters."""
        counters = {"replay.inserted": torch.tensor(self.inserted), "replay.draws": torch.tensor(self.draws)}
        return counters | {f"replay.{k}": v[:, : len(self)] for k, v in self.fields.items()}

    def load_state_dict(self, state: Tensors) -> None:
        """Restore from ``state_dict``."""
        self.inserted, self.draws = int(state["replay.inserted"]), int(state["replay.draws"])
        for key, held in state.items():
            name = key.removeprefix("replay.")
            if key.startswith("replay.") and name not in ("inserted", "draws"):
                shape = (held.shape[0], self.capacity, *held.shape[2:])
                field = torch.zeros(shape, dtype=held.dtype, device=self.streams.device)
                field[:, : held.shape[1]] = held
                self.fields[name] = field
