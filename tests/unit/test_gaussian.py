"""Gaussian policies, and DPO and IPPO on vectors, against torch.distributions and plain loops."""

import math

import pytest
import torch
from teams import AGENTS, COPIES, NUMBERS, SEEN, STEPS, make, parameters_of, perturb, plain_policy, rollout, spec
from torch.distributions import Normal, kl_divergence

from reprise.algorithms.dpo import DPO
from reprise.algorithms.ippo import IPPO
from reprise.blocks.distributions import Gaussian
from reprise.blocks.policies import GaussianMLP, make_policy
from reprise.blocks.streams import Streams
from reprise.environments.protocol import Box
from reprise.errors import RepriseError

WHOLE = slice(None)


def test_density_entropy_and_kl_are_torchs():
    mean, other, actions = torch.randn(3, 7, 4).unbind(0)
    log_std, narrower = torch.randn(2, 1, 4).mul(0.5).unbind(0)
    one, two = Gaussian(mean, log_std), Gaussian(other, narrower)
    plain, change = Normal(mean, log_std.exp().expand_as(mean)), Normal(other, narrower.exp().expand_as(mean))
    torch.testing.assert_close(one.log_prob_parts(actions), plain.log_prob(actions))
    torch.testing.assert_close(one.log_prob(actions), plain.log_prob(actions).sum(-1))
    torch.testing.assert_close(one.entropy(), plain.entropy().sum(-1))
    torch.testing.assert_close(one.kl(two), kl_divergence(plain, change).sum(-1))
    assert float(one.kl(one).abs().max()) == 0.0
    assert torch.equal(one.mode(), mean)


def test_samples_have_the_mean_and_the_deviation():
    noise = Streams([3]).normal("action", 0, (100_000, 2))[0]
    policy = Gaussian(torch.tensor([1.0, -2.0]).expand(100_000, -1), torch.tensor([0.0, math.log(0.1)]))
    actions = policy.sample(noise)
    torch.testing.assert_close(actions.mean(0), torch.tensor([1.0, -2.0]), atol=0.02, rtol=0)
    torch.testing.assert_close(actions.std(0), torch.tensor([1.0, 0.1]), atol=0.02, rtol=0)


def test_points_are_looked_up_as_samples():
    policy = Gaussian(torch.randn(2, 3, 4, 2), torch.randn(2, 3, 1, 2))
    rows, actions = torch.randint(4, (2, 3, 9)), torch.randn(2, 3, 9, 2)
    found = policy.log_prob(actions, rows)
    for run, agent, m in torch.cartesian_prod(torch.arange(2), torch.arange(3), torch.arange(9)).tolist():
        one = Gaussian(policy.mean[run, agent, rows[run, agent, m]], policy.log_std[run, agent, 0])
        torch.testing.assert_close(found[run, agent, m], one.log_prob(actions[run, agent, m]))


@pytest.mark.parametrize("limit", [0.0, 0.5])
@pytest.mark.parametrize("norm", [False, True])
def test_gradients_are_autograds(limit, norm):
    net = GaussianMLP(Streams([0, 1]), "actor", 2, [SEEN, 8, 8, NUMBERS], norm, 1.0, start=0.3, limit=limit)
    inputs, actions = torch.randn(2, 2, 9, SEEN), torch.randn(2, 2, 9, NUMBERS)

    def loss_of(policy):
        return (policy.log_prob(actions).exp() + 0.1 * policy.entropy()).mean(-1)

    loss, gradients = net.policy_loss_and_gradients(net.parameters, inputs, loss_of)
    leaves = {k: p.clone().requires_grad_() for k, p in net.parameters.items()}
    expected = loss_of(net.policy(leaves, inputs))
    torch.testing.assert_close(loss, expected.detach())
    for k, g in zip(leaves, torch.autograd.grad(expected.sum(), list(leaves.values())), strict=True):
        torch.testing.assert_close(gradients[k], g, rtol=1e-4, atol=1e-6)


def test_deviations_start_where_the_released_codes_start_them():
    def first(log_std, limit):
        made = make_policy(
            Streams([0]), "actor", 1, [SEEN], spec("continuous"), layer_norm=False, gain=0.01, log_std=log_std,
            std_limit=limit,
        )  # fmt: skip
        return made.policy(made.parameters, torch.zeros(1, 1, 1, SEEN)).log_std.exp().flatten().tolist()

    assert first(0.0, 0.0) == [1.0, 1.0]
    assert first(1.0, 0.5) == pytest.approx([0.5 / (1 + math.exp(-1))] * 2)


