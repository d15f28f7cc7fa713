"""MADDPG's two steps against numbers worked out by hand and by finite differences, and what surrounds them."""

import pytest
import torch
from team_learners import ACTIONS, AGENTS, COPIES, STEPS, make, observe, rollout, spec

from reprise.algorithms.maddpg import MADDPG
from reprise.blocks.simplex import gumbel
from reprise.blocks.state_replay import Sample
from reprise.blocks.streams import Streams
from reprise.environments.protocol import Box, Discrete
from reprise.errors import RepriseError

NAMES = ["maddpg", "maddpg@mlp", "maddpg@vdn", "maddpg@mf_local", "maddpg@gcn_local", "maddpg@mf_a"]


def sample(runs: int = 2, count: int = 5, seed: int = 0, dtype=torch.float32, absent: int = 0) -> Sample:
    """A batch of random transitions, as the replay gives them; the last ``absent`` agents are not there."""
    generator = torch.Generator().manual_seed(seed)

    def observations():
        states = torch.randn(runs, count, spec().state_size, generator=generator, dtype=dtype)
        states[..., -AGENTS:] = (torch.arange(AGENTS) < AGENTS - absent).to(dtype)
        return observe(states)

    seen, after = observations(), observations()
    actions = torch.randn(runs, count, AGENTS, ACTIONS, generator=generator, dtype=dtype).softmax(-1)
    reward = torch.randn(runs, count, generator=generator, dtype=dtype)
    return Sample(seen, actions, reward, torch.rand(runs, count, generator=generator) < 0.3, after)


def in_double(learner) -> None:
    """Move the learner's networks away from their start, in double precision, for finite differences."""
    generator = torch.Generator().manual_seed(5)
    for net in (learner.actor, learner.critic):
        for name, p in net.parameters.items():
            net.parameters[name] = p.double() + 0.2 * torch.randn(p.shape, generator=generator, dtype=torch.float64)
    learner.hyper._tensors = {}
    learner.streams.normal = lambda *args: Streams.normal(learner.streams, *args).double()


def constant_value(parameters: dict, value: float) -> None:
    """Make a critic's parameters say ``value`` everywhere: zeros but for the last layer's bias (its last row)."""
    for p in parameters.values():
        p.zero_()
    parameters[list(parameters)[-1]][..., -1, :] = value


def test_target_and_loss_of_a_case_worked_out_by_hand():
    learner = make(MADDPG, "maddpg@mf_local", seeds=[0], gamma=0.9)
    constant_value(learner.critic_target, 10.0)
    constant_value(learner.critic.parameters, 1.0)
    batch = sample(1, 3)._replace(
        reward=torch.tensor([[1.0, 2.0, -4.0]]), terminated=torch.tensor([[False, True, False]])
    )
    # 1 + 0.9 * 10, 2 + 0 (the episode ended), -4 + 0.9 * 10
    torch.testing.assert_close(learner.target(batch), torch.tensor([[10.0, 2.0, 5.0]]))
    metrics = learner.improve_critic(batch)
    assert metrics["value_loss"].item() == pytest.approx((9.0**2 + 1.0**2 + 4.0**2) / 3)
    assert metrics["value"].item() == pytest.approx(17 / 3)


def test_each_agent_of_mf_a_has_the_team_reward_and_its_own_future():
    learner = make(MADDPG, "maddpg@mf_a", seeds=[0], gamma=0.9)
    batch = sample(1, 4)
    actions = learner.policy(learner.actor_target, batch.next_observations, None).noisy.softmax(-1)
    future = learner.critic.values(learner.critic_target, batch.next_observations, actions)
    assert future.std(2).min() > 0
    for m in range(4):
        for i in range(AGENTS):
            ahead = 0.0 if batch.terminated[0, m] else 0.9 * future[0, m, i].item()
            assert learner.target(batch)[0, m, i].item() == pytest.approx(batch.reward[0, m].item() + ahead, abs=1e-6)


