"""The cooperative stochastic game (DPO section 4.1; released code, train_matrix_game.py) as one batched object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reprise.blocks.streams import BlockUniforms, Streams
from reprise.environments.protocol import Discrete, Spec, Transition
from reprise.environments.stochastic_game import solve
from reprise.environments.stochastic_game.tables import Game, Tables, cached_references, shared_tables
from reprise.errors import RepriseError

# Steps of uniform numbers drawn at once. Part of what a run's numbers are: changing it changes the version.
BLOCK = 256
# On a CPU, distinct games up to this size in all are copied into one tensor; larger ones stay in their shared files.
STACK_BYTES = 256 * 2**20


class StochasticGame:
    """N agents share a random reward in a random Markov game of S states, seen by all; episodes last the horizon.

    Args:
        parameters: states, agents, actions, horizon (None: number of states), reward_low, reward_high, logit_width,
            start_state, game_seed, game_per_run (each run plays the game of seed game_seed + its own seed).
        task: name shown on figures.
        seeds: run seeds (R). copies: C. Rows are b = r * C + c, B = R * C.
        device: where the tables and every tensor live. On a CPU large tables stay in the shared cache file.
        cache: folder of the built tables.
        stream: name of the random stream, see ``registry.make``.

    Raises:
        RepriseError: parameters out of range, or the cache cannot be written.
    """

    def __init__(
        self,
        parameters: Mapping[str, Any],
        *,
        task: str,
        seeds: Sequence[int],
        copies: int,
        device: torch.device,
        cache: Path,
        stream: str = "environment",
    ):
        self.device = torch.device(device)
        self.seeds = [int(seed) for seed in seeds]
        self.copies = copies
        _check(parameters, task)
        states, agents, actions = (int(parameters[key]) for key in ("states", "agents", "actions"))
        low, high, width = (float(parameters[key]) for key in ("reward_low", "reward_high", "logit_width"))
        self.start_state = int(parameters["start_state"])
        self.horizon = states if parameters["horizon"] is None else int(parameters["horizon"])
        self.spec = Spec(
            name=task,
            agents=agents,
            observation_size=states,
            one_hot=True,
            state_size=states,
            actions=Discrete(actions),
            episode_limit=self.horizon,
            backend="reprise",
            exact=True,
            return_bounds=(self.horizon * low, self.horizon * high),
        )
        base, per_run = int(parameters["game_seed"]), bool(parameters["game_per_run"])
        played = [base + seed if per_run else base for seed in self.seeds]
        distinct = sorted(set(played))
        self._tables = [
            shared_tables(Game(states, agents, actions, low, high, width, seed), cache) for seed in distinct
        ]
        self._game_of_run = [distinct.index(seed) for seed in played]
        self._place_tables()
        rows = len(self.seeds) * copies
        self._weights = torch.from_numpy(solve.joint_weights(agents, actions)).to(self.device)
        self._false = torch.zeros(rows, dtype=torch.bool, device=self.device)
        self._uniforms = BlockUniforms(Streams(self.seeds, self.device), stream, (copies,), BLOCK)
        self.reset()

    def _place_tables(self) -> None:
        """Put the tables where ``step`` gathers from: one row per (game, state, joint action), or one part per game."""
        self._rewards = [torch.from_numpy(tables.rewards).to(self.device) for tables in self._tables]
        self._transitions = [torch.from_numpy(tables.transitions).to(self.device) for tables in self._tables]
        rows_of_run = self.spec.state_size * self._tables[0].game.joint_actions
        part = torch.tensor(self._game_of_run, device=self.device).repeat_interleave(self.copies)
        stacked = self.device.type != "cpu" or sum(tables.game.nbytes for tables in self._tables) <= STACK_BYTES
        if len(self._tables) == 1:
            self._offset = torch.zeros_like(part)
            self._reward_rows = self._rewards[0].view(-1)
            self._parts = [(None, self._transitions[0].flatten(0, 1))]
        elif stacked:
            self._offset = part * rows_of_run
            transitions = torch.stack(self._transitions)
            self._transitions = list(transitions)
            self._reward_rows = torch.stack(self._rewards).view(-1)
            self._parts = [(None, transitions.flatten(0, 2))]
        else:
            self._offset = part * rows_of_run
            self._reward_rows = torch.stack(self._rewards).view(-1)
            self._parts = [
                ((part == game).nonzero()[:, 0], table.flatten(0, 1)) for game, table in enumerate(self._transitions)
            ]

    def _transition_rows(self, pairs: Tensor) -> Tensor:
        """Next-state probabilities [B, S] of the (state, joint action) indices ``pairs`` [B], each in its own game."""
        if self._parts[0][0] is None:
            return self._parts[0][1].index_select(0, pairs + self._offset)
        rows = torch.empty(len(pairs), self.spec.state_size, device=self.device)
        for index, table in self._parts:
            rows.index_copy_(0, index, table.index_select(0, pairs.index_select(0, index)))
        return rows

    def _observe(self, state: Tensor) -> Tensor:
        return state[:, None].expand(-1, self.spec.agents).contiguous()

    @property
    def state(self) -> Tensor:
        """The states that the rows are in, int64 [B]."""
        return self._state

    def reset(self) -> Tensor:
        """Start an episode in every row; observations int64 [B, N], all at the start state."""
        self._state = torch.full_like(self._false, self.start_state, dtype=torch.int64)
        self._elapsed = torch.zeros_like(self._state)
        self._reached = self._state
        return self._observe(self._state)

    def step(self, actions: Tensor) -> Transition:
        """Play the joint actions int64 [B, N] (each in [0, A)); never terminates, truncates at the horizon."""
        pairs = self._state * self._tables[0].game.joint_actions + (actions * self._weights).sum(dim=1)
        reward = self._reward_rows.index_select(0, pairs + self._offset)
        # Inverse CDF, in float64 so that every device draws the same state; scaled since rows sum to 1 up to rounding.
        cumulative = self._transition_rows(pairs).cumsum(dim=1, dtype=torch.float64)
        threshold = self._uniforms.next().view(-1, 1) * cumulative[:, -1:]
        reached = torch.searchsorted(cumulative, threshold, right=True)[:, 0]

        elapsed = self._elapsed + 1
        truncated = elapsed >= self.horizon
        self._reached = reached
        self._state = reached.masked_fill(truncated, self.start_state)
        self._elapsed = elapsed.masked_fill_(truncated, 0)
        return Transition(
            observations=self._observe(self._state),
            next_observations=self._observe(reached),
            state=self._state,
            next_state=reached,
            reward=reward,
            terminated=self._false,
            truncated=truncated,
            available_actions=None,
            success=None,
        )

    def snapshot(self) -> dict[str, Tensor]:
        """States and elapsed steps, int64 [B], and the position in the random stream, int64 []; on the CPU."""
        return {
            "state": self._state.cpu().clone(),
            "elapsed": self._elapsed.cpu().clone(),
            "counter": torch.tensor(self._uniforms.counter),
        }

    def restore(self, snapshot: dict[str, Tensor]) -> Tensor:
        """Go back to ``snapshot``; returns the observations to act on."""
        self._state = snapshot["state"].to(self.device, copy=True)
        self._elapsed = snapshot["elapsed"].to(self.device, copy=True)
        self._uniforms.counter = int(snapshot["counter"])
        self._reached = self._state
        return self._observe(self._state)

    def frame(self, row: int) -> dict[str, Any]:
        """What ``protocol.Environment.frame`` asks for: a board, the state that the last step of ``row`` led to."""
        return {"kind": "board", "states": self.spec.state_size, "state": int(self._reached[row])}

    def references(self, seed: int) -> dict[str, float]:
        """Episode returns that frame the run of this seed.

        ``optimum``: best joint policy; ``nash``, ``nash_low``, ``nash_high``: mean and range of the best-response
        Nash points; ``uniform``: uniformly random actions. Computed once per game and kept beside its tables.
        """
        tables = self._tables[self._game_of_run[self.seeds.index(seed)]]
        name = f"horizon={self.horizon},start={self.start_state}"
        return cached_references(tables, name, lambda: _references(tables, self.horizon, self.start_state))

    def exact_return(self, probabilities: Tensor) -> Tensor:
        """Exact expected episode return of the product policies [R, N, S, A], each in its run's game; float64 [R]."""
        states, agents = self.spec.state_size, self.spec.agents
        expected = (len(self.seeds), agents, states, self.spec.actions.n)
        if probabilities.shape != expected:
            raise ValueError(f"probabilities must be {expected} (runs, agents, states, actions)")
        reward = torch.empty(len(self.seeds), states, dtype=torch.float64, device=self.device)
        chain = torch.empty(len(self.seeds), states, states, dtype=torch.float64, device=self.device)
        game_of_run = torch.tensor(self._game_of_run, device=self.device)
        for game, (rewards, transitions) in enumerate(zip(self._rewards, self._transitions, strict=True)):
            runs = (game_of_run == game).nonzero()[:, 0]
            reward[runs], chain[runs] = solve.induced_chain(rewards, transitions, probabilities[runs])
        return solve.horizon_return(reward, chain, self.horizon, self.start_state)


