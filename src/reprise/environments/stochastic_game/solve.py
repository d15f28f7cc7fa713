"""Exact values of a game: its optimum, decentralised Nash points, and any product policy. All sums in float64.

Shapes: rewards float32 [S, J], transitions float32 [S, J, S], J = A^N joint actions, agent 0 the most significant
digit. Episodes last ``horizon`` steps from ``start_state``; returns are undiscounted, as DPO reports them.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# A best response needs a stationary objective: the discount DPO trains with (released code, gamma 0.99).
NASH_DISCOUNT = 0.99
# A response must gain more than this to count: rounding must not make two equal actions alternate for ever.
LEAST_GAIN = 1e-9
# Largest float64 copy of transition rows held at once by a contraction.
CHUNK_BYTES = 64 * 2**20


class NashPoint(NamedTuple):
    """A deterministic joint policy, int64 [N, S], that no agent can improve alone, and its episode return."""

    policy: np.ndarray
    value: float


def joint_weights(agents: int, actions: int) -> np.ndarray:
    """Weights of the agents' digits in a joint action: int64 [N] = (A^(N-1), ..., A, 1)."""
    return actions ** np.arange(agents - 1, -1, -1, dtype=np.int64)


def optimum(rewards: np.ndarray, transitions: np.ndarray, horizon: int, start_state: int) -> float:
    """Best episode return of any joint policy, by backward induction over the joint-action game.

    Only actions with r(s,a) >= max_b r(s,b) - (max V - min V) are backed up. Proof that no other is optimal: with b
    the best-paid action, r(s,a) + P_a V <= r(s,a) + max V < r(s,b) + min V <= r(s,b) + P_b V.
    """
    best = rewards.max(axis=1).astype(np.float64)
    value = np.zeros(len(rewards))
    for _ in range(horizon):
        least = best - (value.max() - value.min())
        states, candidates = np.nonzero(rewards >= least[:, None])
        backed_up = rewards[states, candidates] + transitions[states, candidates] @ value
        # nonzero() lists states in order and each has at least its best-paid action: one segment per state.
        value = np.maximum.reduceat(backed_up, np.searchsorted(states, np.arange(len(rewards))))
    return float(value[start_state])


def deterministic_return(
    rewards: np.ndarray, transitions: np.ndarray, joint: np.ndarray, horizon: int, start_state: int
) -> float:
    """Episode return of the stationary deterministic joint policy ``joint``, int64 [S]."""
    states = np.arange(len(rewards))
    reward = rewards[states, joint].astype(np.float64)
    chain = transitions[states, joint].astype(np.float64)
    value = np.zeros(len(rewards))
    for _ in range(horizon):
        value = reward + chain @ value
    return float(value[start_state])


def improve(
    rewards: np.ndarray, transitions: np.ndarray, policy: np.ndarray, agent: int, actions: int, discount: float
) -> float:
    """Replace ``policy[agent]`` (in place; policy int64 [N, S]) by a best response to the others.

    Policy iteration on the agent's own decision problem, the others held fixed. Returns the largest discounted gain
    over states that the old policy left; 0 when it already was a best response.
    """
    agents, states = policy.shape
    everywhere = np.arange(states)
    weights = joint_weights(agents, actions)
    others = weights @ policy - weights[agent] * policy[agent]
    joint = others[:, None] + weights[agent] * np.arange(actions)
    reward = rewards[everywhere[:, None], joint].astype(np.float64)
    chain = transitions[everywhere[:, None], joint].astype(np.float64)
    first, own = None, policy[agent]
    while True:
        system = np.eye(states) - discount * chain[everywhere, own]
        value = np.linalg.solve(system, reward[everywhere, own])
        first = value if first is None else first
        q = reward + discount * (chain @ value)
        better = q.max(axis=1) > value + LEAST_GAIN
        if not better.any():
            policy[agent] = own
            return float((value - first).max())
        own = np.where(better, q.argmax(axis=1), own)


def best_response_nash(
    rewards: np.ndarray,
    transitions: np.ndarray,
    agents: int,
    actions: int,
    horizon: int,
    start_state: int,
    restarts: int = 5,
    seed: int = 0,
    discount: float = NASH_DISCOUNT,
) -> list[NashPoint]:
    """Nash points reached by sequential best responses from ``restarts`` random deterministic policies.

    Agents answer in turn until none gains; every answer raises the shared value, so that this ends.
    """
    generator = np.random.default_rng(seed)
    points = []
    for _ in range(restarts):
        policy = generator.integers(0, actions, (agents, len(rewards)))
        agent, content = 0, 0
        while content < agents:
            gained = improve(rewards, transitions, policy, agent, actions, discount) > 0
            content = 0 if gained else content + 1
            agent = (agent + 1) % agents
        joint = joint_weights(agents, actions) @ policy
        points.append(NashPoint(policy, deterministic_return(rewards, transitions, joint, horizon, start_state)))
    return points


def uniform_return(rewards: np.ndarray, transitions: np.ndarray, horizon: int, start_state: int) -> float:
    """Episode return of the policy that draws every action uniformly."""
    reward = rewards.mean(axis=1, dtype=np.float64)
    chain = np.stack([rows.mean(axis=0, dtype=np.float64) for rows in transitions])
    value = np.zeros(len(rewards))
    for _ in range(horizon):
        value = reward + chain @ value
    return float(value[start_state])


def induced_chain(rewards: Tensor, transitions: Tensor, probabilities: Tensor) -> tuple[Tensor, Tensor]:
    """The Markov chain that product policies make of one game.

    Args:
        rewards: float32 [S, J]; transitions: float32 [S, J, S]; on one device.
        probabilities: [R, N, S, A], renormalised over the last dimension in float64.

    Returns:
        Expected reward [R, S] and transition matrix [R, S, S], float64. Deterministic policies are looked up,
        others are contracted a few states at a time, holding at most CHUNK_BYTES of widened rows.
    """
    runs, agents, states, actions = probabilities.shape
    joint_actions = rewards.shape[1]
    if bool(((probabilities == 0) | (probabilities == 1)).all()):
        weights = torch.from_numpy(joint_weights(agents, actions)).to(rewards.device)
        joint = (probabilities.argmax(dim=-1) * weights[:, None]).sum(dim=1)
        everywhere = torch.arange(states, device=rewards.device).expand(runs, states)
        return rewards[everywhere, joint].double(), transitions[everywhere, joint].double()

    wide = probabilities.double()
    wide = wide / wide.sum(dim=-1, keepdim=True)
    reward = torch.empty(runs, states, dtype=torch.float64, device=rewards.device)
    chain = torch.empty(runs, states, states, dtype=torch.float64, device=rewards.device)
    chunk = max(1, CHUNK_BYTES // (8 * joint_actions * (states + runs)))
    for first in range(0, states, chunk):
        part = slice(first, min(first + chunk, states))
        joint = wide[:, 0, part]
        for agent in range(1, agents):
            joint = (joint[..., :, None] * wide[:, agent, part, None, :]).flatten(start_dim=2)
        reward[:, part] = torch.einsum("rsj,sj->rs", joint, rewards[part].double())
        chain[:, part] = torch.matmul(joint.transpose(0, 1), transitions[part].double()).transpose(0, 1)
    return reward, chain


def horizon_return(reward: Tensor, chain: Tensor, horizon: int, start_state: int) -> Tensor:
    """Expected undiscounted return, float64 [R], of ``horizon`` steps of the chains [R, S], [R, S, S]."""
    value = torch.zeros_like(reward)
    for _ in range(horizon):
        value = reward + torch.matmul(chain, value[..., None])[..., 0]
    return value[:, start_state]
