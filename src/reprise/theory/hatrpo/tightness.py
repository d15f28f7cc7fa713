"""How tight lemma 2 can be: a random search for games and policies where the bound leaves least room.

Two agents of which the second keeps its policy, so that the sum of the KL terms has one part. The objective is the
share of the penalty that is used, (sum of surrogates - gain) / (C sum of KL): 1 would be equality. By Pinsker's
inequality, which the proof of theorem 1 uses without its factor 1/2, it cannot pass 1/2.
"""

from __future__ import annotations

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory.hatrpo.surrogates import joint_surrogate, penalty_coefficient
from reprise.theory.tabular import evaluate, max_kl, product

LEAST_PENALTY = 1e-6  # times rounding of 1e-16 leaves ten digits of the share


def bound_used(games: MarkovGames, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(sum of surrogates - gain) / (C sum of KL), [G]; minus infinity where the penalty drowns in rounding."""
    found = evaluate(games, product(old))
    lost = joint_surrogate(found, product(new)) - (evaluate(games, product(new)).returns - found.returns)
    penalty = penalty_coefficient(found.advantage, games.gamma) * max_kl(old, new).sum(axis=1)
    return np.where(penalty > LEAST_PENALTY, lost / np.maximum(penalty, LEAST_PENALTY), -np.inf)


def hardest_pairs(
    draws: np.random.Generator, searches: int, steps: int, gamma: float, states: int, actions: int
) -> tuple[MarkovGames, np.ndarray, np.ndarray]:
    """Games and policies after ``steps`` of accepted random changes in each of ``searches`` independent searches.

    Unconstrained parameters are changed by noise of a width drawn anew each step from three decades, and the change
    is kept in the searches where the bound is used more.
    """
    joint = actions**2
    sizes = {
        "rewards": (states, joint),
        "transitions": (states, joint, states),
        "initial": (states,),
        "old": (2, states, actions),
        "shift": (states, actions),
    }
    here = {name: draws.normal(size=(searches, *size)) for name, size in sizes.items()}
    best = bound_used(*_pair(here, gamma, actions))
    for _ in range(steps):
        width = 10 ** draws.uniform(-2, 1, searches)
        there = {}
        for name, values in here.items():
            noise = draws.normal(size=values.shape) * (draws.random(values.shape) < 0.3)
            there[name] = values + noise * width.reshape(-1, *[1] * (values.ndim - 1))
        used = bound_used(*_pair(there, gamma, actions))
        better = used > best
        best = np.where(better, used, best)
        for name, values in there.items():
            here[name][better] = values[better]
    return _pair(here, gamma, actions)


def _pair(values: dict[str, np.ndarray], gamma: float, actions: int) -> tuple[MarkovGames, np.ndarray, np.ndarray]:
    """The game and the two policies that unconstrained parameters stand for."""
    games = MarkovGames(
        np.tanh(values["rewards"]), _softmax(values["transitions"]), _softmax(values["initial"]), 2, actions, gamma
    )
    old = _softmax(np.clip(values["old"], -3, 3))
    new = old.copy()
    new[:, 0] = _softmax(np.log(old[:, 0]) + 0.3 * np.tanh(values["shift"]))
    return games, old, new


def _softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(np.clip(logits - logits.max(axis=-1, keepdims=True), -30, 0))
    return shifted / shifted.sum(axis=-1, keepdims=True)