@pytest.mark.parametrize("algorithm", ["dpo", "dpo@code"])
def test_dpo_loss_is_equation_19_with_the_analytic_kl(algorithm):
    learner = make(DPO, algorithm, layer_norm=False, entropy=0.05)
    batch = learner.prepare(rollout(learner))
    old = {(r, i): parameters_of(learner.actor, r, i) for r in range(2) for i in range(AGENTS)}
    perturb(learner)
    learner.beta_1 *= torch.tensor([[1.0, 2.0, 3.0], [0.5, 4.0, 1.0]])
    policy = learner.actor.policy(learner.actor.parameters, batch.inputs)
    loss = learner.policy_loss(policy, batch, WHOLE)
    for run in range(2):
        terms = []
        for agent in range(AGENTS):
            x, actions = batch.inputs[run, agent], batch.actions[run, agent]
            before = plain_policy(old[run, agent], x, 0.0)
            after = plain_policy(parameters_of(learner.actor, run, agent), x, 0.0)
            total = [0.0] * 4
            for m in range(STEPS * COPIES):
                change = after.log_prob(actions)[m].sum() - before.log_prob(actions)[m].sum()
                kl = kl_divergence(before, after)[m].sum()
                numbers = (change.exp() * batch.advantages[run, agent, m], kl, (kl + 1e-12).sqrt())
                for place, value in enumerate((*numbers, after.entropy()[m].sum())):
                    total[place] += float(value.detach()) / (STEPS * COPIES)
            terms.append(total)
        for agent, (surrogate, kl, root, entropy) in enumerate(terms):
            weight = 1.0 / AGENTS
            if algorithm == "dpo":
                root = math.sqrt(kl + 1e-8)
            else:
                kl, root = (sum(t[place] for t in terms) / AGENTS for place in (1, 2))
                weight = 1.0
            objective = weight * (surrogate + 0.05 * entropy)
            objective -= float(learner.beta_1[run, agent]) * root + float(learner.beta_2[run, agent]) * kl
            assert float(loss[run, agent]) == pytest.approx(-objective, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize(("cls", "name"), [(DPO, "dpo"), (DPO, "dpo@code_shuffled"), (IPPO, "ippo")])
def test_acting_updating_and_resuming(cls, name):
    """Evaluation acts with the mean; a run does not depend on its cohort; a resume goes on exactly."""
    learner, alone, again = make(cls, name, seeds=[3, 7]), make(cls, name, seeds=[7]), make(cls, name, seeds=[3, 7])
    assert not learner.tabular
    seen = torch.randn(2 * COPIES, AGENTS, SEEN)
    seen[:COPIES] = seen[COPIES:]
    for step in range(3):
        actions = learner.act(seen, None, None)[0]
        assert actions.shape == (2 * COPIES, AGENTS, NUMBERS)
        torch.testing.assert_close(alone.act(seen[COPIES:], None, None)[0], actions[COPIES:])
        if step == 2:
            again.load_state_dict({k: v.clone() for k, v in learner.state_dict().items()})
        learner.update(rollout(learner, seed=step, same=True))
        alone.update(rollout(alone, seed=step, same=True))
    again.update(rollout(again, seed=2, same=True))
    for k, p in learner.learned().items():
        assert torch.equal(p, again.learned()[k])
        torch.testing.assert_close(p[1], alone.learned()[k][0], rtol=1e-3, atol=1e-4)
    assert float((learner.actor.parameters["log_std"]).abs().max()) > 0
    policy = plain_policy(parameters_of(learner.actor, 0, 1), seen[:COPIES, 1], 0.0)
    if not learner.hyper.layer_norm:
        torch.testing.assert_close(learner.greedy(seen, None, None)[0][:COPIES, 1], policy.mean)


def test_shuffled_rows_take_their_policies_along():
    learner = make(DPO, "dpo@code")
    perturb(learner)
    batch = learner.prepare(rollout(learner))
    count = STEPS * COPIES
    permutation = learner.streams.permutations("shuffle", 0, AGENTS * count)
    mixed = batch.shuffled(permutation)
    for place in range(AGENTS * count):
        source = int(permutation[1, place])
        (a, m), (b, n) = divmod(place, count), divmod(source, count)
        assert torch.equal(mixed.old.mean[1, a, m], batch.old.mean[1, b, n])
        assert torch.equal(mixed.old.log_std[1, a, m], batch.old.log_std.expand_as(batch.old.mean)[1, b, n])
        assert torch.equal(mixed.actions[1, a, m], batch.actions[1, b, n])


def test_the_old_policy_of_a_batch_does_not_move_with_the_actors():
    learner = make(DPO, "dpo")
    batch = learner.prepare(rollout(learner))
    before = batch.old.log_std.clone()
    learner.actor.parameters["log_std"].add_(1.0)
    assert torch.equal(batch.old.log_std, before)


def test_actions_of_another_range_are_refused():
    task = spec("continuous")
    task = type(task)(**{**vars(task), "actions": Box(2, 0.0, 1.0)})
    with pytest.raises(RepriseError, match=r"actions in \[0, 1\]"):
        DPO(task, make(DPO, "dpo").hyper, [0], COPIES, "cpu")