@pytest.mark.parametrize("kept", [True, False])
def test_the_next_actions_are_the_target_actors_or_with_pic_the_actors(kept):
    learner = make(MADDPG, "maddpg@gcn_local", target_actor=kept)
    learner.actor.parameters["l2"].add_(1.0)
    learner.actor.parameters["l2"][..., 0].add_(2.0)
    batch, seen = sample(), {}
    true_values = learner.critic.values
    learner.critic.values = lambda p, o, a: seen.update(a=a) or true_values(p, o, a)
    learner.target(batch)
    source = learner.actor_target if kept else learner.actor.parameters
    logits, _ = learner.actor.heads(source, batch.next_observations)
    torch.testing.assert_close(seen["a"], logits.softmax(-1))


def objective(learner, parameters, batch, noise, own_of=None, base=None) -> torch.Tensor:
    """J of equation 5, written as it stands; with ``own_of`` i, agent i alone acts anew and its value alone counts."""
    logits, log_std = learner.actor.heads(parameters, batch.observations)
    noisy = logits if noise is None else logits + noise * (1.0 if log_std is None else log_std.clamp(-2.0, 1.0).exp())
    actions = noisy.softmax(-1)
    penalty = 0.001 * logits.square().mean((1, 2, 3))
    if own_of is None:
        return learner.critic.values(learner.critic.parameters, batch.observations, actions).mean(1) - penalty
    mixed = base.clone()
    mixed[:, :, own_of] = actions[:, :, own_of]
    values = learner.critic.values(learner.critic.parameters, batch.observations, mixed)
    return values[..., own_of].mean(1) / AGENTS - penalty / AGENTS


