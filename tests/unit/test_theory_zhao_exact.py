"""Zhao et al., exact part: conditional policies, performance-difference lemma, ratio game, bound and rate."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from reprise.environments import markov_games
from reprise.environments import ratio_game as game
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records
from reprise.theory.zhao import conditional, performance_difference, rate, rate_bound, rate_in_k, ratio_game

ROOT = Path(__file__).parents[2]


def study(name, **changed):
    entries = yaml.safe_load((ROOT / "config" / "studies" / f"{name}.yaml").read_text())["parameters"]
    return Parameters({key: entry["value"] for key, entry in entries.items()} | changed)


def quantity(records, name, series=None):
    columns = records.columns()
    rows = [
        value
        for kind, label, value in zip(columns["quantity"], columns["series"], columns["value"], strict=True)
        if kind == name and (series is None or series == label)
    ]
    assert rows, name
    return np.array(rows)


def random_games(agents, count=6, seed=0):
    shape = {"states": 4, "agents": agents, "actions": 3, "gamma": 0.9}
    return markov_games.draw(np.random.default_rng(seed), count, reward_low=0.0, concentration=0.5, **shape)


# ------------------------------------------------------------------------------------------------ conditional policies


def test_joint_and_localised_values_by_hand():
    """Two agents, two actions: P(a, b) = p(a) p(b | a), and agent 1's values average over the row of its action."""
    first = np.array([0.25, 0.75]).reshape(1, 1, 1, 2)
    second = np.array([[0.9, 0.1], [0.4, 0.6]]).reshape(1, 1, 2, 2)
    np.testing.assert_allclose(conditional.joint([first, second])[0, 0], [0.225, 0.025, 0.3, 0.45])
    q = np.array([1.0, 2.0, 3.0, 4.0]).reshape(1, 1, 4)
    values = conditional.localised(q, [first, second])
    np.testing.assert_allclose(values[0].ravel(), [1.1, 3.6])
    np.testing.assert_allclose(values[1].ravel(), [1, 2, 3, 4])


@pytest.mark.parametrize("actions", [3, 12])  # fewer and more than conditional.FEW
def test_mirror_step_solves_its_problem(actions):
    """No policy on a grid of random ones does better in <Q, pi> - penalty KL(pi || pi_k)."""
    rng = np.random.default_rng(1)
    logits, values = rng.normal(size=(2, 3, 2, 1, actions))
    (old,), (new,) = (
        conditional.softmax([logits]),
        conditional.softmax(conditional.mirror_step([logits], [values], np.array([0.3, 1.0, 4.0]))),
    )
    penalty = np.array([0.3, 1.0, 4.0])[:, None, None]

    def objective(pi):
        return (values * pi).sum(-1) - penalty * (pi * np.log(pi / old)).sum(-1)

    others = rng.dirichlet(np.ones(actions), (2000, 3, 2, 1))
    near = 0.999 * new + 0.001 * others
    assert (objective(new) >= objective(others)).all()
    assert (objective(new) >= objective(near) - 1e-12).all()


def test_product_policies_are_conditional_ones():
    games = random_games(3)
    alone = tabular.random_policies(np.random.default_rng(2), games)
    joint = conditional.joint(performance_difference.from_product(alone))
    np.testing.assert_allclose(joint, tabular.product(alone), atol=1e-15)


# --------------------------------------------------------------------------------------------------------------- lemma


def test_lemma_and_every_planted_version():
    records = Records()
    performance_difference.run(study("performance_difference", games=30, steps=[0.1, 100.0]), [0], records)
    assert quantity(records, "lemma_error").max() < 1e-10
    assert quantity(records, "natural_gradient_error").max() < 1e-10
    for wrong in ("old_visitation", "old_prefix", "later_agents_new", "natural_gradient_reversed"):
        assert np.median(quantity(records, f"{wrong}_error")) > 1e-3, wrong
    assert np.median(quantity(records, "reversed_prefix_error", "N = 3")) > 1e-3
    assert quantity(records, "localised_change").min() > 0
    assert quantity(records, "product_change").min() < -0.1  # independent agents lower J in some games


def test_wrong_order_of_agents_breaks_the_lemma():
    games = random_games(2)
    old, new = (conditional.random_policies(np.random.default_rng(seed), games) for seed in (3, 4))
    before, after = (tabular.evaluate(games, conditional.joint(policies)) for policies in (old, new))
    change = after.returns - before.returns
    for values, right in ((conditional.localised, True), (rate.reversed_order, False), (rate.negated, False)):
        given = values(before.q, old)
        terms = performance_difference.differences(after.visitation, conditional.earlier(new), new, old, given)
        assert (np.abs(terms.sum(axis=1) - change).max() < 1e-10) == right


