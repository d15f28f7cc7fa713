"""Appendix D of the DPO paper: hinge form, joint ratio, noise. Exact values, finite differences, planted errors."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import linprog

from reprise.environments import markov_games
from reprise.theory import tabular
from reprise.theory.dpo import hinge, joint_ratio, learners, noise
from reprise.theory.dpo.learners import Learner
from reprise.theory.study import Parameters, Records, generator

CLIP = 0.2
HINGE = Parameters(
    {"games": 20, "agents": [3], "states": 3, "actions": 3, "gamma": 0.9}
    | {"floor": 0.02, "step": 0.4, "clip": CLIP, "flip": 1e-8}
)


def recorded(module, parameters: Parameters) -> dict:
    """What a study's run records: quantity -> all its values."""
    records = Records()
    module.run(parameters, [0], records)
    columns = records.columns()
    quantities = np.array(columns["quantity"])
    return {name: columns["value"][quantities == name] for name in dict.fromkeys(columns["quantity"])}


def games_and_policies(count: int = 4, agents: int = 3, actions: int = 2):
    draws = generator(7, "test")
    games = markov_games.draw(draws, count, states=2, agents=agents, actions=actions, gamma=0.8)
    old = tabular.random_policies(draws, games, floor=0.05)
    new = softmax(np.log(old) + 0.4 * draws.standard_normal(old.shape))
    return games, old, new, tabular.evaluate(games, tabular.product(old))


def softmax(logits: np.ndarray) -> np.ndarray:
    weights = np.exp(logits)
    return weights / weights.sum(axis=-1, keepdims=True)


def numerical(objective, logits: np.ndarray, agent: int, step: float = 1e-6) -> np.ndarray:
    """Central differences of ``objective(policies) -> [G]`` by the logits of ``agent``: [G, S, A]."""
    result = np.zeros(logits[:, agent].shape)
    for place in itertools.product(*map(range, result.shape[1:])):
        moved = [logits.copy(), logits.copy()]
        for sign, each in zip((1, -1), moved, strict=True):
            each[(slice(None), agent, *place)] += sign * step
        result[(slice(None), *place)] = (objective(softmax(moved[0])) - objective(softmax(moved[1]))) / (2 * step)
    return result


# ---------------------------------------------------------------------------------------------------- hinge form


@pytest.mark.parametrize(
    ("ratio", "advantage", "value", "slope"),
    [
        (1.1, 2.0, 2.2, 2.0),
        (1.5, 2.0, 2.4, 0.0),
        (0.5, 2.0, 1.0, 2.0),
        (1.1, -2.0, -2.2, -2.0),
        (0.5, -2.0, -1.6, 0.0),
        (1.5, -2.0, -3.0, -2.0),
    ],
)
def test_the_clipped_term_by_hand(ratio, advantage, value, slope):
    assert hinge.clip_term(np.array(ratio), np.array(advantage), CLIP) == pytest.approx(value)
    assert hinge.clip_slope(np.array(ratio), np.array(advantage), CLIP) == slope
    sign = math.copysign(1, advantage)
    loss = abs(advantage) * hinge.hinge(sign, ratio - 1, CLIP)
    assert (1 + CLIP * sign) * advantage - loss == pytest.approx(value)


def test_the_hinge_identity_holds_to_rounding():
    found = recorded(hinge, HINGE)
    assert found["gradient_error"].max() <= 1e-10
    assert found["value_error"].max() <= 1e-10
    assert 0.1 < found["clipped_share"].mean() < 0.9  # both branches are tried
    assert found["distance_to_kink"].min() > 0


def test_the_printed_formula_is_another_one():
    found = recorded(hinge, HINGE)
    assert found["printed_error"].min() > 1  # the sign alone makes it point the other way
    assert found["printed_minus_error"].min() > 0.01
    assert (found["printed_pushes_good_down"] > 0).any()


