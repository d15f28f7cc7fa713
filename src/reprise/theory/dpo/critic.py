"""Section 3.2 of the DPO paper on random games: the decentralised critic is the joint one averaged over the others, and
r + gamma V(s') - V(s) is an unbiased, noisy estimate of agent i's advantage."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames, draw
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records, generator


def individual_q(games: MarkovGames, policies: np.ndarray, agent: int) -> np.ndarray:
    """Q_i [G, S, A], the fixed point of equation 5, solved as agent i's own Markov chain over (state, own action).

    Nothing of the joint value function enters: the others are part of the environment.
    """
    reward = tabular.own(games.rewards, policies, agent)
    arrivals = np.stack([tabular.own(games.transitions[..., s], policies, agent) for s in range(games.states)], axis=-1)
    chain = arrivals[..., :, None] * policies[:, agent][:, None, None]  # [G, S, A, S', A']
    size = games.states * games.actions
    system = np.eye(size) - games.gamma * chain.reshape(games.count, size, size)
    return np.linalg.solve(system, reward.reshape(games.count, size, 1)).reshape(reward.shape)


def temporal_differences(games: MarkovGames, value: np.ndarray) -> np.ndarray:
    """r + gamma V(s') - V(s) for every outcome (s, joint action, s'): [G, S, J, S]."""
    return games.rewards[..., None] + games.gamma * value[:, None, None, :] - value[:, :, None, None]


def moments(games: MarkovGames, policies: np.ndarray, value: np.ndarray, agent: int) -> tuple[np.ndarray, ...]:
    """Of the temporal difference given (s, a_i), each [G, S, A]: its mean, its variance, and the part of the variance
    that comes from the others' actions (the rest comes from the next state)."""
    outcomes = temporal_differences(games, value)
    given_joint = (games.transitions * outcomes).sum(axis=3)
    mean = tabular.own(given_joint, policies, agent)
    variance = tabular.own((games.transitions * outcomes**2).sum(axis=3), policies, agent) - mean**2
    others = tabular.own(given_joint**2, policies, agent) - mean**2
    return mean, variance, others


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    p = parameters
    first = 0
    for agents in p.agents:
        for gamma in p.gammas:
            stream = generator(seeds[0], f"critic {agents} {gamma}")
            games = draw(stream, p.games, states=p.states, agents=agents, actions=p.actions, gamma=gamma)
            policies = tabular.random_policies(stream, games)
            _record(games, policies, records, f"N = {agents}, γ = {gamma:g}", first + np.arange(p.games))
            first += p.games


def _record(games: MarkovGames, policies: np.ndarray, records: Records, series: str, numbers: np.ndarray) -> None:
    found = tabular.evaluate(games, tabular.product(policies))
    # The planted wrong version: the other agents' policies handed on to the next agent.
    shifted = np.roll(policies, 1, axis=1)
    q_error, v_error, wrong, bias, wrong_bias, noise, share = ([] for _ in range(7))
    for agent in range(games.agents):
        q = individual_q(games, policies, agent)
        q_error.append(np.abs(q - tabular.own(found.q, policies, agent)).max(axis=(1, 2)))
        v_error.append(np.abs((policies[:, agent] * q).sum(axis=2) - found.value).max(axis=1))
        wrong.append(np.abs(q - tabular.own(found.q, shifted, agent)).max(axis=(1, 2)))
        advantage = tabular.own(found.advantage, policies, agent)
        mean, variance, others = moments(games, policies, found.value, agent)
        bias.append(np.abs(mean - advantage).max(axis=(1, 2)))
        wrong_bias.append(np.abs(moments(games, shifted, found.value, agent)[0] - advantage).max(axis=(1, 2)))
        weight = found.visitation[..., None] * policies[:, agent]
        signal, spread, joint = ((weight * part).sum(axis=(1, 2)) for part in (advantage**2, variance, others))
        noise.append(np.sqrt(spread / signal))
        share.append(joint / spread)
    records.add("q_error", series, np.max(q_error, axis=0), game=numbers)
    records.add("v_error", series, np.max(v_error, axis=0), game=numbers)
    records.add("wrong_agent_error", series, np.max(wrong, axis=0), game=numbers)
    records.add("advantage_bias", series, np.max(bias, axis=0), game=numbers)
    records.add("wrong_bias", series, np.max(wrong_bias, axis=0), game=numbers)
    # Root of the mean variance over root of the mean squared advantage, both where the policy goes.
    records.add("noise_to_signal", series, np.mean(noise, axis=0), game=numbers)
    records.add("variance_from_others", series, np.mean(share, axis=0), game=numbers)
