"""Team critics: values and hand-written gradients against plain definitions under autograd, and what they ignore."""

from __future__ import annotations

import itertools

import pytest
import torch

from reprise.blocks.critics import KINDS, base, make_critic, width_for
from reprise.blocks.streams import Streams
from reprise.errors import RepriseError

R, M, N, O, A, H = 2, 7, 4, 6, 3, 9  # noqa: E741
INVARIANT = ("mf", "gcn", "vdn")


def linear(x, layer):
    return x @ layer[:-1] + layer[-1]


def mlp(x, p, names):
    for name in names[:-1]:
        x = torch.relu(linear(x, p[name]))
    return linear(x, p[names[-1]])


def plain_mf(p, o, a):
    mean = torch.relu(linear(torch.cat([o, a], -1), p["phi"])).mean(0)
    return mlp(mean, p, ["h0", "h1"])[0]


def plain_mlp(p, o, a):
    return mlp(torch.cat([o.flatten(), a.flatten()]), p, ["l0", "l1", "l2"])[0]


def plain_vdn(p, o, a):
    return mlp(torch.cat([o, a], -1), p, ["l0", "l1", "l2"]).sum()


def plain_mf_a(p, o, a):
    others = torch.stack([a[torch.arange(len(a)) != i].sum(0) / max(len(a) - 1, 1) for i in range(len(a))])
    return mlp(torch.cat([o, a, others], -1), p, ["l0", "l1", "l2"])[:, 0]


def plain_gcn(p, o, a):
    """As PIC writes it, with the N x N matrix (maddpg/models/graph_net.py, GraphNet)."""
    n = len(o)
    adjacency = (torch.ones(n, n, dtype=o.dtype) - torch.eye(n, dtype=o.dtype)) / n
    x = torch.cat([o, a], -1)
    for i in range(2):
        x = (torch.relu(adjacency @ linear(x, p[f"others{i}"])) + torch.relu(linear(x, p[f"self{i}"]))) / n
    return linear(x.max(0).values, p["head"])[0]


PLAIN = {"mf": plain_mf, "mlp": plain_mlp, "vdn": plain_vdn, "mf_a": plain_mf_a, "gcn": plain_gcn}


def plain_values(kind, parameters, observations, actions, varying):
    """Sample by sample, on the agents present alone."""
    rows = []
    for r in range(observations.shape[0]):
        p = {k: v[r, 0] for k, v in parameters.items()}
        for o, a in zip(observations[r], actions[r], strict=True):
            here = o[:, -1] > 0 if varying else torch.ones(len(o), dtype=torch.bool)
            if kind == "mlp":
                value = plain_mlp(p, o, a * here[:, None])
            elif kind == "mf_a":
                value = torch.zeros(len(o), dtype=o.dtype)
                value[here] = plain_mf_a(p, o[here], a[here])
            else:
                value = PLAIN[kind](p, o[here], a[here])
            rows.append(value)
    return torch.stack(rows).unflatten(0, observations.shape[:2])


def own_values(kind, parameters, observations, actions, varying):
    """As ``plain_values``, but the others' actions in mf_a's mean are constants."""
    if kind != "mf_a":
        return plain_values(kind, parameters, observations, actions, varying)
    columns = []
    for i in range(observations.shape[2]):
        mixed = actions.detach().clone()
        mixed[:, :, i] = actions[:, :, i]
        columns.append(plain_values(kind, parameters, observations, mixed, varying)[:, :, i])
    return torch.stack(columns, 2)


def batch(varying=False, agents=N, action_size=A, dtype=torch.float64, samples=M):
    g = torch.Generator().manual_seed(5)
    observations = torch.randn(R, samples, agents, O, generator=g, dtype=dtype)
    actions = torch.rand(R, samples, agents, action_size, generator=g, dtype=dtype)
    if varying:
        observations[..., -1] = 1.0
        number = torch.randint(1, agents + 1, (R, samples, 1), generator=g)
        number[0, :2, 0] = torch.tensor([1, agents])
        order = torch.rand(R, samples, agents, generator=g).argsort(-1)
        observations = torch.where((order < number)[..., None], observations, 0.0)
    return observations, actions


def critic_of(kind, varying=False, agents=N, action_size=A, width=H, dtype=torch.float64):
    critic = make_critic(kind, Streams([3, 8]), "critic", agents, O, action_size, width, varying)
    # Ten times the initial last layer, biases included: every unit matters to the value.
    return critic, {k: (10.0 * v if i == len(critic.parameters) - 1 else v).to(dtype)
                    for i, (k, v) in enumerate(critic.parameters.items())}  # fmt: skip