@pytest.mark.parametrize(
    "wrong",
    [
        lambda sign, distance, clip: np.maximum(0, clip + sign * distance),  # the sign of y x
        lambda sign, distance, clip: np.maximum(0, 2 * clip - sign * distance),  # another margin
        lambda sign, distance, clip: np.maximum(0, clip - sign * (distance + 1)),  # u in place of u - 1
    ],
)
def test_a_wrong_hinge_is_caught(monkeypatch, wrong):
    monkeypatch.setattr(hinge, "hinge", wrong)
    found = recorded(hinge, HINGE)
    assert found["gradient_error"].max() > 1e-3
    assert found["value_error"].max() > 1e-3


@pytest.mark.parametrize("form", ["clip", "hinge", "printed"])
def test_gradients_against_finite_differences(form):
    games, old, new, found = games_and_policies()
    advantages = hinge.own_advantages(found, old)
    objective, slope = {
        "clip": (hinge.clip_objective, hinge.clip_slope(new / old, advantages, CLIP)),
        "hinge": (hinge.hinge_objective, hinge.hinge_slope(new, old, advantages, CLIP)),
        "printed": (hinge.printed_objective, hinge.printed_slope(new, old, advantages, CLIP)),
    }[form]
    exact = hinge.in_logits(new, slope, found.visitation)
    for agent in range(games.agents):
        estimate = numerical(
            lambda pi, i=agent: objective(pi, old, advantages, found.visitation, CLIP)[:, i], np.log(new), agent
        )
        np.testing.assert_allclose(exact[:, agent], estimate, atol=1e-7)


def test_nothing_jumps_where_an_advantage_changes_sign_unless_the_weight_is_one():
    found = recorded(hinge, HINGE)
    assert max(found["objective_jump"].max(), found["slope_jump"].max()) < 1e-6
    assert found["sign_form_jump"].min() > 0.1


def test_signs_suffice_exactly_where_some_policy_has_no_hinge_loss():
    draws = np.random.default_rng(3)
    answers = []
    for _ in range(60):
        old, advantages = draws.dirichlet(np.ones(4)), draws.standard_normal(4)
        low = np.where(advantages > 0, (1 + CLIP) * old, 0.0)
        high = np.where(advantages > 0, 1.0, (1 - CLIP) * old)
        feasible = linprog(
            np.zeros(4), A_eq=np.ones((1, 4)), b_eq=[1], bounds=list(zip(low, high, strict=True))
        ).success
        given = hinge.signs_suffice(old[None, None, None], advantages[None, None, None], CLIP)
        if (advantages > 0).any() and (advantages < 0).any():  # as exact advantages are
            answers.append(feasible)
            assert bool(given.item()) == feasible
    assert set(answers) == {True, False}


# --------------------------------------------------------------------------------------------------- joint ratio


@pytest.mark.parametrize("update", ["own", "sampled", "joint"])
def test_slopes_of_the_three_objectives_against_finite_differences(update):
    games, old, new, found = games_and_policies()
    own = hinge.own_advantages(found, old)
    before = tabular.product(old)

    def objective(policies, agent):
        if update == "own":
            return hinge.clip_objective(policies, old, own, found.visitation, CLIP)[:, agent]
        moved = policies if update == "joint" else old.copy()
        moved[:, agent] = policies[:, agent]
        term = hinge.clip_term(tabular.product(moved) / before, found.advantage, CLIP)
        return np.einsum("gs,gsj->g", found.visitation, before * term)

    slope = joint_ratio.slopes(update, new, old, found.advantage, own, CLIP)
    exact = hinge.in_logits(new, slope, found.visitation)
    for agent in range(games.agents):
        estimate = numerical(lambda pi, i=agent: objective(pi, i), np.log(new), agent)
        np.testing.assert_allclose(exact[:, agent], estimate, atol=1e-7)


