"""MF-PPO's exact theory: tables of the mean-field MDP, propositions, theorem 4.1 and lemma 4.3."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from reprise.environments import markov_games, mean_field
from reprise.theory import tabular
from reprise.theory.mfppo import (
    algorithm,
    bounds,
    constants,
    counting,
    exact,
    mirror_step,
    planted,
    policy_classes,
    propositions,
    recursion,
    symmetry,
    values,
)
from reprise.theory.study import Parameters, Records


@pytest.fixture
def random():
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def crowding():
    return mean_field.crowding()


@pytest.fixture(scope="module")
def small():
    return mean_field.draw(np.random.default_rng(1), 50, resolution=4)


# The mean-field MDP


def test_one_row_of_the_crowding_game_by_hand(crowding):
    """s = 1, d = 0.3, meta-action (0 -> switch, 1 -> stay): d' = 0.3 * 0.9 + 0.7 * 0.9 = 0.9, a grid point."""
    x = crowding.index(1, 0.3)
    assert (crowding.local_state[x], crowding.fraction[x]) == (1, 0.3)
    m = crowding.maps.tolist().index([1, 0])
    row = crowding.transitions[x, m]
    reset = 0.1 / 21
    assert row[crowding.index(1, 0.9)] == pytest.approx(0.9 * (0.9 + reset))
    assert row[crowding.index(0, 0.9)] == pytest.approx(0.1 * (0.9 + reset))
    assert row[crowding.index(1, 0.5)] == pytest.approx(0.9 * reset)
    assert crowding.rewards[x, m] == pytest.approx(1.0 - 0.3)
    assert crowding.rewards[crowding.index(0, 0.3), m] == pytest.approx(0.5 - 0.7 - 0.1)


def test_population_is_rounded_to_adjacent_grid_points_without_bias(crowding):
    """All stay at d = 0.35: d' = 0.35 * 0.9 + 0.65 * 0.1 = 0.38, so 0.35 with weight 0.4 and 0.4 with weight 0.6."""
    x, m = crowding.index(0, 0.35), crowding.maps.tolist().index([0, 0])
    marginal = crowding.transitions[x, m].reshape(2, 21).sum(axis=0) - 0.1 / 21
    assert marginal[7] == pytest.approx(0.9 * 0.4)
    assert marginal[8] == pytest.approx(0.9 * 0.6)
    assert np.abs(np.delete(marginal, [7, 8])).max() < 1e-12


def test_tables_are_stochastic_and_a_batch_is_its_members(random):
    batch = mean_field.draw(random, 3, resolution=4)
    assert batch.transitions.min() >= 0
    assert np.abs(batch.transitions.sum(axis=-1) - 1).max() < 1e-12
    flip, pay = random.uniform(0, 1, (2, 3, 2, 2, 2))
    together = mean_field.build(flip, pay, gamma=0.9, resolution=4)
    alone = mean_field.build(flip[1], pay[1], gamma=0.9, resolution=4)
    np.testing.assert_array_equal(together.transitions[1], alone.transitions)
    np.testing.assert_array_equal(together.rewards[1], alone.rewards)


def test_values_of_the_crowding_game(crowding):
    """L* = 0.44, the uniform policy 0.0451, the best constant meta-action 0.3214: no constant one is optimal."""
    best = values.optimum(crowding)

    def reached(policy):
        return values.performance(best.law, values.evaluate(crowding, policy)[0])

    assert reached(best.policy) == pytest.approx(0.44, abs=1e-12)
    assert reached(np.full((42, 4), 0.25)) == pytest.approx(0.0451, abs=5e-5)
    constant = [reached(np.tile(np.eye(4)[m], (42, 1))) for m in range(4)]
    assert max(constant) == pytest.approx(0.3214, abs=5e-5)


def test_values_against_iteration(small):
    policy = np.random.default_rng(2).dirichlet(np.ones(4), (50, 10))
    value, q = values.evaluate(small, policy)
    again, law, best = np.zeros_like(value), np.full_like(value, 0.1), np.zeros_like(value)
    for _ in range(400):
        again = (policy * values.backup(small, again)).sum(axis=-1)
        best = values.backup(small, best).max(axis=-1)
        law = np.einsum("gx,gxy->gy", law, values.chain(small, policy))
    assert np.abs(again - value).max() < 1e-12
    assert np.abs((policy * q).sum(axis=-1) - value).max() < 1e-12
    assert np.abs(values.stationary(small, policy) - law).max() < 1e-12
    assert np.abs(values.optimum(small).value - best).max() < 1e-12
    assert np.abs(q).max() <= np.abs(small.rewards).max()  # normalised: |Q| <= rbar, not rbar / (1 - gamma)


