"""Mean-field MDPs of MF-PPO's definition 2.1 as exact tables, for one local state space {0, 1} and actions {0, 1}.

A joint state is (s, d): the representative agent's local state s and the fraction d of the population in local state 1,
on the grid {0, 1/n, ..., 1}. A meta-action is a map from local states to actions; every agent uses the same one.

Shapes: X = 2 (n + 1) joint states (index s (n + 1) + i for d = i / n), M = 4 meta-actions. Tables may carry leading
axes (a batch of games of one size and discount), written "..." below.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAPS = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
"""MAPS[m, s]: the action that meta-action m takes in local state s (abar(s) in the paper)."""


@dataclass(frozen=True)
class MeanFieldMDP:
    """One mean-field MDP, or a batch of them.

    transitions [..., X, M, X], rows sum to one; rewards [..., X, M]; local_state [X] (0 or 1); fraction [X], d;
    maps [M, 2], the meta-actions.
    """

    transitions: np.ndarray
    rewards: np.ndarray
    local_state: np.ndarray
    fraction: np.ndarray
    maps: np.ndarray
    gamma: float

    @property
    def states(self) -> int:
        return self.rewards.shape[-2]

    @property
    def meta_actions(self) -> int:
        return self.rewards.shape[-1]

    @property
    def grid(self) -> np.ndarray:
        """The values of d, ascending."""
        return self.fraction[: self.states // 2]

    def index(self, local_state: np.ndarray, fraction: np.ndarray) -> np.ndarray:
        """Index of the joint states (s, d); ``fraction`` is taken to the nearest grid point."""
        last = self.states // 2 - 1
        return np.asarray(local_state) * (last + 1) + np.rint(np.asarray(fraction) * last).astype(int)


def build(flip: np.ndarray, pay: np.ndarray, *, gamma: float, resolution: int = 20, reset: float = 0.1) -> MeanFieldMDP:
    """The mean-field MDP of given local laws; both tables [..., 2, 2, 2] are indexed (end, s, a) and are linear in d.

    ``flip`` is the probability of leaving local state s under action a, ``pay`` the reward; end 0 is their value at
    d = 0 and end 1 at d = 1. The population moves by its mean, d' = d (1 - p_1) + (1 - d) p_0 with p_s the probability
    of leaving s under abar(s), rounded at random to the two adjacent grid points without bias; with probability
    ``reset`` d' is uniform on the grid instead, so that every policy's chain mixes. The representative agent flips by
    its own probability, independently of the population.
    """
    grid = np.arange(resolution + 1) / resolution
    towards_one = grid[:, None, None]
    leave = (1 - towards_one) * flip[..., None, 0, :, :] + towards_one * flip[..., None, 1, :, :]  # [..., d, s, a]
    worth = (1 - towards_one) * pay[..., None, 0, :, :] + towards_one * pay[..., None, 1, :, :]
    local = np.arange(2)
    leave = leave[..., local, MAPS]  # [..., d, m, s]
    worth = np.moveaxis(worth[..., local, MAPS], -1, -3)  # [..., s, d, m]
    moved = grid[:, None] * (1 - leave[..., 1]) + (1 - grid[:, None]) * leave[..., 0]  # [..., d, m]
    rounded = np.maximum(0.0, 1 - np.abs(moved[..., None] * resolution - np.arange(resolution + 1)))
    population = (1 - reset) * rounded + reset / (resolution + 1)  # [..., d, m, d']
    first, second = leave[..., 0], leave[..., 1]
    own = np.stack(
        [np.stack([1 - first, first], axis=-1), np.stack([second, 1 - second], axis=-1)], axis=-4
    )  # [..., s, d, m, s']
    joint = own[..., :, None] * population[..., None, :, :, None, :]  # [..., s, d, m, s', d']
    states = 2 * (resolution + 1)
    return MeanFieldMDP(
        transitions=joint.reshape(*joint.shape[:-5], states, len(MAPS), states),
        rewards=worth.reshape(*worth.shape[:-3], states, len(MAPS)),
        local_state=np.repeat(local, resolution + 1),
        fraction=np.tile(grid, 2),
        maps=MAPS,
        gamma=gamma,
    )


def crowding(gamma: float = 0.9) -> MeanFieldMDP:
    """The game of our figures: two places, the second worth more, both worth less the fuller they are.

    Action 0 stays and action 1 switches; "switch" succeeds with probability 0.9 and "stay" fails with 0.1. The reward
    is w_s - (fraction of agents in s) - 0.1 if switching, w = (0.5, 1). No constant meta-action is optimal.
    """
    flip = np.broadcast_to([0.1, 0.9], (2, 2, 2))
    place = np.array([[0.5 - 1.0, 1.0 - 0.0], [0.5 - 0.0, 1.0 - 1.0]])  # [end, s]
    return build(flip, place[:, :, None] - np.array([0.0, 0.1]), gamma=gamma)


def draw(generator: np.random.Generator, games: int, *, gamma: float = 0.9, resolution: int = 20) -> MeanFieldMDP:
    """``games`` random games: at both ends, leaving probabilities uniform on [0.05, 0.95], rewards on [-1, 1]."""
    flip = generator.uniform(0.05, 0.95, (games, 2, 2, 2))
    return build(flip, generator.uniform(-1.0, 1.0, (games, 2, 2, 2)), gamma=gamma, resolution=resolution)
