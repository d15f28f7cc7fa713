"""Exact quantities of tabular games, held against enumeration, sampling-free series, and each other."""

import itertools

import numpy as np
import pytest

from reprise.environments import markov_games
from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records, generator


@pytest.fixture(scope="module")
def games():
    return markov_games.draw(generator(0, "games"), 6, states=3, agents=3, actions=2, gamma=0.8)


@pytest.fixture(scope="module")
def policies(games):
    return tabular.random_policies(generator(0, "policies"), games, floor=0.01)


def test_draws_are_games(games):
    assert games.rewards.shape == (6, 3, 8)
    assert np.abs(games.rewards).max() <= 1
    assert np.allclose(games.transitions.sum(axis=3), 1)
    assert np.allclose(games.initial.sum(axis=1), 1)
    assert games.chosen(np.array([2])).count == 1
    again = markov_games.draw(generator(0, "games"), 6, states=3, agents=3, actions=2, gamma=0.8)
    assert (again.rewards == games.rewards).all()
    assert not (generator(1, "games").random(4) == generator(0, "games").random(4)).any()


def test_a_known_game_has_its_known_value():
    # State 0 pays 1 and stays with probability 1/2, state 1 pays nothing for ever: V(0) = 1 / (1 - gamma / 2).
    rewards = np.array([[[1.0, 1.0], [0.0, 0.0]]])
    transitions = np.zeros((1, 2, 2, 2))
    transitions[0, 0, :, :] = 0.5
    transitions[0, 1, :, 1] = 1.0
    game = MarkovGames(rewards, transitions, np.array([[1.0, 0.0]]), agents=1, actions=2, gamma=0.9)
    found = tabular.evaluate(game, np.full((1, 2, 2), 0.5))
    assert found.returns == pytest.approx([1 / 0.55])
    assert found.visitation[0] == pytest.approx([1 / 0.55, 10 - 1 / 0.55])
    assert found.q[0, 0] == pytest.approx([1 + 0.45 / 0.55] * 2)


def test_values_are_the_discounted_sums(games, policies):
    joint = tabular.product(policies)
    found = tabular.evaluate(games, joint)
    state, returns, visits = games.initial.copy(), 0.0, 0.0
    for step in range(200):
        visits = visits + games.gamma**step * state
        returns = returns + games.gamma**step * (state[..., None] * joint * games.rewards).sum((1, 2))
        state = np.einsum("gs,gsj,gsjt->gt", state, joint, games.transitions)
    assert np.allclose(found.returns, returns, atol=1e-12)
    assert np.allclose(found.visitation, visits, atol=1e-12)
    assert np.allclose((joint * found.advantage).sum(axis=2), 0, atol=1e-12)
    assert np.allclose(found.visitation.sum(axis=1), 1 / (1 - games.gamma))


def test_the_joint_policy_numbers_agent_0_first(games, policies):
    joint = tabular.product(policies)
    for j, digits in enumerate(itertools.product(range(2), repeat=3)):
        by_hand = np.prod([policies[:, agent, :, a] for agent, a in enumerate(digits)], axis=0)
        assert np.allclose(joint[:, :, j], by_hand)


def test_averages_over_the_others(games, policies):
    values = games.rewards
    for agent in range(3):
        mine = tabular.own(values, policies, agent)
        by_hand = np.zeros_like(mine)
        for j, digits in enumerate(itertools.product(range(2), repeat=3)):
            others = np.prod([policies[:, i, :, a] for i, a in enumerate(digits) if i != agent], axis=0)
            by_hand[:, :, digits[agent]] += others * values[:, :, j]
        assert np.allclose(mine, by_hand, atol=1e-14)
    all_of_them = tabular.averaged(tabular.axes(values, 3), policies, range(3))
    assert all_of_them.shape == (6, 3, 1, 1, 1)
    assert np.allclose(all_of_them[..., 0, 0, 0], (tabular.product(policies) * values).sum(axis=2))


def test_the_optimum_is_no_less_than_any_deterministic_policy():
    games = markov_games.draw(generator(1, "games"), 5, states=2, agents=2, actions=2, gamma=0.7)
    best, joint = tabular.optimum(games)
    every = []
    for choice in itertools.product(range(4), repeat=2):
        policy = np.broadcast_to(np.eye(4)[list(choice)], games.rewards.shape)
        every.append(tabular.evaluate(games, policy).returns)
    assert np.allclose(best, np.max(every, axis=0))
    assert np.allclose(tabular.evaluate(games, joint).returns, best)


def test_best_responses_and_nash_gaps():
    games = markov_games.draw(generator(2, "games"), 5, states=2, agents=2, actions=2, gamma=0.7)
    policies = tabular.random_policies(generator(2, "policies"), games)
    found = tabular.best_response(games, policies, agent=1)
    every = []
    for choice in itertools.product(range(2), repeat=2):
        other = policies.copy()
        other[:, 1] = np.eye(2)[list(choice)]
        every.append(tabular.evaluate(games, tabular.product(other)).returns)
    assert np.allclose(found, np.max(every, axis=0))
    assert (tabular.nash_gap(games, policies) > 0).all()
    # Best responses in turn end where nobody gains.
    for _ in range(20):
        for agent in range(2):
            q = tabular.own(tabular.evaluate(games, tabular.product(policies)).q, policies, agent)
            policies[:, agent] = np.eye(2)[q.argmax(axis=2)]
    assert np.allclose(tabular.nash_gap(games, policies), 0, atol=1e-12)
    # A floor leaves less to gain.
    assert (tabular.best_response(games, policies, 1, floor=0.1) <= tabular.best_response(games, policies, 1)).all()


def test_kl_is_of_old_against_new():
    old, new = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.25, 0.75], [0.5, 0.5]])
    expected = [0.5 * np.log(2) + 0.5 * np.log(2 / 3), np.log(2)]
    assert np.allclose(tabular.kl(old, new), expected)
    assert tabular.max_kl(old, new) == pytest.approx(max(expected))
    assert np.isinf(tabular.kl(new, old)[1])


def test_policies_keep_their_floor(games):
    policies = tabular.random_policies(generator(3, "p"), games, concentration=0.05, floor=0.02)
    assert policies.shape == (6, 3, 3, 2)
    assert policies.min() >= 0.02
    assert np.allclose(policies.sum(axis=3), 1)


def test_records_broadcast_and_keep_their_order():
    calls = []
    records = Records(lambda: calls.append(1))
    records.add("gap", "a", np.arange(6.0).reshape(2, 3), x=[10.0, 20.0, 30.0], game=np.arange(2)[:, None], seed=4)
    records.add("gap", "b", 7.0)
    columns = records.columns()
    assert columns["series"] == ["a"] * 6 + ["b"]
    assert columns["x"].tolist() == [10, 20, 30, 10, 20, 30, 0]
    assert columns["game"].tolist() == [0, 0, 0, 1, 1, 1, 0]
    assert columns["value"].tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert columns["seed"].tolist() == [4] * 6 + [0]
    assert len(calls) == 2
    assert Records().columns()["quantity"] == []


def test_parameters_are_read_only():
    parameters = Parameters({"games": 3})
    assert parameters.games == 3
    with pytest.raises(AttributeError):
        parameters.games = 4
