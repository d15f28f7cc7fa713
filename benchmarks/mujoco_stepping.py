"""Raw stepping of multi-agent MuJoCo with random actions, one thread, as markdown.

    python benchmarks/mujoco_stepping.py [--seconds 2] [PART ...]

Parts: ``batch`` (HalfCheetah 3x2 against the number of copies, beside the physics alone), ``tasks`` (every robot, 16
copies), ``peers`` (HalfCheetah 3x2: ours, the bare loop of ``mj_step``, ``mujoco.rollout``, and, where installed,
gymnasium's vector environment and gymnasium-robotics' mamujoco_v1, in turn), ``parts`` (where the time of a step goes),
``threads`` (several threads, by wall clock). Resets, observations and rewards are included.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from importlib.util import find_spec

import mujoco
import numpy as np
import torch
from measure import ROOT, cost, run_parts, table

from reprise.environments.mamujoco.environment import MultiAgentMujoco
from reprise.experiments import config

STEPS, REPEATS, COPIES = 50, 5, 16
TASK = "HalfCheetah-3x2"
TASKS = (
    "Hopper-3x1",
    TASK,
    "Walker2d-3x2",
    "Ant-4x2",
    "Humanoid-17x1",
    "HumanoidStandup-17x1",
    "ManyAgentSwimmer-10x2",
)
RATES = ["env steps/s wall", "env steps/s per CPU-s"]


def make(task: str, copies: int, threads: int = 1, **changes) -> MultiAgentMujoco:
    """``copies`` copies of a task as configured, some parameters changed."""
    environment = config.load(ROOT).environments["mamujoco"]
    entries = {**environment.parameters, **environment.tasks[task].parameters}
    parameters = {name: entry.value for name, entry in entries.items()} | changes
    place = {"seeds": [0], "copies": copies, "device": torch.device("cpu"), "threads": threads}
    return MultiAgentMujoco(parameters, task=f"mamujoco/{task}", **place)


def stepping(environment: MultiAgentMujoco) -> Callable[[], None]:
    """A call that plays ``STEPS`` steps of random actions, drawn beforehand."""
    spec = environment.spec
    actions = (2.0 * torch.rand(STEPS, environment.rows, spec.agents, spec.actions.size) - 1.0).unbind()

    def call() -> None:
        for joint in actions:
            environment.step(joint)

    return call


def physics(copies: int) -> Callable[[], None]:
    """``mj_step`` over the copies and nothing else."""
    engine = make(TASK, copies).engine
    controls = np.random.default_rng(0).uniform(-1, 1, (STEPS, copies, engine.model.nu))

    def call() -> None:
        for each in controls:
            for data, control in zip(engine.data, each, strict=True):
                data.ctrl[:] = control
                mujoco.mj_step(engine.model, data, engine.robot.frame_skip)

    return call


def rollout(copies: int) -> Callable[[], None]:
    """``mujoco.rollout``, called a step at a time as a policy needs it; it forgets the warm start between calls."""
    from mujoco.rollout import Rollout

    engine, kind = make(TASK, copies).engine, int(mujoco.mjtState.mjSTATE_FULLPHYSICS)
    pool = Rollout(nthread=0)
    states = np.zeros((copies, mujoco.mj_stateSize(engine.model, kind)))
    for data, state in zip(engine.data, states, strict=True):
        mujoco.mj_getState(engine.model, data, state, kind)
    skip = engine.robot.frame_skip
    controls = np.random.default_rng(0).uniform(-1, 1, (STEPS, copies, 1, engine.model.nu)).repeat(skip, 2)

    def call() -> None:
        now = states
        for each in controls:
            now = pool.rollout(engine.model, engine.data[:1], now, each)[0][:, -1]

    return call


def native_batch(copies: int) -> Callable[[], None]:
    """``mujoco.batch.Batch`` with positions and velocities bound; it keeps the warm start."""
    from mujoco.batch import Batch

    engine = make(TASK, copies).engine
    states = Batch(engine.model, nsim=copies, nthread=1)
    motion, asked = [states.bind("qpos"), states.bind("qvel")], states.bind("ctrl")
    motion[0][:] = [data.qpos for data in engine.data]
    motion[1][:] = [data.qvel for data in engine.data]
    controls = np.random.default_rng(0).uniform(-1, 1, (STEPS, copies, engine.model.nu))

    def call() -> None:
        for each in controls:
            asked[:] = each
            states.step(nstep=engine.robot.frame_skip)
            np.concatenate(motion, 1)

    return call


def gymnasium_vector(copies: int) -> Callable[[], None]:
    """HalfCheetah-v5 of gymnasium in its own synchronous vector environment."""
    import gymnasium

    environment = gymnasium.make_vec("HalfCheetah-v5", copies, vectorization_mode="sync")
    environment.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, copies, 6)).astype(np.float32)

    def call() -> None:
        for joint in actions:
            environment.step(joint)

    return call


def gymnasium_loop(copies: int) -> Callable[[], None]:
    """HalfCheetah-v5 of gymnasium without wrappers, one copy after the other."""
    import gymnasium

    environments = [gymnasium.make("HalfCheetah-v5").unwrapped for _ in range(copies)]
    for i, environment in enumerate(environments):
        environment.reset(seed=i)
    actions = np.random.default_rng(0).uniform(-1, 1, (STEPS, copies, 6)).astype(np.float32)

    def call() -> None:
        for joint in actions:
            for environment, each in zip(environments, joint, strict=True):
                environment.step(each)

    return call


def mamujoco_v1(copies: int) -> Callable[[], None]:
    """HalfCheetah of gymnasium-robotics in three agents with two joints each, its default observations; one copy."""
    from gymnasium_robotics import mamujoco_v1 as library
    from gymnasium_robotics.envs.multiagent_mujoco.obsk import get_parts_and_edges

    (nodes,), edges, roots = get_parts_and_edges("HalfCheetah", None)
    parts = {"partition": [nodes[i : i + 2] for i in (0, 2, 4)], "edges": edges, "globals": roots}
    environment = library.parallel_env("HalfCheetah", "3x2", agent_factorization=parts)
    environment.reset(seed=0)
    drawn = np.random.default_rng(0).uniform(-1, 1, (STEPS, copies, 3, 2)).astype(np.float32)
    actions = [dict(zip(environment.possible_agents, joint, strict=True)) for joint in drawn.reshape(-1, 3, 2)]

    def call() -> None:
        for joint in actions:
            environment.step(joint)
            if not environment.agents:
                environment.reset()

    return call


def rates(call: Callable[[], None], copies: int, seconds: float) -> list[float]:
    """Env steps per second of wall and of CPU time: medians of some repeats."""
    spent = [cost(call, seconds / REPEATS) for _ in range(REPEATS)]
    return [statistics.median(STEPS * copies / each for each in column) for column in zip(*spent, strict=True)]


def batch(seconds: float) -> str:
    """Ours and the physics alone against the number of copies."""
    rows = []
    for copies in (1, 2, 4, 8, 16, 32, 64):
        ours, bare = (rates(call, copies, seconds)[1] for call in (stepping(make(TASK, copies)), physics(copies)))
        rows.append([copies, ours, bare, f"{100 * ours / bare:.0f} %"])
    return table(["copies", "env steps/s per CPU-s", "physics alone", "of it"], rows)


def tasks(seconds: float) -> str:
    """Every robot, both views."""
    rows = []
    for task in TASKS:
        for view in ("full_state", "local"):
            environment = make(task, COPIES, view=view)
            rows.append([task, view, environment.spec.observation_size, *rates(stepping(environment), COPIES, seconds)])
    return table([f"task, {COPIES} copies", "view", "observation", *RATES], rows)


def peers(seconds: float) -> str:
    """Ours and others, in turn."""
    calls = {
        "this package, observations and rewards": stepping(make(TASK, COPIES)),
        "`mj_step` over the copies, nothing else": physics(COPIES),
        "`mujoco.rollout`, a step per call, nothing else": rollout(COPIES),
        "`mujoco.batch.Batch`, nothing else": native_batch(COPIES),
    }
    if find_spec("gymnasium_robotics") is not None:
        calls |= {
            "gymnasium, `HalfCheetah-v5` unwrapped, a loop": gymnasium_loop(COPIES),
            "gymnasium, `make_vec`, sync": gymnasium_vector(COPIES),
            "gymnasium-robotics, `mamujoco_v1`": mamujoco_v1(COPIES),
        }
    found: dict[str, list[list[float]]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            spent = cost(call, seconds / REPEATS)
            found[name].append([STEPS * COPIES / spent.wall, STEPS * COPIES / spent.cpu])
    rows = [[name, *map(statistics.median, zip(*each, strict=True))] for name, each in found.items()]
    return table([f"HalfCheetah, {COPIES} copies", *RATES], rows)


def parts(seconds: float) -> str:
    """CPU microseconds of the parts of a step of the whole batch."""
    rows = []
    for task in TASKS:
        environment = make(task, COPIES)
        engine, robot, spec = environment.engine, environment.robot, environment.spec
        joint = 2.0 * torch.rand(COPIES, spec.agents, spec.actions.size) - 1.0
        controls, features = environment.controls(joint), environment.features
        healthy, state = robot.healthy(features), robot.state(features)
        calls = [
            lambda e=environment, j=joint: e.controls(j),
            lambda e=engine, c=controls: e.step(c),
            engine.read,
            lambda r=robot, f=features, h=healthy, c=controls: r.reward(f, f, h, c),
            lambda e=environment, f=features, s=state: e.view(f, s),
            lambda e=environment: e.begin(0),
        ]
        rows.append([task, *(f"{1e6 * cost(call, seconds / 6).cpu:.0f}" for call in calls)])
    head = ["controls", "physics and gathering", "of it gathering", "reward", "observations", "one start"]
    return table([f"µs, {COPIES} copies", *head], rows)


def threads(seconds: float) -> str:
    """More threads, by wall clock; meaningful on an idle machine."""
    rows = []
    for number in sorted({1, 2, 4, os.cpu_count() or 1}):
        rows.append([number, *rates(stepping(make(TASK, 64, number)), 64, seconds)])
    return table([f"threads, {TASK}, 64 copies", *RATES], rows)


PARTS = {"batch": batch, "tasks": tasks, "peers": peers, "parts": parts, "threads": threads}

if __name__ == "__main__":
    run_parts(PARTS, __doc__, 2.0)
