"""Conditional (auto-regressive) policies of Zhao et al., section 4, batched over games: agent m sees what the agents
before it have chosen.

Agents are numbered m = 0..N-1 here (1..N in the paper). What belongs to the agents together is a list with one array
per agent, [G, S, A^m, A]: game, state, the earlier agents' actions (one index, agent 0 the most significant digit,
length one for agent 0), own action. Policies, logits and localised action values all have this form.
"""

from __future__ import annotations

from functools import reduce

import numpy as np

from reprise.environments.markov_games import MarkovGames

PerAgent = list[np.ndarray]


FEW = 8  # actions up to which slices are faster than numpy's reduction of a short last axis


def over_actions(combine: np.ufunc, values: np.ndarray) -> np.ndarray:
    """``combine`` (np.add, np.maximum, np.minimum) over the last axis, which is dropped."""
    if values.shape[-1] > FEW:
        return combine.reduce(values, axis=-1)
    return reduce(combine, (values[..., action] for action in range(values.shape[-1])))


def shapes(games: MarkovGames) -> list[tuple[int, int, int, int]]:
    """The shape [G, S, A^m, A] of every agent's table."""
    return [(games.count, games.states, games.actions**m, games.actions) for m in range(games.agents)]


def zero_logits(games: MarkovGames) -> PerAgent:
    """theta_0 = 0, the uniform policies, with one-hot features (a logit per state, earlier actions, own action)."""
    return [np.zeros(shape) for shape in shapes(games)]


def random_policies(generator: np.random.Generator, games: MarkovGames, concentration: float = 1.0) -> PerAgent:
    """Independent Dirichlet rows for every agent, state and choice of the earlier agents."""
    return [generator.dirichlet(np.full(games.actions, concentration), shape[:-1]) for shape in shapes(games)]


def softmax(logits: PerAgent) -> PerAgent:
    """Log-linear policies: pi^m(. | s, a^{1:m-1}) proportional to exp(theta^m)."""
    found = []
    for own in logits:
        raised = np.exp(own - over_actions(np.maximum, own)[..., None])
        found.append(raised / over_actions(np.add, raised)[..., None])
    return found


def earlier(policies: PerAgent) -> PerAgent:
    """Pr(a^{1:m-1} | s), [G, S, A^m] for each agent, and behind them as entry N the joint policy [G, S, J]."""
    found = [np.ones((*policies[0].shape[:2], 1))]
    for own in policies:
        found.append((found[-1][..., None] * own).reshape(*own.shape[:2], -1))
    return found


def joint(policies: PerAgent) -> np.ndarray:
    """The joint policy [G, S, J] = prod_m pi^m(a^m | s, a^{1:m-1}); every joint policy can be written so."""
    return earlier(policies)[-1]


def localised(q: np.ndarray, policies: PerAgent) -> PerAgent:
    """Q^{1:m}(s, a^{1:m}) = E[Q(s, a) | a^{1:m}], the later agents acting by ``policies``; ``q`` [G, S, J].

    The last agent's is ``q`` itself; averaging agent 0's over its policy gives the value of the state.
    """
    found = []
    for own in reversed(policies):
        values = q.reshape(own.shape)
        found.append(values)
        q = over_actions(np.add, values * own)
    return found[::-1]


def mirror_step(logits: PerAgent, values: PerAgent, penalty: float | np.ndarray) -> PerAgent:
    """The ideal policy improvement of every agent: argmax_pi <values, pi> - penalty KL(pi || pi_k).

    The solution is pi proportional to pi_k exp(values / penalty). ``penalty`` (beta_k of the paper) is a number or
    one per game [G]. Logits come back with mean zero over the own action, which changes no policy.
    """
    step = 1.0 / np.reshape(penalty, (-1, 1, 1, 1))
    moved = [own + step * value for own, value in zip(logits, values, strict=True)]
    return [own - over_actions(np.add, own)[..., None] / own.shape[-1] for own in moved]
