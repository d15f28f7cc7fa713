"""MA-PPO of Zhao et al. (section 4) with exact values on tabular games, its bound with every constant, and its rivals.

Iteration k evaluates the joint policy pi_k exactly and gives every agent the mirror step of its localised action
value, pi_{k+1}^m proportional to pi_k^m exp(Q_k^{1:m} / beta_K), theta_0 = 0, with beta_K = beta sqrt(K) for all K
iterations of the run. Features are one-hot, so that the paper's projection is exact.

The bound. Let pi* be a deterministic optimal policy, a*_m its actions, d* its visitation (improper, sum 1 / (1 -
gamma)), and E* the sum over s ~ d* with the earlier agents acting by pi*. By the performance-difference lemma and the
form of the step, for every k

    J* - J(pi_k) = sum_m E*[ Q_k^{1:m}(a*_m) - <pi_k^m, Q_k^{1:m}> ]
                 = beta_K sum_m E*[ log pi_{k+1}^m(a*_m) - log pi_k^m(a*_m) + L_k^m ],
    L_k^m = log sum_a pi_k^m(a) exp((Q_k^{1:m}(a) - <pi_k^m, Q_k^{1:m}>) / beta_K).

Summed over k the logarithms telescope (`mean_gap_terms`, an identity). Since pi_0 is uniform and log pi_K <= 0, the
first part is at most N log|A| / (1 - gamma); by Hoeffding's lemma L_k^m <= span(Q_k^{1:m})^2 / (8 beta_K^2). With
rewards in [0, 1], span <= Qmax = 1 / (1 - gamma), and

    min_k gap <= mean_k gap <= [beta N log|A| + N Qmax^2 / (8 beta)] / ((1 - gamma) sqrt(K)).

The usual three-point argument with |Q| <= Qmax has 2 in place of 8: four times looser in the second term.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.zhao import conditional
from reprise.theory.zhao.conditional import PerAgent

HOEFFDING = 8.0

Values = Callable[[np.ndarray, PerAgent], PerAgent]


def penalty_of(beta: float, iterations: int) -> float:
    """beta_K = beta sqrt(K)."""
    return beta * np.sqrt(iterations)


def distance_bound(games: MarkovGames, penalty: float, iterations: int) -> float:
    """The bound's first part, beta_K N log|A| / ((1 - gamma) K): how far theta_0 = 0 is from pi*."""
    return penalty * games.agents * np.log(games.actions) / ((1 - games.gamma) * iterations)


def step_bound(games: MarkovGames, penalty: float, span: float | np.ndarray) -> float | np.ndarray:
    """The bound's second part, sum_m span_m^2 / (8 beta_K (1 - gamma)); ``span`` [..., N] or one for all agents."""
    squares = np.square(span) * games.agents if np.ndim(span) == 0 else np.square(span).sum(axis=-1)
    return squares / (HOEFFDING * penalty * (1 - games.gamma))


def explicit_bound(games: MarkovGames, beta: float, iterations: int) -> float:
    """The a-priori bound on the minimum gap over K iterations (module docstring)."""
    penalty, highest = penalty_of(beta, iterations), 1 / (1 - games.gamma)
    return distance_bound(games, penalty, iterations) + step_bound(games, penalty, highest)


def best_beta(actions: int, gamma: float) -> float:
    """The beta that makes the a-priori bound smallest: Qmax / sqrt(8 log|A|)."""
    return 1 / (1 - gamma) / np.sqrt(HOEFFDING * np.log(actions))


class Iterate(NamedTuple):
    """One iteration: exact values of pi_k, the policies, and the values the agents were given."""

    found: tabular.Evaluation
    policies: PerAgent
    values: PerAgent


def ma_ppo(
    games: MarkovGames, iterations: int, penalty: float, values: Values = conditional.localised
) -> Iterator[Iterate]:
    """pi_0, ..., pi_K; ``values`` is replaced to plant a wrong update."""
    logits = conditional.zero_logits(games)
    for _ in range(iterations + 1):
        policies = conditional.softmax(logits)
        found = tabular.evaluate(games, conditional.joint(policies))
        given = values(found.q, policies)
        yield Iterate(found, policies, given)
        logits = conditional.mirror_step(logits, given, penalty)


