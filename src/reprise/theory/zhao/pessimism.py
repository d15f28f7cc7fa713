"""Off-policy multi-agent PPO of Zhao et al., section 5, with pessimistic evaluation and without.

The experiment is ours: the paper proves what pessimism guarantees and shows none. On random cooperative games the
policies of all agents move by the mirror step on localised values (section 4) that are estimated from a fixed data set,
either as a lower bound (``lower_bound.py``), Bellman-consistently (``bellman_consistent.py``), or plainly. The policies
are tabular and the step is exact, so that nothing but the evaluation differs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.zhao import conditional, features, offline
from reprise.theory.zhao.bellman_consistent import Ball, Box
from reprise.theory.zhao.games import draw
from reprise.theory.zhao.lower_bound import RidgeBound, priors

PESSIMISTIC, CONSISTENT = "count bound", "Bellman-consistent"
PLAIN, SHRUNK, OPTIMISTIC = "plain", "plain, ridge to zero", "optimistic"


class Outcome(NamedTuple):
    """Of the last policy, all [B]: its return; the share of pairs (s, a) at which the estimate exceeds Q^pi; whether it
    exceeds the return at the first state; how far the evaluation was from solving its equations."""

    returns: np.ndarray
    violations: np.ndarray
    start_violation: np.ndarray
    residual: np.ndarray


def ascent(games: MarkovGames, evaluation: Callable, iterations: int, beta: float) -> Outcome:
    """MA-PPO for K = ``iterations`` steps with beta_k = beta sqrt(K), from uniform policies; ``evaluation`` maps a
    joint policy [B, S, J] to its estimated values [B, S, J]."""
    logits = conditional.zero_logits(games)
    for _ in range(iterations):
        policies = conditional.softmax(logits)
        values = evaluation(conditional.joint(policies))
        logits = conditional.mirror_step(logits, conditional.localised(values, policies), beta * np.sqrt(iterations))
    joint = conditional.joint(conditional.softmax(logits))
    estimate, truth = evaluation(joint), tabular.evaluate(games, joint)
    start = (games.initial * (joint * estimate).sum(axis=2)).sum(axis=1)
    above = (estimate > truth.q + 1e-9).mean(axis=(1, 2))
    return Outcome(truth.returns, above, (start > truth.returns + 1e-9).astype(float), evaluation.residual)


class Task(NamedTuple):
    """Data sets of one coverage with one kind of features; B = sizes x games, ``phi`` None for one-hot features."""

    games: MarkovGames
    data: offline.Data
    phi: np.ndarray | None


def bound(p: Parameters, task: Task, penalty: float, prior: str) -> RidgeBound:
    """The ridge estimate with ``penalty`` times the count bonus taken off (c of the figure)."""
    rows, states, joint = task.data.pairs.shape
    return RidgeBound(
        task.data,
        features.one_hot(rows, states * joint) if task.phi is None else task.phi,
        gamma=task.games.gamma,
        ridge=p.ridge,
        penalty=penalty,
        prior=priors(task.games.gamma)[prior],
        value_limit=1 / (1 - task.games.gamma),
        sweeps=p.sweeps,
        tolerance=p.tolerance,
    )


def consistent(p: Parameters, task: Task, weight: float) -> Box | Ball:
    """The Bellman-consistent estimate with lambda = ``weight`` sqrt(n)."""
    limit = 1 / (1 - task.games.gamma)
    common = {"gamma": task.games.gamma, "weight": weight * np.sqrt(task.data.size)}
    if task.phi is None:
        return Box(task.data, task.games.initial, value_limit=limit, **common)
    return Ball(task.data, task.games.initial, task.phi, radius=p.radius * limit, **common)


def evaluations(p: Parameters) -> dict[str, Callable[[Task], Callable]]:
    """What the figure compares; the last is a planted wrong one, with the sign of the bonus turned."""
    return {
        PESSIMISTIC: lambda task: bound(p, task, p.penalty, "zero"),
        CONSISTENT: lambda task: consistent(p, task, p.weight),
        PLAIN: lambda task: bound(p, task, 0.0, "neutral"),
        SHRUNK: lambda task: bound(p, task, 0.0, "zero"),
        OPTIMISTIC: lambda task: bound(p, task, -p.penalty, "neutral"),
    }


def tasks(parameters: Parameters, seed: int) -> tuple[MarkovGames, np.ndarray, dict[str, Task]]:
    """The games, their best returns [G], and the tasks: every coverage with one-hot features, and with misspecified
    ones but for the control that the data never show the optimum."""
    p = parameters
    games = draw(generator(seed, "games"), p, p.agents)
    best, policy = tabular.optimum(games)
    repeated = games.chosen(np.tile(np.arange(p.games), len(p.sizes)))
    entries = games.states * games.joint_actions
    phi = features.random_directions(generator(seed, "features"), p.games, entries, p.dimension)
    phi = np.tile(phi, (len(p.sizes), 1, 1))
    found = {}
    for coverage in offline.COVERAGES:
        behaviour = offline.behaviour(generator(seed, "behaviour"), policy, coverage, p.others, p.elsewhere)
        data = offline.collect(generator(seed, f"data {coverage}"), games, behaviour, p.sizes, p.noise)
        found[coverage] = Task(repeated, data, None)
        if coverage != "removed":
            found[f"{coverage}, misspecified"] = Task(repeated, data, phi)
    return games, best, found


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Record gaps, differences of gaps, violations of the lower bound and sensitivities, game by game."""
    for seed in seeds:
        _, best, found = tasks(parameters, seed)
        for name, task in found.items():
            _compare(parameters, seed, name, task, best, records)
        _sensitivity(parameters, seed, found["partial"], best, records)


