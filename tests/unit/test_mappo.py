"""MAPPO against a plain loop; and what the joint-critic family has in common: advantages, critics, resume, cohorts."""

import math

import pytest
import torch
from teams import (
    AGENTS,
    COPIES,
    STATE,
    STEPS,
    make,
    parameters_of,
    perturb,
    plain_log_prob,
    plain_mlp,
    plain_policy,
    rollout,
)

from reprise.algorithms.happo import HAPPO
from reprise.algorithms.hatrpo import HATRPO
from reprise.algorithms.mappo import MAPPO
from reprise.blocks.advantages import gae
from reprise.blocks.value_norm import ValueNorm

FAMILY = [(HAPPO, "happo"), (HATRPO, "hatrpo"), (MAPPO, "mappo")]


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize("variant", ["mappo", "mappo@separate"])
def test_an_update_is_the_clipped_objective_of_all_agents_at_once(variant, kind):
    learner = make(MAPPO, variant, kind, actor_lr=0.05, epochs=3, entropy=0.05)
    perturb(learner)
    data = rollout(learner)
    batch, hyper = learner.prepare(data), learner.hyper
    groups = [[0, 1, 2]] if variant == "mappo" else [[0], [1], [2]]
    expected = {}
    for run in range(2):
        for network, members in enumerate(groups):
            own = parameters_of(learner.actor, run, network)
            optimiser = torch.optim.Adam(own.values(), lr=hyper.actor_lr, eps=hyper.adam_eps)
            x, actions, advantage = (
                torch.cat([t[run, i] for i in members]) for t in (batch.inputs, batch.actions, batch.advantages)
            )
            old = plain_log_prob(plain_policy(own, x), actions).detach()
            for _ in range(hyper.epochs):
                policy = plain_policy(own, x)
                ratio = (plain_log_prob(policy, actions) - old).exp()
                clipped = ratio.clamp(1 - hyper.clip, 1 + hyper.clip)
                bonus = policy.entropy().reshape(len(x), -1).sum(-1).mean()
                loss = -torch.minimum(ratio * advantage, clipped * advantage).mean() - hyper.entropy * bonus
                optimiser.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(own.values(), hyper.gradient_clip)
                optimiser.step()
            expected[run, network] = own
    learner.update(data)
    for (run, network), own in expected.items():
        for k, p in own.items():
            torch.testing.assert_close(learner.actor.parameters[k][run, network], p.detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bootstrap", [True, False])
@pytest.mark.parametrize("critic", ["joint", "agent"])
def test_advantages_come_from_the_state_or_from_each_agents_observation(critic, bootstrap):
    """One joint estimator gives all agents the same advantage; critics of their own do not."""
    learner = make(HAPPO, "happo", critic=critic, bootstrap_at_limit=bootstrap, gamma=0.9, gae_lambda=0.8)
    perturb(learner)
    learner.value_norm.update(3.0 + 2.0 * torch.randn(2, learner.critics, 50), slice(None))
    data = rollout(learner)
    batch = learner.prepare(data)
    for run in range(2):
        rows = slice(run * COPIES, (run + 1) * COPIES)
        ended, cut = data.terminated[:, rows], data.truncated[:, rows]
        ended, cut = (ended, cut) if bootstrap else (ended | cut, torch.zeros_like(cut))
        for agent in range(AGENTS):
            network = 0 if critic == "joint" else agent
            own = {k: p[run, network] for k, p in learner.critic.parameters.items()}
            sees = (data.state, data.next_state)
            if critic == "agent":
                sees = (data.observations[:, :, agent], data.next_observations[:, :, agent])
            mean, deviation = (x[run, network] for x in learner.value_norm._moments(slice(None)))
            now, following = (plain_mlp(own, x[:, rows]).squeeze(-1) * deviation + mean for x in sees)
            advantage = gae(data.reward[:, rows], now, following, ended, cut, 0.9, 0.8).flatten()
            normal = (advantage - advantage.mean()) / (advantage.std(correction=0) + 1e-5)
            torch.testing.assert_close(batch.advantages[run, agent], normal, rtol=1e-3, atol=1e-4)
            torch.testing.assert_close(batch.targets[run, network], advantage + now.flatten(), rtol=1e-3, atol=1e-4)
    same = torch.equal(batch.advantages[:, 0], batch.advantages[:, 1])
    assert same == (critic == "joint")


@pytest.mark.parametrize("one_sided", [True, False])
@pytest.mark.parametrize("variant", ["mappo", "happo"])
def test_critics_follow_the_clipped_huber_loss_in_normalised_units(variant, one_sided):
    cls = MAPPO if variant == "mappo" else HAPPO
    changes = {"huber_delta": 0.5, "value_clip": 0.1, "critic_lr": 0.02, "critic_epochs": 4}
    learner = make(cls, variant, huber_one_sided=one_sided, critic="agent", **changes)
    perturb(learner)
    data = rollout(learner)
    batch, norm = learner.prepare(data), learner.value_norm
    expected = {}
    for run in range(2):
        for network in range(learner.critics):
            own = parameters_of(learner.critic, run, network)
            optimiser = torch.optim.Adam(own.values(), lr=0.02, eps=1e-5)
            targets, old = batch.targets[run, network], batch.values[run, network]
            moments = [0.0, 0.0, 0.0]
            for _ in range(4):
                news = (float(targets.mean()), float(targets.square().mean()), 1.0)
                moments = [0.99999 * m + 1e-5 * n for m, n in zip(moments, news, strict=True)]
                weight = max(moments[2], 1e-5)
                mean, square = moments[0] / weight, moments[1] / weight
                wanted = (targets - mean) / math.sqrt(max(square - mean**2, 1e-2))
                value, total = plain_mlp(own, batch.seen[run, network]).squeeze(-1), 0.0
                for m in range(len(wanted)):
                    losses = []
                    for guess in (value[m], old[m] + (value[m] - old[m]).clamp(-0.1, 0.1)):
                        error = wanted[m] - guess
                        small = bool(error.abs() <= 0.5)
                        linear = 0.5 * (error.abs() - 0.25) if error > 0 or not one_sided else 0.0 * error
                        losses.append(0.5 * error**2 if small else linear)
                    total = total + torch.maximum(*losses) / len(wanted)
                optimiser.zero_grad()
                total.backward()
                torch.nn.utils.clip_grad_norm_(own.values(), 10.0)
                optimiser.step()
            expected[run, network] = own
    learner.update(data)
    for (run, network), own in expected.items():
        for k, p in own.items():
            torch.testing.assert_close(learner.critic.parameters[k][run, network], p.detach(), rtol=1e-2, atol=2e-3)
    assert float(norm.weight.min()) > 0


def test_value_norm_forgets_its_first_zeros_and_undoes_itself():
    norm, targets = ValueNorm(2, 1, 0.9, True, "cpu"), 5.0 + 3.0 * torch.randn(2, 1, 4000)
    norm.update(targets, slice(None))
    normal = norm.normalise(targets, slice(None))
    torch.testing.assert_close(normal.mean(-1), torch.zeros(2, 1), atol=1e-3, rtol=0)
    torch.testing.assert_close(normal.std(-1), torch.ones(2, 1), atol=1e-2, rtol=0)
    torch.testing.assert_close(norm.denormalise(normal), targets, atol=1e-4, rtol=1e-4)
    before = norm.mean.clone()
    norm.update(targets[:1] + 1, slice(0, 1))
    assert norm.mean[0] != before[0]
    assert norm.mean[1] == before[1]
    off = ValueNorm(2, 1, 0.9, False, "cpu")
    off.update(targets, slice(None))
    assert torch.equal(off.normalise(targets, slice(None)), targets)
    assert torch.equal(off.denormalise(targets), targets)


@pytest.mark.parametrize("kind", ["continuous", "discrete"])
@pytest.mark.parametrize(("cls", "name"), FAMILY)
def test_a_run_does_not_depend_on_its_cohort_and_a_resume_is_exact(cls, name, kind):
    changes = {"minibatches": 2, "critic_minibatches": 2}
    many, alone, again = (make(cls, name, kind, seeds=s, **changes) for s in ([3, 7, 9], [7], [3, 7, 9]))
    seen = torch.randn(COPIES, AGENTS, many.spec.observation_size)
    for step in range(3):
        among = many.act(seen.repeat(3, 1, 1), None, None)[0]
        torch.testing.assert_close(among[COPIES : 2 * COPIES], alone.act(seen, None, None)[0])
        if step == 2:
            again.load_state_dict({k: v.clone() for k, v in many.state_dict().items()})
        one = many.update(rollout(many, seed=step, same=True))
        alone.update(rollout(alone, seed=step, same=True))
    two = again.update(rollout(again, seed=2, same=True))
    assert all(torch.equal(one[k], two[k]) for k in one)
    assert torch.equal(many.act(seen.repeat(3, 1, 1), None, None)[0], again.act(seen.repeat(3, 1, 1), None, None)[0])
    for k, p in many.learned().items():
        assert torch.equal(p, again.learned()[k])
        torch.testing.assert_close(p[1], alone.learned()[k][0], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("cls", "name"), FAMILY)
def test_chunks_of_runs_give_what_all_runs_together_give(cls, name, monkeypatch):
    changes = {"minibatches": 2, "critic_minibatches": 2}
    together, apart = (make(cls, name, seeds=[0, 1, 2], **changes) for _ in range(2))
    for step in range(2):
        monkeypatch.setattr("reprise.blocks.joint_actor_critic.CPU_SAMPLES", 20_000)
        first = together.update(rollout(together, seed=step))
        monkeypatch.setattr("reprise.blocks.joint_actor_critic.CPU_SAMPLES", 1)
        second = apart.update(rollout(apart, seed=step))
        for key, value in first.items():
            torch.testing.assert_close(value, second[key], rtol=1e-2, atol=1e-3)
    for k, p in together.learned().items():
        torch.testing.assert_close(p, apart.learned()[k], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("cls", "name"), FAMILY)
def test_a_diverged_run_is_frozen_and_the_others_go_on(cls, name):
    learner = make(cls, name)
    data = rollout(learner)
    reward = data.reward.clone()
    reward[0, 0] = math.nan
    before = {k: p.clone() for k, p in learner.learned().items()}
    learner.update(data._replace(reward=reward))
    assert learner.alive.tolist() == [False, True]
    for k, p in learner.learned().items():
        assert torch.equal(p[0], before[k][0])
    assert any(not torch.equal(p[1], before[k][1]) for k, p in learner.learned().items())


def test_rates_decay_over_the_budget():
    learner = make(HAPPO, "happo", lr_decay=True)
    rates = []
    for step in range(3):
        learner.update(rollout(learner, seed=step))
        rates.append((learner.actor_optimiser.lr, learner.critic_optimiser.lr))
    expected = [5e-4 * (1 - step / 10) for step in range(3)]
    assert [rate for rate, _ in rates] == pytest.approx(expected)
    assert [rate for _, rate in rates] == pytest.approx(expected)


@pytest.mark.parametrize("variant", ["mappo", "mappo@separate", "mappo@own_critic"])
def test_shapes_of_shared_and_separate_networks(variant):
    learner = make(MAPPO, variant)
    shared = variant != "mappo@separate"
    assert learner.actor.parameters["w0"].shape[1] == (1 if shared else AGENTS)
    sees = learner.critic.parameters["w0"].shape
    assert (sees[1], sees[2]) == ((1, STATE) if "own" not in variant else (1, learner.spec.observation_size))
    seen = torch.randn(2 * COPIES, AGENTS, learner.spec.observation_size)
    mean = learner.greedy(seen, None, None)[0]
    for row in range(2 * COPIES):
        for agent in range(AGENTS):
            own = parameters_of(learner.actor, row // COPIES, 0 if shared else agent)
            torch.testing.assert_close(mean[row, agent], plain_policy(own, seen[row, agent][None]).mean[0].detach())
    assert len(learner.policies(slice(0, 1), torch.randn(1, AGENTS, STEPS, 5), None).mean) == 1