@pytest.mark.parametrize("name", NAMES)
def test_policy_gradient_is_the_slope_of_the_objective(name):
    learner = make(MADDPG, name, tau=0.5)
    in_double(learner)
    batch = sample(dtype=torch.float64)
    noise = learner.noise("noise.actor", 0, batch.observations) if learner.hyper.update_noise else None
    gradients = {k: g.clone() for k, g in learner.policy_gradient(batch)[0].items()}
    base = learner.policy(learner.actor.parameters, batch.observations, noise).noisy.softmax(-1)
    generator, size = torch.Generator().manual_seed(1), 1e-6
    for layer in gradients:
        direction = torch.randn(gradients[layer].shape, generator=generator, dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            moved = learner.actor.parameters | {layer: learner.actor.parameters[layer] + sign * size * direction}
            if learner.critic.per_agent:
                each = [objective(learner, moved, batch, noise, i, base) for i in range(AGENTS)]
                ends.append(torch.stack(each).sum(0))
            else:
                ends.append(objective(learner, moved, batch, noise))
        slope = (ends[0] - ends[1]) / (2 * size)
        found = -(gradients[layer] * direction).flatten(1).sum(1)
        torch.testing.assert_close(found, slope, rtol=1e-5, atol=1e-8)


def test_the_central_actors_noise_teaches_its_deviation_within_its_bounds():
    learner = make(MADDPG, "maddpg")
    in_double(learner)
    batch, half = sample(dtype=torch.float64), AGENTS * ACTIONS
    last = learner.actor.parameters["l2"]
    last[..., half:].zero_()  # all log-deviations are 0 ..
    assert learner.policy_gradient(batch)[0]["l2"][..., -1, half:].abs().min() > 0
    assert learner.policy_gradient(batch)[1]["deviation"].tolist() == pytest.approx([1.0, 1.0])
    last[..., -1, half:] = 1.5  # .. and now beyond the upper bound
    assert learner.policy_gradient(batch)[0]["l2"][..., half:].abs().max() == 0
    assert learner.policy_gradient(batch)[1]["deviation"].tolist() == pytest.approx([torch.e] * 2)


def test_targets_follow_softly_each_after_its_own_network():
    learner = make(MADDPG, "maddpg@gcn_local", tau=0.25)
    before = {k: t.clone() for k, t in learner.learned().items()}
    learner.improve_actor(sample())
    after_actor = {k: t.clone() for k, t in learner.learned().items()}
    learner.improve_critic(sample(seed=1))
    for k, p in learner.actor.parameters.items():
        expected = 0.75 * before[f"actor.{k}"] + 0.25 * p
        torch.testing.assert_close(learner.actor_target[k], expected)
        assert not torch.equal(p, before[f"actor.{k}"])
    for k, p in learner.critic.parameters.items():
        assert torch.equal(after_actor[f"critic.target.{k}"], before[f"critic.{k}"])
        torch.testing.assert_close(learner.critic_target[k], 0.75 * before[f"critic.{k}"] + 0.25 * p)


def test_pic_moves_the_critics_target_after_actor_steps_and_clips_the_first_step_only():
    learner = make(MADDPG, "maddpg@pic", gradient_clip=1e-9, tau=0.25)
    learner.critic_target = {k: p + 1.0 for k, p in learner.critic.parameters.items()}
    learner.improve_actor(sample())
    for k, p in learner.critic.parameters.items():
        torch.testing.assert_close(learner.critic_target[k], p + 0.75)
    moments = []
    for _ in range(2):
        learner.improve_critic(sample())
        moments.append(max(float(m.abs().max()) for m in learner.critic_optimiser.first.values()))
    assert moments[0] < 1e-9 < 1e-6 < moments[1]


def test_learning_rate_falls_linearly_to_zero_over_the_budget():
    learner, steps = make(MADDPG, "maddpg@mf_local", total=5 * STEPS * COPIES), []
    rates = [learner.update(rollout(2, seed))["lr"][0].item() for seed in range(5)]
    assert rates == pytest.approx([0.01, 0.008, 0.006, 0.004, 0.002])
    still = make(MADDPG, "maddpg@mf_local", lr_decay=False)
    assert [still.update(rollout(2, seed))["lr"][0].item() for seed in range(2)] == pytest.approx([0.01, 0.01])
    # Adam's first step is as long as the rate: the optimisers use what is reported.
    for total in (10**9, 2 * STEPS * COPIES):
        learner = make(MADDPG, "maddpg@mf_local", total=total, batch=STEPS * COPIES, actor_updates=1, critic_updates=1)
        learner.update(rollout(2))  # fills the replay, which must exceed a batch
        before = {k: p.clone() for k, p in learner.critic.parameters.items()}
        learner.update(rollout(2, 1))
        steps.append(max(float((p - before[k]).abs().max()) for k, p in learner.critic.parameters.items()))
    assert steps == pytest.approx([0.01, 0.005], rel=1e-2)


def test_nothing_is_learned_until_the_replay_exceeds_a_batch():
    learner = make(MADDPG, "maddpg", batch=STEPS * COPIES)
    before = {k: t.clone() for k, t in learner.learned().items()}
    names = set(learner.update(rollout(2)))
    assert all(torch.equal(t, before[k]) for k, t in learner.learned().items())
    assert set(learner.update(rollout(2, 1))) == names
    assert not all(torch.equal(t, before[k]) for k, t in learner.learned().items())


@pytest.mark.parametrize("name", ["maddpg", "maddpg@gcn_local", "maddpg@mf_subsample"])
def test_a_run_does_not_depend_on_its_cohort(name):
    changes = {"subsample": 2} if "subsample" in name else {}
    alone, among = (make(MADDPG, name, seeds=s, actor_updates=2, **changes) for s in ([7], [3, 7, 9]))
    for step in range(3):
        data = rollout(3, seed=step, same=True)
        one = rollout(1, seed=step, same=True)
        acted = among.act(data.observations[0], None, None)[0].unflatten(0, (3, COPIES))
        torch.testing.assert_close(alone.act(one.observations[0], None, None)[0], acted[1], rtol=2e-3, atol=1e-6)
        among.update(data)
        alone.update(one)
    for k, t in alone.learned().items():
        torch.testing.assert_close(among.learned()[k][1], t[0], rtol=1e-3, atol=1e-5)
    assert not torch.allclose(acted[0], acted[1], atol=1e-2)


@pytest.mark.parametrize("name", ["maddpg", "maddpg@pic"])
def test_state_dict_resumes_exactly_replay_and_noise_included(name):
    straight = make(MADDPG, name, replay=66 * STEPS, actor_updates=1, critic_updates=1)  # more than an archive holds
    for step in range(40):
        straight.update(rollout(2, seed=step))
        straight.act(rollout(2).observations[0], None, None)
        straight.greedy(rollout(2).observations[0], None, None)
    resumed = make(MADDPG, name, replay=66 * STEPS, actor_updates=1, critic_updates=1)
    resumed.load_state_dict({k: t.clone() for k, t in straight.state_dict().items()})
    assert straight.archives()
    for archive, tensors_of in straight.archives().items():
        resumed.load_archive(archive, {k: t.clone() for k, t in tensors_of().items()})
    for step in range(40, 43):
        seen = rollout(2, seed=step).observations[0]
        for way in ("act", "greedy"):
            assert torch.equal(getattr(straight, way)(seen, None, None)[0], getattr(resumed, way)(seen, None, None)[0])
        one, two = (learner.update(rollout(2, seed=step)) for learner in (straight, resumed))
        assert all(torch.equal(one[k], two[k]) for k in one)
    for k, t in straight.state_dict().items():
        assert torch.equal(t, resumed.state_dict()[k])


def test_a_diverged_run_is_frozen_and_the_others_go_on():
    learner = make(MADDPG, "maddpg@mf_local")
    learner.update(rollout(2))
    before = {k: t.clone() for k, t in learner.learned().items()}
    bad = rollout(2, 1)
    bad.reward[:, :COPIES] = torch.inf
    learner.update(bad)
    assert learner.alive.tolist() == [False, True]
    assert "non-finite" in learner.divergences[0]["reason"]
    for k, t in learner.learned().items():
        assert torch.equal(t[0], before[k][0])
        assert not torch.equal(t[1], before[k][1])


def test_actions_are_weights_that_half_precision_holds_and_greedy_ones_have_no_noise():
    seen = rollout(2).observations[0]
    for name in ("maddpg", "maddpg@mf_local"):
        learner = make(MADDPG, name)
        first, second = (learner.act(seen, None, None)[0] for _ in range(2))
        assert first.shape == (2 * COPIES, AGENTS, ACTIONS)
        assert torch.equal(first.half().float(), first)
        torch.testing.assert_close(first.sum(-1), torch.ones(2 * COPIES, AGENTS), rtol=0, atol=2e-3)
        assert (first - second).abs().max() > 0.05
        logits, _ = learner.actor.heads(learner.actor.parameters, seen.unflatten(0, (2, COPIES)))
        for _ in range(2):
            greedy, _ = learner.greedy(seen, None, None)
            torch.testing.assert_close(greedy, logits.softmax(-1).flatten(0, 1), rtol=0, atol=5e-4)
    noisy = make(MADDPG, "maddpg@noisy_evaluation")
    first, second = (noisy.greedy(seen, None, None)[0] for _ in range(2))
    assert (first - second).abs().max() > 0.05


def test_evaluating_does_not_disturb_the_noise_of_training():
    seen = rollout(2).observations[0]
    straight, disturbed = (make(MADDPG, "maddpg@pic") for _ in range(2))
    disturbed.greedy(seen, None, None)
    assert torch.equal(straight.act(seen, None, None)[0], disturbed.act(seen, None, None)[0])


def test_gumbel_noise_picks_each_action_as_often_as_the_softmax_says():
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5])
    noise = gumbel(Streams([3]).uniform("x", 0, (20000, 4)))[0]
    share = torch.bincount((logits + noise).argmax(-1), minlength=4) / 20000
    torch.testing.assert_close(share, logits.softmax(-1), rtol=0, atol=0.015)
    assert torch.isfinite(gumbel(torch.tensor([0.0, 1.0 - 2.0**-24]))).all()


