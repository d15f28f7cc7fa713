"""HATRPO's algorithm 1 on the stochastic game of DPO's section 4.1, with its penalty scaled by kappa.

The game as a discounted one at the discount both papers train with. At gamma 0.99 the exact constant is
C = 4 gamma max|A| / (1 - gamma)^2, about 4e4 max|A|: this study shows what is left of the update, and from which
kappa on it does something.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.environments.stochastic_game.tables import Game, draw_state
from reprise.theory.hatrpo.policy_iteration import iterate, log_spaced, repeated
from reprise.theory.hatrpo.surrogates import penalty_coefficient
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.tabular import evaluate, optimum, product, random_policies

RULES = {  # name: options of the update
    "sequential": {},
    "simultaneous": {"simultaneous": True},
    "sequential, blind": {"blind": True},
}


def discounted_game(parameters: Parameters) -> MarkovGames:
    """The game as a batch of one, starting in state 0."""
    game = Game(
        parameters.states, parameters.agents, parameters.actions, parameters.reward_low, parameters.reward_high,
        parameters.logit_width, parameters.game_seed,
    )  # fmt: skip
    rewards, transitions = zip(*(draw_state(game, state) for state in range(game.states)), strict=True)
    wide = np.stack(transitions).astype(np.float64)
    initial = np.zeros((1, game.states))
    initial[0, 0] = 1.0
    return MarkovGames(
        np.stack(rewards).astype(np.float64)[None],
        (wide / wide.sum(axis=2, keepdims=True))[None],  # rows were rounded to float32
        initial,
        game.agents,
        game.actions,
        parameters.gamma,
    )


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Progress from random policies towards the optimum for every kappa and rule, and the worst single update."""
    games = discounted_game(parameters)
    best = optimum(games)[0][0]
    kappas = np.array(parameters.kappas)
    when = log_spaced(parameters.iterations, parameters.points)
    runs = np.arange(parameters.runs)
    for seed in seeds:
        draws = generator(seed, "stochastic game")
        several = games.chosen(np.zeros(parameters.runs, dtype=int))
        start = random_policies(draws, several, floor=parameters.floor)
        constant = penalty_coefficient(evaluate(several, product(start)).advantage, parameters.gamma)
        records.add("constant", "C", constant, game=runs, seed=seed)
        many, starts = repeated(several, start, len(kappas))
        for rule, options in RULES.items():
            first = np.broadcast_to(starts[:, :, :1], starts.shape) if options.get("blind") else starts
            path = iterate(
                many, first.copy(), parameters.iterations, generator(seed, "orders"), parameters.floor,
                kappa=np.repeat(kappas, parameters.runs), **options,
            )  # fmt: skip
            returns = path.returns.reshape(len(kappas), parameters.runs, -1)
            progress = (returns - returns[..., :1]) / (best - returns[..., :1])
            worst = np.diff(returns, axis=2).min(axis=2)
            for k, kappa in enumerate(kappas):
                series = f"{rule}, κ = {kappa:g}"
                records.add("progress", series, progress[k][:, when], x=when, game=runs[:, None], seed=seed)
                records.add("worst_change", series, worst[k], x=kappa, game=runs, seed=seed)
                records.add("gain", series, progress[k, :, -1], x=kappa, game=runs, seed=seed)
