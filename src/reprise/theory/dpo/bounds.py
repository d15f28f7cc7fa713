"""Lemma 3.1 and theorem 3.2 of the DPO paper over random games: margins, how much of each bound is used, and which step
of the proofs gives away how much."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames, draw
from reprise.theory import tabular
from reprise.theory.dpo import surrogates
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.tabular import Evaluation

STEPS = ("change of J", "(3)", "(13)", "(14)", "(15)", "(16)")  # of the proof of theorem 3.2


def pairs(stream: np.random.Generator, games: MarkovGames, near: bool) -> tuple[np.ndarray, np.ndarray]:
    """Old and new policies [G, N, S, A]: independent draws, or new ones a step of 0.001 to 0.1 away from the old."""
    old, other = (tabular.random_policies(stream, games) for _ in range(2))
    if not near:
        return old, other
    step = 10 ** stream.uniform(-3, -1, (games.count, games.agents, 1, 1))
    return old, (1 - step) * old + step * other


def _share(part: np.ndarray, bound: np.ndarray) -> np.ndarray:
    """part / bound; a bound below 1e-6 belongs to policies that differ by rounding only."""
    return part / np.maximum(bound, 1e-6)


def lemma(
    found: Evaluation, old: np.ndarray, new: np.ndarray, r_max: np.ndarray, gamma: float
) -> dict[str, np.ndarray]:
    """Lemma 3.1, each [G]: the smallest margin over the agents, and the largest ratio of its two sides.

    The margin is that of |L_joint - L_i|, which the proof bounds, so it covers equation 8 and its mirror image.
    """
    gap = np.abs(surrogates.joint_surrogate(found, new)[:, None] - surrogates.own_surrogates(found, old, new))
    bound = surrogates.lemma_3_1(surrogates.divergences_of(old, new), r_max, gamma)
    return {"margin": (bound - gap).min(axis=1), "ratio": _share(gap, bound).max(axis=1)}


def theorem(
    found: Evaluation,
    returns: np.ndarray,
    old: np.ndarray,
    new: np.ndarray,
    r_max: np.ndarray,
    gamma: float,
    root_only: bool = False,
) -> dict[str, np.ndarray]:
    """Theorem 3.2 as mean L_i - (J(new) - J(old)) <= penalty, each [G]: the margin and the ratio of the two sides.

    ``root_only`` leaves the term with C out of the penalty.
    """
    excess = surrogates.own_surrogates(found, old, new).mean(axis=1) - (returns - found.returns)
    divergences = surrogates.divergences_of(old, new)
    bound = surrogates.penalty(divergences, r_max, gamma)
    if root_only:
        bound = bound - surrogates.c(r_max, gamma) * divergences.sum(axis=1)
    return {"margin": bound - excess, "ratio": _share(excess, bound)}


def without_root(found: Evaluation, returns: np.ndarray, old: np.ndarray, new: np.ndarray, r_max, gamma: float):
    """Ours, J(new) - J(old) >= sum_i (L_i - constant K_i), in the same form."""
    excess = surrogates.own_surrogates(found, old, new).sum(axis=1) - (returns - found.returns)
    bound = surrogates.c_without_root(r_max, gamma, old.shape[1]) * surrogates.divergences_of(old, new).sum(axis=1)
    return {"margin": bound - excess, "ratio": _share(excess, bound)}


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    p = parameters
    first = 0
    for agents in p.agents:
        for states, actions in zip(p.states, p.actions, strict=True):
            for gamma in p.gammas:
                for near in (True, False):
                    stream = generator(seeds[0], f"bounds {agents} {states} {gamma} {near}")
                    games = draw(
                        stream, p.games, states=states, agents=agents, actions=actions, gamma=gamma,
                        concentration=p.concentration,
                    )  # fmt: skip
                    old, new = pairs(stream, games, near)
                    _record(records, games, old, new, "near" if near else "far", first + np.arange(p.games))
                    first += p.games


def _record(records: Records, games: MarkovGames, old: np.ndarray, new: np.ndarray, distance: str, numbers) -> None:
    gamma, agents, r_max = games.gamma, games.agents, surrogates.reward_bound(games)
    found = tabular.evaluate(games, tabular.product(old))
    after = tabular.evaluate(games, tabular.product(new)).returns
    series = f"N = {agents}, γ = {gamma:g}, {distance}"
    for name, result in (
        ("lemma_3_1", lemma(found, old, new, r_max, gamma)),
        ("theorem_3_2", theorem(found, after, old, new, r_max, gamma)),
        ("without_root", without_root(found, after, old, new, r_max, gamma)),
    ):
        records.add(f"{name}_margin", series, result["margin"], game=numbers)
        records.add(f"{name}_ratio", series, result["ratio"], game=numbers)
    sides = [after - found.returns, *surrogates.chain(found, old, new, r_max, gamma).values()]
    total = sides[0] - sides[-1]
    for place in range(1, len(sides)):
        slack = sides[place - 1] - sides[place]
        step = f"{STEPS[place - 1]} to {STEPS[place]}"
        records.add("step_margin", f"{step}, {distance}", slack, game=numbers)
        records.add("step_share", f"{step}, {distance}", slack / total, game=numbers)
    # The steps of the proof of lemma 3.1: M against |A|, and Pinsker's inequality with its lost factor 1/2.
    largest = np.abs(found.advantage).max(axis=(1, 2))
    records.add("m_margin", series, surrogates.m(r_max, gamma) - largest, game=numbers)
    records.add("advantage_over_m", series, largest / surrogates.m(r_max, gamma), game=numbers)
    joint_old, joint_new = tabular.product(old), tabular.product(new)
    variation = 0.5 * np.abs(joint_new - joint_old).sum(axis=2).max(axis=1)
    divergence = tabular.max_kl(joint_old, joint_new)
    records.add("pinsker_margin", series, divergence / 2 - variation**2, game=numbers)
    records.add("tv_squared_over_kl", series, variation**2 / divergence, game=numbers)
    for name, margin in planted(found, after, old, new, r_max, gamma).items():
        records.add(f"planted_{name}_margin", series, margin, game=numbers)


def planted(
    found: Evaluation, returns: np.ndarray, old: np.ndarray, new: np.ndarray, r_max: np.ndarray, gamma: float
) -> dict[str, np.ndarray]:
    """Margins [G] of wrong versions, which must be negative somewhere: theorem 3.2 without its root term, and with
    one agent's penalty instead of the sum; the step to equation 14 with (N - 1) / N in the place of its root."""
    agents = old.shape[1]
    divergences = surrogates.divergences_of(old, new)
    excess = surrogates.own_surrogates(found, old, new).mean(axis=1) - (returns - found.returns)
    linear = surrogates.c(r_max, gamma)[:, None] * divergences
    one = surrogates.m_hat(r_max, gamma, agents) * np.sqrt(divergences[:, 0]) + linear[:, 0]
    rootless = surrogates.m_tilde(r_max, gamma) * (agents - 1) / agents * np.sqrt(divergences.sum(axis=1))
    return {
        "no_root": linear.sum(axis=1) - excess,
        "one_agent": one - excess,
        "step": rootless - surrogates.lemma_3_1(divergences, r_max, gamma).mean(axis=1),
    }
