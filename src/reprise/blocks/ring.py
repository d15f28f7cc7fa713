"""A ring of entries per run, kept in blocks that become archives: the memory of replays.

What an entry is (an episode, a rollout) is the subclass's: fields of fixed shapes. Entries are counted from the first
ever put in. Each ``block`` of them is an archive that never changes once it is full, so that a checkpoint writes only
what is new; ``state_dict`` has the counters and the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch

from reprise.blocks.streams import Streams

Tensors = dict[str, torch.Tensor]
Layout = Mapping[str, tuple[tuple[int, ...], torch.dtype]]


class Place(NamedTuple):
    """Samples in one segment: of ``run``, the ``sample``-th of its draw, at the ``slot``-th entry of the segment."""

    segment: Tensors
    run: torch.Tensor
    sample: torch.Tensor
    slot: torch.Tensor


class Ring:
    """The last ``capacity`` entries of each of R runs.

    Args:
        streams: the cohort's streams.
        capacity: entries per run that samples may come from.
        layout: field -> shape and type of an entry's part of it.
        block: entries of one archive. The ring has room for one block more than it holds, so that what it overwrites
            is never needed.
        segment: entries whose memory is asked for at once, whole blocks; the system commits it as it is written to.
    """

    def __init__(self, streams: Streams, capacity: int, layout: Layout, block: int, segment: int):
        self.streams, self.capacity, self.layout = streams, capacity, layout
        self.block, self.segment = block, segment
        self.slots = (-(-capacity // block) + 1) * block
        self.inserted = 0  # entries ever, per run
        self.draws = 0  # batches ever
        self._segments: dict[int, Tensors] = {}

    @property
    def held(self) -> int:
        """Entries per run that samples come from."""
        return min(self.inserted, self.capacity)

    def append(self, entries: Tensors) -> None:
        """Add entries [R, E, ...] to every run."""
        self._put(self.inserted, entries)
        self.inserted += next(iter(entries.values())).shape[1]

    def draw(self, count: int, high: int) -> torch.Tensor:
        """The next ``count`` numbers in [0, high) of each run's own stream, int64 [R, count]."""
        drawn = self.streams.integers("replay", self.draws, high, (count,))
        self.draws += 1
        return drawn

    def places(self, entry: torch.Tensor) -> list[Place]:
        """Where entries [R, M] lie, counted from the first that is held: a place per segment that has any."""
        slot = (self.inserted - self.held + entry) % self.slots
        part = slot.div(self.segment, rounding_mode="floor")
        found = []
        for number, segment in self._segments.items():
            run, sample = (part == number).nonzero(as_tuple=True)
            if len(run):
                found.append(Place(segment, run, sample, slot[run, sample] % self.segment))
        return found

    def gather(self, name: str, places: list[Place], *index: torch.Tensor) -> torch.Tensor:
        """A field at ``places``, [R, M, ...]; with ``index`` [R, M] each, there at these of its leading dimensions."""
        shape, dtype = self.layout[name]
        samples = sum(len(place.run) for place in places) // len(self.streams.seeds)
        found = torch.empty(
            (len(self.streams.seeds), samples, *shape[len(index) :]), dtype=dtype, device=self.streams.device
        )
        for segment, run, sample, slot in places:
            found[run, sample] = segment[name][(run, slot, *(i[run, sample] for i in index))]
        return found

    def _put(self, first: int, entries: Tensors) -> None:
        """Write entries ``first``, ``first`` + 1, ... [R, E, ...] into their slots."""
        count, done = next(iter(entries.values())).shape[1], 0
        while done < count:
            slot = (first + done) % self.slots
            number, offset = divmod(slot, self.segment)
            segment = self._segment(number)
            size = min(count - done, self.segment - offset, self.slots - slot)
            for name, tensor in entries.items():
                segment[name][:, offset : offset + size] = tensor[:, done : done + size]
            done += size

    def _segment(self, number: int) -> Tensors:
        """The tensors [R, segment or what is left of the ring, ...] of a segment, there from its first entry on."""
        if number not in self._segments:
            size = min(self.segment, self.slots - number * self.segment)
            self._segments[number] = {
                name: torch.empty((len(self.streams.seeds), size, *shape), dtype=dtype, device=self.streams.device)
                for name, (shape, dtype) in self.layout.items()
            }
        return self._segments[number]

    # ---- state ------------------------------------------------------------------------------------------------

    def _block(self, first: int, count: int) -> Tensors:
        """Views of ``count`` entries from number ``first`` on, all in one block."""
        number, offset = divmod(first % self.slots, self.segment)
        return {name: field[:, offset : offset + count] for name, field in self._segments[number].items()}

    def archives(self) -> dict[str, Callable[[], Tensors]]:
        """The full blocks that hold an entry still in the ring: {name: how to get its tensors}.

        A name stands for the same numbers for ever.
        """
        first, end = (self.inserted - self.held) // self.block, self.inserted // self.block
        return {
            f"replay-{block:08d}": lambda at=block: self._block(at * self.block, self.block)
            for block in range(first, end)
        }

    def load_archive(self, name: str, tensors: Tensors) -> None:
        """Take up one of the ``archives``."""
        self._put(int(name.removeprefix("replay-")) * self.block, tensors)

    def state_dict(self) -> Tensors:
        """Counters, and the entries that no archive holds yet."""
        counters = {"replay.inserted": torch.tensor(self.inserted), "replay.draws": torch.tensor(self.draws)}
        rest = self.inserted % self.block
        tail = self._block(self.inserted - rest, rest) if rest else {}
        return counters | {f"replay.{name}": tensor for name, tensor in tail.items()}

    def load_state_dict(self, state: Tensors) -> None:
        """Restore from ``state_dict``; ``load_archive`` brings the rest."""
        self.inserted, self.draws = int(state["replay.inserted"]), int(state["replay.draws"])
        self._segments = {}
        rest = self.inserted % self.block
        if rest:
            self._put(self.inserted - rest, {name: state[f"replay.{name}"] for name in self.layout})
