"""Neural MF-PPO: networks, algorithms 2 and 3, and the errors of lemmas 4.1 to 4.3."""

import itertools

import numpy as np
import pytest

from reprise.environments import mean_field
from reprise.theory.mfppo import (
    algorithm,
    neural,
    neural_errors,
    neural_lemma,
    neural_lemma_games,
    neural_limit,
    neural_updates,
    values,
)
from reprise.theory.mfppo import networks as nets
from reprise.theory.mfppo.neural_updates import Sampler, Schedule
from reprise.theory.study import Parameters, Records, generator

MDP = mean_field.crowding()
UNIFORM = np.full((1, MDP.states, MDP.meta_actions), 1 / MDP.meta_actions)
LAW = values.stationary(MDP, UNIFORM)
TABLE = neural_errors.Table(MDP)


def start(replicates=2, width=16, radius=3.0):
    return neural_updates.initialise(MDP, [generator(seed, "start") for seed in range(replicates)], width, radius)


def repeat(table, replicates):
    return np.broadcast_to(table[0], (replicates, *table.shape[1:]))


def test_inputs_are_three_one_hots_of_unit_norm():
    x = nets.inputs(4)
    assert x.shape == (16, 8)
    np.testing.assert_allclose((x**2).sum(axis=1), 1)
    np.testing.assert_array_equal(np.flatnonzero(x[(1 * 2 + 0) * 4 + 3]), [1, 2, 7])


def test_the_initialisation_has_the_papers_laws():
    weights, signs = nets.initial([generator(0, "x")], 8, 20000)
    assert weights.shape == (8, 1, 20000)
    assert weights.var() == pytest.approx(1 / 8, rel=0.02)
    assert set(np.unique(signs)) == {-1.0, 1.0}
    wide = nets.initial([generator(seed, "y") for seed in range(400)], 8, 256)
    square = np.square(nets.Forward(nets.inputs(4), *wide).values).mean()
    assert square == pytest.approx(
        1 / 16, rel=0.1
    )  # E relu^2 of N(0, 1 / 8); m^(-1) in place of m^(-1/2) gives 1 / 4096


def test_values_and_gradient_agree_with_the_definition_and_finite_differences():
    x, (weights, signs) = nets.inputs(4), nets.initial([generator(s, "x") for s in range(2)], 8, 5)
    forward = nets.Forward(x, weights, signs)
    slow = [
        [sum(signs[r, j] * max(0, weights[:, r, j] @ row) for j in range(5)) / np.sqrt(5) for row in x] for r in (0, 1)
    ]
    np.testing.assert_allclose(forward.values, slow, atol=1e-14)
    coefficients = generator(0, "c").standard_normal((2, 16))
    gradient = forward.gradient(coefficients)
    for place in [(0, 0, 0), (3, 1, 2), (7, 0, 4), (5, 1, 1)]:
        moved = [weights.copy(), weights.copy()]
        moved[0][place] += 1e-6
        moved[1][place] -= 1e-6
        up, down = ((coefficients * nets.Forward(x, each, signs).values).sum() for each in moved)
        assert gradient[place] == pytest.approx((up - down) / 2e-6, abs=1e-8)
    one = nets.Forward(x, weights, signs).gradient(np.eye(16)[:2])
    assert (np.square(one).sum(axis=(0, 2)) <= 1).all()  # |F_theta - F_theta0| <= ||theta - theta0||, as M needs


def test_projection_is_the_nearest_point_of_the_ball():
    random = generator(0, "ball")
    centre, weights = random.standard_normal((2, 8, 3, 4))
    weights[:, 0] = centre[:, 0] + 0.01
    found = nets.project(weights, centre, 0.5)
    norm = np.sqrt(np.square(found - centre).sum(axis=(0, 2)))
    np.testing.assert_array_equal(found[:, 0], weights[:, 0])
    np.testing.assert_allclose(norm[1:], 0.5)
    others = random.standard_normal((200, *centre.shape))
    others = centre + 0.5 * others / np.sqrt(np.square(others).sum(axis=(1, 3), keepdims=True))
    distance = np.square(others - weights).sum(axis=(1, 3)).min(axis=0)
    assert (np.square(found - weights).sum(axis=(0, 2)) <= distance + 1e-12).all()
    coordinates = centre + np.clip(weights - centre, -0.5, 0.5)  # a box is not the ball
    assert (np.sqrt(np.square(coordinates - centre).sum(axis=(0, 2)))[1:] > 0.5).all()