# Algorithm 1, theorem 4.1, lemma 4.3


def test_constants_by_hand():
    assert constants.proximity(0.5, 16) == 2.0
    assert [constants.temperature(0.5, 16, k) for k in (0, 1, 4)] == [1.0, 2.0, 0.5]
    assert constants.m_exact(3.0) == 4.5
    assert constants.m_printed(3.0, 0.9) == pytest.approx(450.0)
    assert constants.m_spread(0.4) == pytest.approx(0.02)
    assert constants.theorem_4_1(0.5, 16, 0.9, 4, 2.0) == pytest.approx((0.5 * math.log(4) + 4.0) / 0.4)
    assert constants.theorem_4_1(0.5, 16, 0.9, 4, 2.0, errors=3.0) == pytest.approx((0.5 * (math.log(4) + 3) + 4) / 0.4)


def test_energy_is_the_mean_of_past_critics(small):
    """tau_k F_k of algorithm 1 with the schedule of tau: F_{k+1} = tau_{k+1} (Q_k / upsilon_k + F_k / tau_k)."""
    upsilon, iterations = 0.3, 9
    energy, critics = np.zeros_like(small.rewards), []
    for step in algorithm.iterate(small, iterations, constants.proximity(upsilon, iterations)):
        critics.append(step.q)
        before, after = (constants.temperature(upsilon, iterations, k) for k in (step.k, step.k + 1))
        energy = after * (step.q / constants.proximity(upsilon, iterations) + energy / before)
        np.testing.assert_allclose(energy, np.mean(critics, axis=0), atol=1e-12)
        np.testing.assert_allclose(algorithm.log_softmax(energy / after), step.next_log_policy, atol=1e-12)


def test_average_gaps_of_the_crowding_game(crowding):
    """Mean gap of pi_0 .. pi_K at upsilon = 0.05: 0.170, 0.0883, 0.0439 for K = 16, 64, 256, computed independently."""
    best = values.optimum(crowding)
    for iterations, expected in ((16, 0.170), (64, 0.0883), (256, 0.0439)):
        found = recursion.run(crowding, best, iterations + 1, constants.proximity(0.05, iterations))
        assert found.gap.mean() == pytest.approx(expected, rel=2e-3)


def test_lemma_and_identities_hold_and_improve(small):
    best = values.optimum(small)
    weight = constants.proximity(0.1, 32)
    found = recursion.run(small, best, 32, weight)
    assert found.three_point.max() < 1e-10
    assert found.difference.max() < 1e-10
    assert found.improvement.min() > -1e-12
    for m in exact.readings(small, found).values():
        assert recursion.margins(found, 0.9, weight, m).min() >= 0


def test_sharp_reading_is_the_smallest_and_nearly_attained(crowding):
    found = recursion.run(crowding, values.optimum(crowding), 256, constants.proximity(0.1, 256))
    m = exact.readings(crowding, found)
    assert m["spread"] < m["exact"] / 50 < m["printed"] / 4999
    bound = constants.theorem_4_1(0.1, 256, 0.9, 4, m["spread"])
    assert 0.85 < found.gap.mean() / bound < 1.0


@pytest.mark.parametrize("update", [planted.reversed_sign, planted.mirrored_critic, planted.without_memory])
def test_planted_updates_are_caught(small, update):
    best, weight = values.optimum(small), constants.proximity(0.1, 64)
    found = recursion.run(small, best, 64, weight, update)
    right = recursion.run(small, best, 64, weight)
    sharp = constants.m_spread(found.spread.max(axis=0))
    assert (recursion.margins(found, 0.9, weight, sharp).min(axis=0) < -1e-6).any()
    assert found.three_point.min() > 1e-4
    assert found.gap[-1].mean() > 2 * right.gap[-1].mean()


def test_a_smaller_constant_is_caught(small):
    """Pinsker's 1/2 matters: with a quarter of M the recursion fails."""
    best, weight = values.optimum(small), constants.proximity(0.6, 16)
    found = recursion.run(small, best, 16, weight)
    sharp = constants.m_spread(found.spread.max(axis=0))
    assert recursion.margins(found, 0.9, weight, sharp).min() >= 0
    assert (recursion.margins(found, 0.9, weight, sharp / 4).min(axis=0) < 0).mean() > 0.5


