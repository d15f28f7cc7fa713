"""Section 3 of the DPO paper: constants by hand, identities, bounds that planted errors break, exact updates."""

from __future__ import annotations

import numpy as np
import pytest

from reprise.environments.markov_games import draw
from reprise.theory import tabular, trust_region
from reprise.theory.dpo import (
    bounds,
    critic,
    exact_update,
    scaled_constants,
    simultaneous,
    surrogates,
    tightness,
    updates,
)
from reprise.theory.study import Parameters, Records, generator


def _pairs(count=200, agents=3, gamma=0.6, near=True, seed=0):
    stream = generator(seed, "test")
    games = draw(stream, count, states=3, agents=agents, actions=2, gamma=gamma)
    old, new = bounds.pairs(stream, games, near)
    return games, old, new, tabular.evaluate(games, tabular.product(old))


def _after(games, policies):
    return tabular.evaluate(games, tabular.product(policies)).returns


# ---------------------------------------------------------------- constants, computed by hand


def test_constants():
    r_max = np.array([1.5])
    assert surrogates.m(r_max, 0.75) == pytest.approx(6.0)
    assert surrogates.m_tilde(r_max, 0.75) == pytest.approx(48.0)  # 2 * 1.5 * 16
    assert surrogates.m_hat(r_max, 0.75, 4) == pytest.approx(41.569219381653056)  # 48 sqrt(3) / 2
    assert surrogates.c(r_max, 0.75) == pytest.approx(288.0)  # 4 * 0.75 * 1.5 * 64
    assert surrogates.c_without_root(r_max, 0.75, 3) == pytest.approx(288.0 + 48.0)  # + 2 * 1.5 * 16
    assert surrogates.move_threshold(2) == pytest.approx(0.5)
    assert surrogates.move_threshold(3) == pytest.approx(12**-0.5)


def test_surrogates_and_bounds_by_hand():
    """One state, gamma 0: rewards 1, 0, 0, 1; agent 0 from 1/2 to 3/4, agent 1 stays at 1/4."""
    games, _ = simultaneous.coordination_game()
    old = np.array([[[[0.5, 0.5]], [[0.25, 0.75]]]])
    new = np.array([[[[0.75, 0.25]], [[0.25, 0.75]]]])
    found = tabular.evaluate(games, tabular.product(old))
    assert found.returns == pytest.approx([0.5])
    assert surrogates.joint_surrogate(found, new) == pytest.approx([-0.125])
    assert surrogates.own_surrogates(found, old, new) == pytest.approx(np.array([[-0.125, 0.0]]))
    kl = 0.5 * np.log(4 / 3)
    assert surrogates.divergences_of(old, new) == pytest.approx(np.array([[kl, 0.0]]))
    bound = surrogates.lemma_3_1(np.array([[kl, 0.0]]), np.ones(1), 0.5)
    assert bound == pytest.approx(np.array([[0.0, 8 * kl**0.5]]))
    penalty = surrogates.penalty(np.array([[kl, 0.01]]), np.ones(1), 0.5)
    assert penalty == pytest.approx([32**0.5 * (kl**0.5 + 0.1) + 16 * (kl + 0.01)])
    chain = surrogates.chain(found, old, new, np.ones(1), 0.0)
    expected = [
        -0.125,
        -0.0625 - kl**0.5,
        -0.0625 - (2 * kl) ** 0.5,
        -0.0625 - (2 * kl) ** 0.5,
        -0.0625 - (2 * kl) ** 0.5,
    ]
    assert np.ravel(list(chain.values())) == pytest.approx(expected)


# ---------------------------------------------------------------- the decentralised critic


def test_individual_q_by_simulation_of_its_iteration():
    games, old, _, found = _pairs(20)
    q = np.zeros((20, 3, 2))
    for _ in range(200):  # equation 5 as it stands, without tabular.own
        value = (old[:, 1] * q).sum(axis=2)
        joint = games.rewards + games.gamma * np.einsum("gsjt,gt->gsj", games.transitions, value)
        cube = joint.reshape(20, 3, 2, 2, 2)
        q = np.einsum("gsabc,gsa,gsc->gsb", cube, old[:, 0], old[:, 2])
    assert np.abs(critic.individual_q(games, old, 1) - q).max() < 1e-10
    assert np.abs(tabular.own(found.q, old, 1) - q).max() < 1e-10


