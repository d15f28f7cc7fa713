"""A tabular game, each state and joint action one sample, weighted so that sample means are exact expectations."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from learners import hyperparameters

from reprise.blocks.hyper import Hyper
from reprise.blocks.team_batch import Samples, TeamBatch
from reprise.environments.markov_games import MarkovGames, draw
from reprise.environments.protocol import Discrete, Spec
from reprise.theory import tabular
from reprise.theory.hatrpo.surrogates import definition_surrogate

STATES, PLAYERS, ACTIONS = 3, 3, 2


class Game(NamedTuple):
    """The game, the exact values of the policies it starts with, and these, [1, N, S, A]."""

    games: MarkovGames
    found: tabular.Evaluation
    old: np.ndarray


@dataclass
class Turn:
    """What one agent was given, and what it made of it."""

    agent: int
    samples: Samples
    advantages: torch.Tensor
    policy: object
    table: np.ndarray
    metrics: dict[str, torch.Tensor]


def _table(policy) -> np.ndarray:
    """[1, 1, S, A] probabilities at the one-hot observations, exactly normalised in float64."""
    probabilities = policy.log.detach().double().exp()
    return (probabilities / probabilities.sum(-1, keepdim=True)).numpy()


def team(cls, algorithm: str, **changes):
    """A learner with one run, the batch of all its samples, and the game."""
    generator = np.random.default_rng(4)
    games = draw(generator, 1, states=STATES, agents=PLAYERS, actions=ACTIONS, gamma=0.9)
    values = hyperparameters(algorithm) | {"hidden": 16, "layer_norm": False, "entropy": 0.0}
    values = {k: v for k, v in (values | changes).items() if k in hyperparameters(algorithm)}
    spec = Spec(
        name="test/tabular", agents=PLAYERS, observation_size=STATES, one_hot=True, state_size=STATES,
        actions=Discrete(ACTIONS), episode_limit=5, backend="test", exact=False, return_bounds=(-5.0, 5.0),
    )  # fmt: skip
    learner = cls(spec, Hyper([values]), [0], 1, "cpu")
    for p in learner.actor.parameters.values():
        p.add_(0.4 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    old = _table(learner.actor.policy(learner.actor.parameters, None))
    joint = tabular.product(old)
    found = tabular.evaluate(games, joint)
    digits = np.stack(np.unravel_index(np.arange(games.joint_actions), [ACTIONS] * PLAYERS))
    states, rows = np.repeat(np.arange(STATES), games.joint_actions), np.tile(np.arange(games.joint_actions), STATES)
    count = len(states)
    # mean_m(weight_m f_m) = sum_s rho(s) sum_a pi(a|s) f(s, a)
    weights = found.visitation[0, states] * joint[0, states, rows] * count
    advantages = torch.from_numpy(weights * found.advantage[0, states, rows]).float().expand(1, PLAYERS, -1)
    inputs = torch.nn.functional.one_hot(torch.from_numpy(states), STATES).float().expand(1, PLAYERS, -1, -1)
    actions = torch.from_numpy(digits[:, rows]).unsqueeze(0)
    parts = learner.policies(slice(None), inputs, None).log_prob_parts(actions)
    targets = torch.zeros(1, 1, count)
    batch = TeamBatch(inputs, None, actions, parts.sum(-1), parts, advantages, targets, targets, inputs[:, :1])
    return learner, batch, Game(games, found, old)


def record_turns(learner, batch: TeamBatch) -> list[Turn]:
    """Run ``improve`` and keep what every turn saw and did."""
    turns, order, original = [], learner.order(slice(None))[0].tolist(), learner.improve_agent

    def watch(parameters, samples, runs, networks, turn):
        given = replace(samples, weights=samples.weights.clone())
        metrics = original(parameters, samples, runs, networks, turn)
        with torch.no_grad():
            policy = learner.actor.policy(parameters, samples.inputs)
            table = _table(learner.actor.policy(parameters, torch.eye(STATES).view(1, 1, STATES, STATES)))
        agent = order[turn]
        turns.append(Turn(agent, given, batch.advantages[0, agent], policy, table[0, 0], dict(metrics)))
        return metrics

    learner.improve_agent = watch
    learner.improve(batch, slice(None))
    return turns


def exact_surrogate(game: Game, turns: list[Turn], before: list[int], agent: int) -> float:
    """Definition 2 with the policies that the turns made: sum_s rho(s) E[A^agent(s, a^before, a^agent)]."""
    new = game.old.copy()
    for turn in turns:
        new[0, turn.agent] = turn.table
    gain = definition_surrogate(game.found.q, game.old, new, new[:, agent], before, agent)
    return float((game.found.visitation * gain).sum())
