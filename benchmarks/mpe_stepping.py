"""Raw stepping of the particle environments with random actions, as markdown.

    python benchmarks/mpe_stepping.py [--device cuda] [--seconds 2] [--pic CLONE] [PART ...]

Parts: ``tasks`` (env steps/s of every five-agent task at batch 32 and 1024), ``agents`` (cost of a step from 3 to 500
agents), ``parts`` (where the time of a step goes), ``peers`` (mpe2, vmas and jaxmarl, those that are installed, in turn
with ours). A call is an episode of 25 steps with its reset; observations and rewards are included. One thread.
"""

from __future__ import annotations

import argparse
import statistics
from importlib.util import find_spec
from pathlib import Path

import pic
import torch
from measure import ROOT, Cost, cost, machine, table

from reprise.environments.mpe import ParticleEnvironment
from reprise.experiments import config

STEPS = 25
TASKS = ("simple_spread", "line_control", "circle_control", "simple_spread_original", "simple_spread_v3")
BATCHES = (32, 1024)
AGENTS = (3, 5, 10, 20, 50, 100, 200, 500)
# Task, copies, whether PIC has it.
TEAMS = [
    *((f"cooperative_navigation-n{n}", 2**14 // n if n < 100 else 64, n < 500) for n in (3, 6, 15, 30, 100, 200, 500)),
    *((f"cooperative_push-n{n}", 2**14 // n, True) for n in (3, 6, 15, 30)),
]
TURNS = 3
REPEATS = 5
RATES = ["steps/s wall", "steps/s per CPU-s"]


def make(task: str, batch: int, device: torch.device, **changes) -> ParticleEnvironment:
    """``batch`` copies of a task as configured, some parameters changed."""
    environment, entry = config.load(ROOT).task(f"mpe/{task}")
    values = {**environment.declared(entry), **entry.parameters}
    parameters = {name: each.value for name, each in values.items()} | changes
    return ParticleEnvironment(parameters, task=f"mpe/{task}", seeds=[0], copies=batch, device=device)


def episode(environment: ParticleEnvironment):
    """A call that plays one episode of random actions, drawn beforehand."""
    shape = (STEPS, environment.rows, environment.spec.agents)
    actions = torch.rand(*shape, 5) if environment.continuous else torch.randint(0, 5, shape)
    actions = actions.to(environment.device).unbind()

    def call() -> None:
        for joint in actions:
            environment.step(joint)

    return call


def finish(device: torch.device):
    """What waits for ``device``."""
    return torch.cuda.synchronize if device.type == "cuda" else lambda: None


def rates(batch: int, spent: Cost) -> list[float]:
    """Env steps per second of wall and of CPU time, from the cost of an episode."""
    return [STEPS * batch / spent.wall, STEPS * batch / spent.cpu]


def tasks(device: torch.device, seconds: float) -> str:
    """Env steps per second of every task with five agents: the median of some repeats."""
    rows = []
    for task in TASKS:
        for batch in BATCHES:
            call = episode(make(task, batch, device))
            found = [rates(batch, cost(call, seconds / REPEATS, finish(device))) for _ in range(REPEATS)]
            wall, cpu = (statistics.median(each) for each in zip(*found, strict=True))
            rows.append([task, batch, wall, cpu, f"{1e6 * batch / wall:.0f}"])
    return table(["task, 5 agents", "batch", *RATES, "µs per step of the batch"], rows)


def agents(device: torch.device, seconds: float) -> str:
    """Cost of a step against the number of agents, with as many landmarks, everything seen."""
    rows = []
    for number in AGENTS:
        batch = max(1, min(1024, 2**16 // number**2))
        environment = make("simple_spread_original", batch, device, agents=number)
        whole = cost(episode(environment), seconds, finish(device)).cpu / STEPS
        forces, world = torch.zeros(batch, number, 2, device=device), environment.scenario.world
        physics = cost(lambda world=world, forces=forces: world.step(forces), seconds / 2, finish(device)).cpu
        seen = cost(environment.scenario.observe, seconds / 2, finish(device)).cpu
        micro = [1e6 * each / batch for each in (whole, physics, seen)]
        rows.append([number, batch, *micro, 1e3 * micro[0] / number**2])
    head = [
        "agents",
        "batch",
        "CPU µs per env step",
        "of it physics",
        "of it observations",
        "CPU ns per pair of agents",
    ]
    return table(head, rows)


def parts(device: torch.device, seconds: float) -> str:
    """CPU microseconds of the parts of a step of the whole batch."""
    rows = []
    for task in TASKS:
        for batch in BATCHES:
            environment = make(task, batch, device)
            joint = torch.randint(0, 5, (batch, environment.spec.agents), device=device)
            forces, scenario = environment.forces(joint), environment.scenario
            calls = [lambda s=scenario, f=forces: s.world.step(f), scenario.reward, scenario.observe, environment.reset]
            spent = [1e6 * cost(call, seconds / 4, finish(device)).cpu for call in calls]
            rows.append([task, batch, *spent])
    return table(["task", "batch", "physics", "reward", "observations", "reset (one step in 25)"], rows)


def pic_episode(clone: Path, task: str):
    """Steps of the same task in PIC's own code, one copy, random actions drawn beforehand; without its resets."""
    kind, _, number = task.partition("-n")
    name = {"cooperative_navigation": "simple_spread", "cooperative_push": "simple_coop_push"}[kind]
    environment = pic.environment(clone, f"{name}_n{number}")
    vectorised = environment.__module__.endswith("vec")
    actions = torch.rand(STEPS, environment.n, 5).double().numpy()

    def call() -> None:
        for joint in actions:
            environment.step(joint.reshape(-1) if vectorised else list(joint))

    return call


def teams(device: torch.device, seconds: float, clone: Path | None = None) -> str:
    """The tasks for large teams, PIC's code in turn with ours; then the cost of a stored state's observations."""
    rows = []
    for task, batch, shipped in TEAMS:
        environment = make(task, batch, device)
        call = episode(environment)
        theirs = pic_episode(clone, task) if clone and shipped else None
        ours, other = [], []
        for _ in range(TURNS):
            ours.append(rates(batch, cost(call, seconds / TURNS, finish(device)))[1])
            if theirs is not None:
                other.append(rates(1, cost(theirs, seconds / TURNS))[1])
        states = environment.state
        seen = cost(lambda e=environment, s=states: e.observe(s), seconds / 2, finish(device)).cpu
        rate = statistics.median(ours)
        pics = statistics.median(other) if other else None
        ratio = [pics, f"{rate / pics:.0f}"] if pics else ["", ""]
        rows.append([task, batch, rate, *ratio, 1e6 * seen / batch])
    head = ["task", "batch", "steps/s per CPU-s", "PIC: steps/s per CPU-s", "times", "CPU µs to observe a stored state"]
    return table(head, rows)


def mpe2_episode(batch: int):
    """simple_spread_v3 of mpe2, one copy."""
    from mpe2 import simple_spread_v3

    environment = simple_spread_v3.parallel_env(N=5, max_cycles=STEPS)
    actions = torch.randint(0, 5, (STEPS, 5)).tolist()

    def call() -> None:
        environment.reset()
        for joint in actions:
            environment.step(dict(zip(environment.agents, joint, strict=True)))

    return call


def vmas_episode(batch: int):
    """simple_spread of VMAS."""
    import vmas

    environment = vmas.make_env("simple_spread", batch, device="cpu", continuous_actions=False, n_agents=5)
    actions = [list(joint.unbind(1)) for joint in torch.randint(0, 5, (STEPS, batch, 5))]

    def call() -> None:
        environment.reset()
        for joint in actions:
            environment.step(joint)

    return call


def jaxmarl_episode(batch: int):
    """MPE_simple_spread_v3 of JaxMARL, an episode as one compiled scan."""
    import jax
    import jaxmarl

    environment = jaxmarl.make("MPE_simple_spread_v3", num_agents=5, num_landmarks=5)

    def step(carry, key):
        state, total = carry
        keys = jax.random.split(key, (2, batch))
        actions = {name: jax.random.randint(keys[0, 0], (batch,), 0, 5) for name in environment.agents}
        seen, state, reward, _, _ = jax.vmap(environment.step)(keys[1], state, actions)
        return (state, total + sum(reward.values()) + sum(each.sum(1) for each in seen.values())), None

    @jax.jit
    def play(key):
        start, steps = jax.random.split(key)
        _, state = jax.vmap(environment.reset)(jax.random.split(start, batch))
        return jax.lax.scan(step, (state, jax.numpy.zeros(batch)), jax.random.split(steps, STEPS))[0][1]

    return lambda: play(jax.random.PRNGKey(0)).block_until_ready()


PEERS = {"mpe2": (mpe2_episode, (1,)), "vmas": (vmas_episode, BATCHES), "jaxmarl": (jaxmarl_episode, BATCHES)}


def peers(device: torch.device, seconds: float) -> str:
    """Installed peers and ours in turn, three rounds; the median of each."""
    calls = {
        ("reprise", batch): episode(make("simple_spread_v3", batch, torch.device("cpu"))) for batch in (1, *BATCHES)
    }
    for name, (build, batches) in PEERS.items():
        if find_spec(name) is not None:
            calls |= {(name, batch): build(batch) for batch in batches}
    found: dict[tuple[str, int], list[list[float]]] = {key: [] for key in calls}
    for _ in range(3):
        for (name, batch), call in calls.items():
            found[name, batch].append(rates(batch, cost(call, seconds)))
    rows = [
        [name, batch, *(statistics.median(each) for each in zip(*values, strict=True))]
        for (name, batch), values in found.items()
    ]
    absent = [name for name in PEERS if find_spec(name) is None]
    note = f"\n\nNot installed: {', '.join(absent)}." if absent else ""
    return table(["simple_spread_v3 or its like, 5 agents", "batch", *RATES], rows) + note


PARTS = {"tasks": tasks, "agents": agents, "parts": parts, "teams": teams, "peers": peers}


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--pic", type=Path, metavar="CLONE", help="a checkout of IouJenLiu/PIC, for the part teams")
    options = parser.parse_args()
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}")
    torch.set_num_threads(1)
    print(machine(), flush=True)
    for name in options.parts or PARTS:
        more = {"clone": options.pic} if name == "teams" else {}
        print(f"\n### {name}\n\n{PARTS[name](torch.device(options.device), options.seconds, **more)}", flush=True)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