def _critic_records(monkeypatch=None):
    records = Records()
    critic.run(
        Parameters({"games": 30, "agents": [2, 3], "gammas": [0.3, 0.9], "states": 3, "actions": 2}), [0], records
    )
    columns = records.columns()
    return {
        name: max(v for q, v in zip(columns["quantity"], columns["value"], strict=True) if q == name)
        for name in set(columns["quantity"])
    }


def test_critic_study():
    worst = _critic_records()
    assert max(worst[name] for name in ("q_error", "v_error", "advantage_bias")) < 1e-10
    assert min(worst[name] for name in ("wrong_agent_error", "wrong_bias")) > 0.1
    assert worst["variance_from_others"] <= 1.0


def test_critic_study_sees_a_forgotten_discount(monkeypatch):
    plain = critic.temporal_differences
    monkeypatch.setattr(
        critic, "temporal_differences", lambda games, value: plain(games, value) + 0.01 * value[:, None, None, :]
    )
    assert _critic_records()["advantage_bias"] > 1e-4


def test_moments_against_samples():
    games, old, _, found = _pairs(1, agents=2)
    mean, variance, others = critic.moments(games, old, found.value, 0)
    stream = generator(1, "samples")
    theirs = stream.choice(2, 200_000, p=old[0, 1, 0])  # state 0, own action 1
    arrivals = np.array([stream.choice(3, 200_000, p=games.transitions[0, 0, 2 + a]) for a in range(2)])
    samples = games.rewards[0, 0, 2 + theirs] + games.gamma * found.value[0, arrivals[theirs, np.arange(200_000)]]
    samples -= found.value[0, 0]
    assert samples.mean() == pytest.approx(mean[0, 0, 1], abs=0.01)
    assert samples.var() == pytest.approx(variance[0, 0, 1], rel=0.02)
    assert (others <= variance + 1e-12).all()
    assert (others >= -1e-12).all()


# ---------------------------------------------------------------- simultaneous steps


def test_coordination_game_by_hand():
    games, policies = simultaneous.coordination_game()
    found = tabular.evaluate(games, tabular.product(policies))
    assert found.returns == pytest.approx([0.48])
    for size, together, in_turn in ((0.5, 0.42, 0.62), (1.0, 0.0, 1.0)):
        assert _after(games, simultaneous.mixture_step(games, policies, found, size, False)) == pytest.approx(
            [together]
        )
        assert _after(games, simultaneous.mixture_step(games, policies, found, size, True)) == pytest.approx([in_turn])


def test_greedy_in_turn_never_lowers_and_at_once_does():
    games, old, _, found = _pairs(300, gamma=0.9)
    assert (_after(games, updates.greedy_in_turn(games, old, found)) >= found.returns - 1e-10).all()
    assert (_after(games, updates.greedy_at_once(games, old, found)) < found.returns).any()


# ---------------------------------------------------------------- lemma 3.1, theorem 3.2, the proof


@pytest.mark.parametrize("near", [True, False])
@pytest.mark.parametrize("agents", [2, 3])
def test_bounds_hold(near, agents):
    games, old, new, found = _pairs(agents=agents, near=near)
    r_max = surrogates.reward_bound(games)
    assert (bounds.lemma(found, old, new, r_max, games.gamma)["margin"] >= -1e-10).all()
    after = _after(games, new)
    assert (bounds.theorem(found, after, old, new, r_max, games.gamma)["margin"] >= -1e-10).all()
    assert (bounds.without_root(found, after, old, new, r_max, games.gamma)["margin"] >= -1e-10).all()
    sides = np.array([after - found.returns, *surrogates.chain(found, old, new, r_max, games.gamma).values()])
    assert (np.diff(sides, axis=0) <= 1e-10).all()
    assert (
        all((margin < 0).any() for margin in bounds.planted(found, after, old, new, r_max, games.gamma).values())
        or not near
    )


