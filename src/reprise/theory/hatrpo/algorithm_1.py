"""HATRPO's algorithm 1, theorems 2 and 3, run exactly over random games.

What is asked: does the return ever fall (theorem 2), by how much may the penalty be scaled down, where does the
algorithm stop (theorem 3), and which of the theorems' assumptions are needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames, draw
from reprise.theory.hatrpo.policy_iteration import iterate, log_spaced, order_of, repeated, update
from reprise.theory.hatrpo.surrogates import penalty_coefficient
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.tabular import evaluate, nash_gap, optimum, own, product, random_policies

LOWERED = -1e-12  # a change of the return below this is a fall, not rounding


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Every part of the study, for all its sizes and discounts."""
    for seed in seeds:
        for gamma in parameters.gammas:
            for agents in parameters.agents:
                monotone(parameters, records, agents, gamma, seed)
            scaled_penalty(parameters, records, gamma, seed)
            deterministic(parameters, records, "stuck", gamma, seed)
        deterministic(parameters, records, "stuck_below_one_fifth", parameters.small_gamma, seed)
        for name, fixed, everybody in (
            ("random order", False, True),
            ("fixed order", True, True),
            ("one agent never updates", True, False),
        ):
            limits(parameters, records, name, fixed, everybody, seed)


def monotone(parameters: Parameters, records: Records, agents: int, gamma: float, seed: int) -> None:
    """Theorem 2: each game's smallest change of the return in one update, for algorithm 1 and for what it drops."""
    draws = generator(seed, f"monotone, N = {agents}, gamma = {gamma}")
    games, start = _games(parameters, draws, parameters.games, agents, gamma)
    variants = {
        "algorithm_1": {},
        "simultaneous": {"simultaneous": True},
        "no_penalty": {"kappa": 0.0},
        "simultaneous_no_penalty": {"simultaneous": True, "kappa": 0.0},
    }
    name, game = f"N = {agents}, γ = {gamma:g}", np.arange(games.count)
    best = optimum(games)[0]
    for variant, options in variants.items():
        path = iterate(games, start, parameters.updates, draws, parameters.floor, **options)
        steps = np.diff(path.returns, axis=1)
        records.add(f"{variant}_change", name, steps.min(axis=1), game=game, seed=seed)
        done = (path.returns[:, -1] - path.returns[:, 0]) / (best - path.returns[:, 0])
        records.add(f"{variant}_progress", name, done, game=game, seed=seed)
        if variant == "algorithm_1":
            records.add("beyond_expected", name, (steps - path.expected).min(axis=1), game=game, seed=seed)
            records.add("expected", name, path.expected.min(axis=1), game=game, seed=seed)


def scaled_penalty(parameters: Parameters, records: Records, gamma: float, seed: int) -> None:
    """How often the return falls within the updates when C is scaled by kappa: x = kappa."""
    draws = generator(seed, f"kappa, gamma = {gamma}")
    kappas = np.array([*parameters.kappas, 0.0])
    games, start = _games(parameters, draws, parameters.kappa_games, parameters.kappa_agents, gamma)
    many, starts = repeated(games, start, len(kappas))
    blind = np.broadcast_to(starts[:, :, :1], starts.shape).copy()
    game = np.arange(games.count)
    for policy_class, first in (("tabular", starts), ("blind", blind)):
        for mode in ("sequential", "simultaneous"):
            options = {"simultaneous": mode == "simultaneous", "blind": policy_class == "blind"}
            path = iterate(
                many,
                first,
                parameters.updates,
                draws,
                parameters.floor,
                kappa=np.repeat(kappas, games.count),
                **options,
            )
            worst = np.diff(path.returns, axis=1).min(axis=1).reshape(len(kappas), -1)
            name = f"{policy_class}, {mode}, γ = {gamma:g}"
            at = {"x": kappas[:, None], "game": game, "seed": seed}
            records.add("lowered", name, worst < LOWERED, **at)
            records.add("scaled_change", name, worst, **at)


