"""A ring of whole episodes per run that keeps states, not observations: for many agents, whose states are small.

N agents see O numbers each, and most of them are the same few positions seen from elsewhere. What a replay needs of a
step is the state, from which ``spec.observe`` makes the observations again, exactly those that the agents saw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from reprise.blocks.rollout import Rollout
from reprise.blocks.streams import Streams
from reprise.errors import RepriseError

Tensors = dict[str, torch.Tensor]

# Episodes of one archive. The ring has room for one more than it holds, so that what it overwrites is never needed.
BLOCK = 64
# Episodes whose memory is asked for at once (whole blocks); the system commits it as it is written to.
SEGMENT = 64 * BLOCK


class Sample(NamedTuple):
    """M transitions of each of R runs.

    observations, next_observations [R, M, N, O] float32 (the latter None if not asked for); actions [R, M, N, A]
    float32; reward [R, M]; terminated [R, M] bool.
    """

    observations: torch.Tensor
    actions: torch.Tensor
    reward: torch.Tensor
    terminated: torch.Tensor
    next_observations: torch.Tensor | None


class Place(NamedTuple):
    """Samples in one segment: of ``run``, the ``sample``-th of its draw, at the ``slot``-th episode of the segment."""

    segment: Tensors
    run: torch.Tensor
    sample: torch.Tensor
    slot: torch.Tensor


class StateReplay:
    """The last episodes of each of R runs, ``spec.episode_limit`` = T steps each, ``len()`` transitions per run.

    A run's share of one episode: the entries of the state that move, float32 [T + 1, S - K]; the K constant ones once;
    actions float16 [T, N, A], which must have been rounded to that before they were executed; reward and terminated
    [T]. Transitions are drawn uniformly with replacement, by the run's own stream.

    Episodes are counted from the first ever inserted. Each BLOCK of them is an archive that never changes once it is
    full (``archives``), so that a checkpoint writes only what is new; ``state_dict`` has the counters and the rest.

    Args:
        streams: the cohort's streams. capacity: transitions per run, rounded up to whole episodes.
        spec: of an environment with ``observe`` and actions that are vectors.

    Raises:
        RepriseError: the environment's observations cannot be recomputed, or its actions are no vectors.
    """

    def __init__(self, streams: Streams, capacity: int, spec):
        if spec.observe is None or hasattr(spec.actions, "n"):
            need = "vector actions, and observations that are a function of the state (spec.observe)"
            raise RepriseError(f"task {spec.name}: the replay of states needs {need}")
        self.streams, self.steps, self.observe = streams, spec.episode_limit, spec.observe
        self.capacity = -(-capacity // self.steps)
        self.slots = (-(-self.capacity // BLOCK) + 1) * BLOCK
        moving, actions = spec.state_size - spec.state_constant, (self.steps, spec.agents, spec.actions.size)
        self.layout = {
            "moving": ((self.steps + 1, moving), torch.float32),
            "constant": ((spec.state_constant,), torch.float32),
            "actions": (actions, torch.float16),
            "reward": ((self.steps,), torch.float32),
            "terminated": ((self.steps,), torch.bool),
        }
        self.inserted = 0  # episodes ever, per run
        self.draws = 0
        self._segments: dict[int, Tensors] = {}

    @property
    def held(self) -> int:
        """Episodes per run that samples come from."""
        return min(self.inserted, self.capacity)

    def __len__(self) -> int:
        return self.held * self.steps

    # ---- in and out -------------------------------------------------------------------------------------------

    def insert(self, rollout: Rollout) -> None:
        """Add the episodes of a rollout that was collected with its states, all of them whole.

        Raises ValueError when an episode ends elsewhere than after every T-th step, or actions are not float16 numbers.
        """
        ended = (rollout.terminated | rollout.truncated).unflatten(0, (-1, self.steps))
        if not ended[:, -1].all() or ended[:, :-1].any():
            raise ValueError(f"episodes must end after {self.steps} steps, all of them")
        actions = rollout.actions.half()
        if not torch.equal(actions.float(), rollout.actions.float()):
            raise ValueError("actions must be rounded to float16 before they are executed")
        moving = self.layout["moving"][0][1]
        states = self._episodes(rollout.state)
        last = self._episodes(rollout.next_state)[:, :, -1:, :moving]
        episodes = {
            "moving": torch.cat([states[..., :moving], last], 2),
            "constant": states[:, :, 0, moving:],
            "actions": self._episodes(actions),
            "reward": self._episodes(rollout.reward),
            "terminated": self._episodes(rollout.terminated),
        }
        self._put(self.inserted, episodes)
        self.inserted += states.shape[1]

    def _episodes(self, x: torch.Tensor) -> torch.Tensor:
        """[k*T, R*C, ...] -> [R, k*C, T, ...], in order of time."""
        x = x.unflatten(1, (len(self.streams.seeds), -1)).unflatten(0, (-1, self.steps))  # [k, T, R, C, ...]
        return x.permute(2, 0, 3, 1, *range(4, x.dim())).flatten(1, 2)

    def sample(self, count: int, following: bool = True) -> Sample:
        """``count`` transitions of each run; without their ``next_observations`` if not ``following``."""
        drawn = self.streams.integers("replay", self.draws, len(self), (count,))
        self.draws += 1
        episode, step = drawn.div(self.steps, rounding_mode="floor"), drawn % self.steps
        places = self._places((self.inserted - self.held + episode) % self.slots)
        constant = self._gather("constant", places)

        def observations(at: torch.Tensor) -> torch.Tensor:
            return self.observe(torch.cat([self._gather("moving", places, at), constant], -1))

        return Sample(
            observations=observations(step),
            actions=self._gather("actions", places, step).float(),
            reward=self._gather("reward", places, step),
            terminated=self._gather("terminated", places, step),
            next_observations=observations(step + 1) if following else None,
        )

    def _places(self, slot: torch.Tensor) -> list[Place]:
        """Where each run's slots [R, M] lie: a place per segment that has any."""
        part = slot.div(SEGMENT, rounding_mode="floor")
        found = []
        for number, segment in self._segments.items():
            run, sample = (part == number).nonzero(as_tuple=True)
            if len(run):
                found.append(Place(segment, run, sample, slot[run, sample] % SEGMENT))
        return found

    def _gather(self, name: str, places: list[Place], step: torch.Tensor | None = None) -> torch.Tensor:
        """A field at ``places``, and at ``step`` [R, M] where its episodes have steps: [R, M, ...]."""
        shape, dtype = self.layout[name]
        samples = sum(len(place.run) for place in places) // len(self.streams.seeds)
        entry = shape if step is None else shape[1:]
        found = torch.empty((len(self.streams.seeds), samples, *entry), dtype=dtype, device=self.streams.device)
        for segment, run, sample, slot in places:
            at = (run, slot) if step is None else (run, slot, step[run, sample])
            found[run, sample] = segment[name][at]
        return found

    def _put(self, first: int, episodes: Tensors) -> None:
        """Write episodes ``first``, ``first`` + 1, ... [R, E, ...] into their slots."""
        count, done = episodes["reward"].shape[1], 0
        while done < count:
            slot = (first + done) % self.slots
            number, offset = divmod(slot, SEGMENT)
            segment = self._segment(number)
            size = min(count - done, SEGMENT - offset, self.slots - slot)
            for name, tensor in episodes.items():
                segment[name][:, offset : offset + size] = tensor[:, done : done + size]
            done += size

    def _segment(self, number: int) -> Tensors:
        """The tensors [R, SEGMENT or what is left of the ring, ...] of a segment, there from its first episode on."""
        if number not in self._segments:
            size = min(SEGMENT, self.slots - number * SEGMENT)
            self._segments[number] = {
                name: torch.empty((len(self.streams.seeds), size, *shape), dtype=dtype, device=self.streams.device)
                for name, (shape, dtype) in self.layout.items()
            }
        return self._segments[number]

    # ---- state ------------------------------------------------------------------------------------------------

    def _block(self, first: int, count: int) -> Tensors:
        """Views of ``count`` episodes from number ``first`` on, all in one block."""
        number, offset = divmod(first % self.slots, SEGMENT)
        return {name: field[:, offset : offset + count] for name, field in self._segments[number].items()}

    def archives(self) -> dict[str, Callable[[], Tensors]]:
        """The full blocks that hold an episode still in the ring: {name: how to get its tensors}.

        A name stands for the same numbers for ever.
        """
        first, end = (self.inserted - self.held) // BLOCK, self.inserted // BLOCK
        return {f"replay-{block:08d}": lambda at=block: self._block(at * BLOCK, BLOCK) for block in range(first, end)}

    def load_archive(self, name: str, tensors: Tensors) -> None:
        """Take up one of the ``archives``."""
        self._put(int(name.removeprefix("replay-")) * BLOCK, tensors)

    def state_dict(self) -> Tensors:
        """Counters, and the episodes that no archive holds yet."""
        counters = {"replay.inserted": torch.tensor(self.inserted), "replay.draws": torch.tensor(self.draws)}
        rest = self.inserted % BLOCK
        tail = self._block(self.inserted - rest, rest) if rest else {}
        return counters | {f"replay.{name}": tensor for name, tensor in tail.items()}

    def load_state_dict(self, state: Tensors) -> None:
        """Restore from ``state_dict``; ``load_archive`` brings the rest."""
        self.inserted, self.draws = int(state["replay.inserted"]), int(state["replay.draws"])
        self._segments = {}
        rest = self.inserted % BLOCK
        if rest:
            self._put(self.inserted - rest, {name: state[f"replay.{name}"] for name in self.layout})
