"""The sub-problem solvers of Zhao et al., appendix A: rollouts with a geometric horizon, and averaged projected SGD.

Batched over B rows (games, replicates); a Python loop runs over SGD steps and over the steps of a rollout only. The
paper's step sizes are not known; those here are the ones its rate needs, eta = R / (G sqrt(T)).
"""

from __future__ import annotations

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory.zhao import conditional
from reprise.theory.zhao.conditional import PerAgent


def step_size(radius: float, value_limit: float, steps: int) -> float:
    """eta = R / (G sqrt(T)) with G = sqrt(2) Vmax, and at most 1, beyond which a step with ||phi|| = 1 overshoots.

    G^2 bounds the mean square of a rollout's return with a geometric horizon and rewards in [0, 1], as
    E[H^2] = (1 + gamma) / (1 - gamma)^2 < 2 Vmax^2. Divided by beta_k, R and G give the improvement step the same eta.
    """
    return min(1.0, radius / (np.sqrt(2.0) * value_limit * np.sqrt(steps)))


def least_squares_path(
    inputs: np.ndarray, targets: np.ndarray, start: np.ndarray, *, radius: float, step: float
) -> np.ndarray:
    """Averaged projected SGD on (phi' w - y)^2 / 2 with one sample a step: the mean of the iterates w_1..w_T, [B, d].

    ``inputs`` [B, T, d], ``targets`` [B, T], ``start`` [B, d]; every iterate is projected to ||w|| <= ``radius``.
    """
    weights, total = start.copy(), np.zeros_like(start)
    # Step first in memory: the loop runs over it.
    samples = np.ascontiguousarray(inputs.swapaxes(0, 1))
    for phi, target in zip(samples, np.ascontiguousarray(targets.T), strict=True):
        error = np.einsum("bd,bd->b", phi, weights) - target
        weights -= (step * error)[:, None] * phi
        length = np.sqrt(np.einsum("bd,bd->b", weights, weights))
        if length.max() > radius:
            weights *= (radius / np.maximum(length, radius))[:, None]
        total += weights
    return total / len(samples)


def pick(generator: np.random.Generator, chances: np.ndarray) -> np.ndarray:
    """An index drawn from each row of ``chances`` [..., n]."""
    ladder = np.cumsum(chances, axis=-1)[..., :-1]
    return (generator.random((*chances.shape[:-1], 1)) > ladder).sum(axis=-1)


def start_pairs(
    generator: np.random.Generator, visitation: np.ndarray, policies: PerAgent, agent: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """States and joint actions [B, T] to roll out from, for the sub-problems of ``agent``: s ~ d_pi (``visitation``
    [B, S], normalised here), the earlier agents by their policies, the agent itself uniformly, the later by theirs.

    A state drawn from the exact d_pi has the law of a trajectory stopped at a geometric time."""
    rows = np.arange(len(visitation))[:, None]
    chances = visitation / visitation.sum(axis=1, keepdims=True)
    states = pick(generator, np.repeat(chances[:, None], steps, axis=1))
    taken = np.zeros_like(states)
    for m, own in enumerate(policies):
        if m == agent:
            action = generator.integers(own.shape[-1], size=states.shape)
        else:
            action = pick(generator, own[rows, states, taken])
        taken = taken * own.shape[-1] + action
    return states, taken


def returns(
    generator: np.random.Generator,
    games: MarkovGames,
    joint: np.ndarray,
    states: np.ndarray,
    actions: np.ndarray,
    longest: int | None = None,
) -> np.ndarray:
    """Unbiased estimates [B, T] of Q_pi(s, a): the undiscounted sum of rewards over H steps, Pr(H > h) = gamma^h.

    ``longest`` cuts every rollout off after so many steps, which makes it biased (a control)."""
    found = np.zeros(states.size)
    alive = np.arange(states.size)
    row, state, action = np.repeat(np.arange(games.count), states.shape[1]), states.ravel(), actions.ravel()
    rewards = games.rewards.ravel()
    move = np.cumsum(games.transitions, axis=3)[..., :-1].reshape(rewards.size, -1)
    act = np.cumsum(joint, axis=2)[..., :-1].reshape(games.count * games.states, -1)
    age = 0
    while len(alive):
        place = (row * games.states + state) * games.joint_actions + action
        found[alive] += rewards[place]
        age += 1
        if age == longest:
            break
        on = np.flatnonzero(generator.random(len(alive)) < games.gamma)
        alive, row, place = alive[on], row[on], place[on]
        state = _climb(generator, move.take(place, axis=0))
        action = _climb(generator, act.take(row * games.states + state, axis=0))
    return found.reshape(states.shape)


def _climb(generator: np.random.Generator, ladder: np.ndarray) -> np.ndarray:
    """An index drawn by each row of cumulated chances, its last entry (one) left out."""
    return (generator.random((len(ladder), 1)) > ladder).sum(axis=1)


def entries(games: MarkovGames, agent: int, states: np.ndarray, actions: np.ndarray) -> np.ndarray:
    """The row of agent's features phi^m(s, a^{1:m}) that a state and joint action belong to."""
    prefixes = games.actions ** (agent + 1)
    return states * prefixes + actions // games.actions ** (games.agents - agent - 1)


def sampling_law(visitation: np.ndarray, policies: PerAgent, agent: int) -> np.ndarray:
    """The law [B, F] of the entries that ``start_pairs`` draws."""
    chances = visitation / visitation.sum(axis=1, keepdims=True)
    own = policies[agent]
    before = chances[:, :, None] * conditional.earlier(policies)[agent]
    return np.repeat(before[..., None] / own.shape[-1], own.shape[-1], axis=-1).reshape(len(own), -1)


def projection(phi: np.ndarray, law: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The weights [B, d] of the least squares fit of ``values`` [B, F] under ``law`` [B, F]: SGD's limit."""
    root = np.sqrt(law)[..., None]
    return (np.linalg.pinv(phi * root, rcond=1e-9) @ (values[..., None] * root))[..., 0]