def test_logit_gradient_against_differences():
    games = random_games(3, count=2)
    logits = [np.log(own) for own in conditional.random_policies(np.random.default_rng(5), games)]
    found = tabular.evaluate(games, conditional.joint(conditional.softmax(logits)))
    slopes = performance_difference.logit_gradient(found, conditional.softmax(logits))
    for agent, place in ((0, (slice(None), 1, 0, 2)), (2, (slice(None), 3, 5, 1))):
        returns = []
        for sign in (1, -1):
            moved = [own.copy() for own in logits]
            moved[agent][place] += sign * 1e-5
            returns.append(tabular.evaluate(games, conditional.joint(conditional.softmax(moved))).returns)
        np.testing.assert_allclose((returns[0] - returns[1]) / 2e-5, slopes[agent][place], atol=1e-8)


# ---------------------------------------------------------------------------------------------------------- ratio game


def test_values_and_slopes_of_the_ratio_game():
    """V = (x/2 - y/2 + xy) / (0.1 + 0.9 x), dV/dx = (0.05 + 0.55 y) / (..)^2, dV/dy = (x - 1/2) / (..)."""
    np.testing.assert_allclose(game.PURE, [[1, 0.5], [-5, 0]])
    assert game.OPTIMUM == 1
    for x, y in ((0.5, 0.2), (0.3, 0.9), (0.8, 0.0)):
        first, second = np.array([x, 1 - x]), np.array([y, 1 - y])
        below = 0.1 + 0.9 * x
        assert game.value(game.product(first, second)) == pytest.approx((x / 2 - y / 2 + x * y) / below)
        slope_x, slope_y = (slope[0] - slope[1] for slope in game.product_gradients(first, second))
        assert slope_x == pytest.approx((0.05 + 0.55 * y) / below**2)
        assert slope_y == pytest.approx((x - 0.5) / below, abs=1e-12)


def test_localised_advantage_is_stop_times_what_keeping_to_it_gains():
    joint = np.random.default_rng(6).dirichlet(np.ones(4), 20).reshape(20, 2, 2)
    value = game.value(joint)[:, None, None]
    np.testing.assert_allclose(game.action_value(joint) - value, game.STOP * (game.PURE - value), atol=1e-12)
    np.testing.assert_allclose((joint * game.action_value(joint)).sum((1, 2)), value[:, 0, 0], atol=1e-12)


@pytest.fixture(scope="module")
def panels():
    records = Records()
    ratio_game.run(study("ratio_game"), [0], records)
    return records


def test_published_panels(panels):
    assert quantity(panels, "published_error").max() <= 1e-3
    assert quantity(panels, "first_error").max() == 0
    assert quantity(panels, "published_error_steps_swapped", "a").max() > 0.1
    assert quantity(panels, "plateau_error").max() < 1e-15 < quantity(panels, "off_plateau_error").min()


