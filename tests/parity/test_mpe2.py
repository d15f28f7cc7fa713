"""The particle world against mpe2, step by step: positions, velocities, observations and rewards.

Needs mpe2 (`pip install mpe2`), which the package itself does not; skipped where it is absent. States are random, half
of them so crowded that agents touch. float64 must agree to 1e-10, float32 (from states and actions that it can hold)
to 1e-5.
"""

from itertools import chain

import numpy as np
import pytest
import torch

from reprise.environments.mpe import ParticleEnvironment
from reprise.environments.mpe.world import Dialect, Entities, Entity, World
from reprise.experiments import config, resolution

simple_spread_v3 = pytest.importorskip("mpe2.simple_spread_v3")
core = pytest.importorskip("mpe2._mpe_utils.core")

STATES = 200  # per number of agents and kind of actions
TOLERANCE = {torch.float64: 1e-10, torch.float32: 1e-5}
CASES = [(agents, continuous) for agents in (2, 3, 5, 10) for continuous in (False, True)]


@pytest.fixture(scope="module")
def parameters(repository_root):
    """Those of the task mpe/simple_spread_v3 as configured."""
    return resolution.resolve(
        config.load(repository_root), task="mpe/simple_spread_v3", algorithm="ippo", tier="quick"
    ).config["environment"]["parameters"]


def make_ours(parameters, copies, dtype):
    return ParticleEnvironment(
        parameters, task="mpe/simple_spread_v3", seeds=[0], copies=copies, device=torch.device("cpu"), dtype=dtype
    )


