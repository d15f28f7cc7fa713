"""HATRPO's algorithm 1: the exact maximiser against a generic solver, monotone improvement, equilibria."""

import numpy as np
import pytest
from scipy.optimize import minimize

from reprise.environments.markov_games import draw
from reprise.theory import trust_region
from reprise.theory.hatrpo import policy_iteration
from reprise.theory.hatrpo.penalised_step import greedy_step, penalised_step, x_minus_log1p
from reprise.theory.hatrpo.policy_iteration import iterate, update
from reprise.theory.hatrpo.surrogates import penalty_coefficient, surrogates
from reprise.theory.tabular import evaluate, kl, max_kl, nash_gap, product, random_policies

FLOOR = 0.01


def problems(count, states, actions, penalty):
    draws = np.random.default_rng(0)
    old = FLOOR + (1 - actions * FLOOR) * draws.dirichlet(np.ones(actions), (count, states))
    weights, visitation = draws.normal(size=old.shape), draws.uniform(0, 1, (count, states))
    return old, weights, visitation, np.full(count, penalty)


def objective(new, old, weights, visitation, penalty):
    return (visitation * ((new - old) * weights).sum(axis=2)).sum(axis=1) - penalty * kl(old, new).max(axis=1)


def solved_by_slsqp(old, weights, visitation, penalty):
    """The best objective of one problem that SLSQP finds, with the largest KL as a variable of its own."""
    shape, scale = old.shape, max(1.0, penalty)

    def loss(x):
        return (-(visitation[:, None] * (x[:-1].reshape(shape) - old) * weights).sum() + penalty * x[-1]) / scale

    constraints = [
        {"type": "eq", "fun": lambda x: x[:-1].reshape(shape).sum(axis=1) - 1},
        {"type": "ineq", "fun": lambda x: x[-1] - kl(old, np.maximum(x[:-1].reshape(shape), 1e-12))},
    ]
    bounds = [(FLOOR, 1)] * old.size + [(0, None)]
    start = np.append(0.9 * old + 0.1 / shape[1], 0.1)
    options = {"ftol": 1e-14, "maxiter": 500}
    found = minimize(loss, start, constraints=constraints, bounds=bounds, method="SLSQP", options=options)
    new = np.maximum(found.x[:-1].reshape(shape), FLOOR)
    new /= new.sum(axis=1, keepdims=True)
    return objective(new[None], old[None], weights[None], visitation[None], penalty)[0]


@pytest.mark.parametrize("penalty", [0.02, 0.5, 5.0])
def test_the_step_is_as_good_as_a_generic_solvers_and_feasible(penalty):
    parts = problems(8, 3, 3, penalty)
    new = penalised_step(*parts, FLOOR)
    assert new.min() >= FLOOR - 1e-15
    assert new.sum(axis=2) == pytest.approx(np.ones(new.shape[:2]))
    ours = objective(new, *parts)
    theirs = [solved_by_slsqp(*(part[k] for part in parts)) for k in range(8)]
    assert (ours - theirs).min() > -1e-8
    assert ours == pytest.approx(theirs, abs=2e-5)  # and SLSQP is not far off


@pytest.mark.parametrize("penalty", [0.5, 5.0, 500.0])
def test_where_the_floor_does_not_bind_the_step_is_that_of_the_solver_without_one(penalty):
    """`theory/trust_region.py` maximises the same objective without a floor, by another method."""
    old, weights, visitation, penalties = problems(40, 3, 4, penalty)
    new = penalised_step(old, weights, visitation, penalties, 1e-9)
    other = trust_region.maximise(old, weights, visitation, linear=penalty).policy
    inside = (other.min(axis=(1, 2)) > 1e-6) & (new.min(axis=(1, 2)) > 1e-6)
    assert inside.sum() >= 5
    assert new[inside] == pytest.approx(other[inside], abs=2e-6)
    value = objective(new, old, weights, visitation, penalty)
    assert value == pytest.approx(objective(other, old, weights, visitation, penalty), abs=1e-6, rel=1e-9)


def test_the_step_with_one_state_has_the_closed_form():
    # One state, two actions, no active floor: maximising rho w p - C KL(q || p) in p.
    old, weights = np.array([[[0.5, 0.5]]]), np.array([[[1.0, 0.0]]])
    p = penalised_step(old, weights, np.array([[2.0]]), np.array([8.0]), FLOOR)[0, 0, 0]
    assert 2.0 + 8.0 * (0.5 / p - 0.5 / (1 - p)) == pytest.approx(0, abs=1e-7)