def _references(tables: Tables, horizon: int, start_state: int) -> dict[str, float]:
    game, episode = tables.game, (horizon, start_state)
    points = solve.best_response_nash(tables.rewards, tables.transitions, game.agents, game.actions, *episode)
    nash = [point.value for point in points]
    return {
        "optimum": solve.optimum(tables.rewards, tables.transitions, *episode),
        "nash": float(np.mean(nash)),
        "nash_low": min(nash),
        "nash_high": max(nash),
        "uniform": solve.uniform_return(tables.rewards, tables.transitions, *episode),
    }


def _check(parameters: Mapping[str, Any], task: str) -> None:
    states, start, horizon = parameters["states"], parameters["start_state"], parameters["horizon"]
    if min(states, parameters["agents"], parameters["actions"]) < 1:
        raise RepriseError(f"{task}: states, agents and actions must be at least 1")
    if not 0 <= start < states:
        raise RepriseError(f"{task}: start_state {start} is not one of the states 0 to {states - 1}")
    if horizon is not None and horizon < 1:
        raise RepriseError(f"{task}: horizon must be at least 1, or null for the number of states")
    if not parameters["reward_low"] < parameters["reward_high"]:
        raise RepriseError(f"{task}: reward_low must be less than reward_high")
    if parameters["logit_width"] < 0:
        raise RepriseError(f"{task}: logit_width must not be negative")
    if parameters["game_seed"] < 0:
        raise RepriseError(f"{task}: game_seed must not be negative")
