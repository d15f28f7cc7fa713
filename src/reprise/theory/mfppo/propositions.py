"""Propositions 2.1, 2.2, 3.1 and 3.2 of MF-PPO as identities, and what proposition 2.1 leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import log10

import numpy as np

from reprise.environments import markov_games
from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.mfppo import counting, mirror_step, policy_classes, symmetry
from reprise.theory.study import Parameters, Records, generator

ACTIONS = 2  # per agent, in every game of this study


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Errors of the identities per game or case; x is the number of agents where the quantity is a count."""
    for seed in seeds:
        for agents, local_states, games in zip(
            parameters.agents, parameters.local_states, parameters.games, strict=True
        ):
            random = generator(seed, f"symmetry, {agents} agents, {local_states} states")
            drawn = markov_games.draw(
                random, games, states=local_states**agents, agents=agents, actions=ACTIONS, gamma=parameters.gamma
            )
            _symmetry(records, seed, random, drawn, local_states)
            few = drawn.chosen(np.arange(min(games, parameters.class_games)))
            _classes(records, seed, random, few, local_states, parameters)
        _anti_coordination(records, seed, parameters)
        _steps(records, seed, parameters)
    _counts(records, parameters)


def size(agents: int, local_states: int) -> str:
    return f"N = {agents}, |S| = {local_states}"


def _symmetry(records: Records, seed: int, random: np.random.Generator, drawn: MarkovGames, local_states: int) -> None:
    """Propositions 2.1 and 2.2 on the drawn games, symmetrised, and on the same games as they were drawn."""
    everyone = symmetry.group(local_states, ACTIONS, drawn.agents)
    games = symmetry.symmetrised(drawn, everyone)
    _, policy = tabular.optimum(games)
    best = tabular.evaluate(games, policy)
    averaged = tabular.evaluate(games, symmetry.invariant(policy, everyone))
    joint = random.dirichlet(np.full(games.joint_actions, 0.5), (games.count, games.states))
    some, other = (tabular.evaluate(games, each) for each in (symmetry.invariant(joint, everyone), joint))
    raw = tabular.evaluate(drawn, tabular.optimum(drawn)[1])
    classes = symmetry.histograms(local_states, drawn.agents)
    at = {"game": np.arange(games.count), "seed": seed}
    name = size(drawn.agents, local_states)
    for label, error in {
        "V*": symmetry.change(best.value, everyone),
        "Q*": symmetry.change(best.q, everyone),
        "V of an invariant policy - V*": np.abs(averaged.value - best.value).max(axis=1),
        "V of invariant policies": symmetry.change(some.value, everyone),
        "Q of invariant policies": symmetry.change(some.q, everyone),
    }.items():
        records.add("proposition_2_1_error", f"{label}, {name}", error, **at)
    records.add("asymmetric_game_error", f"V*, {name}", symmetry.change(raw.value, everyone), **at)
    records.add("proposition_2_2_error", name, within(some.value, classes), **at)
    records.add("other_policy_error", name, within(other.value, classes), **at)


def within(value: np.ndarray, classes: list[np.ndarray]) -> np.ndarray:
    """Largest difference [G] of V [G, S] within any class of joint states."""
    return np.max([np.ptp(value[:, members], axis=1) for members in classes], axis=0)


def _classes(
    records: Records,
    seed: int,
    random: np.random.Generator,
    drawn: MarkovGames,
    local_states: int,
    parameters: Parameters,
) -> None:
    """What narrower classes of invariant policies lose on symmetric games, as a share of best minus worst return."""
    everyone = symmetry.group(local_states, ACTIONS, drawn.agents)
    games = symmetry.symmetrised(drawn, everyone)
    games = replace(games, initial=np.full_like(games.initial, 1 / games.states))
    best, _ = tabular.optimum(games)
    worst = -tabular.optimum(replace(games, rewards=-games.rewards))[0]
    search = {"starts": parameters.class_starts, "steps": parameters.class_steps, "step": parameters.class_step}
    for label, reached in {
        "invariant and deterministic": policy_classes.deterministic(games, everyone),
        "factorised, shared": policy_classes.factorised(games, local_states, random, **search),
    }.items():
        loss = (best - reached) / (best - worst)
        records.add(
            "class_loss", f"{label}, {size(games.agents, local_states)}", loss, game=np.arange(games.count), seed=seed
        )


def _anti_coordination(records: Records, seed: int, parameters: Parameters) -> None:
    """Two agents, one state, reward 1 for different actions: invariant policies must randomise, and together."""
    games = MarkovGames(
        rewards=np.array([[[0.0, 1.0, 1.0, 0.0]]]),
        transitions=np.ones((1, 1, 4, 1)),
        initial=np.ones((1, 1)),
        agents=2,
        actions=ACTIONS,
        gamma=parameters.gamma,
    )
    _classes(records, seed, generator(seed, "anti-coordination"), games, 1, parameters)


def _counts(records: Records, parameters: Parameters) -> None:
    """Proposition 3.1: the printed sum against enumeration, its order in N, and the size without invariance."""
    far = max(parameters.doublings)
    for states in parameters.count_states:
        name = f"|S| = {states}"
        for agents in parameters.count_agents:
            count = counting.enumerated(states, agents)
            records.add("proposition_3_1_error", name, float(counting.printed(states, agents) - count), x=agents)
            records.add("wrong_count_error", name, float(counting.off_by_one(states, agents) - count), x=agents)
        for agents in parameters.doublings:
            slope = counting.exponent(states, agents)
            records.add("exponent", name, slope, x=agents)
            if agents == far:
                records.add("order_error", name, abs(slope - (states - 1)), x=agents)
                records.add("printed_order_error", name, abs(slope - states), x=agents)
    states = max(parameters.count_states)
    maps = ACTIONS**states
    for agents in parameters.doublings:
        invariant = counting.printed(states, agents) * states * maps
        if agents <= parameters.shown_agents:
            records.add("log10_inputs", "invariant (proposition 3.1)", log10(invariant), x=agents)
            every = (agents + 1) * log10(states) + log10(maps)
            records.add("log10_inputs", "not invariant, the same inputs", every, x=agents)
            records.add("log10_inputs", "not invariant, as printed", agents * log10(states * maps), x=agents)


def _steps(records: Records, seed: int, parameters: Parameters) -> None:
    """Proposition 3.2: an exact certificate of optimality, and a general solver's answer."""
    random = generator(seed, "mirror step")
    problems = mirror_step.draw(random, parameters.cases, parameters.meta_actions)
    others = random.dirichlet(np.ones(parameters.meta_actions), (parameters.alternatives, parameters.cases))
    case = np.arange(parameters.cases)
    for quantity, policy in (
        ("proposition_3_2_error", mirror_step.closed(problems)),
        ("wrong_step_error", mirror_step.without_temperature(problems)),
    ):
        error = mirror_step.certificate(problems, policy, others)
        records.add(quantity, "certificate", error, game=case, seed=seed)
    few = mirror_step.Problems(*(part[: parameters.solved_cases] for part in problems))
    distance = np.abs(mirror_step.solved(few) - mirror_step.closed(few)).max(axis=1)
    records.add("solver_distance", "largest probability", distance, game=case[: parameters.solved_cases], seed=seed)