def _compare(p: Parameters, seed: int, name: str, task: Task, best: np.ndarray, records: Records) -> None:
    """Every evaluation on the data of one coverage. Quantities are named gap_partial, gap_full_misspecified, ..."""
    games, sizes = np.arange(p.games), np.array(p.sizes, dtype=float)[:, None]
    ending = name.replace(", ", "_")
    gaps = {}

    def add(quantity: str, series: str, value: np.ndarray) -> None:
        records.add(f"{quantity}_{ending}", series, value, x=sizes, game=games, seed=seed)

    for label, build in evaluations(p).items():
        outcome = ascent(task.games, build(task), p.iterations, p.beta)
        grid = [part.reshape(len(p.sizes), p.games) for part in outcome]
        gaps[label] = best - grid[0]
        add("gap", label, gaps[label])
        add("resolved_gap", label, np.maximum(gaps[label], p.resolution))
        add("violations", label, grid[1])
        add("start_violation", label, grid[2])
        add("residual", label, grid[3])
    for label in (PESSIMISTIC, CONSISTENT, OPTIMISTIC):
        for other in (PLAIN, SHRUNK):
            add("advantage", f"{label} over {other}", gaps[other] - gaps[label])


def _sensitivity(p: Parameters, seed: int, task: Task, best: np.ndarray, records: Records) -> None:
    """The gap against c, for each prior, and against lambda / sqrt(n); partial coverage, one data size."""
    where = p.sizes.index(p.sensitivity_size)
    rows = slice(where * p.games, (where + 1) * p.games)
    data = offline.Data(task.data.pairs[rows], task.data.moves[rows], task.data.rewards[rows])
    one = Task(task.games.chosen(np.arange(p.games)), data, None)

    def add(quantity: str, series: str, x: float, evaluation: Callable) -> None:
        outcome = ascent(one.games, evaluation, p.iterations, p.beta)
        records.add(f"gap_{quantity}", series, best - outcome.returns, x=x, game=np.arange(p.games), seed=seed)
        records.add(f"violations_{quantity}", series, outcome.violations, x=x, game=np.arange(p.games), seed=seed)

    for prior in priors(p.gamma):
        for penalty in (0.0, *p.penalties):
            add("by_penalty", prior, penalty, bound(p, one, penalty, prior))
    for weight in p.weights:
        add("by_weight", CONSISTENT, weight, consistent(p, one, weight))
