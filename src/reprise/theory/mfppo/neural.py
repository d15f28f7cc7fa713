"""MF-PPO's algorithm 1 with neural critics and actors (algorithms 2 and 3), for many replicates at once.

Shapes: R replicates, X joint states, M meta-actions, I inputs of the network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from reprise.environments.mean_field import MeanFieldMDP
from reprise.theory.mfppo import values
from reprise.theory.mfppo.algorithm import log_softmax
from reprise.theory.mfppo.constants import proximity, temperature
from reprise.theory.mfppo.neural_errors import Table
from reprise.theory.mfppo.neural_lemma import Iteration
from reprise.theory.mfppo.neural_updates import Schedule, Solution, Start, actor, critic


class Made(NamedTuple):
    """What iteration k made: its tables, log pi_k and log pi_{k+1} [R, X, M], tau_{k+1} in ``step``, both solutions."""

    k: int
    step: Iteration
    log_policy: np.ndarray
    log_following: np.ndarray
    critic: Solution
    actor: Solution


def target(critic_values: np.ndarray, actor_values: np.ndarray, upsilon: float, iterations: int, k: int) -> np.ndarray:
    """What the actor regresses on (eq. 3.2), as values [R, I]: tau_{k+1} (F_theta / upsilon_k + F_alpha / tau_k).

    With algorithm 1's schedule this is (F_theta + k F_alpha) / (k + 1), the running mean of the critics so far.
    """
    critic_part = critic_values / proximity(upsilon, iterations)
    actor_part = actor_values / temperature(upsilon, iterations, k)
    return temperature(upsilon, iterations, k + 1) * (critic_part + actor_part)


def iterate(
    mdp: MeanFieldMDP,
    start: Start,
    iterations: int,
    upsilon: float,
    agents: Sequence[int],
    schedule: Schedule,
    generators: Sequence[np.random.Generator],
) -> Iterator[Made]:
    """``iterations`` steps from the uniform policy; ``agents`` N and ``generators`` by replicate.

    Policies are pi_k(. | s, d) proportional to exp(F(s, d, .) / tau_k), as the paper writes them; only the critic's and
    the actor's steps see samples. Critic and actor start from theta_0 = alpha_0 at every iteration, and hand over their
    averages. F of alpha_0 counts as 0 in the first iteration, so that pi_0 is uniform.
    """
    table, optimum = Table(mdp), values.optimum(mdp)
    energies = np.zeros((len(agents), len(start.x)))
    energy = table.mean(energies)
    log_policy, law = log_softmax(energy), values.stationary(mdp, np.exp(log_softmax(energy)))
    for k in range(iterations):
        policy = np.exp(log_policy)
        tau = temperature(upsilon, iterations, k + 1)
        learned = critic(mdp, start, policy, law, agents, schedule, generators)
        wanted = target(learned.average, energies, upsilon, iterations, k)
        improved = actor(mdp, start, wanted, law, agents, schedule, generators)
        energies, old_energy, old_law, old_log = improved.average, energy, law, log_policy
        energy = table.mean(energies) / tau
        log_policy = log_softmax(energy)
        following = np.exp(log_policy)
        law = values.stationary(mdp, following)
        step = Iteration(
            policy=policy,
            following=following,
            law=old_law,
            next_law=law,
            q=values.evaluate(mdp, policy)[1],
            critic=table.mean(learned.average),
            energy=old_energy,
            next_energy=energy,
            proximity=np.full(len(policy), proximity(upsilon, iterations)),
            tau=np.full(len(policy), tau),
            optimal=np.broadcast_to(optimum.policy, policy.shape),
            optimal_law=np.broadcast_to(optimum.law, law.shape),
        )
        yield Made(k, step, old_log, log_policy, learned, improved)