def test_a_subsample_is_the_same_agents_throughout_and_anew_at_every_step():
    learner = make(MADDPG, "maddpg@mf_subsample", subsample=2)
    whole = sample()
    learner.replay.sample = lambda count, following=True: whole
    seen = set()
    for step in range(8):
        drawn = learner._draw("agents.critic", step)
        for run in range(2):
            agents = learner.streams.permutations("agents.critic", step, AGENTS)[run, :2]
            for field in ("observations", "actions", "next_observations"):
                assert torch.equal(getattr(drawn, field)[run], getattr(whole, field)[run][:, agents])
            seen.add((run, *sorted(agents.tolist())))
    assert len(seen) == 6  # both runs meet all three pairs
    # Learning from two of three agents is learning in a team of two: means are over those that were drawn.
    two = make(MADDPG, "maddpg@mf_local", task=spec(agents=2))
    torch.testing.assert_close(learner.target(drawn), two.target(drawn))
    for k, g in learner.policy_gradient(drawn)[0].items():
        torch.testing.assert_close(g, two.policy_gradient(drawn)[0][k])


@pytest.mark.parametrize("name", ["maddpg@mf_local", "maddpg@gcn_local", "maddpg@mf_a"])
def test_learning_among_absent_agents_is_learning_without_them(name):
    three = make(MADDPG, name, task=spec(varying=True), logit_penalty=1.0)
    two = make(MADDPG, name, task=spec(agents=2), logit_penalty=1.0)
    for net, small in ((three.actor, two.actor), (three.critic, two.critic)):
        assert all(torch.equal(p, small.parameters[k]) for k, p in net.parameters.items())
    batch = sample(absent=1)
    fewer = batch._replace(**{k: getattr(batch, k)[:, :, :2] for k in ("observations", "actions", "next_observations")})
    for k, g in three.policy_gradient(batch)[0].items():
        torch.testing.assert_close(g, two.policy_gradient(fewer)[0][k], rtol=1e-4, atol=1e-7)
    losses = [learner.improve_critic(b)["value_loss"] for learner, b in ((three, batch), (two, fewer))]
    # The loss of mf_a is a mean over places, of which the absent agent's has no error.
    torch.testing.assert_close(losses[0], losses[1] * (2 / 3 if name == "maddpg@mf_a" else 1.0))