@pytest.mark.parametrize(("steps", "row", "panel"), [([0.001, 0.02, 0.05], 1, "b"), ([0.001, 0.01, 0.005], 5, "f")])
def test_readme_step_sizes_do_not_give_the_panels(steps, row, panel):
    """The README's 0.02 for panel (b) and 0.005 for (f), at K/16, K/8 and K/4."""
    parameters = study("ratio_game")
    length = [*parameters.near_iterations, *parameters.uniform_iterations][row]
    start = ratio_game.start(parameters.near_logit, conditioned=True)
    values = ratio_game.curve(ratio_game.released, start, steps, length // 4 + 1)[row]
    wanted = getattr(parameters, f"panel_{panel}_released")[:3]
    assert np.abs(values[ratio_game.places(length)[:3]] - wanted).max() > 0.01


def test_sequential_stays_above_and_planted_agent_does_not(panels):
    for panel in "abcdef":
        for method in ("released", "conditional", "localised"):
            assert quantity(panels, "above_independent", f"{panel} {method}").min() >= 0
        assert quantity(panels, "above_independent", f"{panel} wrong agent").min() < -0.01
    assert quantity(panels, "final_value", "c wrong agent")[0] < 0.5


def test_step_rather_than_policies_leaves_the_plateau(panels):
    """Independent agents with the sequential step pass 0.9 within 1.2 times its iterations, plain gradient 15 times."""
    for panel in "abc":
        first = {m: quantity(panels, "first_at_0.9", f"{panel} {m}")[0] for m in ("released", "natural", "independent")}
        assert first["natural"] < 1.2 * first["released"]
    assert first["independent"] > 15 * first["released"]


# ------------------------------------------------------------------------------------------------------- rate and bound


def test_bound_by_hand():
    """N = 2, |A| = 3, gamma = 0.9, beta = 0.1, K = 16: 2 (0.1 log 3 + 100 / 0.8) / (0.1 * 4)."""
    games = random_games(2)
    assert rate.explicit_bound(games, 0.1, 16) == pytest.approx(2 * (0.1 * np.log(3) + 125) / 0.4)
    assert rate.distance_bound(games, rate.penalty_of(0.1, 16), 16) == pytest.approx(2 * 0.1 * np.log(3) / 0.4)
    assert rate.best_beta(3, 0.9) == pytest.approx(10 / np.sqrt(8 * np.log(3)))
    near = [rate.explicit_bound(games, rate.best_beta(3, 0.9) * share, 16) for share in (0.9, 1.0, 1.1)]
    assert near[1] < min(near[0], near[2])


def test_hoeffding_needs_the_eight():
    """Two equal actions of span 1: log cosh(1 / (2 beta)) is close to 1 / (8 beta^2), so no larger constant holds."""
    beta = 50.0
    moment = np.log(np.cosh(0.5 / beta))
    assert 0.999 / (8 * beta**2) < moment <= 1 / (8 * beta**2) < 1 / (7.9 * beta**2)


@pytest.mark.parametrize("agents", [1, 2, 3])
def test_star_is_where_the_optimum_is(agents):
    games = random_games(agents)
    best = rate.star(games)
    policies = [np.zeros(shape) for shape in conditional.shapes(games)]
    for own, row, action in zip(policies, best.earlier, best.own, strict=True):
        own[..., 0] = 1
        for index in np.ndindex(row.shape):
            own[(*index, row[index])] = np.eye(3)[action[index]]
    np.testing.assert_allclose(tabular.evaluate(games, conditional.joint(policies)).returns, best.returns, atol=1e-10)


def test_bound_study_and_its_controls():
    records = Records()
    rate_bound.run(study("rate_bound", games=25, agents=[1, 3], iterations=[16, 64]), [0], records)
    assert quantity(records, "identity_error").max() < 1e-10
    assert quantity(records, "measured_margin").min() > 0
    assert quantity(records, "explicit_margin").min() > 0
    for wrong in ("negated", "reversed"):
        assert np.median(quantity(records, f"{wrong}_identity_error")) > 0.1
        assert quantity(records, f"{wrong}_measured_margin", "N = 3").min() < 0
        assert quantity(records, f"{wrong}_explicit_margin").min() > 0  # vacuous: wrong updates meet it
    assert quantity(records, "explicit_bound_informs").max() == 0


def test_a_wrong_constant_breaks_the_bound(monkeypatch):
    """With four times Hoeffding's constant the bound for a small step fails where it is tight."""
    games = markov_games.MarkovGames(
        np.array([[[0.0, 1.0]]]), np.ones((1, 1, 2, 1)), np.ones((1, 1)), agents=1, actions=2, gamma=0.5
    )
    best, beta, iterations = rate.star(games), 20.0, 4
    penalty = rate.penalty_of(beta, iterations)
    runs = list(rate.ma_ppo(games, iterations, penalty))
    moments = sum(rate.log_moment(best, iterate, penalty) for iterate in runs[:-1])
    allowed = rate.step_bound(games, penalty, 1.0)
    assert penalty * moments[0] / iterations <= allowed
    monkeypatch.setattr(rate, "HOEFFDING", 32.0)
    assert penalty * moments[0] / iterations > rate.step_bound(games, penalty, 1.0)


def slopes(records, method, agents):
    columns = {key: np.asarray(column) for key, column in records.columns().items()}
    rows = (columns["quantity"] == "average_gap") & (columns["series"] == f"{method}, N = {agents}")
    x, value, unit = (columns[key][rows] for key in ("x", "value", "game"))
    return [np.polyfit(np.log(x[unit == g]), np.log(value[unit == g]), 1)[0] for g in np.unique(unit)]


def test_rates_schedules_and_planted_errors():
    records = Records()
    rate_in_k.run(study("rate_in_k", games=6, agents=[2, 3], iterations=[64, 256]), [0], records)
    assert max(slopes(records, "MA-PPO", 3)) < -0.45
    assert max(slopes(records, "constant step", 3)) < -0.9  # faster than the theorem's schedule
    assert np.mean(slopes(records, "product", 3)) > -0.45
    for method in ("constant sum", "negated", "reversed"):
        assert min(slopes(records, method, 3)) > -0.45
    apart = quantity(records, "average_gap", "centralised, N = 3") / quantity(records, "average_gap", "MA-PPO, N = 3")
    np.testing.assert_allclose(apart, 1, atol=0.05)
    ends = sum(quantity(records, "product_end", kind) for kind in ("optimal", "suboptimal Nash point", "neither"))
    assert (ends == 1).all()


def test_one_agent_is_the_same_in_every_class():
    games = random_games(1)
    penalty = rate.penalty_of(0.1, 9)
    own = [iterate.found.returns for iterate in rate.ma_ppo(games, 9, penalty)]
    joint = [iterate.found.returns for iterate in rate.ma_ppo(rate.centralised(games), 9, penalty)]
    product = [found.returns for found, _ in rate.product_ppo(games, 9, penalty)]
    np.testing.assert_allclose(own, joint, atol=1e-12)
    np.testing.assert_allclose(own, product, atol=1e-12)
