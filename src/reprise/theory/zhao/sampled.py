"""Multi-agent PPO of Zhao et al., section 4, with sampled evaluation and improvement (appendix A), N = 2.

Every iteration estimates each agent's localised action values by averaged projected SGD on rollout returns and moves
its log-linear policy by averaged projected SGD on the mirror step's regression, T steps each; with one-hot features,
which fit everything, and with random ones of lower dimension. "Exact sub-problems" is T to infinity.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.zhao import conditional, features, projected_sgd
from reprise.theory.zhao.games import draw

ONE_HOT, MISSPECIFIED, FULL = "one-hot", "misspecified", "random, full dimension"
EXACT = "exact sub-problems"


class Learner:
    """The log-linear policies of all agents on a batch of games, and one iteration of their algorithm.

    ``phi`` has each agent's features [G, F^m, d^m], ``radii`` the bounds R^m of ||omega^m||.
    """

    def __init__(self, games: MarkovGames, phi: list[np.ndarray], radii: list[float], penalty: float):
        self.games, self.phi, self.radii, self.penalty = games, phi, radii, penalty
        self.theta = [np.zeros((games.count, part.shape[2])) for part in phi]
        # Controls: rollouts that are cut off after so many steps; a critic that takes the actions in the wrong order.
        self.longest: int | None = None
        self.reversed = False

    def policies(self) -> conditional.PerAgent:
        """pi^m proportional to exp(phi' theta^m)."""
        shapes = conditional.shapes(self.games)
        logits = [(p @ t[..., None]).reshape(s) for p, t, s in zip(self.phi, self.theta, shapes, strict=True)]
        return conditional.softmax(logits)

    def critic(
        self,
        draws: np.random.Generator,
        policies: conditional.PerAgent,
        visitation: np.ndarray,
        agent: int,
        steps: int,
    ) -> np.ndarray:
        """omega^m [G, d]: T = ``steps`` projected SGD steps from 0 on the returns of as many rollouts."""
        states, actions = projected_sgd.start_pairs(draws, visitation, policies, agent, steps)
        joint = conditional.joint(policies)
        returns = projected_sgd.returns(draws, self.games, joint, states, actions, self.longest)
        if self.reversed:
            actions = np.ravel(np.arange(self.games.joint_actions).reshape(self.games.actions, -1).T)[actions]
        start = np.zeros_like(self.theta[agent])
        return self._regress(agent, self._inputs(agent, states, actions), returns, start, self.radii[agent])

    def improved(
        self,
        draws: np.random.Generator,
        policies: conditional.PerAgent,
        visitation: np.ndarray,
        agent: int,
        omega: np.ndarray,
        steps: int,
    ) -> np.ndarray:
        """theta^m_{k+1} [G, d]: as many steps from theta_k on phi' omega / beta_k + phi' theta_k."""
        states, actions = projected_sgd.start_pairs(draws, visitation, policies, agent, steps)
        inputs = self._inputs(agent, states, actions)
        target = self.theta[agent] + omega / self.penalty
        # The bound of ||theta|| leaves room for every sum of critics within theirs, so that it never binds.
        radius = np.linalg.norm(self.theta[agent], axis=1).max() + self.radii[agent] / self.penalty
        return self._regress(agent, inputs, np.einsum("gtd,gd->gt", inputs, target), self.theta[agent], radius)

    def _inputs(self, agent: int, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
        """The features [G, T, d] of the samples."""
        rows = np.arange(self.games.count)[:, None]
        return self.phi[agent][rows, projected_sgd.entries(self.games, agent, states, actions)]

    def _regress(
        self, agent: int, inputs: np.ndarray, targets: np.ndarray, start: np.ndarray, radius: float
    ) -> np.ndarray:
        """Averaged projected SGD through the samples."""
        step = projected_sgd.step_size(self.radii[agent], 1 / (1 - self.games.gamma), inputs.shape[1])
        return projected_sgd.least_squares_path(inputs, targets, start, radius=radius, step=step)

    def iterate(self, draws: np.random.Generator, steps: int | None) -> np.ndarray:
        """Move every agent's policy once, all from the same iterate; the returns [G] before. ``steps`` None: exact
        sub-problems, the fit to the true localised values and theta + omega / beta_k."""
        policies = self.policies()
        truth = tabular.evaluate(self.games, conditional.joint(policies))
        moved = []
        for agent in range(self.games.agents):
            if steps is None:
                law = projected_sgd.sampling_law(truth.visitation, policies, agent)
                values = conditional.localised(truth.q, policies)[agent].reshape(law.shape)
                omega = projected_sgd.projection(self.phi[agent], law, values)
                moved.append(self.theta[agent] + omega / self.penalty)
            else:
                omega = self.critic(draws, policies, truth.visitation, agent, steps)
                moved.append(self.improved(draws, policies, truth.visitation, agent, omega, steps))
        self.theta = moved
        return truth.returns


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Record the critic's error against T, and the gaps of whole runs against K and T."""
    for seed in seeds:
        games = draw(generator(seed, "games"), parameters, parameters.agents)
        _critic_errors(parameters, seed, games, records)
        _runs(parameters, seed, games, records)


def learner(p: Parameters, seed: int, games: MarkovGames, kind: str, penalty: float) -> Learner:
    """Zero parameters (uniform policies) with the features ``kind``."""
    value_limit = 1 / (1 - games.gamma)
    phi, radii = [], []
    for agent in range(games.agents):
        rows = games.states * games.actions ** (agent + 1)
        if kind == ONE_HOT:
            phi.append(features.one_hot(games.count, rows))
            radii.append(value_limit * np.sqrt(rows))
        else:
            dimension = rows if kind == FULL else round(p.dimension_share * rows)
            drawn = generator(seed, f"features {agent}")
            phi.append(features.random_directions(drawn, games.count, rows, dimension))
            radii.append(p.radius * value_limit)
    return Learner(games, phi, radii, penalty)


def _critic_errors(p: Parameters, seed: int, games: MarkovGames, records: Records) -> None:
    """Mean squared error of phi' omega against the best fit of Q^{1:m}, for a random policy, under the law that the
    samples have; and, as ``misfit``, that of the best fit itself."""
    copies = games.chosen(np.repeat(np.arange(games.count), p.replicates))
    policies = conditional.random_policies(generator(seed, "critic policies"), games)
    repeated = [np.repeat(part, p.replicates, axis=0) for part in policies]
    truth = tabular.evaluate(games, conditional.joint(policies))
    visitation = np.repeat(truth.visitation, p.replicates, axis=0)
    for kind in (ONE_HOT, MISSPECIFIED):
        one = learner(p, seed, games, kind, 1.0)
        many = Learner(copies, [np.repeat(part, p.replicates, axis=0) for part in one.phi], one.radii, 1.0)
        for agent in range(games.agents):
            law = projected_sgd.sampling_law(truth.visitation, policies, agent)
            values = conditional.localised(truth.q, policies)[agent].reshape(law.shape)
            best = (one.phi[agent] @ projected_sgd.projection(one.phi[agent], law, values)[..., None])[..., 0]
            game = np.arange(games.count)
            label = f"{kind}, agent {agent + 1}"
            records.add("misfit", label, (law * (best - values) ** 2).sum(axis=1), game=game, seed=seed)
            for name, longest in (("critic_error", None), ("critic_error_cut", p.cut)):
                many.longest = longest
                for steps in p.critic_steps:
                    draws = generator(seed, f"{name} {agent} {steps}")
                    omega = many.critic(draws, repeated, visitation, agent, steps)
                    fit = (many.phi[agent] @ omega[..., None])[..., 0].reshape(games.count, p.replicates, -1)
                    error = (law[:, None] * (fit - best[:, None]) ** 2).sum(axis=2).mean(axis=1)
                    records.add(name, label, error, x=float(steps), game=game, seed=seed)


def _runs(p: Parameters, seed: int, games: MarkovGames, records: Records) -> None:
    """Gaps of MA-PPO against K for every T, and against T for one K (``excess_gap``: above exact sub-problems)."""
    best, _ = tabular.optimum(games)

    def gaps(kind: str, iterations: int, steps: int | None, **planted) -> np.ndarray:
        one = learner(p, seed, games, kind, p.beta * np.sqrt(iterations))
        one.longest, one.reversed = planted.get("longest"), planted.get("reversed", False)
        draws = generator(seed, f"run {kind} {iterations} {steps} {planted}")
        return np.array([best - one.iterate(draws, steps) for _ in range(iterations)])

    def add(quantity: str, series: str, value: np.ndarray, x: float) -> None:
        records.add(quantity, series, value, x=float(x), game=np.arange(games.count), seed=seed)

    for iterations in p.iterations:
        for steps in (*p.steps, None):
            name = f"{ONE_HOT}, {EXACT if steps is None else f'T = {steps}'}"
            found = gaps(ONE_HOT, iterations, steps)
            add("average_gap", name, found.mean(axis=0), iterations)
            add("minimum_gap", name, found.min(axis=0), iterations)
    exact = {kind: gaps(kind, p.compared, None).mean(axis=0) for kind in (ONE_HOT, MISSPECIFIED, FULL)}
    for kind, found in exact.items():
        add("gap_exact", kind, found, 0)
        add("misspecification", f"{kind} over {ONE_HOT}", found - exact[ONE_HOT], 0)
    cases = {
        ONE_HOT: (ONE_HOT, {}),
        MISSPECIFIED: (MISSPECIFIED, {}),
        "one-hot, actions in the wrong order": (ONE_HOT, {"reversed": True}),
        f"one-hot, rollouts cut after {p.cut}": (ONE_HOT, {"longest": p.cut}),
    }
    for name, (kind, planted) in cases.items():
        for steps in p.steps:
            found = gaps(kind, p.compared, steps, **planted).mean(axis=0)
            add("gap_in_t", name, found, steps)
            add("excess_gap", name, found - exact[kind], steps)
