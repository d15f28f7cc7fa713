"""A ring of single steps per run, for episodes that end at any time.

The steps of a copy follow each other, so that a step's next state is the next step's state: each is kept once. Where a
time limit cut an episode the next step starts a new one, and what was reached is kept beside; after a termination
nobody asks for it. Observations are made from states by ``spec.observe`` where the task has it, and kept elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from reprise.blocks.ring import Place, Ring
from reprise.blocks.rollout import Rollout
from reprise.blocks.streams import Streams
from reprise.errors import RepriseError

# Rollouts of one archive, and those whose memory is asked for at once.
BLOCK = 8
SEGMENT = 64 * BLOCK


class Transitions(NamedTuple):
    """M transitions of each of R runs, over up to n steps (fewer where an episode ended).

    observations, next_observations [R, N, M, O] and actions [R, N, M, k], agent by agent; reward [R, M], the discounted
    sum of the m steps' rewards; discount [R, M], gamma^m or 0 where the episode terminated; state, next_state
    [R, M, S], None if they are not kept. All float32.
    """

    observations: torch.Tensor
    actions: torch.Tensor
    reward: torch.Tensor
    discount: torch.Tensor
    next_observations: torch.Tensor
    state: torch.Tensor | None = None
    next_state: torch.Tensor | None = None


class TransitionReplay(Ring):
    """The last rollouts of each of R runs, T steps of C copies each; ``len()`` transitions per run can be drawn.

    The newest step of each copy waits for the next rollout, which begins with the state it led to.

    Args:
        streams: the cohort's streams. capacity: transitions per run, rounded up to whole rollouts.
        spec: of an environment whose actions are vectors and whose observations are not one-hot.
        steps, copies: T and C of the rollouts.
        states: whether samples must have the global state.

    Raises:
        RepriseError: rollouts that are longer than an episode may be.
    """

    def __init__(self, streams: Streams, capacity: int, spec, *, steps: int, copies: int, states: bool):
        if steps > spec.episode_limit:
            limit = f"episodes end after {spec.episode_limit}: set rollout_length"
            raise RepriseError(f"task {spec.name}: rollouts of {steps} steps, but {limit}")
        self.steps, self.copies, self.observe = steps, copies, spec.observe
        shapes = {"state": (spec.state_size,), "observations": (spec.agents, spec.observation_size)}
        kept = (["state"] if states or spec.observe else []) + ([] if spec.observe else ["observations"])
        self.seen = {name: shapes[name] for name in kept}
        each = {"actions": ((spec.agents, spec.actions.size), torch.float32), "reward": ((), torch.float32)}
        each |= {"terminated": ((), torch.bool), "ended": ((), torch.bool)}
        each |= {name: (shape, torch.float32) for name, shape in self.seen.items()}
        layout = {name: ((steps, copies, *shape), dtype) for name, (shape, dtype) in each.items()}
        # No copy meets its time limit twice in T steps.
        layout |= {f"cut_{name}": ((copies, *shape), torch.float32) for name, shape in self.seen.items()}
        super().__init__(streams, -(-capacity // (steps * copies)), layout, BLOCK, SEGMENT)

    def __len__(self) -> int:
        return max(0, self.held * self.steps - 1) * self.copies

    def insert(self, rollout: Rollout) -> None:
        """Add a rollout of T steps of all copies, the one that followed the last."""
        cut = rollout.truncated & ~rollout.terminated
        fields = {name: getattr(rollout, name) for name in ("actions", "reward", "terminated", *self.seen)}
        entry = {name: self._by_run(x) for name, x in (fields | {"ended": rollout.terminated | cut}).items()}
        when, rows = cut.int().argmax(0), torch.arange(cut.shape[1], device=cut.device)
        for name, shape in self.seen.items():
            reached = getattr(rollout, f"next_{name}")[when, rows]
            reached = torch.where(cut.any(0).view(-1, *[1] * len(shape)), reached, 0.0)
            entry[f"cut_{name}"] = reached.unflatten(0, (-1, 1, self.copies))
        self.append(entry)

    def _by_run(self, x: torch.Tensor) -> torch.Tensor:
        """[T, R*C, ...] -> [R, 1, T, C, ...]."""
        return x.unflatten(1, (-1, self.copies)).movedim(1, 0).unsqueeze(1)

    def sample(self, count: int, n_step: int, gamma: torch.Tensor) -> Transitions:
        """``count`` transitions of each run, drawn uniformly with replacement; ``gamma`` [R, 1].

        A transition reaches over ``n_step`` steps, to the end of its episode or to the newest state if that is nearer.
        """
        drawn = self.draw(count, len(self))
        first, copy = drawn.div(self.copies, rounding_mode="floor"), drawn % self.copies
        reward, length = self._returns(first, copy, n_step, gamma)
        last = first + length - 1
        start, end, after = (self._at(step, copy) for step in (first, last, last + 1))
        terminated = self.gather("terminated", *end)
        cut = self.gather("ended", *end) & ~terminated
        states, following = {}, {}
        for name, shape in self.seen.items():
            states[name], following[name] = self.gather(name, *start), self.gather(name, *after)
            if bool(cut.any()):
                reached = self.gather(f"cut_{name}", end[0], copy)
                following[name] = torch.where(cut.view(*cut.shape, *[1] * len(shape)), reached, following[name])
        return Transitions(
            observations=self._observations(states),
            actions=self.gather("actions", *start).transpose(1, 2),
            reward=reward,
            discount=gamma**length * ~terminated,
            next_observations=self._observations(following),
            state=states.get("state"),
            next_state=following.get("state"),
        )

    def _at(self, step: torch.Tensor, copy: torch.Tensor) -> tuple[list[Place], torch.Tensor, torch.Tensor]:
        """Where steps [R, M] of copies lie, counted from the first that is held: arguments of ``gather``."""
        return self.places(step.div(self.steps, rounding_mode="floor")), step % self.steps, copy

    def _observations(self, seen: dict[str, torch.Tensor]) -> torch.Tensor:
        """[R, N, M, O]."""
        return (self.observe(seen["state"]) if self.observe else seen["observations"]).transpose(1, 2)

    def _returns(self, first, copy, n_step: int, gamma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Discounted sums of the rewards from steps ``first`` on, and over how many steps, [R, M] each."""
        ahead = torch.arange(n_step, device=first.device)
        steps = first.unsqueeze(-1) + ahead
        newest = self.held * self.steps - 2  # of those whose next state is known
        at = self._at(steps.clamp(max=newest).flatten(1), copy.repeat_interleave(n_step, 1))
        reward, ended = (self.gather(name, *at).unflatten(1, (-1, n_step)) for name in ("reward", "ended"))
        over = ended.cumsum(-1).roll(1, -1)
        over[..., 0] = 0
        going = (over == 0) & (steps <= newest)
        return (reward * going * gamma.unsqueeze(-1) ** ahead).sum(-1), going.sum(-1)