@pytest.mark.parametrize(
    ("made", "quantity", "constant", "gamma", "factor"),
    [
        (tightness.lone_agent, bounds.lemma, "m_tilde", 0.0, 0.5),  # the factor 2 forgotten
        (tightness.sticky_states, bounds.lemma, "m_tilde", 0.9, 0.1),  # one horizon forgotten
        (tightness.lone_agent, bounds.theorem, "m_hat", 0.0, 0.5),
        (tightness.opposed_agents, bounds.without_root, "c_without_root", 0.0, 0.9),
    ],
)
def test_wrong_constants_break_bounds_in_made_games(monkeypatch, made, quantity, constant, gamma, factor):
    rewards, transitions, old, new = (each[None] for each in made(2, 3 if constant == "m_hat" else 2, 2, gamma))
    games = tightness.MarkovGames(rewards, transitions, np.array([[0.5, 0.5]]), old.shape[1], 2, gamma)
    found = tabular.evaluate(games, tabular.product(old))
    after = () if quantity is bounds.lemma else (_after(games, new),)

    def margin():
        return quantity(found, *after, old, new, np.ones(1), gamma)["margin"]

    assert margin() >= -1e-10
    right = getattr(surrogates, constant)
    monkeypatch.setattr(surrogates, constant, lambda *given: factor * right(*given))
    assert margin() < -1e-5


def test_m_does_not_bound_the_advantage():
    """Two states that pay 1 and -1 for ever unless agent 0 errs: |A| reaches nearly 2 r_max / (1 - gamma)."""
    rewards, transitions, old, _ = (each[None] for each in tightness.sticky_states(2, 2, 2, 0.99))
    old[:, 0] = [[0.999, 0.001], [0.001, 0.999]]
    games = tightness.MarkovGames(rewards, transitions, np.array([[0.5, 0.5]]), 2, 2, 0.99)
    largest = np.abs(tabular.evaluate(games, tabular.product(old)).advantage).max()
    assert surrogates.m(1.0, 0.99) * 1.5 < largest < 2 * surrogates.m(1.0, 0.99)


def test_climbing_only_climbs():
    p = Parameters({"chains": 8, "states": 2, "actions": 2})
    start = tightness.starts(generator(0, "start"), p, 2, 0.6)
    before = tightness.theorem_ratio(*start)
    best, reached = tightness.climb(generator(0, "climb"), start, tightness.theorem_ratio, 60)
    assert (reached >= before).all()
    assert (reached > before + 1e-3).any()
    assert (reached < 1).all()
    assert tightness.theorem_ratio(*best) == pytest.approx(reached)


# ---------------------------------------------------------------- exact updates


def _objective(policy, old, weights, visitation, root, linear):
    divergence = np.maximum(tabular.max_kl(old, policy), 0)
    gain = (visitation[..., None] * weights * (policy - old)).sum(axis=(1, 2))
    return gain - root * np.sqrt(divergence) - linear * divergence


@pytest.mark.parametrize(("root", "linear"), [(0.0, 1e-3), (0.0, 1.0), (0.0, 4e5), (1.0, 0.1), (3.0, 1.0)])
def test_maximise_beats_every_candidate(root, linear):
    stream = generator(0, f"maximise {root} {linear}")
    old, weights = stream.dirichlet(np.full(3, 0.5), (100, 3)) * 0.999 + 0.001 / 3, stream.normal(size=(100, 3, 3))
    visitation = 10 * stream.dirichlet(np.ones(3), 100)
    step = trust_region.maximise(old, weights, visitation, root=root, linear=linear)
    given = (old, weights, visitation, root, linear)
    assert np.abs(step.policy.sum(axis=2) - 1).max() < 1e-12
    assert _objective(step.policy, *given) == pytest.approx(step.value, rel=1e-8, abs=1e-12 + 1e-15 * linear)
    assert tabular.max_kl(old, step.policy) == pytest.approx(step.level, rel=1e-8, abs=1e-15)
    for _ in range(100):
        size = 10 ** stream.uniform(-6, 0, (100, 1, 1))
        near = stream.random((100, 1, 1)) < 0.5
        other = (1 - size) * np.where(near, step.policy, old) + size * stream.dirichlet(np.ones(3), (100, 3))
        assert (_objective(other, *given) <= step.value + 1e-9 * np.maximum(1, step.value)).all()


def test_maximise_at_nearly_deterministic_policies():
    """Shares down to 1e-33 and levels down to 1e-45: no overflow, no endless search, never worse than staying."""
    stream = generator(0, "deterministic")
    old = 10.0 ** stream.uniform(-33, 0, (200, 2, 3))
    old /= old.sum(axis=2, keepdims=True)
    with np.errstate(all="raise", under="ignore"):
        for linear in (1e-6, 1.0, 1e6, 1e14):
            step = trust_region.maximise(
                old, stream.normal(size=old.shape), np.ones((200, 2)), linear=linear, root=1e-9
            )
            assert np.isfinite(step.policy).all()
            assert (step.value >= 0).all()
            assert np.abs(step.policy.sum(axis=2) - 1).max() < 1e-12


