"""Exact values against brute force, plain loops and linear algebra."""

import itertools

import numpy as np
import pytest
import torch

from reprise.environments.stochastic_game import solve
from reprise.environments.stochastic_game.tables import Game, open_tables


@pytest.fixture
def draw(tmp_path):
    def tables(states=4, agents=2, actions=2, seed=0, reward=5.0, width=4.0):
        opened = open_tables(Game(states, agents, actions, -reward, reward, width, seed), tmp_path)
        return opened.rewards, opened.transitions

    return tables


def full_backup(rewards, transitions, horizon):
    value = np.zeros(len(rewards))
    for _ in range(horizon):
        value = (rewards + transitions.astype(np.float64) @ value).max(axis=1)
    return value


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("width", [4.0, 20.0])  # 20: nearly deterministic rows, large spans, hardly any pruning
def test_optimum_equals_the_full_backup(draw, seed, width):
    rewards, transitions = draw(states=12, agents=3, actions=3, seed=seed, width=width)
    for horizon in (1, 2, 12, 40):
        expected = full_backup(rewards, transitions, horizon)
        for start in (0, 7):
            assert solve.optimum(rewards, transitions, horizon, start) == pytest.approx(expected[start], rel=1e-12)


def test_optimum_equals_brute_force_over_all_deterministic_joint_policies(draw):
    rewards, transitions = draw(states=2, agents=2, actions=2, width=20.0)
    horizon, best = 3, -np.inf
    rules = list(itertools.product(range(4), repeat=2))  # a joint action for each state
    for plan in itertools.product(rules, repeat=horizon):  # another rule at every step
        value = np.zeros(2)
        for rule in reversed(plan):
            value = rewards[range(2), rule] + transitions[range(2), rule].astype(np.float64) @ value
        best = max(best, value[0])
    assert solve.optimum(rewards, transitions, horizon, 0) == pytest.approx(best, rel=1e-12)


def discounted(rewards, transitions, joint, discount):
    states = np.arange(len(rewards))
    system = np.eye(len(rewards)) - discount * transitions[states, joint].astype(np.float64)
    return np.linalg.solve(system, rewards[states, joint])


def test_no_agent_gains_alone_at_a_nash_point(draw):
    states, agents, actions, discount = 4, 3, 3, 0.99
    rewards, transitions = draw(states, agents, actions, seed=2)
    points = solve.best_response_nash(rewards, transitions, agents, actions, 20, 0, restarts=4)
    assert len(points) == 4
    weights = solve.joint_weights(agents, actions)
    for point in points:
        value = discounted(rewards, transitions, weights @ point.policy, discount)
        for agent, rule in itertools.product(range(agents), itertools.product(range(actions), repeat=states)):
            deviation = point.policy.copy()
            deviation[agent] = rule
            assert (discounted(rewards, transitions, weights @ deviation, discount) <= value + 1e-6).all()
        joint = weights @ point.policy
        assert point.value == solve.deterministic_return(rewards, transitions, joint, 20, 0)


def test_one_agent_alone_finds_the_discounted_optimum(draw):
    rewards, transitions = draw(states=5, agents=1, actions=4, width=20.0)
    policy = np.zeros((1, 5), dtype=np.int64)
    assert solve.improve(rewards, transitions, policy, 0, 4, 0.9) > 0
    best = max(
        (discounted(rewards, transitions, np.array(rule), 0.9) for rule in itertools.product(range(4), repeat=5)),
        key=lambda value: value.sum(),
    )
    np.testing.assert_allclose(discounted(rewards, transitions, policy[0], 0.9), best)
    assert solve.improve(rewards, transitions, policy, 0, 4, 0.9) == 0


def looped_return(rewards, transitions, policy, horizon, start):
    """Plain loops over states and joint actions; ``policy`` [N, S, A]."""
    agents, states, actions = policy.shape
    value = np.zeros(states)
    for _ in range(horizon):
        new = np.zeros(states)
        for state in range(states):
            for index, joint in enumerate(itertools.product(range(actions), repeat=agents)):
                probability = np.prod([policy[agent, state, action] for agent, action in enumerate(joint)])
                new[state] += probability * (rewards[state, index] + transitions[state, index] @ value)
        value = new
    return value[start]


def exact(rewards, transitions, policies, horizon, start):
    chain = solve.induced_chain(torch.from_numpy(rewards), torch.from_numpy(transitions), policies)
    return solve.horizon_return(*chain, horizon, start)


@pytest.mark.parametrize("chunk_bytes", [1, 4096, 2**26])
def test_exact_return_equals_plain_loops(draw, chunk_bytes, monkeypatch):
    monkeypatch.setattr(solve, "CHUNK_BYTES", chunk_bytes)
    rewards, transitions = draw(states=5, agents=3, actions=2)
    policies = torch.softmax(torch.randn(3, 3, 5, 2, generator=torch.Generator().manual_seed(0)).double(), dim=-1)
    found = exact(rewards, transitions, policies, 6, 1)
    expected = [looped_return(rewards, transitions, policy.numpy(), 6, 1) for policy in policies]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_deterministic_policies_are_looked_up_with_the_same_result(draw):
    rewards, transitions = draw(states=6, agents=3, actions=3)
    chosen = torch.randint(0, 3, (4, 3, 6), generator=torch.Generator().manual_seed(0))
    sharp = torch.nn.functional.one_hot(chosen, 3).float()
    expected = [
        solve.deterministic_return(rewards, transitions, solve.joint_weights(3, 3) @ policy.numpy(), 8, 0)
        for policy in chosen
    ]
    np.testing.assert_allclose(exact(rewards, transitions, sharp, 8, 0), expected, rtol=1e-12)
    # One soft run sends the whole batch through the contraction.
    mixed = torch.cat([sharp, torch.full_like(sharp[:1], 1 / 3)])
    np.testing.assert_allclose(exact(rewards, transitions, mixed, 8, 0)[:4], expected, rtol=1e-12)
    assert float(exact(rewards, transitions, mixed, 8, 0)[4]) == pytest.approx(
        solve.uniform_return(rewards, transitions, 8, 0), rel=1e-6
    )


def test_exact_return_equals_linear_algebra(draw):
    rewards, transitions = draw(states=5, agents=1, actions=3)
    policy = torch.softmax(torch.randn(1, 1, 5, 3, generator=torch.Generator().manual_seed(0)).double(), dim=-1)
    weights = policy[0, 0].numpy()
    chain = np.einsum("sa,sat->st", weights, transitions.astype(np.float64))
    reward = (weights * rewards).sum(axis=1)
    eigenvalues, vectors = np.linalg.eig(chain)
    # sum of the first 50 powers of a matrix, through its eigenvalues
    powers = np.array([sum(value**k for k in range(50)) for value in eigenvalues])
    expected = (vectors @ np.diag(powers) @ np.linalg.inv(vectors) @ reward).real[3]
    assert float(exact(rewards, transitions, policy, 50, 3)[0]) == pytest.approx(expected, rel=1e-9)


@pytest.mark.long
def test_reference_levels_of_the_papers_game(tmp_path):
    opened = open_tables(Game(100, 6, 5, -5.0, 5.0, 4.0, 1), tmp_path)
    tables = (opened.rewards, opened.transitions)
    assert solve.optimum(*tables, 100, 0) == pytest.approx(499.9, abs=0.2)
    assert solve.uniform_return(*tables, 100, 0) == pytest.approx(0, abs=2)
    values = [point.value for point in solve.best_response_nash(*tables, 6, 5, 100, 0)]
    assert 460 < np.mean(values) < 485
