"""Between the dictionaries of the PettingZoo parallel API and arrays of one size for all agents. No torch here.

Spaces are used by their attributes alone (``n``, ``start``, ``shape``, ``low``, ``high``, ``spaces``), as gymnasium
names them, so that an environment need not import gymnasium.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from reprise.errors import RepriseError

MASK = "action_mask"


@dataclass(frozen=True)
class Layout:
    """The sizes that all agents share.

    Attributes:
        agents: names of the N agents, in the order of ``possible_agents``.
        observation_size: O, the longest flattened observation; shorter ones end in zeros.
        choices: A of discrete actions, or None.
        box: (size, low, high) of continuous actions, or None.
        state_size: length of the environment's own ``state()``, or None when it is not used.
    """

    agents: tuple[str, ...]
    observation_size: int
    choices: int | None
    box: tuple[int, float, float] | None
    state_size: int | None = None

    def random_actions(self, generator: np.random.Generator, available: np.ndarray | None) -> np.ndarray:
        """Uniform actions of all agents, [N] int64 or [N, size] float32; ``available`` [N, A] bool is respected."""
        if self.box is not None:
            size, low, high = self.box
            return generator.uniform(low, high, (len(self.agents), size)).astype(np.float32)
        weights = generator.random((len(self.agents), self.choices))
        return (weights if available is None else np.where(available, weights, -1.0)).argmax(-1)


class Codec:
    """One agent's observations as numbers, and numbers as its actions.

    Args:
        observation_space: Discrete (one-hot), anything with a ``shape`` (flattened), or a dictionary with the key
            ``observation``, beside which ``action_mask`` may stand.
        action_space: Discrete, or Box with the same finite bounds in all components.

    Raises RepriseError, without the agent's name, for other spaces.
    """

    def __init__(self, observation_space: Any, action_space: Any):
        inner = getattr(observation_space, "spaces", None)
        self.nested = isinstance(inner, Mapping) and "observation" in inner
        seen = inner["observation"] if self.nested else observation_space
        shape = getattr(seen, "shape", None)
        self.one_hot = _is_discrete(seen)
        if not self.one_hot and shape is None:
            raise RepriseError(f"the observation space {observation_space} cannot be flattened to one size")
        self.size = int(seen.n) if self.one_hot else math.prod(shape)
        self.first_observation = int(getattr(seen, "start", 0))
        self.action_space, self.first_action = action_space, int(getattr(action_space, "start", 0))
        self.choices = int(action_space.n) if _is_discrete(action_space) else None
        self.box = None if self.choices else _box(action_space)

    def observe(self, observation: Any, out: np.ndarray) -> None:
        """Write an observation into ``out`` [O], which holds zeros. RepriseError for one that its space has not."""
        try:
            value = observation["observation"] if self.nested else observation
            place = int(value) - self.first_observation if self.one_hot else 0
            numbers = np.asarray(value, np.float32)
        except (TypeError, ValueError, LookupError) as error:
            raise RepriseError(f"an observation unlike its observation space: {error}") from error
        # Checked by hand: numpy would spread a single number over all places, and count a negative one from the end.
        if self.one_hot and not 0 <= place < self.size:
            last = self.first_observation + self.size - 1
            raise RepriseError(f"observes {value}, its observation space goes from {self.first_observation} to {last}")
        if not self.one_hot and numbers.size != self.size:
            raise RepriseError(f"observes {numbers.size} numbers, its observation space has {self.size}")
        if self.one_hot:
            out[place] = 1.0
        else:
            out[: self.size] = numbers.reshape(-1)

    def mask(self, observation: Any, info: Mapping[str, Any] | None) -> np.ndarray | None:
        """The mask [A] that came with an observation or its info, or None. RepriseError for one of another size."""
        found = info.get(MASK) if info else None
        if isinstance(observation, Mapping) and MASK in observation:
            found = observation[MASK]
        if found is None:
            return None
        mask = np.asarray(found, bool).reshape(-1)
        if self.choices and mask.size != self.choices:
            raise RepriseError(f"an action_mask of {mask.size} numbers for {self.choices} actions")
        return mask

    def action(self, number: Any) -> Any:
        """The action as the environment takes it: a whole number, or an array within the bounds."""
        if self.choices:
            return int(number) + self.first_action
        _, low, high = self.box
        dtype = getattr(self.action_space, "dtype", None) or np.float32
        return np.clip(number, low, high).reshape(self.action_space.shape).astype(dtype)


def _is_discrete(space: Any) -> bool:
    return hasattr(space, "n") and not getattr(space, "shape", None)  # MultiBinary has both


def _box(space: Any) -> tuple[int, float, float]:
    low, high = (np.unique(getattr(space, bound, np.nan)) for bound in ("low", "high"))
    if not getattr(space, "shape", None) or len(low) != 1 or len(high) != 1 or not np.isfinite([low, high]).all():
        raise RepriseError(
            f"the action space {space} is neither Discrete nor a Box with the same finite bounds throughout"
        )
    return math.prod(space.shape), float(low[0]), float(high[0])


def codecs_of(environment: Any) -> dict[str, Codec]:
    """One codec per possible agent. RepriseError for what is no parallel environment, or spaces that do not fit."""
    if hasattr(environment, "agent_selection") or hasattr(environment, "agent_iter"):
        raise RepriseError("agents take turns in this environment (AEC); name its parallel_env, if it has one")
    missing = [
        name for name in ("possible_agents", "observation_space", "action_space") if not hasattr(environment, name)
    ]
    if missing:
        raise RepriseError(f"no environment of the PettingZoo parallel API: it has no {missing[0]}")
    codecs = {}
    for agent in environment.possible_agents:
        try:
            codecs[agent] = Codec(environment.observation_space(agent), environment.action_space(agent))
        except RepriseError as error:
            raise RepriseError(f"agent {agent}: {error}") from error
    return codecs


def layout_of(codecs: Mapping[str, Codec], state_size: int | None) -> Layout:
    """The sizes of all agents together. RepriseError when their actions are not alike."""
    if not codecs:
        raise RepriseError("the environment has no possible_agents")
    names = list(codecs)
    first = codecs[names[0]]
    for name, codec in codecs.items():
        if (codec.choices, codec.box) != (first.choices, first.box):
            raise RepriseError(
                f"the actions of all agents must be alike: {names[0]} has {first.action_space}, {name} has "
                f"{codec.action_space}"
            )
    size = max(codec.size for codec in codecs.values())
    return Layout(tuple(names), size, first.choices, first.box, state_size)
