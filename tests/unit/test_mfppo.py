"""On-policy MF-PPO: densities and loss against torch and plain loops, advantages, and what surrounds them."""

import pytest
import torch
from team_learners import ACTIONS, AGENTS, COPIES, STEPS, make, rollout, spec

from reprise.algorithms.mfppo import MFPPO, divergence, log_density

NAMES = ["mfppo", "mfppo@mlp", "mfppo@gcn"]


def gaussians(seed: int = 0):
    """Logits and means [2, 5, N, A], log-deviations [2, 1, A]."""
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 5, AGENTS, ACTIONS)
    logits, mean = (torch.randn(shape, generator=generator) for _ in range(2))
    return logits, mean, 0.3 * torch.randn(2, 1, ACTIONS, generator=generator)


def drawn(learner, runs: int, seed: int = 0, same: bool = False):
    """A rollout with the logits that the learner draws at its observations."""
    data = rollout(runs, seed, same)
    logits = [learner.act(seen, None, None)[1]["logits"] for seen in data.observations]
    return data._replace(extras={"logits": torch.stack(logits)})


def test_density_and_divergence_are_those_of_torch():
    logits, mean, log_std = gaussians()
    _, other, wider = gaussians(1)
    one, two = (
        torch.distributions.Normal(m, s.exp().unsqueeze(2).expand_as(m)) for m, s in ((mean, log_std), (other, wider))
    )
    torch.testing.assert_close(log_density(logits, mean, log_std), one.log_prob(logits).sum(-1))
    expected = torch.distributions.kl_divergence(one, two).sum(-1)
    torch.testing.assert_close(divergence(mean, log_std, other, wider), expected)


def test_policy_loss_is_the_clipped_objective_of_each_agent_with_the_teams_advantage():
    learner = make(MFPPO, "mfppo", clip=0.2, entropy=0.03)
    logits, mean, log_std = gaussians()
    old = log_density(logits, mean, log_std) + 0.5 * torch.randn(2, 5, AGENTS)
    advantages = torch.randn(2, 5)
    share = torch.full((2, 5, AGENTS), 1 / (5 * AGENTS))
    loss, clipped = learner.policy_loss(mean, log_std, logits, advantages, old, share)
    for run in range(2):
        total, outside = 0.0, 0
        policy = torch.distributions.Normal(mean[run], log_std[run].exp())
        ratios = (policy.log_prob(logits[run]).sum(-1) - old[run]).exp()
        for m in range(5):
            for i in range(AGENTS):
                u, a = float(ratios[m, i]), float(advantages[run, m])
                total += min(u * a, min(max(u, 0.8), 1.2) * a) / (5 * AGENTS)
                outside += u < 0.8 or u > 1.2
        entropy = float(policy.entropy().sum(-1).mean())
        assert loss[run].item() == pytest.approx(-(total + 0.03 * entropy), rel=1e-4)
        assert clipped[run].item() == pytest.approx(outside / (5 * AGENTS))


@pytest.mark.parametrize("critic", NAMES)
def test_advantages_keep_the_future_beyond_a_time_limit_and_none_beyond_an_end(critic):
    learner = make(MFPPO, critic, gamma=0.9, gae_lambda=0.8)
    for held, moment in ((learner.scale.mean, 1.0), (learner.scale.square, 17.0), (learner.scale.weight, 1.0)):
        held.fill_(moment)  # mean 1, deviation 4
    data = rollout(2)
    data.terminated[2, 1] = True
    found, returns = learner.advantages(data)
    for row in range(2 * COPIES):
        run, copy = divmod(row, COPIES)

        def value(seen, run=run):
            one = {k: p[run : run + 1] for k, p in learner.critic.parameters.items()}
            return 1.0 + 4.0 * float(learner.critic.values(one, seen[None, None], None))

        running = 0.0
        for t in reversed(range(STEPS)):
            ahead = 0.0 if data.terminated[t, row] else 0.9 * value(data.next_observations[t, row])
            now = value(data.observations[t, row])
            ended = bool(data.terminated[t, row] | data.truncated[t, row])
            running = float(data.reward[t, row]) + ahead - now + (0.0 if ended else 0.72 * running)
            at = t * COPIES + copy
            assert found[run, at].item() == pytest.approx(running, abs=1e-4)
            assert returns[run, at].item() == pytest.approx(running + now, abs=1e-4)


