"""Actors of relaxed choices: heads and hand-written gradients against a plain definition under autograd."""

from __future__ import annotations

import pytest
import torch

from reprise.blocks import actors
from reprise.blocks.actors import ACTORS, make_actor
from reprise.blocks.streams import Streams
from reprise.errors import RepriseError

R, M, N, O, A, H = 2, 7, 4, 6, 3, 8  # noqa: E741


def plain_heads(kind, parameters, observations):
    def net(x, r):
        for name in ("l0", "l1", "l2"):
            layer = parameters[name][r, 0]
            x = x @ layer[:-1] + layer[-1]
            x = x if name == "l2" else torch.relu(x)
        return x

    if kind == "local":
        return torch.stack([net(observations[r], r) for r in range(R)]), None
    outputs = torch.stack([net(observations[r].reshape(M, -1), r) for r in range(R)])
    means, log_stds = outputs.chunk(2, -1)
    return means.reshape(R, M, N, A), log_stds.reshape(R, M, N, A)


@pytest.mark.parametrize("chunk", [1, 3, 100])
@pytest.mark.parametrize("kind", ACTORS)
def test_heads_and_gradients_are_those_of_the_definition(kind, chunk, monkeypatch):
    monkeypatch.setattr(actors, "CHUNK", {"cpu": chunk * 4 * H})
    actor = make_actor(kind, Streams([1, 2]), "actor", N, O, A, H)
    g = torch.Generator().manual_seed(0)
    observations = torch.randn(R, M, N, O, generator=g, dtype=torch.float64)
    slopes = torch.randn(2, R, M, N, A, generator=g, dtype=torch.float64)
    parameters = {k: v.double().requires_grad_() for k, v in actor.parameters.items()}
    logits, log_std = plain_heads(kind, parameters, observations)
    target = (logits * slopes[0]).sum() + (0.0 if log_std is None else (log_std * slopes[1]).sum())
    wanted = torch.autograd.grad(target, list(parameters.values()))

    held = {k: v.detach() for k, v in parameters.items()}
    ours = actor.heads(held, observations)
    torch.testing.assert_close(ours[0], logits.detach(), rtol=1e-10, atol=1e-12)
    assert (ours[1] is None) == (kind == "local")
    if log_std is not None:
        torch.testing.assert_close(ours[1], log_std.detach(), rtol=1e-10, atol=1e-12)
    gradients = actor.gradients(held, observations, slopes[0], None if log_std is None else slopes[1])
    for name, each in zip(parameters, wanted, strict=True):
        torch.testing.assert_close(gradients[name], each, rtol=1e-8, atol=1e-12)


def test_the_local_actor_is_one_network_for_all_agents():
    actor = make_actor("local", Streams([0]), "actor", 5, O, A, H)
    observations = torch.randn(1, 3, 1, O).expand(1, 3, 5, O)
    logits, _ = actor.heads(actor.parameters, observations)
    assert torch.equal(logits, logits[:, :, :1].expand_as(logits))
    assert actor.count == (O + 1) * H + (H + 1) * H + (H + 1) * A


def test_the_central_actor_sees_every_agent():
    actor = make_actor("central", Streams([0]), "actor", N, O, A, H)
    observations = torch.randn(1, 32, N, O, generator=torch.Generator().manual_seed(0))  # one alone may meet dead units
    changed = observations.clone()
    changed[:, :, 3] += 1.0
    before, after = (actor.heads(actor.parameters, x)[0] for x in (observations, changed))
    assert ((before - after).abs().amax((0, 1, 3)) > 0).all()
    assert actor.count == (N * O + 1) * H + (H + 1) * H + (H + 1) * 2 * N * A
    assert actor.parameters["l2"].shape == (1, 1, H + 1, 2 * N * A)


def test_an_unknown_actor_names_the_nearest():
    with pytest.raises(RepriseError, match="'locl'; nearest: 'local'"):
        make_actor("locl", Streams([0]), "actor", N, O, A, H)
