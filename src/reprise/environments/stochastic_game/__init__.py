"""The cooperative stochastic game of DPO section 4.1: random shared rewards, random dense transitions, exact values."""

from reprise.environments.stochastic_game.game import StochasticGame

__all__ = ["StochasticGame"]
