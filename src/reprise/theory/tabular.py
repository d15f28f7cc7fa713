"""Exact quantities of tabular Markov games, batched over games: what the papers' lemmas are about. All float64.

Shapes as in ``environments/markov_games.py``. A joint policy is [G, S, J]; a product policy is given by its agents'
policies [G, N, S, A]. "Axes form" of a function of the joint action is [G, S, A, ..., A] with one axis per agent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from reprise.environments.markov_games import MarkovGames


class Evaluation(NamedTuple):
    """A joint policy's exact values.

    value [G, S]; q and advantage [G, S, J]; visitation [G, S]: sum_t gamma^t Pr(s_t = s), improper (it sums to
    1 / (1 - gamma)), as rho in the papers; returns [G]: J(pi), the mean value of the first state.
    """

    value: np.ndarray
    q: np.ndarray
    advantage: np.ndarray
    visitation: np.ndarray
    returns: np.ndarray


def evaluate(games: MarkovGames, joint: np.ndarray) -> Evaluation:
    """Solve the linear systems of the joint policy ``joint`` [G, S, J] (not only product policies)."""
    reward = (joint * games.rewards).sum(axis=2)
    chain = np.einsum("gsj,gsjt->gst", joint, games.transitions)
    system = np.eye(games.states) - games.gamma * chain
    value = np.linalg.solve(system, reward[..., None])[..., 0]
    visitation = np.linalg.solve(system.swapaxes(1, 2), games.initial[..., None])[..., 0]
    q = games.rewards + games.gamma * np.einsum("gsjt,gt->gsj", games.transitions, value)
    return Evaluation(value, q, q - value[..., None], visitation, (games.initial * value).sum(axis=1))


def product(policies: np.ndarray) -> np.ndarray:
    """The joint policy [G, S, J] of independent agents, ``policies`` [G, N, S, A]."""
    joint = policies[:, 0]
    for agent in range(1, policies.shape[1]):
        joint = (joint[..., :, None] * policies[:, agent, :, None, :]).reshape(*joint.shape[:2], -1)
    return joint


def axes(values: np.ndarray, agents: int) -> np.ndarray:
    """[G, S, J] in axes form [G, S, A, ..., A]."""
    actions = round(values.shape[2] ** (1 / agents))
    return values.reshape(*values.shape[:2], *[actions] * agents)


def averaged(values: np.ndarray, policies: np.ndarray, agents: Iterable[int]) -> np.ndarray:
    """Mean over the actions of ``agents`` under ``policies`` [G, N, S, A]; ``values`` in axes form.

    The averaged axes are kept with length one, so that results for different sets of agents can be added.
    """
    for agent in agents:
        shape = [*values.shape[:2], *[1] * (values.ndim - 2)]
        shape[2 + agent] = policies.shape[3]
        values = (values * policies[:, agent].reshape(shape)).sum(axis=2 + agent, keepdims=True)
    return values


def own(values: np.ndarray, policies: np.ndarray, agent: int) -> np.ndarray:
    """E[values | a_agent] over the others' policies: [G, S, A]. ``values`` [G, S, J]; with the advantage this is A^i
    of DPO's equation 6, with different ``policies`` for agents already updated it is the sequential advantage."""
    others = [i for i in range(policies.shape[1]) if i != agent]
    return averaged(axes(values, policies.shape[1]), policies, others).reshape(*values.shape[:2], -1)


def optimum(games: MarkovGames) -> tuple[np.ndarray, np.ndarray]:
    """Best return [G] of any joint policy, and the deterministic joint policy [G, S, J] that attains it.

    Policy iteration over joint actions; a policy is kept where no action gains more than rounding."""
    rows = np.arange(games.count)[:, None], np.arange(games.states)[None, :]
    choice = games.rewards.argmax(axis=2)
    while True:
        joint = np.zeros_like(games.rewards)
        joint[(*rows, choice)] = 1.0
        found = evaluate(games, joint)
        better = found.q.max(axis=2) > found.q[(*rows, choice)] + 1e-11 / (1 - games.gamma)
        if not better.any():
            return found.returns, joint
        choice = np.where(better, found.q.argmax(axis=2), choice)


def kl(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """KL(old || new) over the last axis; 0 log 0 = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(old > 0, old * (np.log(old) - np.log(new)), 0.0)
    return terms.sum(axis=-1)


def max_kl(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """max_s KL(old(.|s) || new(.|s)): over the last axis but one."""
    return kl(old, new).max(axis=-1)


def random_policies(
    generator: np.random.Generator, games: MarkovGames, concentration: float = 1.0, floor: float = 0.0
) -> np.ndarray:
    """Independent Dirichlet policies [G, N, S, A], every probability at least ``floor``."""
    shape = (games.count, games.agents, games.states)
    drawn = generator.dirichlet(np.full(games.actions, concentration), shape)
    return floor + (1 - floor * games.actions) * drawn


def best_response(games: MarkovGames, policies: np.ndarray, agent: int, floor: float = 0.0) -> np.ndarray:
    """The best return [G] that ``agent`` can reach alone, the others fixed, with probabilities of at least ``floor``.

    Policy iteration on the agent's own decision problem; a floor-soft greedy step gives every other action ``floor``.
    """
    mine = policies.copy()
    best = np.full(games.count, -np.inf)
    while True:
        found = evaluate(games, product(mine))
        if not (found.returns > best + 1e-13 / (1 - games.gamma)).any():
            return np.maximum(best, found.returns)
        best = np.maximum(best, found.returns)
        q = own(found.q, mine, agent)
        greedy = np.full_like(q, floor)
        np.put_along_axis(greedy, q.argmax(axis=2)[..., None], 1 - floor * (games.actions - 1), axis=2)
        mine[:, agent] = greedy


def nash_gap(games: MarkovGames, policies: np.ndarray, floor: float = 0.0) -> np.ndarray:
    """The largest gain [G] any single agent has from deviating (HATRPO's definition 3: 0 at a Nash equilibrium)."""
    here = evaluate(games, product(policies)).returns
    responses = [best_response(games, policies, agent, floor) for agent in range(games.agents)]
    return np.max(responses, axis=0) - here