@pytest.fixture(params=[1, 3, 100])
def chunk(request, monkeypatch):
    """Chunks of one sample, of three (with a remainder of one), of all."""
    monkeypatch.setattr(base, "CHUNK", {"cpu": request.param})
    for kind in KINDS.values():
        monkeypatch.setattr(kind, "footprint", staticmethod(lambda sizes: 1))
    return request.param


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_those_of_the_definition(kind, varying, chunk):
    critic, parameters = critic_of(kind, varying)
    observations, actions = batch(varying)
    parameters = {k: v.requires_grad_() for k, v in parameters.items()}
    expected = plain_values(kind, parameters, observations, actions, varying)
    targets = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)

    def loss_of(values):
        return (values - targets).square().flatten(1).mean(1)

    expected_loss = loss_of(expected)
    expected_gradients = torch.autograd.grad(expected_loss.sum(), list(parameters.values()), retain_graph=True)
    held = {k: v.detach() for k, v in parameters.items()}
    torch.testing.assert_close(critic.values(held, observations, actions), expected.detach(), rtol=1e-10, atol=1e-12)
    for loss, gradients in (
        critic.loss_and_gradients(held, observations, actions, loss_of),
        critic.squared_error(held, observations, actions, targets),
    ):
        torch.testing.assert_close(loss, expected_loss.detach(), rtol=1e-10, atol=1e-12)
        assert list(gradients) == list(parameters)
        for (name, gradient), wanted in zip(gradients.items(), expected_gradients, strict=True):
            assert gradient.shape == parameters[name].shape
            assert wanted.abs().max() > 0.0
            torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_action_gradients_are_those_of_the_definition(kind, varying, chunk):
    critic, parameters = critic_of(kind, varying)
    observations, actions = batch(varying)
    moving = actions.clone().requires_grad_()
    expected = own_values(kind, parameters, observations, moving, varying)
    (wanted,) = torch.autograd.grad(expected.sum(), moving)
    values, gradient = critic.action_gradient(parameters, observations, actions)
    torch.testing.assert_close(values, expected.detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(gradient, wanted, rtol=1e-8, atol=1e-12)
    if varying:
        assert (gradient[observations[..., -1] == 0] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_critic_of_observations_takes_no_actions(kind):
    critic, parameters = critic_of(kind, action_size=0)
    observations, none = batch(action_size=0)
    parameters = {k: v.requires_grad_() for k, v in parameters.items()}
    expected = plain_values(kind, parameters, observations, none, False)
    wanted = torch.autograd.grad(expected.square().flatten(1).sum(), list(parameters.values()))
    held = {k: v.detach() for k, v in parameters.items()}
    torch.testing.assert_close(critic.values(held, observations), expected.detach(), rtol=1e-10, atol=1e-12)
    _, gradients = critic.loss_and_gradients(held, observations, None, lambda v: v.square().flatten(1).sum(1))
    for gradient, each in zip(gradients.values(), wanted, strict=True):
        torch.testing.assert_close(gradient, each, rtol=1e-8, atol=1e-12)


def permuted(critic, parameters, observations, actions, order):
    return critic.values(parameters, observations[:, :, order], actions[:, :, order])


@pytest.mark.parametrize("kind", KINDS)
def test_every_permutation_of_four_agents(kind):
    critic, parameters = critic_of(kind, dtype=torch.float32)
    observations, actions = batch(dtype=torch.float32)
    value = critic.values(parameters, observations, actions)
    moved = [
        (permuted(critic, parameters, observations, actions, list(order)), list(order))
        for order in itertools.permutations(range(N))
    ]
    assert len(moved) == 24
    if kind in INVARIANT:
        assert max((v - value).abs().max() for v, _ in moved) <= 1e-5
        assert value.std() > 1e-3  # something to be invariant
    elif kind == "mlp":
        assert min((v - value).abs().max() for v, _ in moved[1:]) > 1e-3
    else:  # an agent's own value does not depend on the order of the others, and goes with the agent
        assert max((v - value[:, :, order]).abs().max() for v, order in moved) <= 1e-5
        assert (value.std(2) > 1e-3).all()


@pytest.mark.parametrize("kind", KINDS)
def test_random_permutations_of_fifteen_agents(kind):
    critic, parameters = critic_of(kind, agents=15, width=64, dtype=torch.float32)
    observations, actions = batch(agents=15, dtype=torch.float32, samples=32)
    value, g = critic.values(parameters, observations, actions), torch.Generator().manual_seed(0)
    for _ in range(20):
        order = torch.randperm(15, generator=g)
        moved = permuted(critic, parameters, observations, actions, order)
        if kind == "mlp":
            assert (moved - value).abs().max() > 1e-3
        else:
            assert (moved - (value[:, :, order] if kind == "mf_a" else value)).abs().max() <= 1e-5


@pytest.mark.parametrize("kind", INVARIANT)
def test_with_absent_agents_the_value_is_that_of_the_smaller_team(kind):
    large, parameters = critic_of(kind, varying=True, agents=6)
    small = make_critic(kind, Streams([3, 8]), "critic", 2, O, A, H)
    observations, actions = batch(agents=6)
    observations[..., -1] = 1.0
    observations[:, :, [0, 2, 3, 5]] = 0.0
    value = large.values(parameters, observations, actions)
    torch.testing.assert_close(value, small.values(parameters, observations[:, :, [1, 4]], actions[:, :, [1, 4]]))
    torch.testing.assert_close(value, large.values(parameters, observations, actions * observations[..., -1:]))


def test_equal_agents_share_the_slope_of_the_maximum():
    critic, parameters = critic_of("gcn")
    observations, actions = batch()
    observations[:, :, 1], actions[:, :, 1] = observations[:, :, 0], actions[:, :, 0]
    _, gradient = critic.action_gradient(parameters, observations, actions)
    torch.testing.assert_close(gradient[:, :, 1], gradient[:, :, 0])
    step = 1e-6
    nearby = [actions.clone() for _ in range(2)]
    for each, sign in zip(nearby, (1, -1), strict=True):
        each[:, :, :2, 0] += sign * step
    up, down = (critic.values(parameters, observations, each) for each in nearby)
    torch.testing.assert_close(gradient[:, :, :2, 0].sum(2), (up - down) / (2 * step), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_alone_has_the_numbers_it_has_among_others(kind):
    critic, parameters = critic_of(kind, dtype=torch.float32)
    observations, actions = batch(dtype=torch.float32)
    alone = make_critic(kind, Streams([8]), "critic", N, O, A, H)
    both = make_critic(kind, Streams([3, 8]), "critic", N, O, A, H)
    for name, value in alone.parameters.items():
        assert torch.equal(value[0], both.parameters[name][1])
    second = {k: v[1:] for k, v in parameters.items()}
    assert torch.equal(
        critic.values(parameters, observations, actions)[1:], critic.values(second, observations[1:], actions[1:])
    )


@pytest.mark.parametrize(
    ("kind", "agents", "observation_size", "count"),
    [
        ("mlp", 3, 14, 24065), ("mlp", 15, 26, 76289), ("mlp", 200, 26, 810369),
        ("gcn", 3, 14, 38273), ("gcn", 15, 26, 41345), ("gcn", 200, 26, 41345),
    ],
)  # fmt: skip
def test_parameter_counts_are_those_of_the_released_networks(kind, agents, observation_size, count):
    """At width 128; the counts follow from the layers of PIC's MlpNet and GraphNet."""
    critic = make_critic(kind, Streams([0]), "critic", agents, observation_size, 5, 128)
    assert critic.count == count == sum(p.numel() for p in critic.parameters.values())
    assert width_for(kind, agents, observation_size, 5, count) == 128


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("agents", [3, 15, 500])
@pytest.mark.parametrize("budget", [1, 500, 41345])
def test_width_for_has_the_nearest_count(kind, agents, budget):
    def away(width):
        return abs(KINDS[kind].size(base.Sizes(agents, 26, 5, width)) - budget)

    width = width_for(kind, agents, 26, 5, budget)
    assert width >= 1
    assert away(width) <= min(away(w) for w in range(max(1, width - 3), width + 4))
    assert budget > 1 or width == 1


@pytest.mark.parametrize(
    "call", [lambda: width_for("gnc", 3, 4, 2, 9), lambda: make_critic("gnc", Streams([0]), "", 3, 4, 2, 8)]
)
def test_an_unknown_kind_names_the_nearest(call):
    with pytest.raises(RepriseError, match="'gnc'; nearest: 'gcn'"):
        call()


@pytest.mark.parametrize("varying", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_read_back_from_the_device(kind, varying, monkeypatch):
    """Tensors without data: asking for a number of one is an error, as it would be a wait on a GPU."""
    monkeypatch.setattr(base, "CHUNK", {"meta": 2**20})
    critic, parameters = critic_of(kind, varying)
    observations, actions = (x.to("meta") for x in batch(varying))
    parameters = {k: v.to("meta") for k, v in parameters.items()}
    values, slopes = critic.action_gradient(parameters, observations, actions)
    loss, gradients = critic.squared_error(parameters, observations, actions, values)
    assert (slopes.shape, loss.shape) == (actions.shape, (R,))
    assert all(g.shape == parameters[k].shape and g.device.type == "meta" for k, g in gradients.items())