def test_wrong_normalisation_is_caught(small, monkeypatch):
    """A Q without the factor 1 - gamma of its reward breaks the performance difference."""
    best, right = values.optimum(small), values.backup
    monkeypatch.setattr(values, "backup", lambda mdp, value: right(mdp, value) + mdp.gamma * mdp.rewards)
    assert recursion.run(small, best, 8, constants.proximity(0.1, 8)).difference.min() > 1e-4


# Propositions


def test_groups_and_classes_by_hand():
    everyone = symmetry.group(2, 2, 3)
    assert len(everyone) == 6
    assert all(sorted(each.states) == list(range(8)) for each in everyone)
    swap = next(each for each in everyone if each.states[0b001] == 0b010 and each.states[0b100] == 0b100)
    assert swap.actions[0b101] == 0b110  # agents 1 and 2 exchange actions as they exchange states
    assert symmetry.fixed(everyone)[0b000].nonzero()[0].tolist() == [0b000, 0b111]
    assert symmetry.fixed(everyone)[0b001].nonzero()[0].tolist() == [0b000, 0b001, 0b110, 0b111]
    classes = sorted(tuple(members) for members in symmetry.histograms(2, 3))
    assert (0b001, 0b010, 0b100) in classes  # own state 0, the others one 0 and one 1
    assert len(classes) == 6
    assert symmetry.observations(2, 3).max() + 1 == 6


def test_symmetrised_games_satisfy_equation_2_1(random):
    everyone = symmetry.group(2, 2, 3)
    games = symmetry.symmetrised(markov_games.draw(random, 20, states=8, agents=3, actions=2, gamma=0.9), everyone)
    assert np.abs(games.transitions.sum(axis=-1) - 1).max() < 1e-12
    for each in everyone:
        moved = games.transitions[:, each.states][:, :, each.actions][..., each.states]
        assert np.abs(moved - games.transitions).max() < 1e-12
        assert np.abs(games.rewards[:, each.states][:, :, each.actions] - games.rewards).max() < 1e-12


def test_invariance_fails_when_actions_are_not_permuted(random):
    """Symmetrising over permutations of states alone is not eq. 2.1 and is caught."""
    everyone = symmetry.group(2, 2, 3)
    wrong = [symmetry.Permutation(each.states, np.arange(8)) for each in everyone]
    drawn = markov_games.draw(random, 20, states=8, agents=3, actions=2, gamma=0.9)
    for group, holds in ((everyone, True), (wrong, False)):
        games = symmetry.symmetrised(drawn, group)
        q = tabular.evaluate(games, tabular.optimum(games)[1]).q
        assert (symmetry.change(q, everyone).max() < 1e-10) == holds


def test_classes_of_policies_in_anti_coordination(random):
    games = markov_games.MarkovGames(
        np.array([[[0.0, 1.0, 1.0, 0.0]]]), np.ones((1, 1, 4, 1)), np.ones((1, 1)), agents=2, actions=2, gamma=0.5
    )
    everyone = symmetry.group(1, 2, 2)
    assert policy_classes.deterministic(games, everyone) == pytest.approx(0.0)
    search = {"starts": 4, "steps": 50, "step": 1.0}
    assert policy_classes.factorised(games, 1, random, **search) == pytest.approx(1.0)  # 2 p (1 - p) <= 1/2, times 2
    invariant = symmetry.invariant(tabular.optimum(games)[1], everyone)
    np.testing.assert_allclose(invariant[0, 0], [0, 0.5, 0.5, 0])
    assert tabular.evaluate(games, invariant).returns == pytest.approx(2.0)


def test_factorised_search_finds_the_best_of_a_grid(random):
    """One state, two agents: the best shared probability of action 1, against a fine grid."""
    rewards = random.uniform(-1, 1, (10, 1, 4))
    rewards[:, :, 2] = rewards[:, :, 1]
    games = markov_games.MarkovGames(rewards, np.ones((10, 1, 4, 1)), np.ones((10, 1)), agents=2, actions=2, gamma=0.5)
    p = np.linspace(0, 1, 2001)
    grid = np.stack([(1 - p) ** 2, (1 - p) * p, p * (1 - p), p**2])
    best = 2 * (rewards[:, 0] @ grid).max(axis=1)
    found = policy_classes.factorised(games, 1, random, starts=6, steps=200, step=1.0)
    np.testing.assert_allclose(found, best, atol=1e-3)


