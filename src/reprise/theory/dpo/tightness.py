"""How tight the bounds of the DPO paper can be: games and policies found by hill climbing.

Random games use a few per cent of a bound, so a constant that is ten times too small would pass there. Here each of
many chains climbs the ratio of the two sides: it keeps whatever change of rewards, transitions or policies brings it
nearer to a violation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames, draw
from reprise.theory import tabular
from reprise.theory.dpo import bounds
from reprise.theory.study import Parameters, Records, generator

FLOOR = 1e-4  # smallest probability of an action
NEAREST = 1e-3  # smallest largest change of a probability: below, ratios would be rounding

Pair = tuple[MarkovGames, np.ndarray, np.ndarray]
Ratio = Callable[[MarkovGames, np.ndarray, np.ndarray], np.ndarray]


def lemma_ratio(games: MarkovGames, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """|L_joint - L_i| over its bound, equation 8, the largest over the agents: [G]."""
    found = tabular.evaluate(games, tabular.product(old))
    return bounds.lemma(found, old, new, np.ones(games.count), games.gamma)["ratio"]


def theorem_ratio(games: MarkovGames, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(mean L_i - change of J) over the penalty of theorem 3.2: [G]."""
    found = tabular.evaluate(games, tabular.product(old))
    after = tabular.evaluate(games, tabular.product(new)).returns
    return bounds.theorem(found, after, old, new, np.ones(games.count), games.gamma)["ratio"]


