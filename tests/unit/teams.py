"""Small tasks, learners and rollouts for both action kinds, with a global state."""

from __future__ import annotations

import torch
from learners import hyperparameters

from reprise.blocks.hyper import Hyper
from reprise.blocks.rollout import Rollout
from reprise.environments.protocol import Box, Discrete, Spec

AGENTS, SEEN, STATE, NUMBERS, CHOICES, STEPS, COPIES = 3, 5, 4, 2, 3, 6, 2
SMALL = {"hidden": 8, "hidden_layers": 1, "layer_norm": False, "epochs": 2, "critic_epochs": 2, "copies": COPIES}


def spec(kind: str) -> Spec:
    """A task with ``continuous`` or ``discrete`` actions and vectors for observations."""
    actions = Box(NUMBERS, -1.0, 1.0) if kind == "continuous" else Discrete(CHOICES)
    return Spec(
        name="test/team", agents=AGENTS, observation_size=SEEN, one_hot=False, state_size=STATE, actions=actions,
        episode_limit=STEPS, backend="test", exact=False, return_bounds=(-9.0, 9.0),
    )  # fmt: skip


def make(cls, algorithm: str, kind: str = "continuous", seeds=(0, 1), settings=None, **changes):
    """A learner with the repository's values, made small; ``changes`` and per-run ``settings`` on top."""
    values = hyperparameters(algorithm)
    values |= {k: v for k, v in SMALL.items() if k in values}
    assert set(changes) <= set(values), "a change must name a declared hyperparameter"
    each = [values | changes | s for s in (settings or [{}] * len(seeds))]
    hyper = Hyper(each)
    hyper.provide(total_env_steps=10 * STEPS * COPIES)
    return cls(spec(kind), hyper, list(seeds), COPIES, "cpu")


def rollout(learner, seed: int = 0, same: bool = False) -> Rollout:
    """Random observations, states and rewards, and actions of the learner's policies; with ``same`` every run sees the
    same world and the same noise."""
    generator = torch.Generator().manual_seed(seed)
    runs, size = learner.runs, learner.spec
    rows = COPIES * (1 if same else runs)
    seen = torch.randn(STEPS + 1, rows, AGENTS, SEEN, generator=generator)
    state = torch.randn(STEPS + 1, rows, STATE, generator=generator)
    reward = torch.randn(STEPS, rows, generator=generator)
    terminated = torch.rand(STEPS, rows, generator=generator) < 0.1
    if hasattr(size.actions, "n"):
        noise = torch.rand(STEPS, rows, AGENTS, generator=generator)
    else:
        noise = torch.randn(STEPS, rows, AGENTS, NUMBERS, generator=generator)
    truncated = torch.zeros(STEPS, rows, dtype=torch.bool)
    truncated[-1] = True
    fields = [seen[:-1], noise, reward, terminated, truncated, seen[1:], state[:-1], state[1:]]
    if same:
        fields = [x.repeat(1, runs, *[1] * (x.dim() - 2)) for x in fields]
    fields[1] = torch.stack([learner.behaviour(x, None).sample(u) for x, u in zip(*fields[:2], strict=True)])
    return Rollout(*fields[:6], None, {}, *fields[6:])


def perturb(learner, scale: float = 0.3) -> None:
    """Move all networks away from their first parameters."""
    generator = torch.Generator().manual_seed(5)
    for net in (learner.actor, learner.critic):
        for p in net.parameters.values():
            p.add_(scale * torch.randn(p.shape, generator=generator))


def parameters_of(net, run: int, network: int) -> dict[str, torch.Tensor]:
    """One network's parameters, as leaves for autograd."""
    return {k: p[run, network].clone().requires_grad_() for k, p in net.parameters.items()}


def plain_mlp(p: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """The network with one set of parameters, written out (no LayerNorm)."""
    last = max(int(k[1:]) for k in p if k.startswith("w"))
    for i in range(last + 1):
        x = x @ p[f"w{i}"] + p[f"b{i}"]
        x = x.relu() if i < last else x
    return x


def plain_policy(p: dict[str, torch.Tensor], x: torch.Tensor, limit: float = 0.5) -> torch.distributions.Distribution:
    """torch's distribution for one network; that of a vector is of independent numbers, not summed."""
    out = plain_mlp({k: v for k, v in p.items() if k != "log_std"}, x)
    if "log_std" not in p:
        return torch.distributions.Categorical(logits=out)
    std = limit * torch.sigmoid(p["log_std"]) if limit else p["log_std"].exp()
    return torch.distributions.Normal(out, std.expand_as(out))


def plain_log_prob(policy, actions: torch.Tensor) -> torch.Tensor:
    """log pi(action), the sum over an action's numbers."""
    log = policy.log_prob(actions)
    return log.sum(-1) if actions.is_floating_point() else log


def plain_kl(old, new) -> torch.Tensor:
    """KL(old || new) at each sample."""
    kl = torch.distributions.kl_divergence(old, new)
    return kl.sum(-1) if kl.dim() > 1 else kl
