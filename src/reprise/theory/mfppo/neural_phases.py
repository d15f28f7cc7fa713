"""The two phases of MF-PPO's lemmas 4.1 and 4.2: errors of one critic and one actor against T, N and m.

The policy is the uniform one on the crowding game. Its Q is linear in d: assumption 1 holds, and every error is that of
the T steps, of the N agents or of the m neurons. The actor then regresses on the critic, as in algorithm 1 at k = 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.mean_field import crowding
from reprise.theory.mfppo import networks, neural_errors, values
from reprise.theory.mfppo.neural_updates import Schedule, Solution, Start, actor, critic, initialise
from reprise.theory.study import Parameters, Records, generator


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Mean squares under sigma_0 (critic) and nu_0 x uniform (actor), of the mean embedding unless said otherwise.

    critic_error, actor_error: series "N = 8", x = T; critic_error_last: of theta(T) in place of the average;
    critic_error_on_samples: of F at N sampled agents; critic_travel, actor_travel: ||theta(T) - theta_0||, beside the
    ball's radius; {..}_by_agents: the same numbers, series "T = 64", x = N;
    {..}_by_width: series "T = 4096", x = m; {..}_falling_rate: with eta proportional to T^(-1/2), x = T;
    critic_ratio, actor_ratio: log10 of the error at the smallest N over that at the largest, x = T;
    critic_limit: series "T = infinity", x = N, exact; initial_square: E F^2 at theta_0 under both prefactors, x = N;
    prefactor_error: the critic's error under both, x = N.
    """
    task = _Task(parameters, seeds, records)
    few, many = min(parameters.agents), max(parameters.agents)
    for n in parameters.agents:
        records.add("critic_limit", "T = infinity", task.limit(n), x=n)
    for steps in parameters.steps:
        found = task.measure(parameters.agents, parameters.width, Schedule(steps, parameters.rate, 1))
        for quantity, errors in found.items():
            for n, error in errors.items():
                task.add(quantity, f"N = {n}", error, steps)
                task.add(f"{quantity}_by_agents", f"T = {steps}", error, n)
        for name in ("critic", "actor"):
            ratio = np.log10(found[f"{name}_error"][few] / found[f"{name}_error"][many])
            task.add(f"{name}_ratio", f"N = {few} to {many}", ratio, steps)
        falling = Schedule(steps, min(parameters.largest_rate, parameters.falling_rate / np.sqrt(steps)), 1)
        for quantity, errors in task.measure([many], parameters.width, falling).items():
            task.add(f"{quantity}_falling_rate", f"N = {many}", errors[many], steps)
    for steps in parameters.width_steps:
        for width in parameters.widths:
            for quantity, errors in task.measure([many], width, Schedule(steps, parameters.rate, 1)).items():
                task.add(f"{quantity}_by_width", f"T = {steps}", errors[many], width)
    task.prefactors(Schedule(parameters.prefactor_steps, parameters.rate, 1))


class _Task:
    """Policy evaluation and improvement at the uniform policy, for all seeds at once."""

    def __init__(self, parameters: Parameters, seeds: Sequence[int], records: Records):
        self._mdp, self._parameters, self._seeds, self._records = crowding(), parameters, seeds, records
        self._table = neural_errors.Table(self._mdp)
        self._policy = np.full((self._mdp.states, self._mdp.meta_actions), 1 / self._mdp.meta_actions)
        self._law = values.stationary(self._mdp, self._policy)
        self._sigma = self._law[:, None] * self._policy  # also nu_0 x uniform
        self._q = values.evaluate(self._mdp, self._policy)[1]

    def add(self, quantity: str, series: str, by_seed: np.ndarray, x: float) -> None:
        for seed, value in zip(self._seeds, by_seed, strict=True):
            self._records.add(quantity, series, value, x=x, seed=seed)

    def limit(self, agents: int) -> np.ndarray:
        """The critic's error where T -> infinity [1]."""
        f = neural_errors.limit(self._mdp, self._policy[None], self._law[None], np.array([agents]))
        return neural_errors.mean_square(self._sigma, self._table.mean(f) - self._q)

    def measure(self, agents: Sequence[int], width: int, schedule: Schedule) -> dict[str, dict[int, np.ndarray]]:
        """Errors by number of agents, [seeds] each."""
        learned, improved = self._solve(agents, width, schedule)
        each = np.repeat(agents, len(self._seeds))
        bias = self._table.mean(learned.average) - self._q
        noise = self._table.variance(learned.average, each)
        square = neural_errors.mean_square
        found = {
            "critic_error": square(self._sigma, bias),
            "critic_error_on_samples": square(self._sigma, bias) + (self._sigma * noise).sum(axis=(1, 2)),
            "critic_error_last": square(self._sigma, self._table.mean(learned.last) - self._q),
            "critic_travel": learned.travel,
            "actor_error": square(self._sigma, self._table.mean(improved.average - learned.average)),
            "actor_travel": improved.travel,
        }
        return {name: dict(zip(agents, np.split(value, len(agents)), strict=True)) for name, value in found.items()}

    def _solve(self, agents: Sequence[int], width: int, schedule: Schedule) -> tuple[Solution, Solution]:
        """Algorithms 2 and 3, replicate r being number of agents r // seeds and seed r % seeds."""
        runs = [(n, seed) for n in agents for seed in self._seeds]
        start, random = self._start(runs, width, f"m = {width}, T = {schedule.steps}, eta = {schedule.rate:g}")
        numbers = [n for n, _ in runs]
        policy, law = (np.broadcast_to(each, (len(runs), *each.shape)) for each in (self._policy, self._law))
        learned = critic(self._mdp, start, policy, law, numbers, schedule, random)
        return learned, actor(self._mdp, start, learned.average, law, numbers, schedule, random)

    def _start(self, runs: Sequence[tuple[int, int]], width: int, name: str) -> tuple[Start, list[np.random.Generator]]:
        starts = [generator(seed, f"start, m = {width}") for _, seed in runs]
        start = initialise(self._mdp, starts, width, self._parameters.radius)
        return start, [generator(seed, f"N = {n}, {name}") for n, seed in runs]

    def prefactors(self, schedule: Schedule) -> None:
        """The same critic under the mean embedding's prefactor 1 / (N sqrt m) and the printed 1 / sqrt(m N)."""
        for n in self._parameters.agents:
            runs = [(n, seed) for seed in self._seeds]
            policy, law = (np.broadcast_to(e, (len(runs), *e.shape)) for e in (self._policy, self._law))
            for name, factor in {"mean embedding": 1.0, "printed": networks.printed_factor(n)}.items():
                start, random = self._start(runs, self._parameters.width, f"prefactor, {name}")
                initial = factor * self._table.mean(start.values(start.weights))
                learned = critic(self._mdp, start, policy, law, [n] * len(runs), schedule, random, factor)
                error = factor * self._table.mean(learned.average) - self._q
                self.add("initial_square", name, neural_errors.mean_square(self._sigma, initial), n)
                self.add("prefactor_error", name, neural_errors.mean_square(self._sigma, error), n)
