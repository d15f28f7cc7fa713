"""Stacked networks and optimisers against plain per-agent ones and torch's own."""

import itertools

import pytest
import torch

from reprise.blocks.networks import StackedMLP, orthogonal
from reprise.blocks.optimiser import Adam, RMSprop, clip_by_agent
from reprise.blocks.streams import Streams

RUNS, AGENTS, SIZES = 2, 3, [7, 16, 16, 4]


def plain(net: StackedMLP, run: int, agent: int) -> torch.nn.Sequential:
    """One network of the stack as ordinary torch modules."""
    layers: list[torch.nn.Module] = []
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(SIZES)):
        if net.layer_norm:
            norm = torch.nn.LayerNorm(fan_in)
            norm.weight.data, norm.bias.data = (net.parameters[f"{k}{i}"][run, agent, 0].clone() for k in "gc")
            layers.append(norm)
        linear = torch.nn.Linear(fan_in, fan_out)
        linear.weight.data = net.parameters[f"w{i}"][run, agent].T.clone()
        linear.bias.data = net.parameters[f"b{i}"][run, agent, 0].clone()
        layers.append(linear)
        if i < len(SIZES) - 2:
            layers.append(torch.nn.ReLU())
    return torch.nn.Sequential(*layers)


@pytest.fixture(params=[False, True], ids=["plain", "layer_norm"])
def net(request):
    net = StackedMLP(Streams([5, 9]), "net", AGENTS, SIZES, layer_norm=request.param, gain=0.5)
    generator = torch.Generator().manual_seed(0)
    for p in net.parameters.values():
        p.add_(0.1 * torch.randn(p.shape, generator=generator))
    return net


@pytest.mark.parametrize("one_hot", [False, True])
def test_outputs_and_gradients_equal_per_agent_networks(net, one_hot):
    inputs = None if one_hot else torch.randn(RUNS, AGENTS, 11, SIZES[0])
    weight = torch.randn(RUNS, AGENTS, SIZES[0] if one_hot else 11, SIZES[-1])

    def loss_of(output):
        return (weight * output.square()).sum((-1, -2))

    loss, gradients = net.loss_and_gradients(net.parameters, inputs, loss_of)
    gradients = {k: g.clone() for k, g in gradients.items()}
    for run in range(RUNS):
        for agent in range(AGENTS):
            single = plain(net, run, agent)
            x = torch.eye(SIZES[0]) if one_hot else inputs[run, agent]
            expected = (weight[run, agent] * single(x).square()).sum()
            expected.backward()
            torch.testing.assert_close(net(net.parameters, inputs)[run, agent], single(x), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(loss[run, agent], expected.detach(), rtol=1e-4, atol=1e-4)
            linears = [m for m in single if isinstance(m, torch.nn.Linear)]
            for i, linear in enumerate(linears):
                torch.testing.assert_close(gradients[f"w{i}"][run, agent], linear.weight.grad.T, rtol=1e-3, atol=1e-4)
                torch.testing.assert_close(gradients[f"b{i}"][run, agent, 0], linear.bias.grad, rtol=1e-3, atol=1e-4)
            for i, norm in enumerate(m for m in single if isinstance(m, torch.nn.LayerNorm)):
                torch.testing.assert_close(gradients[f"g{i}"][run, agent, 0], norm.weight.grad, rtol=1e-3, atol=1e-4)
                torch.testing.assert_close(gradients[f"c{i}"][run, agent, 0], norm.bias.grad, rtol=1e-3, atol=1e-4)


def test_all_one_hot_inputs_equal_the_identity_matrix(net):
    eye = torch.eye(SIZES[0]).expand(RUNS, AGENTS, -1, -1)
    torch.testing.assert_close(net(net.parameters, None), net(net.parameters, eye))


def test_adam_is_torchs_adam_also_in_chunks_of_runs():
    parameters = {"w": torch.randn(4, 2, 3, 5), "b": torch.randn(4, 2, 1, 5)}
    reference = {k: p.clone().requires_grad_() for k, p in parameters.items()}
    adam = Adam(parameters, lr=3e-3, eps=1e-5)
    expected = torch.optim.Adam(reference.values(), lr=3e-3, eps=1e-5)
    for number in range(1, 6):
        gradients = {k: torch.randn_like(p) for k, p in parameters.items()}
        for runs in (slice(0, 3), slice(3, 4)):
            adam.step({k: g[runs] for k, g in gradients.items()}, runs, number=number)
        for k, p in reference.items():
            p.grad = gradients[k].clone()
        expected.step()
    for k, p in parameters.items():
        torch.testing.assert_close(p, reference[k].detach(), rtol=1e-5, atol=1e-6)


def test_rmsprop_is_torchs_rmsprop():
    parameters = {"w": torch.randn(4, 2, 3, 5)}
    reference = parameters["w"].clone().requires_grad_()
    rms = RMSprop(parameters, lr=5e-4, alpha=0.99, eps=1e-5)
    expected = torch.optim.RMSprop([reference], lr=5e-4, alpha=0.99, eps=1e-5)
    for _ in range(5):
        gradient = torch.randn_like(reference)
        rms.step({"w": gradient})
        reference.grad = gradient.clone()
        expected.step()
    torch.testing.assert_close(parameters["w"], reference.detach(), rtol=1e-5, atol=1e-6)


def test_clipping_is_torchs_for_each_agent_alone():
    gradients = {"w": torch.randn(2, 3, 4, 4), "b": torch.randn(2, 3, 1, 4)}
    gradients["w"][0, 0] *= 100.0
    expected = {k: g.clone() for k, g in gradients.items()}
    norm = clip_by_agent(gradients, 3.0)
    for run in range(2):
        for agent in range(3):
            tensors = [torch.nn.Parameter(g[run, agent].clone()) for g in expected.values()]
            for t in tensors:
                t.grad = t.data.clone()
            total = torch.nn.utils.clip_grad_norm_(tensors, 3.0)
            torch.testing.assert_close(norm[run, agent], total)
            for t, k in zip(tensors, gradients, strict=True):
                torch.testing.assert_close(gradients[k][run, agent], t.grad)


@pytest.mark.parametrize(("rows", "columns"), [(5, 5), (5, 9), (9, 5)])
def test_initial_weights_are_orthogonal_and_belong_to_their_run_alone(rows, columns):
    both = orthogonal(Streams([1, 2]), "w", AGENTS, rows, columns, 2.0)
    alone = orthogonal(Streams([2]), "w", AGENTS, rows, columns, 2.0)
    assert torch.equal(both[1], alone[0])
    product = both @ both.mT if rows <= columns else both.mT @ both
    torch.testing.assert_close(product, 4.0 * torch.eye(min(rows, columns)).expand_as(product), rtol=0, atol=1e-5)