def negated(q: np.ndarray, policies: PerAgent) -> PerAgent:
    """Planted error: the sign of the step."""
    return [-value for value in conditional.localised(q, policies)]


def reversed_order(q: np.ndarray, policies: PerAgent) -> PerAgent:
    """Planted error: the agents' order reversed in Q, so that agent m is given the value of agent N + 1 - m."""
    agents = len(policies)
    turned = tabular.axes(q, agents).transpose(0, 1, *range(agents + 1, 1, -1)).reshape(q.shape)
    return conditional.localised(turned, policies)


def centralised(games: MarkovGames) -> MarkovGames:
    """The same game for one agent with all A^N joint actions.

    `ma_ppo` on it is PPO of a centralised agent, which is natural policy gradient on the softmax over joint actions.
    """
    return MarkovGames(games.rewards, games.transitions, games.initial, 1, games.joint_actions, games.gamma)


def product_ppo(games: MarkovGames, iterations: int, penalty: float) -> Iterator[tuple[tabular.Evaluation, np.ndarray]]:
    """Independent agents, [G, N, S, A], each with the mirror step of its own marginal action value; pi_0, ..., pi_K."""
    logits = np.zeros((games.count, games.agents, games.states, games.actions))
    for _ in range(iterations + 1):
        (policies,) = conditional.softmax([logits])
        found = tabular.evaluate(games, tabular.product(policies))
        yield found, policies
        values = [tabular.own(found.q, policies, agent) for agent in range(games.agents)]
        logits = logits + np.stack(values, axis=1) / penalty


def spans(values: PerAgent) -> np.ndarray:
    """The largest max_a - min_a of each agent's values over states and earlier actions, [G, N]."""
    widths = [
        conditional.over_actions(np.maximum, value) - conditional.over_actions(np.minimum, value) for value in values
    ]
    return np.stack([width.max(axis=(1, 2)) for width in widths], axis=1)


class Star(NamedTuple):
    """An optimal deterministic policy: its return [G] and visitation [G, S], and per agent the index of the earlier
    agents' actions and its own action, each [N, G, S]."""

    returns: np.ndarray
    visitation: np.ndarray
    earlier: np.ndarray
    own: np.ndarray


def star(games: MarkovGames) -> Star:
    returns, joint = tabular.optimum(games)
    chosen = joint.argmax(axis=2)
    later = games.actions ** np.arange(games.agents - 1, -1, -1)[:, None, None]
    own = chosen // later
    return Star(returns, tabular.evaluate(games, joint).visitation, own // games.actions, own % games.actions)


def at_star(best: Star, tables: PerAgent) -> np.ndarray:
    """The rows [N, G, S, A] of ``tables`` that follow pi*'s earlier actions."""
    picked = zip(tables, best.earlier, strict=True)
    return np.stack([np.take_along_axis(table, row[..., None, None], axis=2)[:, :, 0] for table, row in picked])


def log_moment(best: Star, iterate: Iterate, penalty: float) -> np.ndarray:
    """sum_m E*[L_k^m] per game [G] (module docstring)."""
    policies, values = at_star(best, iterate.policies), at_star(best, iterate.values)
    centred = (values - (policies * values).sum(axis=-1, keepdims=True)) / penalty
    high = centred.max(axis=-1, keepdims=True)
    moment = high[..., 0] + np.log((policies * np.exp(centred - high)).sum(axis=-1))
    return (best.visitation * moment).sum(axis=(0, 2))


def log_likelihood(best: Star, policies: PerAgent) -> np.ndarray:
    """sum_m E*[log pi^m(a*_m)] per game [G]."""
    rows = np.take_along_axis(at_star(best, policies), best.own[..., None], axis=-1)[..., 0]
    return (best.visitation * np.log(rows)).sum(axis=(0, 2))


def mean_gap_terms(
    games: MarkovGames, best: Star, last: PerAgent, moments: np.ndarray, penalty: float, iterations: int
) -> np.ndarray:
    """The right side of the telescoped identity for mean_k gap, [3, G]: the distance of pi_0 from pi*, minus what
    ``last`` (pi_K) has left of it, plus the steps' ``moments`` (sum over k of `log_moment`)."""
    distance = np.full(games.count, distance_bound(games, penalty, iterations))
    return np.stack([distance, penalty * log_likelihood(best, last) / iterations, penalty * moments / iterations])