def test_descent_stays_in_the_ball_and_averages():
    tight = start(radius=0.05)
    schedule = Schedule(50, 2.0, 4)
    args = (repeat(UNIFORM, 2), repeat(LAW, 2), [3, 3], schedule)
    found = neural_updates.critic(MDP, tight, *args, [generator(s, "td") for s in range(2)])
    np.testing.assert_allclose(found.travel, 0.05, rtol=1e-9)
    loose = neural_updates.critic(MDP, start(), *args, [generator(s, "td") for s in range(2)])
    assert (loose.travel > 0.3).all()
    single = neural_updates.critic(MDP, start(), *args[:3], Schedule(1, 2.0, 4), [generator(s, "td") for s in range(2)])
    np.testing.assert_array_equal(single.average, start().values(start().weights))  # theta(0) alone
    assert np.abs(single.last - single.average).max() > 1e-3


def test_samples_follow_the_tables():
    policy, size = np.tile([0.1, 0.2, 0.3, 0.4], (MDP.states, 1)), 200000
    pair, here, after, there = Sampler(MDP, LAW[0], policy, policy, 3).draw(generator(0, "s"), size, successor=True)
    wanted = (LAW[0][:, None] * policy).ravel()
    np.testing.assert_allclose(np.bincount(pair, minlength=168) / size, wanted, atol=0.002)
    following = wanted @ MDP.transitions.reshape(168, -1)
    np.testing.assert_allclose(
        np.bincount(after, minlength=168) / size, (following[:, None] * policy).ravel(), atol=0.002
    )
    assert set(np.round(3 * here).astype(int)) == {0, 1, 2, 3}
    for share, state in ((here, pair // 4), (there, after // 4)):
        d = MDP.fraction[state]
        assert np.mean(share - d) == pytest.approx(0, abs=0.003)
        assert np.mean((share - d) ** 2) == pytest.approx(np.mean(d * (1 - d)) / 3, rel=0.02)


def test_the_embedding_is_the_mean_over_agents_and_knows_no_order():
    network = start(replicates=1)
    f = network.values(network.weights)
    agents = np.array([1, 0, 0, 1, 1])
    cube = f.reshape(2, 2, 4)
    for order in (agents, agents[::-1]):
        one = np.mean([cube[1, other, 2] for other in order])
        z = neural_updates.shares(MDP, np.array([MDP.index(1, 0.5) * 4 + 2]), np.array([0.6]))
        assert (f @ z[0])[0] == pytest.approx(one, abs=1e-14)
    assert TABLE.mean(f)[0, MDP.index(1, 0.6), 2] == pytest.approx(one, abs=1e-14)
    draws = generator(0, "n").binomial(7, 0.3, 200000) / 7
    state = MDP.index(0, 0.3)
    sampled = (1 - draws) * cube[0, 0, 1] + draws * cube[0, 1, 1]
    assert TABLE.variance(f, np.array([7]))[0, state, 1] == pytest.approx(sampled.var(), rel=0.02)
    assert nets.printed_factor(16) == 4.0  # (m N)^(-1/2) over N terms, against 1 / (N sqrt m)


def test_the_limit_of_td_is_where_its_expected_step_vanishes():
    """With many agents it is Q itself (assumption 1 holds of the uniform policy), with one it is not."""
    q = values.evaluate(MDP, UNIFORM)[1]
    exact = neural_errors.limit(MDP, UNIFORM, LAW, np.array([1e12]))
    np.testing.assert_allclose(TABLE.mean(exact), q, atol=1e-9)
    few = neural_errors.limit(MDP, UNIFORM, LAW, np.array([2]))
    error = neural_errors.mean_square(LAW[..., None] * UNIFORM, TABLE.mean(few) - q)
    assert error[0] == pytest.approx(4.987e-4, rel=1e-3)
    pair, here, after, there = Sampler(MDP, LAW[0], UNIFORM[0], UNIFORM[0], 2).draw(generator(0, "l"), 10**5, True)
    z, following = neural_updates.shares(MDP, pair, here), neural_updates.shares(MDP, after, there)
    residual = (z - MDP.gamma * following) @ few[0] - (1 - MDP.gamma) * MDP.rewards.ravel()[pair]
    step = z.T @ residual / len(pair)
    assert np.abs(step).max() < 5e-4
    wrong = z.T @ (residual - z @ (exact - few)[0]) / len(pair)
    assert np.abs(wrong).max() > 1e-3


def test_td_and_regression_reach_their_limits():
    network, many = start(width=64, radius=10.0), [50, 50]
    random = [generator(s, "long") for s in range(2)]
    learned = neural_updates.critic(
        MDP, network, repeat(UNIFORM, 2), repeat(LAW, 2), many, Schedule(3000, 8.0, 16), random
    )
    sigma = LAW[..., None] * UNIFORM
    square = neural_errors.mean_square
    q = values.evaluate(MDP, UNIFORM)[1]
    before = square(sigma, TABLE.mean(network.values(network.weights)) - q)
    assert (square(sigma, TABLE.mean(learned.average) - q) < 1e-4).all()
    assert (before > 0.01).all()
    wanted = generator(0, "target").standard_normal((2, 16)) / 4
    improved = neural_updates.actor(MDP, network, wanted, repeat(LAW, 2), many, Schedule(3000, 8.0, 16), random)
    assert (square(sigma, TABLE.mean(improved.average - wanted)) < 1e-4).all()
    assert (square(sigma, TABLE.mean(improved.average + wanted)) > 1e-2).all()


def test_the_actors_target_is_the_running_mean_of_the_critics():
    critics = generator(0, "critics").standard_normal((5, 3, 16))
    mean = np.zeros((3, 16))
    for k, critic in enumerate(critics):
        mean = neural.target(critic, mean, 0.05, 64, k)
        np.testing.assert_allclose(mean, critics[: k + 1].mean(axis=0), atol=1e-14)


def test_a_wrong_temperature_breaks_the_running_mean(monkeypatch):
    monkeypatch.setattr(neural, "temperature", lambda upsilon, iterations, k: upsilon * np.sqrt(iterations) / (k + 1))
    with pytest.raises(AssertionError):
        test_the_actors_target_is_the_running_mean_of_the_critics()


def test_acting_on_samples_tends_to_acting_on_the_fraction():
    f = 0.2 * generator(0, "f").standard_normal((1, 16))
    exact = np.exp(algorithm.log_softmax(TABLE.mean(f) / 0.05))
    for agents, bound in ((1, None), (400, 0.02)):
        found = neural_errors.acting_on_samples(MDP, f, 0.05, agents)
        np.testing.assert_allclose(found.sum(axis=2), 1)
        distance = np.abs(found - exact).max()
        assert distance > 0.2 if bound is None else distance < bound


@pytest.fixture(scope="module")
def made():
    network = start(replicates=3)
    random = [generator(s, "run") for s in range(3)]
    return network, list(neural.iterate(MDP, network, 5, 0.05, [2, 20, 100], Schedule(64, 8.0, 16), random))


def test_iterations_of_algorithm_1_fit_together(made):
    _, steps = made
    np.testing.assert_allclose(steps[0].step.policy, 0.25)
    best = values.optimum(MDP)
    for first, second in itertools.pairwise(steps):
        np.testing.assert_array_equal(first.step.following, second.step.policy)
        np.testing.assert_array_equal(first.step.next_energy, second.step.energy)
    for each in steps:
        value = values.evaluate(MDP, each.step.policy)[0]
        gap = values.performance(best.law, best.value - value)
        np.testing.assert_allclose(neural_lemma.optimality(each.step), (1 - MDP.gamma) * gap, atol=1e-12)
        wanted = neural.target(each.critic.average, steps[each.k - 1].actor.average if each.k else 0.0, 0.05, 5, each.k)
        error = neural_errors.mean_square(each.step.law[..., None] * UNIFORM, TABLE.mean(each.actor.average - wanted))
        np.testing.assert_allclose(each.step.improvement, error, rtol=1e-6)


def parameters(**changes):
    common = {"games": 300, "resolution": 4, "gamma": 0.9, "energy": 1.5, "initial": 0.25, "errors": [1e-3, 1.0]}
    return Parameters(common | {"proximities": [0.1, 10.0], "iterations": 64} | changes)


def ratios(name, direction):
    step, logs, initial, radius = neural_lemma_games.instance(generator(0, direction), parameters(), direction)
    reading = neural_lemma.readings(step, initial, radius)[name]
    sides = {part: each(step, reading) for part, each in neural_lemma.STEPS.items()}
    left, right = neural_lemma.recursion(step, reading, neural_lemma.descent(step, *logs))
    return {part: left / right for part, (left, right) in sides.items()} | {"margin": right - left}


@pytest.mark.parametrize("direction", neural_lemma_games.DIRECTIONS)
def test_lemma_4_3_holds_as_derived_and_not_as_printed(direction):
    derived, printed = ratios("derived", direction), ratios("printed", direction)
    assert (derived["propagation"] <= 1 + 1e-10).all()
    assert (derived["regression"] <= 1 + 1e-10).all()
    assert (derived["margin"] >= 0).all()
    assert (printed["propagation"] > 1).mean() > 0.3
    assert (printed["regression"] > 1).mean() > 0.3


def test_the_derived_bound_is_attained_by_aligned_errors():
    np.testing.assert_allclose(ratios("derived", "aligned errors")["propagation"], 1, rtol=1e-9)


@pytest.mark.parametrize("planted", ["psi", "phi", "density"])
def test_a_missing_factor_violates_the_derived_bound(monkeypatch, planted):
    if planted == "density":  # nu* / nu_k left out of phi*
        inner = neural_lemma.phi
        monkeypatch.setattr(
            neural_lemma,
            "phi",
            lambda optimal, policy, law: inner(optimal, policy, law / law.sum(axis=1, keepdims=True)),
        )
    else:
        inner = getattr(neural_lemma, planted)
        monkeypatch.setattr(neural_lemma, planted, lambda *tables: inner(*tables) / 2)
    assert (ratios("derived", "aligned errors")["propagation"] > 1 + 1e-6).mean() > 0.3


def test_the_lemmas_factors_by_hand():
    """Two states, two actions: pi* takes action 0, pi is (1/4, 3/4), nu = (1/2, 1/2), nu* = (3/4, 1/4)."""
    optimal, policy = np.array([[[1.0, 0.0]] * 2]), np.array([[[0.25, 0.75]] * 2])
    law, optimal_law = np.array([[0.5, 0.5]]), np.array([[0.75, 0.25]])
    assert neural_lemma.phi(optimal, policy, law)[0] == pytest.approx(1.5)  # 2 (9/16 + 9/16) = 9/4
    squares = sum((n * 0.75) ** 2 / 0.5 * (1 / 0.25 + 1 / 0.75) for n in (0.75, 0.25))
    assert neural_lemma.psi(optimal, optimal_law, policy, law)[0] == pytest.approx(np.sqrt(squares))


def test_the_printed_m_can_be_too_small():
    """F_theta0 = 1 and R = 0.1 allow |F_theta| = 1.1, and 1.1^2 > 1 + 2 * 0.1^2."""
    ones = np.ones((1, MDP.states, MDP.meta_actions))
    step = neural_lemma_games.instance(generator(0, "m"), parameters(games=1), "random errors")[0]
    tables = step._replace(policy=UNIFORM, following=UNIFORM, law=LAW, next_law=LAW, q=ones, critic=1.1 * ones)
    tables = tables._replace(
        energy=0 * ones, next_energy=ones, optimal=UNIFORM, optimal_law=LAW, proximity=np.ones(1), tau=np.ones(1)
    )
    found = neural_lemma.readings(tables, ones, 0.1)
    assert found["printed"].m[0] == pytest.approx(1.02)
    assert found["derived"].m[0] == pytest.approx(2.02)
    assert found["printed"].m[0] < 1.1**2 < found["derived"].m[0]


def test_without_sampling_the_limit_is_the_exact_algorithm():
    """On games whose Q stays nearly linear in d, 10^9 agents follow the exact gaps; a single one lags behind."""
    mdp = neural_limit.single(MDP)
    exact, many, one = (neural_limit.gaps(mdp, 16, 0.05, n).mean() for n in (None, 10**9, 1))
    steps = algorithm.iterate(MDP, 16, 0.05 * 4)
    best = values.optimum(MDP)
    direct = [values.performance(best.law, best.value - step.value) for step in steps]
    np.testing.assert_allclose(neural_limit.gaps(mdp, 16, 0.05, None)[:-1, 0], direct, atol=1e-10)
    assert many == pytest.approx(exact, rel=0.02)
    assert one > 1.3 * exact


def test_the_studies_record_what_their_figures_judge():
    from reprise.theory.mfppo import neural_phases, neural_study

    records = Records()
    common = {"agents": [1, 4], "rate": 1.0, "width": 8, "radius": 3.0, "steps": [8, 16], "widths": [4, 8]}
    more = {"falling_rate": 16.0, "largest_rate": 2.0, "width_steps": [8], "prefactor_steps": 8}
    neural_phases.run(Parameters(common | more), [0, 1], records)
    common = {
        "agents": [2],
        "rate": 8.0,
        "width": 8,
        "radius": 3.0,
        "steps": 8,
        "batch": 4,
        "iterations": [2],
        "upsilon": 0.05,
    }
    single = {"single_iterations": 2, "single_agents": 3, "single_steps": 8, "single_rate": 2.0}
    neural_study.run(Parameters(common | single | {"budget_iterations": 2, "budget_steps": [4]}), [0, 1], records)
    columns = records.columns()
    found = set(columns["quantity"])
    assert {"critic_error", "critic_ratio", "critic_limit", "initial_square", "actor_error_by_width"} <= found
    assert {"min_gap", "theorem_margin", "budget_gap", "derived_recursion_margin", "sampled_gap"} <= found
    assert np.isfinite(columns["value"]).all()
    rows = np.array(columns["quantity"]) == "initial_square"
    table = {
        (s, x): v
        for s, x, v, seed, ok in zip(*(columns[c] for c in ("series", "x", "value", "seed")), rows, strict=True)
        if ok and seed == 0
    }
    assert table["printed", 4] / table["printed", 1] == pytest.approx(4)
    assert table["mean embedding", 4] == pytest.approx(table["mean embedding", 1])