def test_the_box_is_the_best_policy_inside_the_clip():
    _, old, _, found = games_and_policies(actions=4, agents=2)
    own = hinge.own_advantages(found, old)
    new = joint_ratio.box(old, own, CLIP)
    assert np.abs(new.sum(axis=-1) - 1).max() < 1e-12
    assert np.abs(new / old - 1).max() <= CLIP + 1e-12
    for place in itertools.product(*map(range, old.shape[:3])):
        bounds = list(zip((1 - CLIP) * old[place], (1 + CLIP) * old[place], strict=True))
        best = linprog(-own[place], A_eq=np.ones((1, 4)), b_eq=[1], bounds=bounds)
        assert (new[place] * own[place]).sum() == pytest.approx(-best.fun, abs=1e-9)


def test_own_clips_multiply_and_the_shrunk_clip_does_not():
    assert (1 + joint_ratio.shrunk(CLIP, 6)) ** 6 == pytest.approx(1.2)
    old = np.full((1, 3, 1, 2), 0.5)
    own = np.broadcast_to(np.array([1.0, -1.0]), old.shape)
    joint = tabular.product(joint_ratio.box(old, own, CLIP)) / tabular.product(old)
    assert joint.max() == pytest.approx(1.728)
    assert joint.min() == pytest.approx(0.512)


def test_crowding_by_hand():
    games = markov_games.draw(generator(0, "crowd"), 2, states=2, agents=3, actions=2, gamma=0.9)
    rewards = joint_ratio.crowded(games, 1.0).rewards  # joint actions 000, 001, ..., 111
    np.testing.assert_allclose(rewards[1, 0], [-1, 1, 1, 1, 1, 1, 1, -1])


def test_one_update_of_each_kind():
    parameters = Parameters(
        {"games": 40, "agents": [4], "states": 2, "actions": 2, "gamma": 0.9, "clip": CLIP, "floor": 0.02}
        | {"crowding": 0.9, "evenness": 20.0, "step": 0.05, "largest": 0.02, "steps": 60, "tolerance": 1e-9}
    )
    found = recorded(joint_ratio, parameters)
    assert found["own_inside_margin"].min() > -1e-12
    assert found["power_margin"].min() > -1e-12
    assert (found["joint_inside_margin"] < -0.01).mean() > 0.9
    assert set(np.unique(found["lowers"])) == {0.0, 1.0}


# --------------------------------------------------------------------------------------------------------- noise


def learner(**changes) -> Learner:
    first = Learner("dpo", 0.01, 0.1, updates=4, epochs=5, beta=0.01, delta=1.5, omega=2.0, sqrt_eps=1e-8)
    return replace(first, **changes)


def objective_of(given: Learner, policies, old, advantages, weights, beta) -> np.ndarray:
    """Equation 19, or the clipped objective, written out: [B, N]."""
    if given.clips:
        return hinge.clip_objective(policies, old, advantages, weights, given.knob)
    kl = np.einsum("bs,bns->bn", weights, tabular.kl(old, policies))
    root = np.sqrt(kl + given.sqrt_eps) if given.kind == "dpo" else 0.0
    surrogate = np.einsum("bs,bnsa->bn", weights, policies * advantages)
    return surrogate / old.shape[1] - beta * root - beta * kl


@pytest.mark.parametrize("kind", ["dpo", "ippo_kl", "ippo"])
def test_gradients_of_the_practical_objectives(kind):
    games, old, new, found = games_and_policies()
    weights = found.visitation * (1 - games.gamma)
    advantages = learners.normalised(hinge.own_advantages(found, old), old, weights)
    beta = np.array([[0.3, 0.1, 0.7]] * games.count)
    given = learner(kind=kind, knob=CLIP)
    exact = learners.gradient(given, np.log(new), old, np.log(old), advantages, weights, beta)
    for agent in range(games.agents):
        estimate = numerical(
            lambda pi, i=agent: objective_of(given, pi, old, advantages, weights, beta)[:, i], np.log(new), agent
        )
        np.testing.assert_allclose(exact[:, agent], estimate, atol=1e-7)
    if kind == "dpo":  # the root term is what tells DPO from IPPO-KL
        other = learners.gradient(learner(kind="ippo_kl"), np.log(new), old, np.log(old), advantages, weights, beta)
        assert np.abs(other - exact).max() > 1e-3


