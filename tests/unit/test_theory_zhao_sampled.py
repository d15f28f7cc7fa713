"""Sampled and offline multi-agent PPO of Zhao et al.: solvers against brute force, planted errors caught."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from scipy.optimize import minimize

from reprise.environments import markov_games
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records
from reprise.theory.zhao import (
    bellman_consistent,
    conditional,
    features,
    lower_bound,
    offline,
    pessimism,
    projected_sgd,
    sampled,
)

GAMMA, LIMIT = 0.9, 10.0


@pytest.fixture(scope="module")
def games():
    drawn = np.random.default_rng(1)
    shape = {"states": 3, "agents": 2, "actions": 2, "gamma": GAMMA}
    return markov_games.draw(drawn, 4, reward_low=0.0, concentration=0.5, **shape)


@pytest.fixture(scope="module")
def policies(games):
    return conditional.random_policies(np.random.default_rng(2), games)


def partial_data(games, size=400, noise=0.3):
    _, best = tabular.optimum(games)
    behaviour = offline.behaviour(np.random.default_rng(3), best, "partial", 1, 0.0)
    return offline.collect(np.random.default_rng(4), games, behaviour, [size], noise)


# Projected SGD


def test_the_step_size_is_radius_over_gradient_bound_and_root_of_steps():
    assert projected_sgd.step_size(30.0, 10.0, 100) == pytest.approx(0.21213203435596, abs=1e-12)
    assert projected_sgd.step_size(30.0, 10.0, 1) == 1.0


def test_projected_sgd_is_the_mean_of_projected_iterates():
    drawn = np.random.default_rng(0)
    inputs, targets = drawn.standard_normal((3, 40, 4)) / 2, drawn.standard_normal((3, 40))
    found = projected_sgd.least_squares_path(inputs, targets, np.zeros((3, 4)), radius=0.3, step=0.4)
    plain = projected_sgd.least_squares_path(inputs, targets, np.zeros((3, 4)), radius=9.0, step=0.4)
    for row in range(3):
        w, iterates = np.zeros(4), []
        for phi, y in zip(inputs[row], targets[row], strict=True):
            w = w - 0.4 * (phi @ w - y) * phi
            w = w if np.linalg.norm(w) <= 0.3 else 0.3 * w / np.linalg.norm(w)
            iterates.append(w)
        np.testing.assert_allclose(found[row], np.mean(iterates, axis=0), atol=1e-14)
        assert np.abs(plain[row] - np.mean(iterates, axis=0)).max() > 1e-3  # without the projection
        assert np.abs(found[row] - w).max() > 1e-3  # without averaging


def test_rollouts_with_a_geometric_horizon_are_unbiased_and_cut_ones_are_not(games, policies):
    joint = conditional.joint(policies)
    truth = tabular.evaluate(games, joint)
    states, actions = np.ones((4, 4000), dtype=int), np.full((4, 4000), 2)
    found = projected_sgd.returns(np.random.default_rng(5), games, joint, states, actions)
    error = found.std(axis=1) / np.sqrt(4000)
    assert (np.abs(found.mean(axis=1) - truth.q[:, 1, 2]) < 4 * error).all()
    cut = projected_sgd.returns(np.random.default_rng(5), games, joint, states, actions, longest=3)
    assert (np.abs(cut.mean(axis=1) - truth.q[:, 1, 2]) > 4 * error).all()


def test_entries_count_states_then_actions_agent_by_agent(games):
    states, actions = np.array([2, 2]), np.array([1, 2])  # joint actions (0, 1) and (1, 0)
    assert projected_sgd.entries(games, 0, states, actions).tolist() == [4, 5]
    assert projected_sgd.entries(games, 1, states, actions).tolist() == [9, 10]


@pytest.mark.parametrize("agent", [0, 1])
def test_samples_have_the_law_that_errors_are_measured_under(games, policies, agent):
    visitation = tabular.evaluate(games, conditional.joint(policies)).visitation
    drawn = projected_sgd.start_pairs(np.random.default_rng(6), visitation, policies, agent, 20000)
    rows = projected_sgd.entries(games, agent, *drawn)
    law = projected_sgd.sampling_law(visitation, policies, agent)
    np.testing.assert_allclose(law.sum(axis=1), 1.0, atol=1e-12)
    seen = np.array([np.bincount(row, minlength=law.shape[1]) for row in rows]) / 20000
    assert (np.abs(seen - law) < 5 * np.sqrt(law * (1 - law) / 20000) + 1e-12).all()
    if agent == 1:  # on-policy instead of uniform own actions
        other = (visitation / visitation.sum(axis=1, keepdims=True))[..., None] * conditional.joint(policies)
        assert not (np.abs(seen - other.reshape(4, -1)) < 5 * np.sqrt(law * (1 - law) / 20000) + 1e-12).all()


# Sampled multi-agent PPO


def learner(games, phi, penalty):
    return sampled.Learner(games, phi, [100.0, 100.0], penalty)


def test_exact_sub_problems_with_one_hot_features_are_the_mirror_step(games):
    phi = [features.one_hot(4, rows) for rows in (6, 12)]
    one, logits = learner(games, phi, 0.7), conditional.zero_logits(games)
    for _ in range(5):
        policies = conditional.softmax(logits)
        values = conditional.localised(tabular.evaluate(games, conditional.joint(policies)).q, policies)
        logits = conditional.mirror_step(logits, values, 0.7)
        one.iterate(np.random.default_rng(0), None)
    for mine, theirs in zip(one.policies(), conditional.softmax(logits), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-10)


def test_the_critic_comes_near_the_localised_values_unless_it_reads_the_actions_backwards(games, policies):
    truth = tabular.evaluate(games, conditional.joint(policies))
    for agent in (0, 1):
        one = learner(games, [features.one_hot(4, rows) for rows in (6, 12)], 1.0)
        values = conditional.localised(truth.q, policies)[agent].reshape(4, -1)
        law = projected_sgd.sampling_law(truth.visitation, policies, agent)
        errors = []
        for backwards in (False, True):
            one.reversed = backwards
            omega = one.critic(np.random.default_rng(7), policies, truth.visitation, agent, 6000)
            errors.append((law * (omega - values) ** 2).sum(axis=1).mean())
        assert errors[0] < 0.15
        assert errors[1] > 1.5 * errors[0]


def test_as_many_random_features_as_entries_fit_everything_and_fewer_do_not(games, policies):
    law = np.full((4, 12), 1 / 12)
    values = tabular.evaluate(games, conditional.joint(policies)).q.reshape(4, -1)
    for dimension, fits in ((12, True), (5, False)):
        phi = features.random_directions(np.random.default_rng(8), 4, 12, dimension)
        np.testing.assert_allclose(np.linalg.norm(phi, axis=2), 1.0, atol=1e-12)
        left = (phi @ projected_sgd.projection(phi, law, values)[..., None])[..., 0] - values
        assert (np.abs(left).max() < 1e-8) == fits


# Offline data


def test_behaviour_policies_cover_what_their_names_say(games):
    _, best = tabular.optimum(games)
    for coverage, share in (("partial", 0.5), ("full", 0.625), ("removed", 0.0)):
        policy = offline.behaviour(np.random.default_rng(0), best, coverage, 2, 0.01)
        np.testing.assert_allclose(policy.sum(axis=2), 1.0, atol=1e-12)
        np.testing.assert_allclose(policy[best > 0], share, atol=1e-12)
    partial = np.sort(offline.behaviour(np.random.default_rng(0), best, "partial", 2, 0.01), axis=2)
    np.testing.assert_allclose(partial[0, 0], [0.005, 0.2475, 0.2475, 0.5], atol=1e-12)


def test_data_are_counts_of_transitions_and_grow(games):
    _, best = tabular.optimum(games)
    policy = offline.behaviour(np.random.default_rng(0), best, "full", 1, 0.0)
    data = offline.collect(np.random.default_rng(1), games, policy, [50, 5000], 0.0)
    assert data.size.tolist() == [50.0] * 4 + [5000.0] * 4
    np.testing.assert_array_equal(data.moves.sum(axis=3), data.pairs)
    assert (data.pairs[4:] >= data.pairs[:4]).all()
    np.testing.assert_allclose(data.rewards, data.pairs * np.tile(games.rewards, (2, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(data.pairs[4:] / 5000, policy / 3, atol=5 * np.sqrt(0.25 / 5000))
    seen = data.pairs[4:] > 800
    np.testing.assert_allclose((data.moves[4:] / data.pairs[4:, ..., None])[seen], games.transitions[seen], atol=0.09)


# The count bound


def bound(data, phi=None, penalty=0.0, prior="zero", sweeps=2000):
    rows, states, joint = data.pairs.shape
    return lower_bound.RidgeBound(
        data,
        features.one_hot(rows, states * joint) if phi is None else phi,
        gamma=GAMMA,
        ridge=1.0,
        penalty=penalty,
        prior=lower_bound.priors(GAMMA)[prior],
        value_limit=LIMIT,
        sweeps=sweeps,
        tolerance=1e-11,
    )


@pytest.mark.parametrize(
    ("prior", "penalty", "unseen"),
    [("zero", 0.0, 0.0), ("middle", 0.0, 5.0), ("middle", 2.0, 3.0), ("middle", -2.0, 7.0)],
)
def test_the_count_bound_by_hand(prior, penalty, unseen):
    # One state, two actions: the first seen 3 times with rewards that sum to 1.5, the second never.
    data = offline.Data(np.array([[[3.0, 0.0]]]), np.array([[[[3.0], [0.0]]]]), np.array([[[1.5, 0.0]]]))
    first = np.array([[[1.0, 0.0]]])
    q = bound(data, penalty=penalty, prior=prior)(first)
    # q = (1.5 + 3 gamma q + prior) / 4 - penalty / sqrt(4), so q (1 - 2.7 / 4) = (1.5 + prior) / 4 - penalty / 2
    middle = {"zero": 0.0, "middle": 5.0}[prior]
    expected = ((1.5 + middle) / 4 - penalty / 2) / (1 - 2.7 / 4)
    np.testing.assert_allclose(q[0, 0], [np.clip(expected, 0, 10), unseen], atol=1e-9)


def test_the_neutral_prior_is_a_mean_reward_and_an_average_state(games, policies):
    data = partial_data(games)
    joint = conditional.joint(policies)
    evaluation = bound(data, prior="neutral")
    q = evaluation(joint)
    value = (joint * q).sum(axis=2).mean(axis=1)
    unseen = data.pairs == 0
    assert unseen.any()
    expected = np.broadcast_to((0.5 + GAMMA * value)[:, None, None], q.shape)
    np.testing.assert_allclose(q[unseen], expected[unseen], atol=1e-8)


def test_plenty_of_data_give_the_true_values_and_the_bonus_keeps_below(games, policies):
    joint = conditional.joint(policies)
    truth = tabular.evaluate(games, joint).q
    data = offline.Data(np.full(truth.shape, 1e7), 1e7 * games.transitions, 1e7 * games.rewards)
    np.testing.assert_allclose(bound(data)(joint), truth, atol=1e-4)
    little = partial_data(games)
    assert (bound(little, penalty=3.0)(joint) <= truth).all()
    assert not (bound(little, penalty=-3.0)(joint) <= truth).all()


# Bellman-consistent pessimism


def objective(data, initial, policy, weight, f):
    """E_rho f(s, pi) + weight (1 / n) sum (f - r - gamma f(s', pi))^2 of the mean targets, for one data set."""
    value = (policy * f).sum(axis=1)
    seen = np.maximum(data.pairs[0], 1.0)
    target = data.rewards[0] / seen + GAMMA * (data.moves[0] / seen[..., None]) @ value
    return initial @ value + weight * (data.pairs[0] / data.size[0] * (f - target) ** 2).sum()


def one_row(data, row):
    return offline.Data(data.pairs[[row]], data.moves[[row]], data.rewards[[row]])


@pytest.mark.parametrize("weight", [0.5, 20.0])
def test_the_box_problem_is_solved(games, policies, weight):
    data, joint = partial_data(games), conditional.joint(policies)
    box = bellman_consistent.Box(data, games.initial, gamma=GAMMA, weight=np.full(4, weight), value_limit=LIMIT)
    found = box(joint)
    assert box.residual.max() < 1e-9
    assert found.min() >= 0
    assert found.max() <= LIMIT
    for row in range(4):
        data_set, initial, policy = one_row(data, row), games.initial[row], joint[row]

        def value(f, data_set=data_set, initial=initial, policy=policy):
            return objective(data_set, initial, policy, weight, f.reshape(3, 4))

        options = {"maxiter": 20000, "maxfun": 10**6, "ftol": 1e-15, "gtol": 1e-11}
        best = min(
            minimize(value, start, bounds=[(0, LIMIT)] * 12, options=options).fun
            for start in (np.full(12, 5.0), found[row].ravel())
        )
        assert value(found[row].ravel()) == pytest.approx(best, abs=2e-5)


def test_a_wrong_factor_in_the_weight_is_not_the_solution(games, policies):
    data, joint = partial_data(games), conditional.joint(policies)

    def worst(scale):
        box = bellman_consistent.Box(
            data, games.initial, gamma=GAMMA, weight=np.full(4, 20.0 * scale), value_limit=LIMIT
        )
        found = box(joint)
        return max(objective(one_row(data, r), games.initial[r], joint[r], 20.0, found[r]) for r in range(4))

    assert worst(1.0) < min(worst(2.0), worst(0.5)) - 1e-3


def test_inside_the_box_pessimism_is_a_reward_lowered_by_visitation_over_coverage(games, policies):
    joint, weight = conditional.joint(policies), 400.0
    data = offline.Data(np.full(joint.shape, 1e4), 1e4 * games.transitions, 1e4 * games.rewards)
    found = bellman_consistent.Box(data, games.initial, gamma=GAMMA, weight=np.full(4, weight), value_limit=LIMIT)(
        joint
    )
    visited = tabular.evaluate(games, joint).visitation[..., None] * joint
    lowered = markov_games.MarkovGames(
        games.rewards - visited / (2 * weight / 12), games.transitions, games.initial, 2, 2, GAMMA
    )
    np.testing.assert_allclose(found, tabular.evaluate(lowered, joint).q, atol=1e-8)
    assert (found <= tabular.evaluate(games, joint).q).all()


@pytest.mark.parametrize("radius", [3.0, 60.0])
def test_the_ball_problem_is_solved(games, policies, radius):
    data, joint, weight = partial_data(games), conditional.joint(policies), 20.0
    phi = features.random_directions(np.random.default_rng(9), 4, 12, 5)
    settings = {"gamma": GAMMA, "weight": np.full(4, weight), "radius": radius}
    ball = bellman_consistent.Ball(data, games.initial, phi, **settings)
    found = ball(joint)
    assert ball.residual.max() < 1e-9
    for row in range(4):
        mu = (data.pairs[row] / data.size[row]).ravel()
        seen = np.maximum(data.pairs[row], 1.0)

        def value(w, row=row, mu=mu, seen=seen):
            f = (phi[row] @ w).reshape(3, 4)
            state = (joint[row] * f).sum(axis=1)
            target = data.rewards[row] / seen + GAMMA * (data.moves[row] / seen[..., None]) @ state
            residual = (f - target).ravel()
            # The excess over the best f' is the length of the residual's fit in the features.
            fit, *_ = np.linalg.lstsq(phi[row] * np.sqrt(mu)[:, None], residual * np.sqrt(mu), rcond=1e-10)
            fitted = (phi[row] @ fit) ** 2 @ mu
            return games.initial[row] @ state + weight * fitted

        w = np.linalg.lstsq(phi[row], found[row].ravel(), rcond=None)[0]
        assert np.linalg.norm(w) <= radius + 1e-7
        inside = {"type": "ineq", "fun": lambda w: radius**2 - w @ w}
        best = minimize(
            value, np.zeros(5), constraints=[inside], method="SLSQP", options={"maxiter": 500, "ftol": 1e-12}
        )
        assert value(w) <= best.fun + 1e-5


# The studies


class Exact:
    residual = np.zeros(4)

    def __init__(self, games, sign=1):
        self.games, self.sign = games, sign

    def __call__(self, joint):
        return self.sign * tabular.evaluate(self.games, joint).q


def test_ascent_on_true_values_reaches_the_optimum_and_on_negated_ones_does_not(games):
    best, _ = tabular.optimum(games)
    outcome = pessimism.ascent(games, Exact(games), 100, 0.1)
    assert (best - outcome.returns < 0.02).all()
    assert (outcome.violations == 0).all()
    assert (outcome.start_violation == 0).all()
    wrong = pessimism.ascent(games, Exact(games, sign=-1), 100, 0.1)
    assert (best - wrong.returns > 0.5).all()


def parameters(pytestconfig, study, **changed):
    text = (pytestconfig.rootpath / "config/studies" / f"{study}.yaml").read_text()
    entries = yaml.safe_load(text)["parameters"]
    return Parameters({key: entry["value"] for key, entry in entries.items()} | changed)


def test_the_pessimism_study_records_paired_differences(pytestconfig):
    few = {"games": 3, "sizes": [200, 1000], "iterations": 10, "penalties": [3.0], "weights": [1.0]}
    records = Records()
    pessimism.run(parameters(pytestconfig, "pessimism", **few), [0], records)
    columns = records.columns()

    def values(quantity, series):
        rows = [q == quantity and s == series for q, s in zip(columns["quantity"], columns["series"], strict=True)]
        return columns["value"][rows]

    gain = values("advantage_partial", "count bound over plain")
    assert len(gain) == 6
    np.testing.assert_allclose(gain, values("gap_partial", "plain") - values("gap_partial", "count bound"), atol=1e-12)
    np.testing.assert_allclose(
        values("gap_by_penalty", "zero")[3:], values("gap_partial", "count bound")[3:], atol=1e-3
    )  # c = 3 at n = 1000 is the same run
    assert (values("residual_partial", "Bellman-consistent") < 1e-8).all()


def test_the_sampled_study_records_every_series(pytestconfig):
    few = {"games": 2, "iterations": [4], "compared": 4, "steps": [4, 8], "critic_steps": [8, 16], "replicates": 2}
    records = Records()
    sampled.run(parameters(pytestconfig, "rate_sampled", **few), [0], records)
    columns = records.columns()
    assert np.isfinite(columns["value"]).all()
    found = {(q, s) for q, s in zip(columns["quantity"], columns["series"], strict=True)}
    assert ("average_gap", "one-hot, exact sub-problems") in found
    assert ("excess_gap", "one-hot, actions in the wrong order") in found
    assert ("misspecification", "misspecified over one-hot") in found
