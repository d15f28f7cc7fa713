"""The random games that the studies of Zhao et al. share: rewards in [0, 1], as the paper has them."""

from __future__ import annotations

import numpy as np

from reprise.environments import markov_games
from reprise.environments.markov_games import MarkovGames
from reprise.theory.study import Parameters


def draw(generator: np.random.Generator, parameters: Parameters, agents: int) -> MarkovGames:
    """``parameters.games`` games for ``agents`` agents; ``parameters`` also has states, actions, gamma and the
    concentration of the transition laws."""
    return markov_games.draw(
        generator,
        parameters.games,
        states=parameters.states,
        agents=agents,
        actions=parameters.actions,
        gamma=parameters.gamma,
        reward_low=0.0,
        reward_high=1.0,
        concentration=parameters.concentration,
    )
