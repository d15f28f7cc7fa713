"""Permutations of interchangeable agents acting on tabular Markov games (MF-PPO, eq. 2.1).

A joint state is one local state per agent, a joint action one action per agent; both are indexed with agent 0 as the
most significant digit. Shapes as in ``environments/markov_games.py``, S = L^N for L local states.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations
from typing import NamedTuple

import numpy as np

from reprise.environments.markov_games import MarkovGames


class Permutation(NamedTuple):
    """One permutation of the agents: where it takes each joint state [S] and each joint action [J]."""

    states: np.ndarray
    actions: np.ndarray


def digits(size: int, agents: int) -> np.ndarray:
    """Each agent's part [size^agents, agents] of every joint index."""
    return np.stack(np.unravel_index(np.arange(size**agents), (size,) * agents), axis=1)


def joint(parts: np.ndarray, size: int) -> np.ndarray:
    """The joint index [...] of the agents' parts [..., agents]."""
    return np.ravel_multi_index(tuple(np.moveaxis(parts, -1, 0)), (size,) * parts.shape[-1])


def group(local_states: int, actions: int, agents: int) -> list[Permutation]:
    """All permutations of the agents."""
    of_states, of_actions = digits(local_states, agents), digits(actions, agents)
    return [
        Permutation(joint(of_states[:, order], local_states), joint(of_actions[:, order], actions))
        for order in map(list, permutations(range(agents)))
    ]


def symmetrised(games: MarkovGames, everyone: list[Permutation]) -> MarkovGames:
    """The games whose rewards and transitions are the average over the group: they satisfy eq. 2.1."""
    rewards, transitions = np.zeros_like(games.rewards), np.zeros_like(games.transitions)
    for each in everyone:
        at = np.ix_(np.arange(games.count), each.states, each.actions)
        rewards += games.rewards[at]
        transitions += games.transitions[at][..., each.states]
    return replace(games, rewards=rewards / len(everyone), transitions=transitions / len(everyone))


def invariant(policy: np.ndarray, everyone: list[Permutation]) -> np.ndarray:
    """The average of the policy [G, S, J] over the group: nu(s, a) = nu(kappa(s), kappa(a))."""
    moved = [policy[:, each.states][:, :, each.actions] for each in everyone]
    return np.mean(moved, axis=0)


def change(values: np.ndarray, everyone: list[Permutation]) -> np.ndarray:
    """Largest change [G] of V [G, S] or Q [G, S, J] under any permutation."""
    if values.ndim == 2:
        moved = [values[:, each.states] for each in everyone]
    else:
        moved = [values[:, each.states][:, :, each.actions] for each in everyone]
    return np.abs(np.stack(moved) - values).reshape(len(everyone), len(values), -1).max(axis=(0, 2))


def fixed(everyone: list[Permutation]) -> np.ndarray:
    """[S, J]: whether every permutation that leaves the joint state as it is leaves the joint action as it is.

    A deterministic policy is invariant only if it takes such an action in every state: agents in equal local states
    then act alike.
    """
    states, actions = np.arange(len(everyone[0].states)), np.arange(len(everyone[0].actions))
    allowed = np.ones((len(states), len(actions)), dtype=bool)
    for each in everyone:
        allowed &= (each.states != states)[:, None] | (each.actions == actions)
    return allowed


def histograms(local_states: int, agents: int) -> list[np.ndarray]:
    """The joint states (indices) of each class of proposition 2.2: equal own state and equal histogram of the others'
    states, whichever agent is taken as the own one."""
    classes: dict[tuple, list[int]] = {}
    for state, parts in enumerate(digits(local_states, agents).tolist()):
        for agent, own in enumerate(parts):
            others = tuple(sorted(parts[:agent] + parts[agent + 1 :]))
            classes.setdefault((own, others), []).append(state)
    return [np.unique(members) for members in classes.values()]


def observations(local_states: int, agents: int) -> np.ndarray:
    """[N, S]: number of what agent i sees in each joint state: its own local state and the histogram of all."""
    parts = digits(local_states, agents)
    counts = np.sort(parts, axis=1)
    seen = np.concatenate([np.stack([parts[:, i], *counts.T], axis=1) for i in range(agents)])
    return np.unique(seen, axis=0, return_inverse=True)[1].reshape(agents, -1)