def root_only_ratio(games: MarkovGames, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """As theorem_ratio with C = 0: above 1 where theorem 3.2 needs its second penalty."""
    found = tabular.evaluate(games, tabular.product(old))
    after = tabular.evaluate(games, tabular.product(new)).returns
    return bounds.theorem(found, after, old, new, np.ones(games.count), games.gamma, root_only=True)["ratio"]


def without_root_ratio(games: MarkovGames, old: np.ndarray, new: np.ndarray) -> np.ndarray:
    """(sum L_i - change of J) over our penalty without root: [G]."""
    found = tabular.evaluate(games, tabular.product(old))
    after = tabular.evaluate(games, tabular.product(new)).returns
    return bounds.without_root(found, after, old, new, np.ones(games.count), games.gamma)["ratio"]


RATIOS: dict[str, Ratio] = {
    "lemma_3_1": lemma_ratio,
    "theorem_3_2": theorem_ratio,
    "root_only": root_only_ratio,
    "without_root": without_root_ratio,
}


def starts(stream: np.random.Generator, p: Parameters, agents: int, gamma: float) -> Pair:
    """A quarter of the chains each starts at random games, and at the three games below, where proofs lose little."""
    games = draw(stream, p.chains, states=p.states, agents=agents, actions=p.actions, gamma=gamma, concentration=0.3)
    old, new = bounds.pairs(stream, games, near=True)
    tables = games.rewards, games.transitions, old, new
    for place, made in enumerate((lone_agent, sticky_states, opposed_agents), 1):
        for table, values in zip(tables, made(p.states, agents, p.actions, gamma), strict=True):
            table[place::4] = values
    return MarkovGames(*tables[:2], games.initial, agents, p.actions, gamma), *tables[2:]


def _signs(agents: int, actions: int, agent: int) -> np.ndarray:
    """[J]: 1 where ``agent`` takes its first action, -1 elsewhere."""
    own = np.indices((actions,) * agents)[agent].ravel()
    return np.where(own == 0, 1.0, -1.0)


def _moved(old: np.ndarray, agent: int, amount: float) -> np.ndarray:
    """``agent`` shifts ``amount`` of probability from its first action to its second in every state."""
    new = old.copy()
    new[agent, :, 0] -= amount
    new[agent, :, 1] += amount
    return new


def lone_agent(states: int, agents: int, actions: int, gamma: float) -> tuple[np.ndarray, ...]:
    """Rewards, transitions, old, new: the reward is agent 0's sign, policies are uniform, agent 0 alone gets worse."""
    rewards = np.broadcast_to(_signs(agents, actions, 0), (states, actions**agents))
    old = np.full((agents, states, actions), 1 / actions)
    return rewards, np.full((states, actions**agents, states), 1 / states), old, _moved(old, 0, 0.02)


def sticky_states(states: int, agents: int, actions: int, gamma: float) -> tuple[np.ndarray, ...]:
    """State 0 pays 1, the others -1. Agent 0 goes to state 0 by its first action, else to the last, and it mostly
    stays where it is, so that one step of its policy is felt for long; then it leaves state 0 a little more often."""
    leave = (1 - gamma) / (2 * gamma) if gamma > 0.5 else 0.5
    rewards = np.where(np.arange(states) == 0, 1.0, -1.0)[:, None] * np.ones(actions**agents)
    transitions = np.zeros((states, actions**agents, states))
    first = _signs(agents, actions, 0) > 0
    transitions[:, first, 0], transitions[:, ~first, -1] = 1.0, 1.0
    old = np.full((agents, states, actions), 1 / actions)
    stay = np.where(np.arange(states) == 0, 1 - leave, leave)
    old[0] = FLOOR
    old[0, :, 0], old[0, :, 1] = stay - FLOOR * (actions - 2), 1 - stay
    return rewards, transitions, old, _moved(old, 0, 0.005)


def opposed_agents(states: int, agents: int, actions: int, gamma: float) -> tuple[np.ndarray, ...]:
    """The reward is the product of two agents' signs at uniform policies: neither has a gradient, and both move."""
    rewards = np.broadcast_to(_signs(agents, actions, 0) * _signs(agents, actions, 1), (states, actions**agents))
    old = np.full((agents, states, actions), 1 / actions)
    new = _moved(_moved(old, 0, 0.02), 1, -0.02)
    return rewards, np.full((states, actions**agents, states), 1 / states), old, new


def climb(stream: np.random.Generator, start: Pair, ratio: Ratio, proposals: int) -> tuple[Pair, np.ndarray]:
    """Every chain's best game and pair of policies, and its ratio [G]; rewards stay in [-1, 1], so r_max = 1."""
    best, value = start, ratio(*start)
    for _ in range(proposals):
        trial = _proposal(stream, best)
        reached = ratio(*trial)
        apart = np.abs(trial[2] - trial[1]).max(axis=(1, 2, 3)) >= NEAREST
        better = (reached > value) & apart
        best = _merge(better, trial, best)
        value = np.where(better, reached, value)
    return best, value


def _proposal(stream: np.random.Generator, pair: Pair) -> Pair:
    """Change one of the four tables in some of its entries or rows by a random amount, every third time towards an
    extreme: a reward of -1 or 1, a nearly deterministic row."""
    games, old, new = pair
    count = games.count
    chosen, amount = stream.integers(4, size=count), 10 ** stream.uniform(-2.5, 0, count)
    extreme = stream.random(count) < 1 / 3

    def towards(place: int, table: np.ndarray, other: np.ndarray, parts: tuple[int, ...]) -> np.ndarray:
        share = np.where(chosen == place, amount, 0.0).reshape(-1, *[1] * (table.ndim - 1))
        share = share * (stream.random(parts) < 0.4)
        return (1 - share) * table + share * other

    def rows(table: np.ndarray) -> np.ndarray:
        shape = np.where(extreme, 0.05, 1.0).reshape(-1, *[1] * (table.ndim - 1))
        drawn = stream.standard_gamma(np.broadcast_to(shape, table.shape)) + 1e-12
        return drawn / drawn.sum(axis=-1, keepdims=True)

    drawn = stream.uniform(-1, 1, games.rewards.shape)
    drawn = np.where(extreme[:, None, None], np.sign(drawn), drawn)
    rewards = towards(0, games.rewards, drawn, games.rewards.shape)
    transitions = towards(1, games.transitions, rows(games.transitions), (*games.transitions.shape[:-1], 1))
    # Close policies are where Pinsker's inequality is tight: half of the proposals for the new one start at the old.
    base = np.where((stream.random(count) < 0.5).reshape(-1, 1, 1, 1) & (chosen == 3).reshape(-1, 1, 1, 1), old, new)
    old = _floored(towards(2, old, rows(old), (*old.shape[:-1], 1)))
    new = _floored(towards(3, base, rows(new), (*new.shape[:-1], 1)))
    return MarkovGames(rewards, transitions, games.initial, games.agents, games.actions, games.gamma), old, new


def _floored(policies: np.ndarray) -> np.ndarray:
    policies = np.maximum(policies, FLOOR)
    return policies / policies.sum(axis=-1, keepdims=True)


def _merge(better: np.ndarray, trial: Pair, best: Pair) -> Pair:
    def pick(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.where(better.reshape(-1, *[1] * (a.ndim - 1)), a, b)

    old = best[0]
    tables = pick(trial[0].rewards, old.rewards), pick(trial[0].transitions, old.transitions), old.initial
    games = MarkovGames(*tables, old.agents, old.actions, old.gamma)
    return games, pick(trial[1], best[1]), pick(trial[2], best[2])


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    p = parameters
    first = 0
    for agents in p.agents:
        for gamma in p.gammas:
            for name, ratio in RATIOS.items():
                stream = generator(seeds[0], f"tightness {agents} {gamma} {name}")
                start = starts(stream, p, agents, gamma)
                _, reached = climb(stream, start, ratio, p.proposals)
                numbers = first + np.arange(p.chains)
                first += p.chains
                series = f"N = {agents}, γ = {gamma:g}"
                records.add(f"{name}_reached", series, reached, game=numbers)
                # Wrong constants: half as large, and in lemma 3.1 one power of the horizon 1 / (1 - gamma) too small.
                records.add(f"planted_half_{name}_margin", series, 0.5 - reached, game=numbers)
                if name == "lemma_3_1":
                    records.add("planted_horizon_lemma_3_1_margin", series, 1 - gamma - reached, game=numbers)