def test_maximise_two_actions_by_quadrature():
    """One state, two actions: a grid over the one free probability finds no better policy and the same level."""
    old, weights = np.array([[[0.3, 0.7]]]), np.array([[[1.0, 0.0]]])
    step = trust_region.maximise(old, weights, np.ones((1, 1)), linear=2.0, root=0.1)
    first = np.linspace(1e-6, 1 - 1e-6, 200_001)
    grid = np.stack([first, 1 - first], axis=1)[:, None]
    values = _objective(grid, np.broadcast_to(old, grid.shape), weights, np.ones((1, 1)), 0.1, 2.0)
    assert step.value == pytest.approx([values.max()], abs=1e-9)
    assert step.policy[0, 0, 0] == pytest.approx(first[values.argmax()], abs=1e-4)


def test_exact_update_never_moves_and_small_constants_do(monkeypatch):
    games, old, _, found = _pairs(100, gamma=0.3)
    assert (updates.dpo(games, old, found).policies == old).all()
    assert (updates.dpo(games, old, found, 0.01).level.max(axis=1) > 0).all()
    monkeypatch.setattr(surrogates, "m_hat", lambda r_max, gamma, agents: 0.01 * r_max)  # the root term's constant lost
    assert (updates.dpo(games, old, found).level > 0).any()


@pytest.mark.parametrize("agents", [2, 3, 4])
def test_move_threshold_is_attained(agents):
    games, policies = exact_update.extreme_game(agents)
    found = tabular.evaluate(games, tabular.product(policies))
    ratio = exact_update.penalty_over_gain(games, policies, found, np.array([1e-8, 1e-4, 1.0]))
    assert ratio == pytest.approx([np.sqrt(2 * agents * (agents - 1))], rel=1e-6)
    threshold = surrogates.move_threshold(agents)
    assert (updates.dpo(games, policies, found, 0.99 * threshold).level[:, 0] > 0).all()
    assert (updates.dpo(games, policies, found, 1.01 * threshold).level == 0).all()


def test_start_kappa_is_where_the_solver_starts_to_move():
    games, old, _, found = _pairs(50, gamma=0.6)
    start = 1 / exact_update.penalty_over_gain(games, old, found, 10 ** np.linspace(-8, 1, 25))
    assert (updates.dpo(games, old, found, 1.05 * start).level.max(axis=1) == 0).all()
    assert (updates.dpo(games, old, found, 0.95 * start).level.max(axis=1) > 0).all()


def test_without_root_is_monotone_and_without_penalty_is_not():
    games, old, _, found = _pairs(200, gamma=0.6)
    step = updates.dpo_without_root(games, old, found)
    assert (step.level > 0).all()
    assert (_after(games, step.policies) > found.returns).all()
    far = updates.dpo_without_root(games, old, found, 1e-6)
    assert (_after(games, far.policies) < found.returns).any()


def test_in_turn_uses_the_agents_already_updated():
    games, policies = simultaneous.coordination_game()
    found = tabular.evaluate(games, tabular.product(policies))
    games = tightness.MarkovGames(games.rewards, games.transitions, games.initial, 2, 2, 0.5)
    step = updates.in_turn(games, policies, found, 1e-5)
    assert step.policies[0, :, 0, 1] == pytest.approx([1, 1], abs=1e-3)  # both at once would part them
    assert updates.dpo_without_root(games, policies, found, 1e-6).policies[0, :, 0, 1] == pytest.approx(
        [1, 0], abs=1e-3
    )


def test_iterate_returns_all_updates_and_freezes_what_has_arrived():
    games, old, _, found = _pairs(5)
    count = []

    def step(games, policies, found, kappa):
        count.append(games.count)
        new = policies.copy()
        new[kappa > 0.5] = 0.5
        return new

    kappa = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
    returns = scaled_constants.iterate(games, old, step, 4, kappa)
    assert count == [5, 2]
    uniform = _after(games, np.full_like(old, 0.5))
    assert returns[:, 0] == pytest.approx(found.returns)
    assert returns[:, 4] == pytest.approx(np.where(kappa > 0.5, uniform, found.returns))
