"""What every environment looks like to the rest of the package: a batch of rows on one torch device.

Letters: R runs, C parallel copies of a run's environment, B = R * C rows (row b = r * C + c), N agents, A actions,
O observation size, S distinct states.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True)
class Discrete:
    """Each agent picks one of ``n`` actions, an int64 in [0, n)."""

    n: int


@dataclass(frozen=True)
class Box:
    """Each agent picks a vector of ``size`` float32 numbers in [low, high]."""

    size: int
    low: float
    high: float


@dataclass(frozen=True)
class Spec:
    """What an algorithm and an evaluator need to know of an environment.

    Attributes:
        name: task, ``<environment>/<name>``.
        agents: N.
        observation_size: O.
        one_hot: observations are one-hot vectors, given as the int64 index of the one.
        state_size: size of the global state; S distinct states when ``one_hot``.
        actions: the action space of each agent.
        episode_limit: most steps of an episode.
        backend: which implementation runs, printed on figures.
        exact: the environment has ``exact_return``.
        return_bounds: least and greatest possible episode return.
        state_constant: how many trailing entries of a state do not change within an episode.
        observe: states [..., S] -> the observations [..., N, O] that ``step`` gives in them, the same numbers; None
            where the state does not say it all. It reads nothing but its argument and keeps nothing.
        varying: the number of agents present differs from episode to episode. The last entry of an observation is
            then 1 for a present agent and 0 for an absent one.
    """

    name: str
    agents: int
    observation_size: int
    one_hot: bool
    state_size: int
    actions: Discrete | Box
    episode_limit: int
    backend: str
    exact: bool
    return_bounds: tuple[float, float]
    state_constant: int = 0
    observe: Callable[[Tensor], Tensor] | None = field(default=None, compare=False, repr=False)
    varying: bool = False


class Transition(NamedTuple):
    """One step of all rows. Tensors belong to the environment: read them before the next step, never write into them.

    Attributes:
        observations: what to act on next (after an auto-reset): [B, N, O] float32, or int64 [B, N] when ``one_hot``.
        next_observations: what the step led to, before an auto-reset; same shape.
        state: global state that belongs to ``observations``: [B, S] float32, or int64 [B] when ``one_hot``.
        next_state: the one that belongs to ``next_observations``; same shape.
        reward: [B] float32, shared by the agents.
        terminated: [B] bool, the episode ended by the task's own rules (do not bootstrap).
        truncated: [B] bool, the episode ended by the step limit (bootstrap from ``next_observations``).
        available_actions: [B, N, A] bool for ``observations``, or None when every action always is.
        success: [B] float32, 1 or 0 where an episode ended and NaN elsewhere; None: the task has no such notion.
    """

    observations: Tensor
    next_observations: Tensor
    state: Tensor
    next_state: Tensor
    reward: Tensor
    terminated: Tensor
    truncated: Tensor
    available_actions: Tensor | None
    success: Tensor | None


class Environment(Protocol):
    """A batched environment with auto-reset, all of it on ``device``.

    One that masks actions also has an attribute ``available_actions``, the mask [B, N, A] of its current state, since
    ``reset`` and ``restore`` return observations only.

    Attributes:
        state: the current global state, as in ``Transition.state``; also after ``reset`` and ``restore``.
    """

    spec: Spec
    device: torch.device
    state: Tensor

    def reset(self) -> Tensor:
        """Start a new episode in every row; returns ``observations``. The random stream goes on where it was."""
        ...

    def step(self, actions: Tensor) -> Transition:
        """Advance every row: ``actions`` int64 [B, N] (Discrete) or float32 [B, N, size] (Box)."""
        ...

    def snapshot(self) -> dict[str, Tensor]:
        """All that a byte-exact resume needs; independent of later steps."""
        ...

    def restore(self, snapshot: dict[str, Tensor]) -> Tensor:
        """Go back to a snapshot taken on any device; returns the ``observations`` to act on."""
        ...

    def references(self, seed: int) -> dict[str, float]:
        """Reference episode returns of the run with this seed (such as ``optimum``); empty when none is known."""
        ...

    def exact_return(self, probabilities: Tensor) -> Tensor:
        """Only if ``spec.exact``: expected episode return of product policies [R, N, S, A]; float64 [R]."""
        ...

    def frame(self, row: int) -> dict[str, Any]:
        """Optional, for `reprise replay`: what there is to see of one row, as numpy arrays and plain values.

        It shows the state that the last step led to, before an auto-reset (as ``next_observations`` does); after
        ``reset`` or ``restore``, the current one. Lengths are in the world's units. ``kind`` says how it is drawn:

        ``particles``: ``positions`` [E, 2] and ``sizes`` [E] (radii) of E entities, the agents first; ``roles``, E
            words of agent, object, landmark; ``extent``, half the width of the arena, centred at 0. Where there are
            any: ``targets`` [K, 2], the places where agents should be, and ``links`` int [L, 2], the pairs (agent,
            target) whose distances the reward counts.
        ``board``: ``states``, their number S, and ``state``, the index of the one that the game is in.
        ``robot``: ``model``, the text of a MuJoCo model (xml) that has a camera named track; ``positions`` [nq] and
            ``velocities`` [nv], MuJoCo's qpos and qvel; ``seconds``, how long a step takes. Its forward is x, its up z.

        Words, such as the model, stay the same during an episode.
        """
        ...
