"""HATRPO's proposition 1: what agents that share one policy lose, exactly and by policy gradient.

n agents, one state, actions 0 and 1; the reward is 1 if the first half plays 0 and the second half 1 or the other way
round, else 0. A policy is the probability of action 1, p = sigmoid(theta).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.theory.study import Parameters, Records, generator


def reward_table(agents: int) -> np.ndarray:
    """The reward of each of the 2^n joint actions, agent 0 the most significant digit (proposition 1)."""
    half = agents // 2
    table = np.zeros(2**agents)
    table[2**half - 1] = 1.0  # (0^{n/2}, 1^{n/2})
    table[(2**half - 1) << half] = 1.0  # (1^{n/2}, 0^{n/2})
    return table


def ratio_stated(agents: int) -> float:
    """J*_share / J* = 2 / 2^n (proposition 1)."""
    return 2 / 2**agents


def expected_reward(table: np.ndarray, chances: np.ndarray) -> np.ndarray:
    """J [...] of the probabilities of action 1, ``chances`` [..., n]: the mean of the table, one agent at a time."""
    values = np.broadcast_to(table, (*chances.shape[:-1], len(table)))
    for i in range(chances.shape[-1]):
        zero, one = np.split(values, 2, axis=-1)
        values = (1 - chances[..., [i]]) * zero + chances[..., [i]] * one
    return values[..., 0]


def gradient(table: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """dJ/dtheta [..., n] for separate parameters, exactly.

    dJ/dp_i is the difference of J with agent i on action 1 and on action 0: J is linear in each p_i. Only the table's
    rewarded joint actions count, so that the cost does not grow with 2^n.
    """
    agents = logits.shape[-1]
    chances = 1 / (1 + np.exp(-logits))
    total = np.zeros(logits.shape)
    for joint in np.flatnonzero(table):
        played = (joint >> np.arange(agents - 1, -1, -1)) & 1
        factors = np.where(played == 1, chances, 1 - chances)
        # d log(factor) / d theta is 1 - p for action 1 and -p for action 0.
        total += table[joint] * factors.prod(axis=-1, keepdims=True) * (played - chances)
    return total


def ascend(
    table: np.ndarray, logits: np.ndarray, steps: int, rate: float, shared: bool, when: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Exact gradient ascent from ``logits`` [B, n]: J [B, len(when)] after the steps ``when``, and the last logits.

    Shared: all agents have the first column's parameter, whose gradient is the sum of theirs.
    """
    if shared:
        logits = np.repeat(logits[:, :1], logits.shape[1], axis=1)
    found = {}
    for step in range(steps + 1):
        if step in when:
            found[step] = expected_reward(table, 1 / (1 + np.exp(-logits)))
        slope = gradient(table, logits)
        logits = logits + rate * (slope.sum(axis=1, keepdims=True) if shared else slope)
    return np.stack([found[step] for step in when], axis=1), logits


def ascend_sampled(
    table: np.ndarray, logits: np.ndarray, steps: int, rate: float, samples: int, shared: bool, draws
) -> np.ndarray:
    """J [B] after REINFORCE with ``samples`` joint actions per step and the batch mean as baseline."""
    if shared:
        logits = np.repeat(logits[:, :1], logits.shape[1], axis=1)
    place = 2 ** np.arange(logits.shape[1] - 1, -1, -1)
    for _ in range(steps):
        chances = 1 / (1 + np.exp(-logits))
        played = draws.random((len(logits), samples, logits.shape[1])) < chances[:, None]
        rewards = table[played @ place]
        centred = (rewards - rewards.mean(axis=1, keepdims=True)) / (samples - 1)
        slope = (centred[..., None] * (played - chances[:, None])).sum(axis=1)
        logits = logits + rate * (slope.sum(axis=1, keepdims=True) if shared else slope)
    return expected_reward(table, 1 / (1 + np.exp(-logits)))


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """The ratio by exhaustive search, and where policy gradient ends from many random starts."""
    when = np.unique(np.geomspace(1, parameters.steps, parameters.points).round().astype(int))
    when = np.concatenate([[0], when])
    for agents in parameters.agents:
        table = reward_table(agents)
        _exact(parameters, records, agents, table)
        for seed in seeds:
            draws = generator(seed, f"proposition 1, n = {agents}")
            starts = draws.normal(0, parameters.start_scale, (parameters.starts, agents))
            for name, shared in (("shared", True), ("separate", False)):
                game = np.arange(len(starts))
                along, last = ascend(table, starts, parameters.steps, parameters.rate, shared, when)
                records.add("learning", f"{name}, n = {agents}", along, x=when, game=game[:, None], seed=seed)
                _ends(parameters, records, name, agents, along[:, -1], game, seed)
                if shared:
                    records.add(
                        "learned_chance", "shared", 1 / (1 + np.exp(-last[:, 0])), x=agents, game=game, seed=seed
                    )
            few = starts[: parameters.sampled_starts]
            for name, shared in (("shared, sampled", True), ("separate, sampled", False)):
                ended = ascend_sampled(
                    table, few, parameters.sampled_steps, parameters.sampled_rate, parameters.samples, shared, draws
                )
                _ends(parameters, records, name, agents, ended, np.arange(len(few)), seed)


def _exact(parameters: Parameters, records: Records, agents: int, table: np.ndarray) -> None:
    """J_share by a grid over p that contains 1/2, J* over all joint actions; the number of local maxima on the grid."""
    chances = np.linspace(0, 1, 2 * parameters.grid_points + 1)
    values = expected_reward(table, np.repeat(chances[:, None], agents, axis=1))
    optimum = table.max()  # J is linear in each p_i: no mixture does better than the best joint action
    ratio = values.max() / optimum
    peaks = (values[1:-1] > values[:-2]) & (values[1:-1] > values[2:])
    records.add("ratio", "measured", ratio, x=agents)
    records.add("ratio", "stated", ratio_stated(agents), x=agents)
    records.add("ratio_error", "2 / 2^n", ratio / ratio_stated(agents) - 1, x=agents)
    records.add("wrong_ratio_error", "1 / 2^n", ratio * 2**agents - 1, x=agents)
    records.add("shared_maximiser_error", "p = 1/2", chances[values.argmax()] - 0.5, x=agents)
    records.add("shared_maxima", "on the grid", peaks.sum(), x=agents)


def _ends(parameters: Parameters, records: Records, name: str, agents: int, ended, game, seed: int) -> None:
    records.add("learned", name, ended, x=agents, game=game, seed=seed)
    records.add("reached_optimum", name, ended > 1 - parameters.reached, x=agents, game=game, seed=seed)
    if name.startswith("shared"):
        records.add("shared_excess", f"{name}, n = {agents}", ended - ratio_stated(agents), game=game, seed=seed)
    else:
        records.add("separate_excess", f"{name}, n = {agents}", ended - ratio_stated(agents), game=game, seed=seed)