@pytest.mark.parametrize(("states", "agents"), [(2, 5), (3, 4), (4, 3), (5, 2), (3, 6)])
def test_count_against_all_tuples(states, agents):
    orbits = {tuple(sorted(each)) for each in itertools.product(range(states), repeat=agents)}
    closed = math.comb(agents + states - 1, states - 1)
    assert counting.printed(states, agents) == counting.enumerated(states, agents) == len(orbits) == closed
    assert counting.off_by_one(states, agents) != len(orbits)


def test_known_counts():
    assert [counting.printed(*each) for each in ((2, 5), (3, 10), (4, 3), (5, 20))] == [6, 66, 20, 10626]
    assert counting.exponent(4, 10**6) == pytest.approx(3.0, abs=1e-5)


def test_closed_form_is_certified_and_errors_are_not(random):
    problems = mirror_step.draw(random, 200, 4)
    others = random.dirichlet(np.ones(4), (8, 200))
    assert mirror_step.certificate(problems, mirror_step.closed(problems), others).max() < 1e-10
    assert mirror_step.certificate(problems, mirror_step.without_temperature(problems), others).min() > 1e-6
    few = mirror_step.Problems(*(part[:20] for part in problems))
    assert np.abs(mirror_step.solved(few) - mirror_step.closed(few)).max() < 1e-6


def test_closed_form_by_hand():
    """Q = (1, 0), F = 0, upsilon = 1: probabilities e / (1 + e), and the objective log((1 + e) / 2)."""
    problems = mirror_step.Problems(np.array([[1.0, 0.0]]), np.zeros((1, 2)), np.ones(1), np.ones(1))
    policy = mirror_step.closed(problems)
    assert policy[0, 0] == pytest.approx(math.e / (1 + math.e))
    assert mirror_step.objective(problems, policy)[0] == pytest.approx(math.log((1 + math.e) / 2))


# The studies


def _violated(records: Records, quantity: str, tolerance: float = 1e-10) -> tuple[int, int]:
    """Rows of an error above, or of a margin below, the tolerance, and all rows."""
    columns = records.columns()
    value = columns["value"][np.array(columns["quantity"]) == quantity]
    excess = -value if quantity.endswith(("margin", "improvement")) else np.abs(value)
    return int((excess > tolerance).sum()), len(value)


def test_study_of_propositions():
    records = Records()
    parameters = {
        "agents": [3], "local_states": [2], "games": [30], "gamma": 0.9,
        "class_games": 4, "class_starts": 2, "class_steps": 20, "class_step": 1.0,
        "count_states": [2, 3], "count_agents": [2, 5], "doublings": [1, 1024, 16384], "shown_agents": 1024,
        "cases": 50, "alternatives": 4, "meta_actions": 3, "solved_cases": 5,
    }  # fmt: skip
    propositions.run(Parameters(parameters), [0], records)
    assert _violated(records, "proposition_2_1_error") == (0, 150)
    assert _violated(records, "proposition_2_2_error") == (0, 30)
    assert _violated(records, "proposition_3_1_error") == (0, 4)
    assert _violated(records, "proposition_3_2_error") == (0, 50)
    assert _violated(records, "solver_distance", 1e-6) == (0, 5)
    for quantity, rows in (("asymmetric_game_error", 30), ("other_policy_error", 30), ("wrong_step_error", 50)):
        assert _violated(records, quantity) == (rows, rows)


def test_studies_of_the_theorem():
    records = Records()
    parameters = {
        "games": 2, "gamma": 0.9, "upsilons": [0.05, 0.6], "iterations": [16], "other_upsilon": 0.01,
        "other_iterations": [16], "wrong_iterations": 16, "wrong_games": 2, "along_upsilon": 0.05,
        "along_iterations": 8, "resolution": 3, "literal_reward_bound": 0.01,
    }  # fmt: skip
    exact.run(Parameters(parameters), [0], records)
    bounds.run(Parameters(parameters | {"games": 40}), [0], records)
    for name in ("theorem_4_1_exact", "theorem_4_1_spread", "lemma_4_3_exact", "lemma_4_3_spread"):
        assert _violated(records, f"{name}_margin") == (0, 6 + 80)
    assert _violated(records, "three_point_error")[0] == _violated(records, "improvement")[0] == 0
    wrong, rows = _violated(records, "wrong_lemma_4_3_margin")
    assert wrong > 0.9 * rows == 72
    literal, rows = _violated(records, "literal_lemma_4_3_margin")
    assert literal > rows / 2
