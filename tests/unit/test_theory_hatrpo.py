"""HATRPO's lemmas, figure 1 and proposition 1: hand-computed values, identities, and that planted errors are seen."""

from itertools import permutations

import numpy as np
import pytest

from reprise.environments.markov_games import draw
from reprise.theory.hatrpo import differential_game, parameter_sharing, sequential_lemmas, surrogates, tightness
from reprise.theory.tabular import evaluate, max_kl, product, random_policies


@pytest.fixture(scope="module")
def pair():
    """200 games of three agents, two independent product policies and the old one's values."""
    draws = np.random.default_rng(1)
    games = draw(draws, 200, states=3, agents=3, actions=2, gamma=0.3)
    old, new = (random_policies(draws, games, floor=1e-3) for _ in range(2))
    return games, old, new, evaluate(games, product(old))


def test_the_penalty_coefficient_by_hand():
    advantage = np.array([[[0.5, -2.0], [1.0, 0.0]]])
    assert surrogates.penalty_coefficient(advantage, 0.5) == pytest.approx([4 * 0.5 * 2 / 0.25])  # 16
    assert surrogates.penalty_coefficient(advantage, 0.99) == pytest.approx([79200.0])


def test_subset_values_by_hand():
    # Two agents, one state: Q(0, 0) = 1, Q(0, 1) = 2, Q(1, 0) = 3, Q(1, 1) = 5.
    q = np.array([[[1.0, 2.0, 3.0, 5.0]]])
    policies = np.array([[[[0.25, 0.75]], [[0.5, 0.5]]]])
    assert surrogates.subset_q(q, policies, [0]).ravel() == pytest.approx([1.5, 4.0])
    assert surrogates.subset_q(q, policies, [1]).ravel() == pytest.approx([2.5, 4.25])
    assert surrogates.subset_q(q, policies, []).ravel() == pytest.approx([3.375])
    gain = surrogates.subset_advantage(q, policies, [0], [1])  # what agent 2 adds to each action of agent 1
    assert gain.ravel() == pytest.approx([-0.5, 0.5, -1.0, 1.0])


def test_lemma_1_holds_for_all_orders_and_not_with_mixed_ones(pair):
    _, old, _, found = pair
    assert len(sequential_lemmas.ordered_subsets(3)) == 15
    assert len(sequential_lemmas.ordered_subsets(4)) == 64
    assert sequential_lemmas.lemma_1_error(found.q, old).max() < 1e-10
    assert sequential_lemmas.mixed_orders_error(found.q, old).min() > 1e-3


def test_lemma_1_sees_a_dropped_predecessor(pair, monkeypatch):
    _, old, _, found = pair
    right = surrogates.subset_advantage
    monkeypatch.setattr(surrogates, "subset_advantage", lambda q, p, before, agents: right(q, p, before[1:], agents))
    assert sequential_lemmas.lemma_1_error(found.q, old).min() > 1e-3


def test_proposition_2_holds_in_every_order_and_needs_the_product(pair):
    _, old, new, found = pair
    for order in permutations(range(3)):
        for place, agent in enumerate(order):
            before, hat = order[:place], new[:, agent]
            left = surrogates.definition_surrogate(found.q, old, new, hat, before, agent)
            right = surrogates.ratio_surrogate(found.advantage, old, new, hat, before, agent)
            assert np.abs(left - right).max() < 1e-10
            if place:
                bare = surrogates.ratio_surrogate(found.advantage, old, new, hat, (), agent)
                assert np.abs(left - bare).max(axis=1).min() > 1e-5
            total = (found.visitation * left).sum(axis=1)
            assert total == pytest.approx(surrogates.surrogate(found, old, new, order, place), abs=1e-10)


def test_an_agent_that_stays_contributes_nothing(pair):
    _, old, new, found = pair
    stays = new.copy()
    stays[:, 1] = old[:, 1]
    assert np.abs(surrogates.surrogate(found, old, stays, (2, 0, 1), 2)).max() < 1e-12
    assert np.abs(surrogates.surrogate(found, old, stays, (2, 0, 1), 1)).min() > 1e-8


