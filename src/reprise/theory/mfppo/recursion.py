"""Algorithm 1 measured: both sides of lemma 4.3's inequality at every iteration, with exact values and updates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from reprise.environments.mean_field import MeanFieldMDP
from reprise.theory.mfppo.algorithm import Step, Update, closed_form, iterate
from reprise.theory.mfppo.values import Optimum, performance


class Terms(NamedTuple):
    """Iteration k, each [...] (one number per game).

    gap: L(pi*) - L(pi_k). drift: upsilon_k E_{nu*}[KL(pi* || pi_k) - KL(pi* || pi_{k+1})]. spread: root of
    E_{nu*} (max_a Q - min_a Q)^2. three_point: largest error over states of the three-point identity. difference:
    error of the performance difference (Kakade and Langford, lemma 6.1).
    """

    gap: np.ndarray
    drift: np.ndarray
    spread: np.ndarray
    three_point: np.ndarray
    difference: np.ndarray


class Run(NamedTuple):
    """A whole run: gap, drift and spread at every iteration [K, ...]; the largest errors of the two identities and the
    smallest change of V over states and iterations (``improvement``), each [...]."""

    gap: np.ndarray
    drift: np.ndarray
    spread: np.ndarray
    three_point: np.ndarray
    difference: np.ndarray
    improvement: np.ndarray


def terms(mdp: MeanFieldMDP, best: Optimum, step: Step, proximity: float) -> Terms:
    """Measure one step; ``best`` holds pi* and nu*, ``proximity`` is upsilon_k."""
    policy, following = np.exp(step.log_policy), np.exp(step.next_log_policy)
    here = -(best.policy * step.log_policy).sum(axis=-1)  # KL(pi* || pi_k), since pi* is deterministic
    there = -(best.policy * step.next_log_policy).sum(axis=-1)
    moved = (following * (step.next_log_policy - step.log_policy)).sum(axis=-1)  # KL(pi_{k+1} || pi_k)
    ahead = (step.q * (best.policy - following)).sum(axis=-1)
    gap = performance(best.law, best.value - step.value)
    advantage = performance(best.law, (step.q * (best.policy - policy)).sum(axis=-1))
    spread = step.q.max(axis=-1) - step.q.min(axis=-1)
    return Terms(
        gap=gap,
        drift=proximity * performance(best.law, here - there),
        spread=np.sqrt(performance(best.law, np.square(spread))),
        three_point=np.abs(ahead - proximity * (here - there - moved)).max(axis=-1),
        difference=np.abs(advantage - (1 - mdp.gamma) * gap),
    )


def run(mdp: MeanFieldMDP, best: Optimum, iterations: int, proximity: float, update: Update = closed_form) -> Run:
    """Algorithm 1 for ``iterations`` steps of weight ``proximity``, measured at every one."""
    measured, improvement, previous = [], np.full(best.value.shape[:-1], np.inf), None
    for step in iterate(mdp, iterations, proximity, update):
        measured.append(terms(mdp, best, step, proximity))
        if previous is not None:
            improvement = np.minimum(improvement, (step.value - previous).min(axis=-1))
        previous = step.value
    stacked = Terms(*(np.array(each) for each in zip(*measured, strict=True)))
    worst = stacked.three_point.max(axis=0), stacked.difference.max(axis=0)
    return Run(stacked.gap, stacked.drift, stacked.spread, *worst, improvement)


def margins(found: Run, gamma: float, proximity: float, m: np.ndarray) -> np.ndarray:
    """Right minus left side of lemma 4.3 without errors [K, ...]: drift + M / upsilon_k - (1 - gamma) gap."""
    return found.drift + m / proximity - (1 - gamma) * found.gap
