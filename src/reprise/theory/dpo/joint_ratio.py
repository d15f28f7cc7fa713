"""Appendix D: clipping each agent's own ratio (IPPO) against clipping the joint ratio, exactly, for one update.

Five updates of the same product policy with exact advantages; eps is the clip, u_i = pi_i / pi_old_i, U = prod_i u_i:

    own       E[min(u_i A_i, clip(u_i) A_i)]      IPPO with the advantage of equation 6
    sampled   E[min(u_i A, clip(u_i) A)]          the same with the advantage of the joint action, as samples give it
    shrunk    as own, with the clip (1 + eps)^(1/N) - 1: what an agent alone can do for the joint ratio
    joint     E[min(U A, clip(U) A)]              the form that follows PPO; needs the others' ratios
    box       max E[u_i A_i] with |u_i - 1| <= eps   own ratios strictly inside the clip

The first four by many small steps of mirror ascent for all agents at once, the last one exactly. Two families of
games: random ones, and crowding games, where agents that do the same get in each other's way and the old policies
split almost evenly, so that what is better for each alone is worse for all at once.

Shapes: policies [G, N, S, A]; advantage [G, S, J].
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from reprise.environments import markov_games
from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.dpo.hinge import clip_slope, own_advantages
from reprise.theory.study import Parameters, Records, generator

UPDATES = {
    "own": "own ratio",
    "sampled": "own ratio, joint advantage",
    "shrunk": "own ratio, shrunk clip",
    "joint": "joint ratio",
    "box": "own ratio, box",
}


def slopes(update: str, policies, old, advantage, own, clip: float) -> np.ndarray:
    """Derivative of each agent's objective by its probabilities pi_i(a|s), over rho(s): [G, N, S, A].

    ``own`` [G, N, S, A] are the agents' A_i. Each agent's derivative reaches its own policy only.
    """
    agents = range(policies.shape[1])
    if update in ("own", "shrunk"):
        return clip_slope(policies / old, own, clip)
    if update == "joint":
        active = clip_slope(tabular.product(policies) / tabular.product(old), advantage, clip)
        return np.stack([tabular.own(active, policies, agent) for agent in agents], axis=1)
    parts = []
    for agent in agents:
        ratio = np.ones_like(old)
        ratio[:, agent] = policies[:, agent] / old[:, agent]
        parts.append(tabular.own(clip_slope(tabular.product(ratio), advantage, clip), old, agent))
    return np.stack(parts, axis=1)


def shrunk(clip: float, agents: int) -> float:
    """The clip for each own ratio that keeps the product of N of them below 1 + eps."""
    return (1 + clip) ** (1 / agents) - 1


def ascend(update: str, old, advantage, own, parameters: Parameters) -> np.ndarray:
    """Mirror ascent, pi <- pi exp(step * slope / sd) normalised, sd the deviation of the game's A_i; no logit moves by
    more than ``largest`` in a step. The objective `own` is concave: it ends at a maximum, up to the size of a step."""
    policies, clip = old.copy(), parameters.clip
    if update == "shrunk":
        clip = shrunk(clip, old.shape[1])
    deviation = own.std(axis=(1, 2, 3), keepdims=True)
    for _ in range(parameters.steps):
        slope = slopes(update, policies, old, advantage, own, clip)
        length = np.abs(slope).max(axis=(1, 2, 3), keepdims=True)
        policies *= np.exp(slope / np.maximum(deviation / parameters.step, length / parameters.largest))
        policies /= policies.sum(axis=-1, keepdims=True)
    return policies


def box(old: np.ndarray, own: np.ndarray, clip: float) -> np.ndarray:
    """The policies [G, N, S, A] of greatest E[u_i A_i] with 1 - eps <= u_i <= 1 + eps.

    Every action gives up the share eps of its probability; the best ones take it back, up to twice their own."""
    order = np.argsort(-own, axis=-1)
    room = 2 * clip * np.take_along_axis(old, order, axis=-1)
    before = np.cumsum(room, axis=-1) - room
    taken = np.clip(clip - before, 0.0, room)
    policies = (1 - clip) * old
    np.put_along_axis(policies, order, np.take_along_axis(policies, order, axis=-1) + taken, axis=-1)
    return policies


def crowded(games: MarkovGames, share: float) -> MarkovGames:
    """``games`` with ``share`` of the reward replaced by the crowding one: 1 for the most even split of the agents over
    actions, -1 where all do the same (minus the sum of the squared numbers of agents per action, scaled)."""
    chosen = np.indices((games.actions,) * games.agents).reshape(games.agents, -1)
    load = np.stack([(chosen == action).sum(axis=0) for action in range(games.actions)])
    crowd = -(load**2).sum(axis=0).astype(float)
    crowd = 2 * (crowd - crowd.min()) / np.ptp(crowd) - 1
    return replace(games, rewards=share * crowd + (1 - share) * games.rewards)


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """One update of each kind for N agents: where the joint ratio ends, and what the return does."""
    for agents in parameters.agents:
        records.add("ratio_bound", "1 + ε", 1 + parameters.clip, x=agents)
        records.add("ratio_bound", "(1 + ε)ᴺ", (1 + parameters.clip) ** agents, x=agents)
        for family in ("random", "crowding"):
            draws = generator(seeds[0], f"joint ratio, {family}, N = {agents}")
            games = markov_games.draw(
                draws,
                parameters.games,
                states=parameters.states,
                agents=agents,
                actions=parameters.actions,
                gamma=parameters.gamma,
            )
            concentration = 1.0
            if family == "crowding":
                games, concentration = crowded(games, parameters.crowding), parameters.evenness
            old = tabular.random_policies(draws, games, concentration, floor=parameters.floor)
            measure(parameters, games, old, family, records)


def measure(parameters: Parameters, games: MarkovGames, old: np.ndarray, family: str, records: Records) -> None:
    """Every update from ``old``. Gains are in units of optimum minus the old return."""
    clip, rounding = parameters.clip, parameters.tolerance
    found, before = tabular.evaluate(games, tabular.product(old)), tabular.product(old)
    own = own_advantages(found, old)
    room = tabular.optimum(games)[0] - found.returns
    here = {"x": games.agents, "game": np.arange(games.count)}
    for update, label in UPDATES.items():
        new = box(old, own, clip) if update == "box" else ascend(update, old, found.advantage, own, parameters)
        after = tabular.product(new)
        gain = (tabular.evaluate(games, after).returns - found.returns) / room
        joint, single = after / before, new / old
        outside = np.abs(joint - 1) > clip + rounding
        records.add("gain", f"{label}, {family}", gain, **here)
        records.add("lowers", f"{label}, {family}", gain < -rounding, **here)
        records.add("outside", f"{label}, {family}", (before * outside).sum(axis=2).mean(axis=1), **here)
        records.add("largest_ratio", f"{label}, {family}", joint.max(axis=(1, 2)), **here)
        if update == "box":
            records.add("own_inside_margin", family, 1 + clip - single.max(axis=(1, 2, 3)), **here)
            records.add("power_margin", family, (1 + clip) ** games.agents - joint.max(axis=(1, 2)), **here)
            records.add("joint_inside_margin", family, 1 + clip - joint.max(axis=(1, 2)), **here)