def deterministic(parameters: Parameters, records: Records, quantity: str, gamma: float, seed: int) -> None:
    """Without assumption 1: can algorithm 1 leave a deterministic joint policy, and is it a Nash equilibrium?

    There KL(old_s || pi_s) = -log pi_s(a_s) >= 1 - pi_s(a_s), so that no update is worth anything as soon as
    C >= sum_s rho_s max_a w_s(a), which is at most max|A| / (1 - gamma): certain from gamma = 1/5 on. The quantity is
    the left minus the right side, the smallest over the agents.
    """
    draws = generator(seed, f"deterministic, gamma = {gamma}")
    games, _ = _games(parameters, draws, parameters.deterministic_games, parameters.kappa_agents, gamma)
    choice = draws.integers(0, games.actions, (games.count, games.agents, games.states))
    policies = np.eye(games.actions)[choice]
    found = evaluate(games, product(policies))
    penalty = penalty_coefficient(found.advantage, gamma)
    offers = [
        (found.visitation * own(found.advantage, policies, i).max(axis=2)).sum(axis=1) for i in range(games.agents)
    ]
    name, game = f"γ = {gamma:g}", np.arange(games.count)
    records.add(quantity, name, penalty - np.max(offers, axis=0), game=game, seed=seed)
    records.add(f"{quantity}_is_nash", name, nash_gap(games, policies) <= parameters.stopped, game=game, seed=seed)


def limits(parameters: Parameters, records: Records, name: str, fixed: bool, everybody: bool, seed: int) -> None:
    """Theorem 3: the Nash gap (within the eta-soft policies) along long runs, and where a run has stopped moving.

    The same games and starts for every ``name`` and kappa. A run has stopped when a whole iteration moves no
    probability by more than ``parameters.still``.
    """
    draws = generator(seed, "limits")
    games, start = _games(parameters, draws, parameters.limit_games, parameters.limit_agents, parameters.limit_gamma)
    orders = None if fixed else generator(seed, "orders of limits")
    kappas = np.array(parameters.limit_kappas)
    many, policies = repeated(games, start, len(kappas))
    kappa = np.repeat(kappas, games.count)
    when = log_spaced(parameters.limit_iterations, parameters.limit_points)
    found = evaluate(many, product(policies))
    moved = np.full(many.count, np.inf)
    gaps, residuals = [], []
    for iteration in range(parameters.limit_iterations + 1):
        if iteration in when:
            gaps.append(nash_gap(many, policies, parameters.floor))
            residuals.append(moved)
        order = order_of(orders, games.agents)
        step = update(many, found, policies, order if everybody else order[:-1], parameters.floor, kappa)
        moved = np.abs(step.policies - policies).max(axis=(1, 2, 3))
        policies, found = step.policies, evaluate(many, product(step.policies))
    gaps = np.stack(gaps, axis=1).reshape(len(kappas), games.count, -1)
    stopped = residuals[-1].reshape(len(kappas), -1) <= parameters.still
    game = np.arange(games.count)
    for k, scale in enumerate(kappas):
        series = f"{name}, κ = {scale:g}"
        records.add("nash_gap", series, gaps[k], x=when, game=game[:, None], seed=seed)
        records.add("final_nash_gap", series, gaps[k, :, -1], game=game, seed=seed)
        records.add("is_nash", series, gaps[k] <= parameters.stopped, x=when, game=game[:, None], seed=seed)
        records.add("has_stopped", series, stopped[k], game=game, seed=seed)
        at_rest = f"{name.replace(' ', '_')}_nash_gap"  # the gap of the runs that have stopped
        records.add(at_rest, series, gaps[k, stopped[k], -1], game=game[stopped[k]], seed=seed)


def _games(
    parameters: Parameters, draws: np.random.Generator, count: int, agents: int, gamma: float
) -> tuple[MarkovGames, np.ndarray]:
    """Random games and random eta-soft policies."""
    games = draw(draws, count, states=parameters.states, agents=agents, actions=parameters.actions, gamma=gamma)
    return games, random_policies(draws, games, floor=parameters.floor)
