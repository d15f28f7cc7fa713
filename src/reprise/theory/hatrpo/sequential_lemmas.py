"""HATRPO's lemma 1, equation 6, proposition 2, theorem 1 and lemma 2 over random games, beside planted errors.

Identities are recorded as the largest absolute error of a game over states, orders and subsets of agents; bounds as a
margin, left side minus right side; and how tight a bound is as what is lost over what the bound allows (1: equality).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import numpy as np

from reprise.environments.markov_games import MarkovGames, draw
from reprise.theory.hatrpo import surrogates as hatrpo
from reprise.theory.hatrpo.tightness import hardest_pairs
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.tabular import evaluate, max_kl, product, random_policies


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """All identities and bounds, for every number of agents and discount of the study."""
    for seed in seeds:
        for agents in parameters.identity_agents:
            identities(parameters, records, agents, seed)
        for agents in parameters.bound_agents:
            for gamma in parameters.gammas:
                bounds(parameters, records, agents, gamma, seed)
        for gamma in parameters.gammas:
            hardest(parameters, records, gamma, seed)


def ordered_subsets(agents: int) -> list[tuple[int, ...]]:
    """Every ordered selection of 1 to N agents (definition 1's i_1:m)."""
    return [order for size in range(1, agents + 1) for order in permutations(range(agents), size)]


def lemma_1_error(q: np.ndarray, policies: np.ndarray) -> np.ndarray:
    """Largest |left - right| of lemma 1 over states, actions and all ordered subsets: [G]."""
    errors = [
        _worst(hatrpo.subset_advantage(q, policies, [], order) - hatrpo.decomposed(q, policies, order))
        for order in ordered_subsets(policies.shape[1])
    ]
    return np.max(errors, axis=0)


def mixed_orders_error(q: np.ndarray, policies: np.ndarray) -> np.ndarray:
    """The same with the predecessors of every second agent taken from the reversed order: must not be an identity."""
    errors = []
    for order in ordered_subsets(policies.shape[1]):
        terms = [
            hatrpo.subset_advantage(q, policies, order[m + 1 :] if m % 2 else order[:m], [order[m]])
            for m in range(len(order))
        ]
        errors.append(_worst(hatrpo.subset_advantage(q, policies, [], order) - sum(terms)))
    return np.max(errors, axis=0)


def identities(parameters: Parameters, records: Records, agents: int, seed: int) -> None:
    """Lemma 1, equation 6 and proposition 2 on games of ``agents`` agents."""
    draws = generator(seed, f"identities, N = {agents}")
    games, old, new = _pairs(parameters, draws, parameters.identity_games, agents, parameters.identity_gamma)
    candidate = random_policies(draws, games, floor=parameters.floor)
    found = evaluate(games, product(old))
    errors: dict[str, list[np.ndarray]] = {
        name: [] for name in ("equation_6", "equation_6_no_minus_1", "proposition_2", "no_product", "later_agents")
    }
    for order in permutations(range(agents)):
        for place, agent in enumerate(order):
            before, rest = order[:place], order[place + 1 :]
            hat = candidate[:, agent]
            left = hatrpo.definition_surrogate(found.q, old, new, hat, before, agent)
            ratios = (found.advantage, old, new, hat)
            errors["proposition_2"].append(_worst(left - hatrpo.ratio_surrogate(*ratios, before, agent)))
            errors["no_product"].append(_worst(left - hatrpo.ratio_surrogate(*ratios, (), agent)))
            errors["later_agents"].append(_worst(left - hatrpo.ratio_surrogate(*ratios, rest, agent)))
            stays = new.copy()
            stays[:, agent] = old[:, agent]
            errors["equation_6"].append(np.abs(hatrpo.surrogate(found, old, stays, order, place)))
            # Without the -1 of equation 9 the agent is credited with what its predecessors gained.
            kept = hatrpo.ratio_surrogate(found.advantage, old, new, 2 * old[:, agent], before, agent)
            errors["equation_6_no_minus_1"].append(_worst(kept))
    name, game = f"N = {agents}", np.arange(games.count)
    records.add("lemma_1_error", name, lemma_1_error(found.q, old), game=game, seed=seed)
    records.add("lemma_1_mixed_orders_error", name, mixed_orders_error(found.q, old), game=game, seed=seed)
    for quantity, each in errors.items():
        records.add(f"{quantity}_error", name, np.max(each, axis=0), game=game, seed=seed)


def bounds(parameters: Parameters, records: Records, agents: int, gamma: float, seed: int) -> None:
    """Theorem 1 and lemma 2 for random pairs of product policies, all orders, at steps from tiny to whole."""
    draws = generator(seed, f"bounds, N = {agents}, gamma = {gamma}")
    games, old, new = _pairs(parameters, draws, parameters.bound_games, agents, gamma)
    record_bounds(records, f"N = {agents}, γ = {gamma:g}", games, old, new, seed)


def hardest(parameters: Parameters, records: Records, gamma: float, seed: int) -> None:
    """The same on two-agent games and policies searched for a small margin."""
    draws = generator(seed, f"hardest, gamma = {gamma}")
    games, old, new = hardest_pairs(
        draws, parameters.searches, parameters.search_steps, gamma, parameters.states, parameters.actions
    )
    record_bounds(records, f"searched, γ = {gamma:g}", games, old, new, seed)


def record_bounds(
    records: Records, series: str, games: MarkovGames, old: np.ndarray, new: np.ndarray, seed: int
) -> None:
    """Margins of theorem 1 and lemma 2, planted errors, and the share of the bound that is used."""
    found, game = evaluate(games, product(old)), np.arange(games.count)
    gain = evaluate(games, product(new)).returns - found.returns
    constant = hatrpo.penalty_coefficient(found.advantage, games.gamma)
    divergences = max_kl(old, new)
    penalty = constant * divergences.sum(axis=1)
    joint = hatrpo.joint_kl(product(old), product(new))
    expected = hatrpo.joint_surrogate(found, product(new))
    orders = list(permutations(range(games.agents)))
    sums = np.stack([hatrpo.surrogates(found, old, new, order).sum(axis=1) for order in orders])
    independent = hatrpo.simultaneous_surrogates(found, old, new).sum(axis=1)
    quantities = {
        "theorem_1_margin": gain - (expected - constant * joint),
        "lemma_2_margin": gain - (sums.max(axis=0) - penalty),
        "half_constant_margin": gain - (sums.max(axis=0) - penalty / 2),
        "quarter_constant_margin": gain - (sums.max(axis=0) - penalty / 4),
        "simultaneous_surrogates_margin": gain - (independent - penalty),
        "order_error": np.ptp(np.concatenate([sums, expected[None]]), axis=0),
        "kl_sum_margin": divergences.sum(axis=1) - joint,
    }
    for quantity, value in quantities.items():
        records.add(quantity, series, value, game=game, seed=seed)
    records.add("bound_used", series, (expected - gain) / penalty, game=game, seed=seed)


def _pairs(
    parameters: Parameters, draws: np.random.Generator, count: int, agents: int, gamma: float
) -> tuple[MarkovGames, np.ndarray, np.ndarray]:
    """Games, old policies, and new ones mixed with fresh ones at a share from 0.01 to 1, uniform in its logarithm."""
    games = draw(draws, count, states=parameters.states, agents=agents, actions=parameters.actions, gamma=gamma)
    old, fresh = (random_policies(draws, games, floor=parameters.floor) for _ in range(2))
    share = 10 ** draws.uniform(-2, 0, (count, 1, 1, 1))
    return games, old, (1 - share) * old + share * fresh


def _worst(values: np.ndarray) -> np.ndarray:
    """Largest absolute value of each game: [G]."""
    return np.abs(values).reshape(len(values), -1).max(axis=1)