def random_states(agents, rng):
    """Velocities [STATES, N, 2] and positions [STATES, 2N, 2] that float32 can hold; the second half is crowded."""
    positions = rng.uniform(-1, 1, (STATES, 2 * agents, 2))
    positions[STATES // 2 :, :agents] *= 0.15 * np.sqrt(agents)
    velocities = rng.normal(size=(STATES, agents, 2))
    return velocities.astype(np.float32).astype(float), positions.astype(np.float32).astype(float)


def random_actions(agents, continuous, rng, shape=(STATES,)):
    if continuous:
        return rng.random((*shape, agents, 5), dtype=np.float32)
    return rng.integers(0, 5, (*shape, agents))


def set_theirs(world, velocities, positions):
    for entity, position in zip(world.entities, positions, strict=True):
        entity.state.p_pos, entity.state.p_vel = position.copy(), np.zeros(2)
    for entity, velocity in zip([e for e in world.entities if e.movable], velocities, strict=True):
        entity.state.p_vel = velocity.copy()


def set_ours(world, velocities, positions):
    world.velocities.copy_(torch.as_tensor(velocities))
    world.positions.copy_(torch.as_tensor(positions))
    world.refresh()


def step_theirs(env, actions):
    """Velocities, positions, observations (before mpe2 rounds them to float32) and rewards after one step."""
    inner = env.unwrapped
    _, rewards, _, _, _ = env.step(dict(zip(env.agents, actions, strict=True)))
    world, scenario = inner.world, inner.scenario
    return {
        "velocities": np.array([agent.state.p_vel for agent in world.agents]),
        "positions": np.array([entity.state.p_pos for entity in world.entities]),
        "observations": np.array([scenario.observation(agent, world) for agent in world.agents]),
        "rewards": np.array([rewards[name] for name in inner.possible_agents]),
    }


def their_env(agents, continuous):
    env = simple_spread_v3.parallel_env(N=agents, continuous_actions=continuous)
    env.reset(seed=0)
    return env


def their_steps(velocities, positions, actions, continuous):
    """What mpe2 makes of every state and joint action."""
    env = their_env(velocities.shape[1], continuous)
    made = []
    for state in zip(velocities, positions, actions, strict=True):
        env.reset()
        set_theirs(env.unwrapped.world, *state[:2])
        made.append(step_theirs(env, state[2]))
    return {name: np.stack([each[name] for each in made]) for name in made[0]}


def our_step(environment, actions):
    step = environment.step(torch.as_tensor(actions))
    world, scenario = environment.scenario.world, environment.scenario
    return {
        "velocities": world.velocities,
        "positions": world.positions,
        "observations": step.next_observations,
        "rewards": scenario.agent_rewards(),
        "mean reward": step.reward,
    }


def difference(ours, theirs):
    """Largest absolute difference of each quantity."""
    theirs = {**theirs, "mean reward": theirs["rewards"].mean(-1)}
    return {name: float(np.abs(ours[name].double().numpy() - value).max()) for name, value in theirs.items()}


def compare(parameters, agents, continuous, dtype, **changes):
    rng = np.random.default_rng(agents + 100 * continuous)
    velocities, positions = random_states(agents, rng)
    actions = random_actions(agents, continuous, rng)
    theirs = their_steps(velocities, positions, actions, continuous)
    distances = np.linalg.norm(positions[:, :agents, None] - positions[:, None, :agents], axis=-1)
    touching = (distances < 0.3).sum((1, 2)) > agents
    assert touching.mean() > 0.4  # parity without contacts would show little
    values = {**parameters, "agents": agents, "continuous": continuous, **changes}
    ours = make_ours(values, STATES, dtype)
    set_ours(ours.scenario.world, velocities, positions)
    return difference(our_step(ours, actions), theirs)


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
@pytest.mark.parametrize(("agents", "continuous"), CASES)
def test_single_steps_agree(parameters, agents, continuous, dtype):
    found = compare(parameters, agents, continuous, dtype)
    print(f"\n{agents} agents, continuous {continuous}, {dtype}: {found}")
    assert max(found.values()) < TOLERANCE[dtype], found


@pytest.mark.parametrize(("agents", "continuous"), CASES)
def test_episodes_agree(parameters, agents, continuous):
    """25 steps from the same start, never put back together: rounding grows through contacts, so float64 only."""
    rng = np.random.default_rng(agents)
    copies = 8
    ours = make_ours({**parameters, "agents": agents, "continuous": continuous}, copies, torch.float64)
    positions = ours.scenario.world.positions.numpy().copy()
    positions[: copies // 2, :agents] *= 0.3  # crowded
    actions = random_actions(agents, continuous, rng, (25, copies))
    set_ours(ours.scenario.world, np.zeros((copies, agents, 2)), positions)
    envs = [their_env(agents, continuous) for _ in range(copies)]
    for env, start in zip(envs, positions, strict=True):
        set_theirs(env.unwrapped.world, np.zeros((agents, 2)), start)
    worst = 0.0
    for time, joint in enumerate(actions):
        made = [step_theirs(env, row) for env, row in zip(envs, joint, strict=True)]
        theirs = {name: np.stack([each[name] for each in made]) for name in made[0]}
        step = ours.step(torch.as_tensor(joint))
        assert bool(step.truncated.all()) == (time == 24) == (not envs[0].agents)
        worst = max(worst, float(np.abs(step.next_observations.numpy() - theirs["observations"]).max()))
        worst = max(worst, float(np.abs(step.reward.numpy() - theirs["rewards"].mean(-1)).max()))
    print(f"\n{agents} agents, continuous {continuous}, 25 steps: {worst:.1e}")
    assert worst < 1e-10


@pytest.mark.parametrize(
    "wrong",
    [
        {"position_first": False},
        {"positive_first": True},
        {"damping": 0.24},
        {"time_step": 0.101},
        {"gain": 4.99},
        {"contact_force": 99.0},
        {"contact_margin": 2e-3},
        {"agent_size": 0.149},
        {"self_collision": True},
        {"reward_join": "sum"},
    ],
    ids=str,
)
@pytest.mark.parametrize("continuous", [False, True])
def test_a_planted_fault_is_caught(parameters, wrong, continuous):
    found = compare(parameters, 3, continuous, torch.float64, **wrong)
    assert max(found.values()) > 1e-4, found


KINDS = [  # size, mass, collides, max_speed; agents, then movable objects, then landmarks
    [(0.10, 1.0, True, None), (0.20, 3.0, True, 0.5), (0.05, 0.5, False, 0.7), (0.15, 2.0, True, 1.0)],
    [(0.30, 4.0, True, None), (0.25, 2.5, True, 0.4)],
    [(0.20, 1.0, True, None), (0.10, 1.0, False, None), (0.15, 1.0, True, None)],
]


def their_world():
    world = core.World()
    world.agents = [core.Agent() for _ in KINDS[0]]
    world.landmarks = [core.Landmark() for _ in KINDS[1] + KINDS[2]]
    for index, (entity, kind) in enumerate(zip(world.entities, chain(*KINDS), strict=True)):
        entity.size, entity.initial_mass, entity.collide, entity.max_speed = kind
        entity.movable, entity.name = index < len(KINDS[0] + KINDS[1]), str(index)
        entity.silent = True
    return world


def entities():
    made = [
        [Entity(size, mass, collides, np.inf if speed is None else speed) for size, mass, collides, speed in group]
        for group in KINDS
    ]
    return Entities(*made)


def mixed_world_difference(parameters, dtype, **changes):
    """Sizes, masses, speed limits, movable objects and fixed obstacles that no task here uses yet."""
    rng = np.random.default_rng(0)
    velocities = rng.normal(size=(STATES, 6, 2)).astype(np.float32).astype(float)
    positions = rng.uniform(-0.5, 0.5, (STATES, 9, 2)).astype(np.float32).astype(float)
    forces = (5 * rng.uniform(-1, 1, (STATES, 4, 2))).astype(np.float32).astype(float)
    theirs, made = their_world(), []
    for velocity, position, force in zip(velocities, positions, forces, strict=True):
        set_theirs(theirs, velocity, position)
        for agent, each in zip(theirs.agents, force, strict=True):
            agent.action.u = each
        theirs.step()
        moving = [e.state.p_vel for e in theirs.entities if e.movable]
        made.append(np.concatenate([np.ravel(moving), np.ravel([e.state.p_pos for e in theirs.entities])]))
    names = ("position_first", "positive_first", "contact_distance", "gain", "time_step", "damping")
    rules = {name: parameters[name] for name in (*names, "contact_force", "contact_margin")}
    ours = World(entities(), Dialect(**{**rules, **changes}), STATES, torch.device("cpu"), dtype)
    set_ours(ours, velocities, positions)
    ours.step(torch.as_tensor(forces, dtype=dtype))
    return float(np.abs(ours.state.double().numpy() - np.stack(made)).max())


@pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
def test_mixed_world_agrees(parameters, dtype):
    found = mixed_world_difference(parameters, dtype)
    print(f"\nmixed world, {dtype}: {found:.1e}")
    assert found < TOLERANCE[dtype]


@pytest.mark.parametrize(
    "wrong", [{"contact_distance": "first_agent"}, {"position_first": False}, {"damping": 0.24}], ids=str
)
def test_a_fault_planted_in_the_mixed_world_is_caught(parameters, wrong):
    assert mixed_world_difference(parameters, torch.float64, **wrong) > 1e-4


def test_gathered_observations_agree_too(parameters, monkeypatch):
    """Large worlds take the path without matrices; 5 agents sent there must agree as well."""
    monkeypatch.setattr("reprise.environments.mpe.linear.LARGEST", 0)
    found = compare(parameters, 5, False, torch.float64)
    assert max(found.values()) < 1e-10, found