def test_the_policys_step_follows_the_slope_of_its_loss():
    learner = make(MFPPO, "mfppo", epochs=1)
    generator = torch.Generator().manual_seed(2)
    for name, p in learner.actor.parameters.items():
        learner.actor.parameters[name] = p.double() + 0.3 * torch.randn(p.shape, generator=generator).double()
    learner.policy["log_std"] = 0.2 * torch.randn(2, 1, ACTIONS, generator=generator, dtype=torch.float64)
    observations = torch.randn(2, 5, AGENTS, 6, generator=generator, dtype=torch.float64)
    logits, advantages = (torch.randn(2, 5, *s, generator=generator).double() for s in ((AGENTS, ACTIONS), ()))
    old = log_density(logits, learner._mean(observations), learner.policy["log_std"]) + 0.05
    found = {}
    learner.actor_optimiser.step = lambda gradients: found.update({k: g.clone() for k, g in gradients.items()})
    learner._improve_policy(observations, logits, advantages, old)
    share = learner.shares(observations)
    for name, gradient in found.items():
        direction, ends = torch.randn(gradient.shape, generator=generator, dtype=torch.float64), []
        for sign in (1, -1):
            moved = learner.actor.parameters | {"log_std": learner.policy["log_std"]}
            moved[name] = moved[name] + sign * 1e-6 * direction
            mean = learner.actor.heads(moved, observations)[0]
            ends.append(learner.policy_loss(mean, moved["log_std"], logits, advantages, old, share)[0])
        slope = (ends[0] - ends[1]) / 2e-6
        torch.testing.assert_close((gradient * direction).flatten(1).sum(1), slope, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_resumes_exactly(name):
    straight, resumed = (make(MFPPO, name, epochs=2) for _ in range(2))
    for step in range(2):
        straight.update(drawn(straight, 2, step))
    resumed.load_state_dict({k: t.clone() for k, t in straight.state_dict().items()})
    for step in range(2, 4):
        one, two = (learner.update(drawn(learner, 2, step)) for learner in (straight, resumed))
        assert all(torch.equal(one[k], two[k]) for k in one)
    for k, t in straight.state_dict().items():
        assert torch.equal(t, resumed.state_dict()[k])


def test_a_run_does_not_depend_on_its_cohort():
    alone, among = (make(MFPPO, "mfppo", seeds=s) for s in ([7], [3, 7, 9]))
    for step in range(2):
        among.update(drawn(among, 3, step, same=True))
        alone.update(drawn(alone, 1, step, same=True))
    for k, t in alone.learned().items():
        torch.testing.assert_close(among.learned()[k][1], t[0], rtol=1e-3, atol=1e-5)


def test_a_diverged_run_is_frozen_and_the_others_go_on():
    learner = make(MFPPO, "mfppo")
    before = {k: t.clone() for k, t in learner.learned().items()}
    bad = drawn(learner, 2)
    bad.reward[:, :COPIES] = torch.nan
    learner.update(bad)
    assert learner.alive.tolist() == [False, True]
    assert all(torch.equal(t[0], before[k][0]) for k, t in learner.learned().items())


def test_what_is_executed_is_the_softmax_of_the_drawn_logits_and_greedy_of_their_mean():
    learner = make(MFPPO, "mfppo")
    seen = rollout(2).observations[0]
    actions, extras, _ = learner.act(seen, None, None)
    torch.testing.assert_close(actions, extras["logits"].softmax(-1), rtol=0, atol=5e-4)
    mean = learner.actor.heads(learner.actor.parameters, seen.unflatten(0, (2, COPIES)))[0].flatten(0, 1)
    torch.testing.assert_close(learner.greedy(seen, None, None)[0], mean.softmax(-1), rtol=0, atol=5e-4)
    assert (extras["logits"] - mean).std().item() == pytest.approx(1.0, abs=0.3)  # log_std_start 0


def test_absent_agents_count_for_nothing():
    learner = make(MFPPO, "mfppo", task=spec(varying=True))
    observations = torch.ones(2, 5, AGENTS, 6)
    observations[:, :, -1] = 0.0
    share = learner.shares(observations)
    assert share[:, :, -1].abs().max() == 0
    assert share.sum((1, 2)).tolist() == pytest.approx([1.0, 1.0])


@pytest.mark.parametrize("name", NAMES)
def test_learns_to_do_what_pays(name):
    """The team is paid for the weight that all agents put on action 0, at once."""
    learner = make(MFPPO, name, seeds=[0, 1], epochs=5, lr=0.01)
    for step in range(25):
        data = drawn(learner, 2, step)
        weight = data.extras["logits"].softmax(-1)[..., 0]
        learner.update(data._replace(reward=weight.mean(-1)))
    assert float(learner.greedy(rollout(2).observations[0], None, None)[0][..., 0].mean()) > 0.6
