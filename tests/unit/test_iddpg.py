"""IDDPG and MADDPG with individual actors: targets worked out by hand, gradients against autograd, resume."""

from __future__ import annotations

import pytest
import torch
from teams import plain_mlp
from wandering import AGENTS, COPIES, NUMBERS, STATE, STEPS, Wandering, make, spec

from reprise.algorithms.iddpg import IDDPG
from reprise.algorithms.maddpg_individual import IndividualMADDPG
from reprise.blocks import transition_replay
from reprise.blocks.transition_replay import Transitions
from reprise.environments.protocol import Box, Discrete
from reprise.errors import RepriseError

BOTH = [(IDDPG, "iddpg"), (IndividualMADDPG, "maddpg_individual")]
both = pytest.mark.parametrize(("cls", "name"), BOTH)


def sample(runs: int = 2, count: int = 5, seed: int = 0) -> Transitions:
    """A batch of random transitions in the shapes of the replay."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(runs, *shape, generator=generator)

    return Transitions(
        observations=normal(AGENTS, count, STATE),
        actions=normal(AGENTS, count, NUMBERS).clamp(-1, 1),
        reward=normal(count),
        discount=0.9 * (normal(count) > 0).float(),
        next_observations=normal(AGENTS, count, STATE),
        state=normal(count, STATE),
        next_state=normal(count, STATE),
    )


def perturb(learner) -> None:
    """Move networks and targets apart."""
    generator = torch.Generator().manual_seed(5)
    for tensors in (learner.actor.parameters, learner.critic.parameters, learner.actor_target, learner.critic_target):
        for p in tensors.values():
            p.add_(0.3 * torch.randn(p.shape, generator=generator))


def networks(tensors: dict, run: int) -> list[dict]:
    """The networks of one run, as leaves for autograd."""
    count = next(iter(tensors.values())).shape[1]
    return [{k: p[run, i].clone().requires_grad_() for k, p in tensors.items()} for i in range(count)]


def standardised(state: torch.Tensor) -> torch.Tensor:
    return (state - state.mean(-1, keepdim=True)) / state.std(-1, keepdim=True, correction=0)


def values(learner, critics: list[dict], observations, state, actions: list) -> list[torch.Tensor]:
    """What each critic of one run says of observations [N, M, O], states [M, S] and a list of actions [M, k]."""
    if isinstance(learner, IDDPG):
        seen = [torch.cat([observations[i], actions[i]], -1) for i in range(AGENTS)]
    else:
        seen = [torch.cat([standardised(state), *actions], -1)]
    return [plain_mlp(p, x).squeeze(-1) for p, x in zip(critics, seen, strict=True)]


def test_target_of_a_case_worked_out_by_hand():
    learner = make(IDDPG, "iddpg", seeds=[0])
    for key, p in learner.critic_target.items():
        p.zero_()
        if key == "b2":
            p[0, :, 0, 0] = torch.tensor([10.0, 20.0, -10.0])  # each agent's critic says its number everywhere
    batch = sample(1, 3)._replace(reward=torch.tensor([[1.0, 2.0, -4.0]]), discount=torch.tensor([[0.9, 0.0, 0.81]]))
    # agent 0: 1 + 0.9 * 10, 2 (the episode ended), -4 + 0.81 * 10 (two steps ahead); then agents 1 and 2.
    wanted = torch.tensor([[[10.0, 2.0, 4.1], [19.0, 2.0, 12.2], [-8.0, 2.0, -12.1]]])
    torch.testing.assert_close(learner.target(batch), wanted)
    for key, p in learner.critic.parameters.items():
        p.zero_()
        if key == "b2":
            p.fill_(1.0)
    metrics = learner.improve_critic(batch)
    assert metrics["value_loss"].item() == pytest.approx(float((wanted - 1.0).square().mean()))
    assert metrics["value"].item() == pytest.approx(float(wanted.mean()))


@both
def test_each_runs_discount_and_the_steps_of_the_target_reach_it(cls, name):
    """y = r + gamma Q', or r_0 + gamma r_1 + gamma^2 Q'; there is nothing behind a termination."""
    for n_step, wanted in ((1, [{0.0, 9.0}, {0.0, 5.0}]), (2, [{0.0, 8.1, 9.0}, {0.0, 2.5, 5.0}])):
        learner = make(cls, name, n_step=n_step, batch=100, tau=0.0, settings=[{"gamma": 0.9}, {"gamma": 0.5}])
        world, seen = Wandering([3, 8]), {}
        for _ in range(8):
            learner.replay.insert(world.next())
        for key, p in learner.critic_target.items():
            p.fill_(10.0 if key == "b2" else 0.0)
        learner.improve_critic = lambda batch, seen=seen: seen.update(batch=batch) or {}
        learner.improve_actor = lambda batch: {}
        learner._learn()
        found = (learner.target(seen["batch"]) - seen["batch"].reward.unsqueeze(1)).flatten(1)
        for run in range(2):
            assert {round(x, 3) for x in found[run].double().tolist()} == wanted[run]


@both
def test_target_is_that_of_the_target_networks(cls, name):
    learner, batch = make(cls, name), sample()
    perturb(learner)
    found = learner.target(batch)
    for run in range(2):
        actors, critics = networks(learner.actor_target, run), networks(learner.critic_target, run)
        following = batch.next_observations[run]
        actions = [plain_mlp(p, following[i]).tanh() for i, p in enumerate(actors)]
        for i, future in enumerate(values(learner, critics, following, batch.next_state[run], actions)):
            torch.testing.assert_close(found[run, i], batch.reward[run] + batch.discount[run] * future)


@both
def test_critics_follow_the_gradient_of_their_losses(cls, name):
    learner, batch = make(cls, name), sample()
    perturb(learner)
    target, given = learner.target(batch), {}
    learner._step = lambda optimiser, gradients: given.update(gradients) or torch.zeros(2)
    metrics = learner.improve_critic(batch)
    for run in range(2):
        critics = networks(learner.critic.parameters, run)
        found = values(learner, critics, batch.observations[run], batch.state[run], list(batch.actions[run]))
        losses = [(q - target[run, i]).square().mean() for i, q in enumerate(found)]
        assert metrics["value_loss"][run].item() == pytest.approx(torch.stack(losses).mean().item(), rel=1e-5)
        for i, loss in enumerate(losses):
            for key, gradient in zip(critics[i], torch.autograd.grad(loss, list(critics[i].values())), strict=True):
                torch.testing.assert_close(given[key][run, i], gradient, rtol=1e-4, atol=1e-6)


@both
def test_actors_follow_their_own_values_with_the_others_actions_from_the_replay(cls, name):
    learner, batch = make(cls, name), sample()
    perturb(learner)
    gradients, metrics = learner.policy_gradient(batch)
    for run in range(2):
        actors, critics = networks(learner.actor.parameters, run), networks(learner.critic.parameters, run)
        own = []
        for i, p in enumerate(actors):
            actions = list(batch.actions[run])
            actions[i] = plain_mlp(p, batch.observations[run, i]).tanh()
            own.append(values(learner, critics, batch.observations[run], batch.state[run], actions)[i % len(critics)])
            slopes = torch.autograd.grad(-own[i].mean(), list(p.values()))
            for key, slope in zip(p, slopes, strict=True):
                assert slope.abs().max() > 1e-5
                torch.testing.assert_close(gradients[key][run, i], slope, rtol=1e-4, atol=1e-6)
        assert metrics["policy_loss"][run].item() == pytest.approx(-torch.stack(own).mean().item(), rel=1e-5)


@both
def test_a_step_moves_both_networks_and_the_targets_follow_at_rate_tau(cls, name):
    learner = make(cls, name, settings=[{"tau": 0.25}, {"tau": 1.0}], critic_updates=1, actor_updates=1)
    world = Wandering([3, 8])
    before = {k: t.clone() for k, t in learner.learned().items()}
    learner.update(world.next())
    after = learner.learned()
    for net in ("actor", "critic"):
        for key in learner.actor.parameters:
            old, new, target = before[f"{net}.{key}"], after[f"{net}.{key}"], after[f"{net}.target.{key}"]
            assert (new != old).any()
            torch.testing.assert_close(target[0], 0.75 * old[0] + 0.25 * new[0])
            torch.testing.assert_close(target[1], new[1])
    # Adam's first step is as long as the learning rate, which each network has of its own.
    for net, rate in (("actor", learner.hyper.lr), ("critic", learner.hyper.critic_lr)):
        length = max(float((after[f"{net}.{k}"] - before[f"{net}.{k}"]).abs().max()) for k in learner.actor.parameters)
        assert length == pytest.approx(rate, rel=1e-2)


@both
def test_gradients_are_clipped_per_network_if_at_all(cls, name):
    free, bound = (make(cls, name, gradient_clip=limit) for limit in (0.0, 1e-9))
    for learner in (free, bound):
        learner.replay.insert(Wandering([3, 8]).next())
        assert (learner._learn()["value_gradient_norm"] > 1e-3).all()
    first = [max(float(m.abs().max()) for m in x.critic_optimiser.first.values()) for x in (free, bound)]
    assert first[1] < 1e-9 < 1e-6 < first[0]


@both
def test_learning_rate_falls_to_zero_where_it_decays(cls, name):
    learner, world = make(cls, name, lr_decay=True, lr=0.01, critic_lr=0.02), Wandering([3, 8])
    rates = []
    for _ in range(11):  # the budget is ten rollouts
        learner.update(world.next())
        rates.append((learner.actor_optimiser.lr, learner.critic_optimiser.lr))
    assert [a for a, _ in rates] == pytest.approx([0.01 * (1 - i / 10) for i in range(11)], abs=1e-12)
    assert [c for _, c in rates] == pytest.approx([0.02 * (1 - i / 10) for i in range(11)], abs=1e-12)


@both
def test_uniform_actions_and_no_learning_during_the_warm_up(cls, name):
    learner, world = make(cls, name, warmup=2 * STEPS * COPIES, exploration_noise=0.0), Wandering([3, 8])
    before = {k: t.clone() for k, t in learner.learned().items()}
    for _ in range(2):
        seen = world.next()
        acted = torch.stack([learner.act(seen.observations[0], None, None)[0] for _ in range(2000)])
        assert acted.shape[1:] == (2 * COPIES, AGENTS, NUMBERS)
        assert float(acted.abs().max()) <= 1.0
        assert float(acted.mean((0, 1)).abs().max()) < 0.05
        torch.testing.assert_close(acted.square().mean((0, 1)), torch.full((AGENTS, NUMBERS), 1 / 3), rtol=0, atol=0.03)
        names = set(learner.update(seen))
        assert all(torch.equal(t, before[k]) for k, t in learner.learned().items())
    greedy, _ = learner.greedy(seen.observations[0], None, None)
    assert torch.equal(learner.act(seen.observations[0], None, None)[0], greedy)
    assert set(learner.update(world.next())) == names
    assert not any(torch.equal(t, before[k]) for k, t in learner.learned().items() if k.startswith("actor.w"))


@both
def test_actions_are_the_actors_with_noise_within_the_range(cls, name):
    learner, seen = make(cls, name, exploration_noise=0.3), Wandering([3, 8]).next().observations[0]
    greedy, _ = learner.greedy(seen, None, None)
    for run in range(2):
        for i, p in enumerate(networks(learner.actor.parameters, run)):
            rows = slice(run * COPIES, (run + 1) * COPIES)
            torch.testing.assert_close(greedy[rows, i], plain_mlp(p, seen[rows, i]).tanh())
    acted = torch.stack([learner.act(seen, None, None)[0] for _ in range(3000)])
    inside = greedy.abs() < 0.1
    assert inside.any()
    assert acted.std(0)[inside].mean().item() == pytest.approx(0.3, rel=0.05)
    for p in learner.actor.parameters.values():
        p.mul_(100.0)
    assert float(torch.stack([learner.act(seen, None, None)[0] for _ in range(50)]).abs().max()) == 1.0


@both
def test_a_run_does_not_depend_on_its_cohort(cls, name):
    alone, among = make(cls, name, seeds=[7]), make(cls, name, seeds=[3, 7, 9])
    one, three = Wandering([7]), Wandering([3, 7, 9])
    for _ in range(3):
        mine, all_ = one.next(), three.next()
        acted = among.act(all_.observations[0], None, None)[0].unflatten(0, (3, COPIES))
        torch.testing.assert_close(acted[1], alone.act(mine.observations[0], None, None)[0])
        alone.update(mine)
        among.update(all_)
    for key, tensor in alone.learned().items():
        torch.testing.assert_close(among.learned()[key][1], tensor[0], rtol=1e-3, atol=1e-5)
    assert not torch.allclose(acted[0], acted[1], atol=1e-2)


@both
@pytest.mark.parametrize("changes", [{}, {"observe": None}])
def test_state_dict_resumes_exactly_replay_and_noise_included(cls, name, changes, monkeypatch):
    monkeypatch.setattr(transition_replay, "BLOCK", 2)
    settings = {"replay": 7 * STEPS * COPIES, "warmup": 2 * STEPS * COPIES, "n_step": 3}
    straight, world = make(cls, name, task=spec(**changes), **settings), Wandering([0, 1])
    for _ in range(11):
        straight.act(world.state[:, None].expand(-1, AGENTS, -1), None, None)
        straight.update(world.next())
    resumed = make(cls, name, task=spec(**changes), **settings)
    resumed.load_state_dict({k: t.clone() for k, t in straight.state_dict().items()})
    assert straight.archives()
    for archive, tensors_of in straight.archives().items():
        resumed.load_archive(archive, {k: t.clone() for k, t in tensors_of().items()})
    for _ in range(4):
        rollout = world.next()
        first, second = (each.act(rollout.observations[0], None, None)[0] for each in (straight, resumed))
        assert torch.equal(first, second)
        one, two = (each.update(rollout) for each in (straight, resumed))
        assert all(torch.equal(one[k], two[k]) for k in one)
    for key, tensor in straight.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[key])


@both
def test_a_diverged_run_is_frozen_and_the_others_go_on(cls, name):
    learner, world = make(cls, name), Wandering([3, 8])
    learner.update(world.next())
    before = {k: t.clone() for k, t in learner.learned().items()}
    bad = world.next()
    bad.reward[:, :COPIES] = torch.inf
    learner.update(bad)
    assert learner.alive.tolist() == [False, True]
    assert "non-finite" in learner.divergences[0]["reason"]
    for key, tensor in learner.learned().items():
        assert torch.equal(tensor[0], before[key][0])
        assert not torch.equal(tensor[1], before[key][1])


@both
def test_policy_state_is_the_actors(cls, name):
    one, two = make(cls, name), make(cls, name, seeds=[5, 6])
    seen = Wandering([3, 8]).next().observations[0]
    assert not torch.equal(one.greedy(seen, None, None)[0], two.greedy(seen, None, None)[0])
    two.load_policy({k: t.clone() for k, t in one.policy_state().items()})
    assert torch.equal(one.greedy(seen, None, None)[0], two.greedy(seen, None, None)[0])
    sizes = {"iddpg": AGENTS * (STATE + NUMBERS), "maddpg_individual": STATE + AGENTS * NUMBERS}
    critics = AGENTS if name == "iddpg" else 1
    plain = 8 * sizes[name] + critics * (8 + 8 * 8 + 8 + 8 + 1)
    assert one.describe()["critic_parameters"] == plain


def test_networks_start_as_torchs_linear_layers_do():
    learner = make(IDDPG, "iddpg", width=256, actor_width=256)
    for key, p in learner.critic.parameters.items():
        bound = (STATE + NUMBERS if key[1] == "0" else 256) ** -0.5
        assert float(p.abs().max()) <= bound
        assert p.numel() < 500 or float(p.std()) == pytest.approx(bound / 3**0.5, rel=0.1)


def test_states_are_standardised_only_where_the_config_says_so():
    batch = sample()
    plain, scaled = (make(IndividualMADDPG, "maddpg_individual", standardise_state=way) for way in (False, True))
    assert scaled.hyper.standardise_state
    seen = [each.critic_inputs(None, batch.state, batch.actions)[:, 0, :, :STATE] for each in (plain, scaled)]
    assert torch.equal(seen[0], batch.state)
    torch.testing.assert_close(seen[1], standardised(batch.state))


@both
def test_what_does_not_fit_is_refused(cls, name):
    for actions in (Discrete(3), Box(2, 0.0, 1.0)):
        with pytest.raises(RepriseError, match=r"test/wandering: this algorithm is for actions in \[-1, 1\]"):
            make(cls, name, task=spec(actions=actions))
    with pytest.raises(RepriseError, match="observations that are vectors"):
        make(cls, name, task=spec(one_hot=True))
    with pytest.raises(RepriseError, match="must be equal"):
        make(cls, name, actor_updates=1)