def test_nearby_policies_are_worse():
    parts = problems(200, 3, 3, 1.0)
    new, draws = penalised_step(*parts, FLOOR), np.random.default_rng(1)
    best = objective(new, *parts)
    for width in (1e-4, 1e-2):
        other = (1 - width) * new + width * (FLOOR + (1 - 3 * FLOOR) * draws.dirichlet(np.ones(3), new.shape[:2]))
        assert (objective(other, *parts) - best).max() < 1e-12


def test_without_penalty_the_step_is_greedy_and_a_large_one_stays():
    old, weights, visitation, _ = problems(100, 3, 3, 0.0)
    greedy = greedy_step(old, weights, FLOOR)
    assert penalised_step(old, weights, visitation, np.zeros(100), FLOOR) == pytest.approx(greedy)
    assert greedy.max(axis=2) == pytest.approx(np.full((100, 3), 0.98))
    still = penalised_step(old, weights, visitation, np.full(100, 1e9), FLOOR)
    assert still == pytest.approx(old, abs=1e-7)
    indifferent = np.ones_like(weights)
    assert penalised_step(old, indifferent, visitation, np.ones(100), FLOOR) == pytest.approx(old)


def test_the_kl_terms_keep_their_digits():
    assert x_minus_log1p(np.array([0.5])) == pytest.approx(0.5 - np.log(1.5), rel=1e-14)
    assert x_minus_log1p(np.array([1e-9])) == pytest.approx(5e-19, rel=1e-8)
    assert x_minus_log1p(np.array([0.9999e-3])) == pytest.approx(x_minus_log1p(np.array([1.0001e-3])), rel=5e-4)


@pytest.fixture(scope="module")
def games():
    draws = np.random.default_rng(3)
    several = draw(draws, 150, states=3, agents=2, actions=3, gamma=0.3)
    return several, random_policies(draws, several, floor=FLOOR)


def test_algorithm_1_is_monotone_and_beats_its_own_promise(games):
    several, start = games
    path = iterate(several, start, 5, np.random.default_rng(0), FLOOR)
    changes = np.diff(path.returns, axis=1)
    assert changes.min() >= -1e-12
    assert changes.max() > 0.05  # it moves
    assert path.expected.min() >= -1e-12
    assert (changes - path.expected).min() >= -1e-10


def test_what_an_update_expects_is_the_sum_of_lemma_2(games):
    several, start = games
    found = evaluate(several, product(start))
    step = update(several, found, start, (1, 0), FLOOR)
    penalty = penalty_coefficient(found.advantage, several.gamma)
    sums = surrogates(found, start, step.policies, (1, 0)).sum(axis=1)
    assert step.expected == pytest.approx(sums - penalty * max_kl(start, step.policies).sum(axis=1), abs=1e-10)


def test_simultaneous_greedy_updates_are_not_monotone_and_sequential_ones_are(games):
    several, start = games
    falls = {
        mode: np.diff(iterate(several, start, 5, None, FLOOR, kappa=0.0, simultaneous=mode).returns, axis=1).min()
        for mode in (False, True)
    }
    assert falls[False] >= -1e-10
    assert falls[True] < -0.1


def test_agents_that_do_not_see_the_state_need_the_penalty(games):
    several, start = games
    blind = np.broadcast_to(start[:, :, :1], start.shape).copy()
    exact = iterate(several, blind, 5, None, FLOOR, blind=True)
    assert np.ptp(exact.policies, axis=2).max() == 0
    assert np.diff(exact.returns, axis=1).min() >= -1e-12
    free = iterate(several, blind, 5, None, FLOOR, blind=True, kappa=0.0)
    assert np.diff(free.returns, axis=1).min() < -1e-3


def test_a_wrong_sign_of_the_objective_is_seen(games, monkeypatch):
    several, start = games
    monkeypatch.setattr(
        policy_iteration, "penalised_step", lambda old, weights, *rest: penalised_step(old, -weights, *rest)
    )
    assert np.diff(iterate(several, start, 1, None, FLOOR).returns, axis=1).max() < 0


def test_runs_end_at_equilibria_only_when_every_agent_updates(games):
    several, start = games
    several, start = several.chosen(np.arange(15)), start[:15]
    assert nash_gap(several, start, FLOOR).min() > 0.05
    path = iterate(several, start, 80, np.random.default_rng(0), FLOOR, kappa=0.1)
    assert np.median(nash_gap(several, path.policies, FLOOR)) < 1e-6
    policies = start
    for _ in range(20):
        policies = update(several, evaluate(several, product(policies)), policies, [0], FLOOR, kappa=0.1).policies
    assert np.median(nash_gap(several, policies, FLOOR)) > 0.05