def test_the_surrogates_of_any_order_add_up_to_the_joint_one(pair):
    _, old, new, found = pair
    joint = surrogates.joint_surrogate(found, product(new))
    for order in permutations(range(3)):
        assert surrogates.surrogates(found, old, new, order).sum(axis=1) == pytest.approx(joint, abs=1e-10)
    independent = surrogates.simultaneous_surrogates(found, old, new).sum(axis=1)
    assert np.abs(independent - joint).min() > 1e-6


def test_lemma_2_at_gamma_near_0_tells_sequential_from_simultaneous_surrogates():
    draws = np.random.default_rng(2)
    games = draw(draws, 500, states=3, agents=2, actions=2, gamma=0.01)
    old, new = (random_policies(draws, games, floor=1e-3) for _ in range(2))
    found = evaluate(games, product(old))
    gain = evaluate(games, product(new)).returns - found.returns
    penalty = surrogates.penalty_coefficient(found.advantage, 0.01) * max_kl(old, new).sum(axis=1)
    assert (gain - surrogates.surrogates(found, old, new, (1, 0)).sum(axis=1) + penalty).min() >= -1e-10
    assert (gain - surrogates.simultaneous_surrogates(found, old, new).sum(axis=1) + penalty).min() < -1e-3


def test_the_search_makes_the_bound_tight_enough_to_see_a_quarter_of_the_constant():
    games, old, new = tightness.hardest_pairs(np.random.default_rng(0), 20, 500, 0.1, 3, 2)
    used = tightness.bound_used(games, old, new)
    assert used.max() <= 0.5  # Pinsker
    assert used.max() > 0.25  # so that 4 -> 1 in C violates lemma 2


def test_figure_1_by_hand():
    start = np.array([-0.25, 0.25])
    assert differential_game.ball(start, 0.5, 2) == pytest.approx(np.array([[-1.25, 0.75], [-0.75, 1.25]]))
    assert differential_game.expected_reward(start) == pytest.approx(-0.0625)
    at_once = differential_game.simultaneous(start, 0.5, 101)
    assert at_once == pytest.approx([0.75, -0.75])
    assert differential_game.simultaneous(at_once, 0.5, 101) == pytest.approx(start)  # for ever
    assert differential_game.sequential(start, 0.5, 101, (0, 1)) == pytest.approx([0.75, 1.25])
    assert differential_game.sequential(start, 0.5, 101, (1, 0)) == pytest.approx([-1.25, -0.75])


def test_proposition_1_by_hand():
    assert np.flatnonzero(parameter_sharing.reward_table(4)).tolist() == [0b0011, 0b1100]
    assert [parameter_sharing.ratio_stated(n) for n in (2, 4, 10)] == [0.5, 0.125, 2**-9]
    table = parameter_sharing.reward_table(4)
    assert parameter_sharing.expected_reward(table, np.full(4, 0.5)) == pytest.approx(2 / 16)
    assert parameter_sharing.expected_reward(table, np.full(4, 0.25)) == pytest.approx(2 * (0.25 * 0.75) ** 2)
    assert parameter_sharing.expected_reward(table, np.array([0.0, 0.0, 1.0, 1.0])) == pytest.approx(1.0)


def test_the_policy_gradient_is_the_derivative():
    table, logits = parameter_sharing.reward_table(4), np.random.default_rng(0).normal(size=(3, 4))
    step = 1e-6 * np.eye(4)[:, None]

    def value(theta):
        return parameter_sharing.expected_reward(table, 1 / (1 + np.exp(-theta)))

    measured = np.stack([(value(logits + each) - value(logits - each)) / 2e-6 for each in step], axis=1)
    assert parameter_sharing.gradient(table, logits) == pytest.approx(measured, abs=1e-8)


def test_learning_with_and_without_sharing():
    table, starts = parameter_sharing.reward_table(4), np.random.default_rng(0).normal(size=(20, 4))
    shared, last = parameter_sharing.ascend(table, starts, 1000, 1.0, True, [0, 1000])
    assert shared[:, 1] == pytest.approx(np.full(20, 0.125), abs=1e-3)
    assert np.ptp(last, axis=1).max() == 0  # one parameter
    separate, _ = parameter_sharing.ascend(table, starts, 1000, 1.0, False, [0, 1000])
    assert separate[:, 1].min() > 0.95
