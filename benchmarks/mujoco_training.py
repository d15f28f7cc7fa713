"""Speed of the policy updates at the shapes of multi-agent MuJoCo's HalfCheetah 3x2, as markdown.

    python benchmarks/mujoco_training.py [--seconds 4] [PART ...]

Parts: ``update`` (DPO, IPPO, HAPPO, HATRPO, MAPPO on random data: three agents, observations of 20 numbers, states of
17, two joints per agent, networks in-128-128-out, 4,000 steps per update), ``chunks`` (runs that learn together on a
processor), ``profile`` (operator by operator), ``off_policy`` (IDDPG and MADDPG with the environment, whose steps are
then in the numbers). One thread; elsewhere the environment is not in here.
"""

from __future__ import annotations

import torch
from measure import ROOT, cost, run_parts, table

from reprise.blocks import joint_actor_critic
from reprise.blocks.rollout import Rollout
from reprise.environments.protocol import Box, Spec
from reprise.experiments import config, evaluation, resolution
from reprise.experiments.rollouts import Collector

TASK, DEVICE = "mamujoco/HalfCheetah-3x2", torch.device("cpu")
AGENTS, OBSERVATION, STATE, JOINTS = 3, 20, 17, 2
SPEC = Spec(
    name=TASK, agents=AGENTS, observation_size=OBSERVATION, one_hot=False, state_size=STATE,
    actions=Box(JOINTS, -1.0, 1.0), episode_limit=1000, backend="random numbers", exact=False,
    return_bounds=(-1e4, 1e4),
)  # fmt: skip
# Networks in-128-128-out without LayerNorm, as goals of speed are stated for; epochs as the papers have them.
PLAIN = {"hidden": 128, "hidden_layers": 2, "layer_norm": False}
CASES = {
    "dpo": {"epochs": 15},
    "ippo": {"epochs": 15},
    "happo": {"epochs": 5, "critic_epochs": 5},
    "mappo": {"epochs": 5, "critic_epochs": 5},
    "hatrpo": {"critic_epochs": 5},
}


def make(algorithm: str, runs: int, copies: int, **changes):
    """The algorithm for ``runs`` runs at the shapes above; only keys that it declares are changed."""
    cell = resolution.resolve(config.load(ROOT), TASK, algorithm, "quick").config
    values = cell["algorithm"]["hyperparameters"]
    values = values | {k: v for k, v in ({"copies": copies} | changes).items() if k in values}
    settings = cell | {"algorithm": cell["algorithm"] | {"hyperparameters": values}}
    return evaluation.make_algorithm([settings] * runs, SPEC, list(range(runs)), copies, DEVICE)


def rollout(algorithm, steps: int) -> Rollout:
    """``steps`` steps of random numbers per copy, with the algorithm's own actions."""
    rows = algorithm.runs * algorithm.copies
    seen = torch.randn(steps + 1, rows, AGENTS, OBSERVATION)
    states = torch.randn(steps + 1, rows, STATE)
    actions = torch.stack([algorithm.act(seen[t], None, None)[0] for t in range(steps)])
    truncated = torch.zeros(steps, rows, dtype=torch.bool)
    truncated[-1] = True
    reward = actions.mean((2, 3)) + torch.randn(steps, rows)
    return Rollout(
        seen[:-1], actions, reward, torch.zeros_like(truncated), truncated, seen[1:], None, {}, states[:-1], states[1:]
    )


def measure(algorithm: str, runs: int, copies: int, steps: int, seconds: float, **changes) -> list[float]:
    """Env steps per CPU second, summed over runs, of the update and of acting."""
    made = make(algorithm, runs, copies, **changes)
    held = rollout(made, steps)
    update = cost(lambda: made.update(held), seconds)
    seen = held.observations[0]
    acting = cost(lambda: made.act(seen, None, None), seconds / 4)
    return [runs * copies * steps / update.cpu, runs * copies / acting.cpu]


def updates(seconds: float) -> str:
    """Every algorithm, one run, in both shapes of a batch of 4,000 steps; then with its own networks."""
    rows = []
    for algorithm, changes in CASES.items():
        for copies, steps in ((4, 1000), (20, 200)):
            rows.append(
                [algorithm, "128-128", copies, *measure(algorithm, 1, copies, steps, seconds, **PLAIN, **changes)]
            )
        rows.append([algorithm, "configured", 20, *measure(algorithm, 1, 20, 200, seconds)])
    return table(["algorithm", "networks", "copies", "update: steps/CPU-s", "acting: steps/CPU-s"], rows)


def chunks(seconds: float) -> str:
    """Five runs of HAPPO in chunks of various sizes: which CPU_SAMPLES is best?"""
    rows, standard = [], joint_actor_critic.CPU_SAMPLES
    for size in (4_000, 8_000, 20_000):
        joint_actor_critic.CPU_SAMPLES = size
        rows.append([size // 4_000, measure("happo", 5, 20, 200, seconds, **PLAIN, **CASES["happo"])[0]])
    joint_actor_critic.CPU_SAMPLES = standard
    return table(["runs per chunk", "update: steps/CPU-s"], rows)


def profile(_seconds: float) -> str:
    """Where the updates spend their time."""
    parts = []
    for algorithm, changes in CASES.items():
        made = make(algorithm, 1, 20, **PLAIN, **changes)
        held = rollout(made, 200)
        made.update(held)
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
            made.update(held)
        events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
        total = sum(event.self_cpu_time_total for event in events)
        rows = [[e.key[:60], e.count, f"{100 * e.self_cpu_time_total / total:.1f} %"] for e in events[:10]]
        parts.append(table([f"{algorithm}: operator", "calls per update", "share"], rows))
    return "\n\n".join(parts)


def off_policy(seconds: float) -> str:
    """IDDPG and MADDPG on the environment, one run, batches of 1,000: all of it, and gradient steps alone."""
    rows = []
    for algorithm in ("iddpg", "maddpg_individual"):
        for width, steps in ((128, 50), (128, 10), (256, 50), (256, 10)):
            sizes = {"width": width, "actor_width": width, "actor_updates": steps, "critic_updates": steps}
            made = make(algorithm, 1, 10, warmup=0, batch=1000, **sizes)
            cell = resolution.resolve(config.load(ROOT), TASK, algorithm, "quick").config
            environment = evaluation.make_environment(cell, [0], 10, DEVICE, "environment")
            collector = Collector(environment, made, made.rollout_length(), 10)
            while len(made.replay) < 5_000:
                made.replay.insert(collector.collect())
            whole = cost(lambda made=made, collector=collector: made.update(collector.collect()), seconds)
            gradient = cost(made._learn, seconds)
            bare = products(made._learn)
            share = cost(lambda bare=bare: [torch.bmm(a, b, out=out) for a, b, out in bare], seconds).cpu / gradient.cpu
            rows.append([algorithm, width, 500 // steps, 500 / whole.cpu, 1000 * gradient.cpu, f"{100 * share:.0f} %"])
    names = ["algorithm", "width", "env steps per gradient step", "env steps/CPU-s", "gradient step, CPU-ms"]
    return table([*names, "of it bare products"], rows)


def products(call) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Factors and results of the batched products that ``call`` makes."""
    made, real = [], torch.bmm

    def recorded(a, b, *, out):
        made.append((a, b, out))
        return real(a, b, out=out)

    torch.bmm = recorded
    try:
        call()
    finally:
        torch.bmm = real
    return made


PARTS = {"update": updates, "chunks": chunks, "profile": profile, "off_policy": off_policy}

if __name__ == "__main__":
    run_parts(PARTS, __doc__, 4.0)