def test_describe_counts_what_is_trained():
    learner = make(MADDPG, "maddpg@gcn", critic_parameters=400)
    found = learner.describe()
    assert found["critic_parameters"] == sum(p[0].numel() for p in learner.critic.parameters.values())
    assert abs(found["critic_parameters"] - 400) < 60
    assert found["actor_parameters"] == sum(p[0].numel() for p in learner.actor.parameters.values())
    equal = make(MADDPG, "maddpg@gcn", width=found["critic_width"])
    assert equal.describe() == found


@pytest.mark.parametrize(
    ("name", "changes", "task", "word"),
    [
        ("maddpg@mf_a", {"actor": "central"}, {}, "mf_a"),
        ("maddpg@gcn_local", {"subsample": 2}, {}, "subsample"),
        ("maddpg", {"subsample": 2}, {}, "subsample"),
        ("maddpg@mf_subsample", {"subsample": 9}, {}, "of 3 agents"),
        ("maddpg", {}, {"actions": Discrete(4)}, "test/team"),
        ("maddpg", {}, {"actions": Box(4, -1.0, 1.0)}, "test/team"),
        ("maddpg", {}, {"one_hot": True}, "one-hot"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(name, changes, task, word):
    with pytest.raises(RepriseError, match=word) as caught:
        make(MADDPG, name, task=spec(**task), **changes)
    assert "\n" not in str(caught.value)
