"""Section 3.2 of the DPO paper, its warning made concrete: all agents improving equation 6 at once can lower J."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames, draw
from reprise.theory import tabular, trust_region
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.tabular import Evaluation


def coordination_game() -> tuple[MarkovGames, np.ndarray]:
    """One state, no future, two agents with two actions: reward 1 if they agree. Agent 0 plays action 0 with
    probability 0.6, agent 1 with probability 0.4: J = 0.48."""
    games = MarkovGames(np.array([[[1.0, 0.0, 0.0, 1.0]]]), np.ones((1, 1, 4, 1)), np.ones((1, 1)), 2, 2, 0.0)
    return games, np.array([[[[0.6, 0.4]], [[0.4, 0.6]]]])


def greedy(advantage: np.ndarray) -> np.ndarray:
    """The policy [G, S, A] that equation 6 alone is largest at: all mass on the best own action."""
    return np.eye(advantage.shape[2])[advantage.argmax(axis=2)]


def mixture_step(
    games: MarkovGames, policies: np.ndarray, found: Evaluation, size: float, sequential: bool
) -> np.ndarray:
    """Every agent moves the share ``size`` of the way to its greedy policy; one after another, each knowing what the
    ones before it do now, if ``sequential``."""
    new = policies.copy()
    for agent in range(games.agents):
        advantage = tabular.own(found.advantage, new if sequential else policies, agent)
        new[:, agent] = (1 - size) * policies[:, agent] + size * greedy(advantage)
    return new


def kl_step(games: MarkovGames, policies: np.ndarray, found: Evaluation, level: float) -> np.ndarray:
    """Every agent maximises equation 6 on its own within max_s KL <= ``level``: what IPPO's clip stands for."""
    own = [tabular.own(found.advantage, policies, i) for i in range(games.agents)]
    steps = [trust_region.best_at(policies[:, i], w, found.visitation, level) for i, w in enumerate(own)]
    return np.stack([step.policy for step in steps], axis=1)


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    p = parameters
    _coordination(records, np.linspace(0, 1, p.points))
    for place, agents in enumerate(p.agents):
        stream = generator(seeds[0], f"simultaneous {agents}")
        games = draw(stream, p.games, states=p.states, agents=agents, actions=p.actions, gamma=p.gamma)
        policies = tabular.random_policies(stream, games)
        found = tabular.evaluate(games, tabular.product(policies))
        where = {"series": f"N = {agents}", "game": place * p.games + np.arange(p.games)}
        for name, sequential in (("at_once", False), ("in_turn", True)):
            for size in p.sizes:
                moved = _change(games, found, mixture_step(games, policies, found, size, sequential))
                records.add(f"lowers_{name}", value=moved < 0, x=size, **where)
            # The last size is the greedy policy itself.
            records.add(f"greedy_change_{name}", value=moved, **where)
        for level in p.levels:
            moved = _change(games, found, kl_step(games, policies, found, level))
            records.add("kl_step_lowers", value=moved < 0, x=level, **where)


def _coordination(records: Records, sizes: np.ndarray) -> None:
    games, policies = coordination_game()
    found = tabular.evaluate(games, tabular.product(policies))
    for name, sequential in (("both at once", False), ("one after the other", True)):
        moved = [_change(games, found, mixture_step(games, policies, found, size, sequential)) for size in sizes]
        records.add("coordination_return", name, found.returns + np.ravel(moved), x=sizes)
        records.add("coordination_change", name, moved[-1])


def _change(games: MarkovGames, found: Evaluation, new: np.ndarray) -> np.ndarray:
    """J(new) - J(old): [G]."""
    return tabular.evaluate(games, tabular.product(new)).returns - found.returns
