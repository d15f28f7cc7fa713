"""The episodes of one row: one third-party environment, its seeds, its auto-reset and the replay of an episode."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from reprise.environments.pettingzoo import answers
from reprise.environments.pettingzoo.codec import Codec, Layout
from reprise.environments.pettingzoo.messages import Rules
from reprise.errors import RepriseError

CHECKED_STEPS = 10
BEFORE_A_STEP = ("observations", "available", "state")
ARRAYS = (*BEFORE_A_STEP, "next_observations", "next_state", "reward", "terminated", "truncated")


class Arrays:
    """What the rows of a worker hand over: b rows, N agents, O observation size, A actions.

    ``observations``, ``next_observations`` [b, N, O] float32; ``reward`` [b] float32; ``terminated``, ``truncated``
    [b] bool; ``available`` [b, N, A] bool or None; ``state``, ``next_state`` [b, state_size]
    float32 or None.
    """

    def __init__(self, layout: Layout, rules: Rules, rows: int):
        agents = len(layout.agents)
        self.observations = np.zeros((rows, agents, layout.observation_size), np.float32)
        self.next_observations = np.zeros_like(self.observations)
        self.reward = np.zeros(rows, np.float32)
        self.terminated, self.truncated = np.zeros(rows, bool), np.zeros(rows, bool)
        self.available = np.zeros((rows, agents, layout.choices), bool) if rules.action_masks else None
        self.state = None if layout.state_size is None else np.zeros((rows, layout.state_size), np.float32)
        self.next_state = None if self.state is None else np.zeros_like(self.state)


class Row:
    """One environment with auto-reset that writes into row ``index`` of ``arrays``.

    Args:
        make: makes a parallel environment.
        environment: the first one it made.
        layout, codecs, rules: shared by all rows.
        key: what the seeds of this row's episodes come from.
        arrays, index: where results go.
        mark: called before every call into the environment.
    """

    def __init__(
        self,
        make: Callable[[], Any],
        environment: Any,
        layout: Layout,
        codecs: dict[str, Codec],
        rules: Rules,
        key: Sequence[int],
        arrays: Arrays,
        index: int,
        mark: Callable[[int], None],
    ):
        self._make, self.environment, self._used = make, environment, False
        self.layout, self.rules = layout, rules
        self.codecs = [codecs[name] for name in layout.agents]
        self.key, self.arrays, self.index, self._mark = tuple(key), arrays, index, mark
        self.round, self.episode = 0, 0
        self.history: list[np.ndarray] = []

    def start(self, round_: int, episode: int) -> None:
        """Start episode ``episode`` since the ``round_``-th explicit reset: same numbers, same episode."""
        self.round, self.episode, self.history = round_, episode, []
        seed = np.random.SeedSequence((*self.key, round_, episode)).generate_state(1)[0]
        self._mark(self.index)
        if self.rules.rebuild and self._used:
            close(self.environment)
            self.environment = self._make()
        self._used = True
        # 31 bits: some environments hand the seed on as a signed int.
        observations, infos = answers.checked("reset", self.environment.reset(seed=int(seed >> 1)))
        self._present, self._terminated = self._agents(), set()
        self._live = [agent for agent in self.layout.agents if agent in self._present]
        self._write(self.arrays.observations, observations, self._live)
        self._write_state(self.arrays.state)
        self._write_masks(observations, infos)

    def step(self, action: np.ndarray) -> None:
        """One step of the actions [N] or [N, size]; those of agents that have left are ignored."""
        arrays, i = self.arrays, self.index
        self.history.append(action)
        chosen = zip(self.layout.agents, self.codecs, action, strict=True)
        actions = {agent: codec.action(number) for agent, codec, number in chosen if agent in self._live}
        self._mark(i)
        observations, rewards, terminations, truncations, infos = answers.checked(
            "step", self.environment.step(actions)
        )

        acted, here = self._live, self._agents()
        self._terminated.update(agent for agent, ended in terminations.items() if ended)
        self._present |= here
        gone = {agent for ends in (terminations, truncations) for agent, ended in ends.items() if ended}
        self._live = [agent for agent in self.layout.agents if agent in here and agent not in gone]
        total = math.fsum(answers.number(agent, rewards.get(agent, 0.0)) for agent in acted)
        terminated = not self._live and self._present <= self._terminated
        cut = any(truncations.values()) or len(self.history) >= self.rules.max_steps
        ended = not self._live or cut

        arrays.reward[i] = total / (len(self.layout.agents) if self.rules.reward == "mean" else 1)
        arrays.terminated[i], arrays.truncated[i] = terminated, ended and not terminated
        # Whoever has left sees zeros from then on; where the episode ends, the last look of all that acted is kept.
        last = [agent for agent in acted if agent in observations]
        self._write(arrays.next_observations, observations, {*last, *self._live} if ended else self._live)
        self._write_state(arrays.next_state)
        if ended:
            self.start(self.round, self.episode + 1)
        else:
            arrays.observations[i] = arrays.next_observations[i]
            if arrays.state is not None:
                arrays.state[i] = arrays.next_state[i]
            self._write_masks(observations, infos)

    def replay(self, round_: int, episode: int, actions: np.ndarray) -> None:
        """Go back into an episode: its start, then the actions [t, N(, size)] taken since."""
        self.start(round_, episode)
        for action in actions:
            self.step(action)

    def _agents(self) -> set[str]:
        """Who is there now."""
        here = set(self.environment.agents)
        if not here <= set(self.layout.agents):
            raise RepriseError(f"agent {min(here - set(self.layout.agents))} is not among its possible_agents")
        return here

    def _write(self, out: np.ndarray, observations: Mapping[str, Any], shown: Collection[str]) -> None:
        out[self.index] = 0.0
        for agent, codec, target in zip(self.layout.agents, self.codecs, out[self.index], strict=True):
            if agent not in shown:
                continue
            if agent not in observations:
                raise RepriseError(f"agent {agent} is there and gets no observation")
            with answers.named(agent):
                codec.observe(observations[agent], target)

    def _write_state(self, out: np.ndarray | None) -> None:
        if out is not None:
            state = np.asarray(self.environment.state()).reshape(-1)
            if state.size != out.shape[1]:
                raise RepriseError(f"its state() has {state.size} numbers and had {out.shape[1]}")
            out[self.index] = state

    def _write_masks(self, observations: Mapping[str, Any], infos: Mapping[str, Any]) -> None:
        """Masks that belong to the observations just written."""
        arrays, i = self.arrays, self.index
        if arrays.available is None:
            if self.layout.choices and len(self._live) < len(self.layout.agents):
                left = next(agent for agent in self.layout.agents if agent not in self._live)
                raise RepriseError(f"agent {left} left before the others: set the parameter action_masks to true")
            return
        for agent, codec, target in zip(self.layout.agents, self.codecs, arrays.available[i], strict=True):
            if agent not in self._live:  # action 0 stands for none
                target[:] = np.arange(len(target)) == 0
                continue
            with answers.named(agent):
                mask = codec.mask(observations[agent], infos.get(agent))
            target[:] = True if mask is None else mask
            if not target.any():
                raise RepriseError(f"agent {agent} is left without an available action")


def check_determinism(make_row: Callable[[], Row]) -> None:
    """RepriseError unless a seed and actions give the same steps in a fresh instance and in one that has played."""
    fresh, used = make_row(), make_row()
    apart([fresh.environment, used.environment])
    _play(used, 1)
    for step, (first, second) in enumerate(zip(_play(fresh, 0), _play(used, 0), strict=True)):
        for name, value in first.items():
            if not np.array_equal(value, second[name], equal_nan=value.dtype == np.float32):
                raise RepriseError(
                    f"not deterministic: the same seed and actions gave other {name.replace('_', ' ')} at step {step}; "
                    "set the parameter rebuild to true if reset leaves something behind, or deterministic to false to "
                    "train without being able to resume"
                )
    close(fresh.environment)
    close(used.environment)


def _play(row: Row, round_: int) -> list[dict[str, np.ndarray]]:
    """What a few steps of random actions give, the start first."""
    generator, arrays = np.random.default_rng(0), row.arrays

    def seen(names: Sequence[str]) -> dict[str, np.ndarray]:
        return {name: getattr(arrays, name)[row.index].copy() for name in names if getattr(arrays, name) is not None}

    row.start(round_, 0)
    steps = [seen(BEFORE_A_STEP)]
    for _ in range(CHECKED_STEPS):
        available = None if arrays.available is None else arrays.available[row.index]
        row.step(row.layout.random_actions(generator, available))
        steps.append(seen(ARRAYS))
    return steps


def apart(environments: Sequence[Any]) -> None:
    """RepriseError where two of them are one object, and would play into each other's episodes."""
    if len({id(each) for each in environments}) < len(environments):
        raise RepriseError("the factory gives the same object again: every row needs an environment of its own")


def close(environment: Any) -> None:
    """Let an environment give back what it holds, if it knows how."""
    if hasattr(environment, "close"):
        environment.close()
