"""Batches of small cooperative Markov games as tables, for exact studies: thousands of random games at once, float64.

Shapes: G games, S states, N agents, A actions each, J = A^N joint actions, agent 0 the most significant digit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class MarkovGames:
    """G games of one size and discount.

    rewards [G, S, J]; transitions [G, S, J, S], rows sum to one; initial [G, S], the law of the first state.
    """

    rewards: np.ndarray
    transitions: np.ndarray
    initial: np.ndarray
    agents: int
    actions: int
    gamma: float

    @property
    def count(self) -> int:
        return self.rewards.shape[0]

    @property
    def states(self) -> int:
        return self.rewards.shape[1]

    @property
    def joint_actions(self) -> int:
        return self.rewards.shape[2]

    def chosen(self, which: np.ndarray) -> MarkovGames:
        """The games that the index or mask ``which`` selects."""
        parts = (self.rewards[which], self.transitions[which], self.initial[which])
        return MarkovGames(*parts, self.agents, self.actions, self.gamma)


def draw(
    generator: np.random.Generator,
    games: int,
    *,
    states: int,
    agents: int,
    actions: int,
    gamma: float,
    reward_low: float = -1.0,
    reward_high: float = 1.0,
    concentration: float = 1.0,
) -> MarkovGames:
    """``games`` random games: rewards uniform on [reward_low, reward_high], transition rows and initial laws Dirichlet
    of ``concentration`` (small: nearly deterministic)."""
    joint = actions**agents
    return MarkovGames(
        rewards=generator.uniform(reward_low, reward_high, (games, states, joint)),
        transitions=generator.dirichlet(np.full(states, concentration), (games, states, joint)),
        initial=generator.dirichlet(np.ones(states), games),
        agents=agents,
        actions=actions,
        gamma=gamma,
    )
