"""HAPPO against a plain loop over runs and agents, and its factor against exact values of tabular games."""

import numpy as np
import pytest
import torch
from tabular_team import ACTIONS, PLAYERS, exact_surrogate, record_turns, team
from teams import AGENTS, make, parameters_of, perturb, plain_log_prob, plain_policy, rollout

from reprise.algorithms.happo import HAPPO

WHOLE = slice(None)


def plain_update(learner, batch, run: int, order: list[int]):
    """What equation 11 makes of one run's agents, one after the other, with torch's Adam: parameters, factor."""
    hyper, result, factor = learner.hyper, {}, torch.ones(batch.advantages.shape[-1])
    clip, entropy = float(hyper.per_run("clip")[run]), float(hyper.per_run("entropy")[run])
    for agent in order:
        own = parameters_of(learner.actor, run, agent)
        optimiser = torch.optim.Adam(own.values(), lr=hyper.actor_lr, eps=hyper.adam_eps)
        x, actions, advantage = (t[run, agent] for t in (batch.inputs, batch.actions, batch.advantages))
        old = plain_log_prob(plain_policy(own, x), actions).detach()
        for _ in range(hyper.epochs):
            policy = plain_policy(own, x)
            ratio = (plain_log_prob(policy, actions) - old).exp()
            weights = factor * advantage
            surrogate = torch.minimum(ratio * weights, ratio.clamp(1 - clip, 1 + clip) * weights).mean()
            bonus = policy.entropy().reshape(len(x), -1).sum(-1).mean()
            optimiser.zero_grad()
            (-(surrogate + entropy * bonus)).backward()
            torch.nn.utils.clip_grad_norm_(own.values(), hyper.gradient_clip)
            optimiser.step()
        factor = factor * (plain_log_prob(plain_policy(own, x), actions) - old).exp().detach()
        result[agent] = {k: p.detach() for k, p in own.items()}
    return result, factor


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
def test_an_update_is_equation_11_agent_after_agent(kind):
    settings = [{"clip": 0.2, "entropy": 0.0}, {"clip": 0.05, "entropy": 0.1}]
    learner = make(HAPPO, "happo", kind, settings=settings, actor_lr=0.05, epochs=3)
    perturb(learner)
    data = rollout(learner)
    batch, orders = learner.prepare(data), learner.order(WHOLE).tolist()
    expected = [plain_update(learner, batch, run, orders[run]) for run in range(2)]
    metrics = learner.update(data)
    for run in range(2):
        parameters, factor = expected[run]
        assert float((factor - 1).abs().max()) > 0.2, "a dropped factor must be seen"
        for agent in range(AGENTS):
            for k, p in parameters[agent].items():
                torch.testing.assert_close(learner.actor.parameters[k][run, agent], p, rtol=1e-3, atol=1e-4)
    assert float(metrics["factor"].min()) > 0


def test_moments_of_adam_stay_with_their_agent():
    learner = make(HAPPO, "happo", seeds=[0, 1, 2])
    twin = {k: p.clone() for k, p in learner.actor_optimiser.first.items()}
    data = rollout(learner)
    learner.update(data)
    assert all(float(p.abs().sum()) == 0 for p in twin.values())
    for p in learner.actor_optimiser.first.values():
        assert bool((p.flatten(2).abs().sum(-1) > 0).all())


def test_every_run_has_an_order_of_its_own_and_a_new_one_each_time():
    learner = make(HAPPO, "happo", seeds=range(40))
    first = learner.order(WHOLE)
    learner.updates += 1
    second = learner.order(WHOLE)
    for order in (first, second):
        assert torch.equal(order.sort(1).values, torch.arange(AGENTS).expand(40, -1))
        assert len({tuple(o) for o in order.tolist()}) == 6
    assert 0 < int((first != second).any(1).sum()) < 40
    fixed = make(HAPPO, "happo@fixed_order", seeds=range(4))
    assert fixed.order(slice(1, 3)).tolist() == [[0, 1, 2]] * 2


def test_a_shared_policy_is_taken_further_by_every_agent():
    learner = make(HAPPO, "happo", share_parameters=True, actor_lr=0.05, order="fixed", entropy=0.0)
    perturb(learner)
    data = rollout(learner)
    batch = learner.prepare(data)
    own = parameters_of(learner.actor, 0, 0)
    optimiser = torch.optim.Adam(own.values(), lr=0.05, eps=1e-5)
    factor, clip = torch.ones(batch.advantages.shape[-1]), learner.hyper.clip
    for agent in range(AGENTS):
        x, actions, advantage = (t[0, agent] for t in (batch.inputs, batch.actions, batch.advantages))
        before = plain_log_prob(plain_policy(own, x), actions).detach()
        for _ in range(learner.hyper.epochs):
            ratio = (plain_log_prob(plain_policy(own, x), actions) - batch.old_log_prob[0, agent]).exp()
            weights = factor * advantage
            optimiser.zero_grad()
            (-torch.minimum(ratio * weights, ratio.clamp(1 - clip, 1 + clip) * weights).mean()).backward()
            torch.nn.utils.clip_grad_norm_(own.values(), 10.0)
            optimiser.step()
        factor = factor * (plain_log_prob(plain_policy(own, x), actions) - before).exp().detach()
    learner.update(data)
    for k, p in own.items():
        torch.testing.assert_close(learner.actor.parameters[k][0, 0], p.detach(), rtol=1e-3, atol=1e-4)


def test_minibatches_visit_every_sample_once_per_epoch():
    learner = make(HAPPO, "happo", minibatches=4, epochs=2)
    data, seen = rollout(learner), []
    original = learner.clipped_loss

    def record(policy, samples, runs):
        seen.append(samples.actions.flatten(2).sum(-1))
        return original(policy, samples, runs)

    learner.clipped_loss = record
    batch = learner.prepare(data)
    learner.update(data)
    assert len(seen) == AGENTS * 2 * 4
    for turn in range(AGENTS):
        for epoch in range(2):
            parts = torch.stack(seen[(turn * 2 + epoch) * 4 :][:4]).sum((0, 2))
            agent = learner.streams.permutations("order", 0, AGENTS)[:, turn]
            torch.testing.assert_close(parts, batch.actions.sum((2, 3))[torch.arange(2), agent])


def test_the_factor_gives_proposition_2_on_tabular_games():
    """E[(u - 1) M A] over all states and joint actions is the exact advantage of an agent given its predecessors."""
    learner, batch, game = team(HAPPO, "happo", actor_lr=0.1, clip=10.0, epochs=3)
    turns = record_turns(learner, batch)
    assert [t.agent for t in turns] == learner.order(WHOLE)[0].tolist()
    for place, turn in enumerate(turns):
        ratio = turn.samples.ratio(turn.policy)[0, 0]
        estimate = float(((ratio - 1.0) * turn.samples.weights[0, 0]).mean())
        before = [t.agent for t in turns[:place]]
        exact = exact_surrogate(game, turns, before, turn.agent)
        assert abs(exact) > 1e-3
        assert estimate == pytest.approx(exact, rel=1e-3, abs=2e-5)
        if before:
            without = float(((ratio - 1.0) * turn.advantages).mean())
            assert without != pytest.approx(exact, rel=1e-2), "the check could not tell a missing factor"
    assert np.prod([ACTIONS] * PLAYERS) == game.games.joint_actions
