"""A ring of whole episodes per run that keeps states, not observations: for many agents, whose states are small.

N agents see O numbers each, and most of them are the same few positions seen from elsewhere. What a replay needs of a
step is the state, from which ``spec.observe`` makes the observations again, exactly those that the agents saw.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from reprise.blocks.ring import Ring
from reprise.blocks.rollout import Rollout
from reprise.blocks.streams import Streams
from reprise.errors import RepriseError

# Episodes of one archive, and those whose memory is asked for at once.
BLOCK = 64
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


class StateReplay(Ring):
    """The last episodes of each of R runs, ``spec.episode_limit`` = T steps each, ``len()`` transitions per run.

    A run's share of one episode: the entries of the state that move, float32 [T + 1, S - K]; the K constant ones once;
    actions float16 [T, N, A], which must have been rounded to that before they were executed; reward and terminated
    [T]. Transitions are drawn uniformly with replacement, by the run's own stream.

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
        self.steps, self.observe = spec.episode_limit, spec.observe
        moving, actions = spec.state_size - spec.state_constant, (self.steps, spec.agents, spec.actions.size)
        layout = {
            "moving": ((self.steps + 1, moving), torch.float32),
            "constant": ((spec.state_constant,), torch.float32),
            "actions": (actions, torch.float16),
            "reward": ((self.steps,), torch.float32),
            "terminated": ((self.steps,), torch.bool),
        }
        super().__init__(streams, -(-capacity // self.steps), layout, BLOCK, SEGMENT)

    def __len__(self) -> int:
        return self.held * self.steps

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
        self.append(episodes)

    def _episodes(self, x: torch.Tensor) -> torch.Tensor:
        """[k*T, R*C, ...] -> [R, k*C, T, ...], in order of time."""
        x = x.unflatten(1, (len(self.streams.seeds), -1)).unflatten(0, (-1, self.steps))  # [k, T, R, C, ...]
        return x.permute(2, 0, 3, 1, *range(4, x.dim())).flatten(1, 2)

    def sample(self, count: int, following: bool = True) -> Sample:
        """``count`` transitions of each run; without their ``next_observations`` if not ``following``."""
        drawn = self.draw(count, len(self))
        episode, step = drawn.div(self.steps, rounding_mode="floor"), drawn % self.steps
        places = self.places(episode)
        constant = self.gather("constant", places)

        def observations(at: torch.Tensor) -> torch.Tensor:
            return self.observe(torch.cat([self.gather("moving", places, at), constant], -1))

        return Sample(
            observations=observations(step),
            actions=self.gather("actions", places, step).float(),
            reward=self.gather("reward", places, step),
            terminated=self.gather("terminated", places, step),
            next_observations=observations(step + 1) if following else None,
        )