def test_coefficients_follow_equation_20():
    beta, given = np.array([[1.0, 1.0, 1.0, 1.0]]), learner(knob=0.03)
    moved = learners.adapt(beta, np.array([[0.0451, 0.0449, 0.0201, 0.0199]]), given)
    np.testing.assert_array_equal(moved, [[2.0, 1.0, 1.0, 0.5]])


def test_normalised_advantages_and_softmax():
    games, old, _, found = games_and_policies()
    weights = found.visitation * (1 - games.gamma)
    law = weights[:, None, :, None] * old
    values = learners.normalised(3 + 5 * hinge.own_advantages(found, old), old, weights)
    np.testing.assert_allclose((law * values).sum(axis=(2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose((law * values**2).sum(axis=(2, 3)), 1, atol=1e-12)
    assert np.isfinite(learners.log_softmax(np.array([[1000.0, 0.0], [-1000.0, 0.0]]))).all()


def test_noise_flips_the_signs_it_says():
    draws = generator(0, "signs")
    exact = draws.standard_normal((400, 1, 10, 10))
    deviation = np.ones((400, 1, 1, 1))
    for sigma in (0.5, 2.0):  # two Gaussians of correlation 1 / sqrt(1 + sigma^2) differ in sign so often
        seen = noise.noise("gaussian", sigma, draws)(exact, deviation)
        assert (np.sign(seen) != np.sign(exact)).mean() == pytest.approx(math.atan(sigma) / math.pi, abs=0.01)
    seen = noise.noise("flips", 0.3, draws)(exact, deviation)
    assert (seen == -exact).mean() == pytest.approx(0.3, abs=0.01)
    np.testing.assert_array_equal(np.abs(seen), np.abs(exact))


@pytest.mark.parametrize("kind", ["dpo", "ippo_kl", "ippo", "sign"])
def test_learning_improves_without_noise_and_suffers_from_wrong_signs(kind):
    games = markov_games.draw(generator(1, "learn"), 10, states=3, agents=2, actions=3, gamma=0.8)
    given = learner(kind=kind, knob=0.1, updates=8)
    clean = learners.learn(games, given, lambda exact, _: exact)
    wrong = learners.learn(games, given, lambda exact, _: -exact)
    best = tabular.optimum(games)[0]
    share = [(run.returns[-1] - run.returns[0]) / (best - run.returns[0]) for run in (clean, wrong)]
    assert share[0].mean() > 0.6
    assert share[1].max() < 0
    assert not clean.flipped.any()
    assert wrong.flipped.min() > 0.99


def test_a_loss_planted_in_one_algorithm_turns_the_difference():
    parameters = Parameters(
        {"agents": [2], "actions": [2], "states": 2, "gamma": 0.8, "replicates": 1}
        | {"sigmas": [1.0], "flips": [0.2], "steps": [0.1, 0.3]}
    )
    case = noise.Case(2, 2)
    games, records = noise.Games(parameters, case, 5, "games", 1, 0), Records()
    clean = np.full(5, 0.9)
    found = {("ippo", step): np.array([clean, clean - loss]) for step, loss in ((0.1, 0.2), (0.3, 0.4))}
    found |= {("dpo", step): np.array([clean, clean - 0.1]) for step in parameters.steps}
    noise.compare(parameters, case, found, "gaussian", games, records)
    columns = records.columns()
    rows = zip(columns["quantity"], columns["series"], columns["game"], columns["value"], strict=True)
    values = {(quantity, series): value for quantity, series, game, value in rows if game == 9}
    assert values["excess_gaussian", "N = 2, step 0.1"] == pytest.approx(0.1)
    assert values["excess_gaussian", "N = 2"] == pytest.approx(0.2)
    assert values["excess_gaussian_dpo_alone", "N = 2"] == pytest.approx(-0.1)
    assert values["excess_gaussian_ippo_alone", "N = 2"] == pytest.approx(0.3)
