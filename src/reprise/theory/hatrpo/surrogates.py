"""The quantities of HATRPO's sections 2.2 to 4.1 on tabular games: definition 1 and 2, lemma 1, theorem 1, equation 9.

Shapes as in ``theory/tabular.py``: G games, S states, N agents, A actions, J = A^N joint actions. Functions of some
agents' actions are in axes form [G, S, A or 1, ..., A or 1], with length one along the axes that were averaged out.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.theory.tabular import Evaluation, averaged, axes, kl, own


def penalty_coefficient(advantage: np.ndarray, gamma: float) -> np.ndarray:
    """C = 4 gamma max_{s,a} |A(s, a)| / (1 - gamma)^2 (theorem 1; algorithm 1): [G] from the joint advantage."""
    return 4 * gamma * np.abs(advantage).max(axis=(1, 2)) / (1 - gamma) ** 2


def subset_q(q: np.ndarray, policies: np.ndarray, agents: Sequence[int]) -> np.ndarray:
    """Q^{i_1:m}(s, a^{i_1:m}): Q averaged over everybody else's actions (definition 1). ``q`` [G, S, J]."""
    count = policies.shape[1]
    return averaged(axes(q, count), policies, [i for i in range(count) if i not in agents])


def subset_advantage(q: np.ndarray, policies: np.ndarray, before: Sequence[int], agents: Sequence[int]) -> np.ndarray:
    """A^{i_1:m}(s, a^{j_1:k}, a^{i_1:m}) = Q^{j_1:k, i_1:m} - Q^{j_1:k} (equation 1): what ``agents`` add to the
    actions of ``before``."""
    return subset_q(q, policies, [*before, *agents]) - subset_q(q, policies, before)


def decomposed(q: np.ndarray, policies: np.ndarray, agents: Sequence[int]) -> np.ndarray:
    """The right side of lemma 1: the sum of every agent's advantage given its predecessors' actions."""
    return sum(subset_advantage(q, policies, agents[:m], [agents[m]]) for m in range(len(agents)))


def surrogate(found: Evaluation, old: np.ndarray, new: np.ndarray, order: Sequence[int], place: int) -> np.ndarray:
    """L^{i_1:m}(new^{i_1:m-1}, new^{i_m}), m = ``place`` + 1 (definition 2): [G].

    E over s ~ rho_old (improper) and the actions of i_1, ..., i_m ~ new of i_m's advantage given its predecessors'.
    """
    first = order[: place + 1]
    gain = subset_advantage(found.q, old, order[:place], [order[place]])
    return (found.visitation * averaged(gain, new, first).reshape(found.visitation.shape)).sum(axis=1)


def surrogates(found: Evaluation, old: np.ndarray, new: np.ndarray, order: Sequence[int]) -> np.ndarray:
    """The surrogates of all agents of ``order``: [G, N], in that order."""
    return np.stack([surrogate(found, old, new, order, place) for place in range(len(order))], axis=1)


def simultaneous_surrogates(found: Evaluation, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """What each agent expects when all others stay (section 2.3, separate parameters): L_pi(new^i, old^-i), [G, N]."""
    gains = [((new - old)[:, i] * own(found.advantage, old, i)).sum(axis=2) for i in range(old.shape[1])]
    return np.stack([(found.visitation * gain).sum(axis=1) for gain in gains], axis=1)


def joint_surrogate(found: Evaluation, new: np.ndarray) -> np.ndarray:
    """E over s ~ rho_old, a ~ new of the joint advantage: L_old(new) - J(old) of theorem 1. ``new`` [G, S, J]."""
    return (found.visitation * (new * found.advantage).sum(axis=2)).sum(axis=1)


def ratio_surrogate(
    advantage: np.ndarray,
    old: np.ndarray,
    new: np.ndarray,
    candidate: np.ndarray,
    before: Sequence[int],
    agent: int,
) -> np.ndarray:
    """Equation 9: E_{a ~ old}[(candidate / old - 1) prod_{j in before} (new^j / old^j) A(s, a)], [G, S].

    ``candidate`` [G, S, A] is ``agent``'s new policy, ``new`` [G, N, S, A] holds those of ``before``.
    """
    games, count, states, actions = old.shape

    def along(values: np.ndarray, axis: int) -> np.ndarray:
        return values.reshape(games, states, *[actions if i == axis else 1 for i in range(count)])

    weighted = axes(advantage, count) * along(candidate / old[:, agent] - 1, agent)
    for j in before:
        weighted = weighted * along(new[:, j] / old[:, j], j)
    return averaged(weighted, old, range(count)).reshape(games, states)


def definition_surrogate(
    q: np.ndarray, old: np.ndarray, new: np.ndarray, candidate: np.ndarray, before: Sequence[int], agent: int
) -> np.ndarray:
    """The left side of equation 9: E over ``before`` ~ new and ``agent`` ~ candidate of its advantage, [G, S]."""
    mixed = new.copy()
    mixed[:, agent] = candidate
    gain = subset_advantage(q, old, before, [agent])
    return averaged(gain, mixed, [*before, agent]).reshape(q.shape[:2])


def joint_kl(old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """max_s KL(old(.|s) || new(.|s)) of joint policies [G, S, J]: [G]."""
    return kl(old, new).max(axis=1)
