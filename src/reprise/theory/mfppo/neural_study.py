"""MF-PPO's algorithm 1 with neural critics and actors on the crowding game: gaps, errors, lemma 4.3 and theorem 4.1.

A run is a number of iterations K, a number N of sampled agents and a seed; the runs of one K learn side by side.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.mean_field import MeanFieldMDP, crowding
from reprise.theory.mfppo import constants, neural, neural_errors, neural_lemma, values
from reprise.theory.mfppo.neural_updates import Schedule, Start, initialise
from reprise.theory.study import Parameters, Records, generator


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Series are "N = 20" with x = K, or "N = 20, K = 64" with x = k for what is measured at every iteration.

    min_gap, average_gap, final_gap: L(pi*) - L(pi_k); sampled_gap: pi_K's when it acts on N sampled agents;
    theorem_bound, theorem_margin: theorem 4.1 with the measured errors in the derived reading of lemma 4.3;
    theorem_bound_of_errors: its part that the errors make; critic_error_along, actor_error_along: lemmas 4.1 and 4.2;
    {reading}_recursion_margin, {reading}_{step}_ratio: lemma 4.3 at every k; budget_gap: the final gap with x = T.
    "single sample" is the paper's batch of 1.
    """
    mdp = crowding()
    schedule = Schedule(parameters.steps, parameters.rate, parameters.batch)
    for iterations in parameters.iterations:
        _record(mdp, parameters, iterations, parameters.agents, schedule, seeds, records)
    single = Schedule(parameters.single_steps, parameters.single_rate, 1)
    several = [parameters.single_agents]
    _record(mdp, parameters, parameters.single_iterations, several, single, seeds, records, ", single sample")
    for steps in parameters.budget_steps:
        schedule = Schedule(steps, parameters.rate, parameters.batch)
        _budget(mdp, parameters, schedule, seeds, records)


Runs = Sequence[tuple[int, int]]  # (N, seed) of every replicate


def _run(mdp: MeanFieldMDP, parameters: Parameters, iterations: int, runs: Runs, schedule: Schedule, name: str):
    """`trace` of ``runs``; ``name`` keeps their random numbers apart from other runs'."""
    start = initialise(mdp, [generator(seed, "start") for _, seed in runs], parameters.width, parameters.radius)
    random = [generator(seed, f"N = {n}, K = {iterations}, {name}") for n, seed in runs]
    return trace(mdp, start, iterations, parameters.upsilon, [n for n, _ in runs], schedule, random)


def _final_gap(mdp: MeanFieldMDP, last: neural.Made) -> np.ndarray:
    """L(pi*) - L(pi_K) [R]."""
    best = values.optimum(mdp)
    return values.performance(best.law, best.value - values.evaluate(mdp, last.step.following)[0])


def _budget(
    mdp: MeanFieldMDP, parameters: Parameters, schedule: Schedule, seeds: Sequence[int], records: Records
) -> None:
    """The final gap with T inner steps."""
    runs = [(n, seed) for n in parameters.agents for seed in seeds]
    _, last = _run(mdp, parameters, parameters.budget_iterations, runs, schedule, f"T = {schedule.steps}")
    for (n, seed), gap in zip(runs, _final_gap(mdp, last), strict=True):
        records.add("budget_gap", f"N = {n}", gap, x=schedule.steps, seed=seed)


def _record(
    mdp: MeanFieldMDP,
    parameters: Parameters,
    iterations: int,
    agents: Sequence[int],
    schedule: Schedule,
    seeds: Sequence[int],
    records: Records,
    suffix: str = "",
) -> None:
    """Everything measured along one K."""
    runs = [(n, seed) for n in agents for seed in seeds]
    found, last = _run(mdp, parameters, iterations, runs, schedule, f"main{suffix}")
    final = _final_gap(mdp, last)
    gaps = np.vstack([found["optimality"] / (1 - mdp.gamma), final])  # [K + 1, R]
    errors = found["derived_errors"].sum(axis=0)
    bound = [
        constants.theorem_4_1(parameters.upsilon, iterations, mdp.gamma, mdp.meta_actions, found["derived_m"][0], e)
        for e in (errors, 0.0)
    ]
    ends = {
        "min_gap": gaps.min(axis=0),
        "average_gap": gaps[:-1].mean(axis=0),
        "final_gap": final,
        "sampled_gap": sampled_gap(mdp, last, [n for n, _ in runs]),
        "theorem_bound": bound[0],
        "theorem_bound_of_errors": bound[0] - bound[1],
        "theorem_margin": bound[0] - gaps.min(axis=0),
    }
    along = {"gap": gaps, "critic_error_along": found["evaluation"], "actor_error_along": found["improvement"]}
    along |= {name: value for name, value in found.items() if name.endswith(("margin", "ratio"))}
    for r, (n, seed) in enumerate(runs):
        for quantity, value in ends.items():
            records.add(quantity, f"N = {n}{suffix}", value[r], x=iterations, seed=seed)
        for quantity, value in along.items():
            name = f"N = {n}, K = {iterations}{suffix}"
            records.add(quantity, name, value[:, r], x=np.arange(len(value)), seed=seed)


def trace(
    mdp: MeanFieldMDP,
    start: Start,
    iterations: int,
    upsilon: float,
    agents: Sequence[int],
    schedule: Schedule,
    random: Sequence[np.random.Generator],
) -> tuple[dict[str, np.ndarray], neural.Made]:
    """Algorithm 1 measured at every iteration: {name: [K, R]}, and its last iteration."""
    initial = neural_errors.Table(mdp).mean(start.values(start.weights))
    found: dict[str, list[np.ndarray]] = {}

    def keep(name: str, value: np.ndarray) -> None:
        found.setdefault(name, []).append(value)

    for made in neural.iterate(mdp, start, iterations, upsilon, agents, schedule, random):
        step = made.step
        kl = neural_lemma.descent(step, made.log_policy, made.log_following)
        keep("optimality", neural_lemma.optimality(step))
        keep("evaluation", step.evaluation)
        keep("improvement", step.improvement)
        for name, reading in neural_lemma.readings(step, initial, start.radius).items():
            left, right = neural_lemma.recursion(step, reading, kl)
            keep(f"{name}_recursion_margin", right - left)
            for part, sides in neural_lemma.STEPS.items():
                left, right = sides(step, reading)
                keep(f"{name}_{part}_ratio", left / right)
            keep(f"{name}_errors", reading.first + reading.second)
            keep(f"{name}_m", reading.m)
    return {name: np.array(value) for name, value in found.items()}, made


def sampled_gap(mdp: MeanFieldMDP, last: neural.Made, agents: Sequence[int]) -> np.ndarray:
    """Gap [R] of the last policy when it acts on N sampled agents instead of on d."""
    best = values.optimum(mdp)
    tables = [
        neural_errors.acting_on_samples(mdp, f[None], tau, n)
        for f, tau, n in zip(last.actor.average, last.step.tau, agents, strict=True)
    ]
    return values.performance(best.law, best.value - values.evaluate(mdp, np.concatenate(tables))[0])
