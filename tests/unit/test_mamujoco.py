"""Multi-agent MuJoCo: what agents see and move, starts, auto-reset, resume, instability, and its messages.

Observations, rewards and terminations are compared with gymnasium-robotics in tests/parity/test_mamujoco*.py.
"""

import importlib
import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco")

import mujoco
from mujoco_worlds import actions, make, tasks

import reprise.environments.mamujoco as package
from reprise.environments.mamujoco import models
from reprise.environments.mamujoco.graph import touching
from reprise.environments.mamujoco.robots import Ant, Humanoid
from reprise.errors import RepriseError

SIZES = {  # robot: numbers of the single-agent observation and actuators (gymnasium's v5 pages)
    **{"Hopper": (11, 3), "HalfCheetah": (17, 6), "Walker2d": (17, 6), "Ant": (105, 8)},
    **{"Humanoid": (348, 17), "HumanoidStandup": (348, 17), "ManyAgentSwimmer": (44, 20)},
}


def same(first, second) -> bool:
    """Two transitions are the same, bit by bit, NaN being NaN."""
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None]
    return all(torch.equal(torch.nan_to_num(a.float()), torch.nan_to_num(b.float())) for a, b in pairs)


def name_of(environment, joint):
    return environment.robot.model.joint(joint).name


@pytest.mark.parametrize("task", tasks())
def test_every_task_has_its_sizes_and_moves(task):
    environment = make(task)
    spec = environment.spec
    size, actuators = SIZES[task.split("-")[0]]
    assert (spec.state_size, spec.agents * spec.actions.size) == (size, actuators)
    assert (spec.actions.low, spec.actions.high, spec.episode_limit) == (-1.0, 1.0, 1000)
    for joint in actions(environment, 3):
        step = environment.step(joint)
    assert step.observations.shape == (2, spec.agents, spec.observation_size)
    assert step.observations.dtype == step.state.dtype == step.reward.dtype == torch.float32
    assert step.state.shape == (2, size)
    assert torch.isfinite(step.observations).all()
    assert not torch.equal(step.observations[0], step.observations[1])
    if not task.endswith("-local"):
        assert spec.observation_size == size + spec.agents


def test_full_state_is_standardised_with_the_number_of_the_agent():
    environment = make("Hopper-3x1")
    observations = environment.step(actions(environment, 1)[0]).observations
    for row in range(2):
        state = environment.robot.state(environment.features)[row]
        assert np.allclose(environment.state[row], state)
        for agent in range(3):
            vector = np.concatenate([state, np.eye(3)[agent]])
            assert np.allclose(observations[row, agent], (vector - vector.mean()) / vector.std(), atol=1e-6)


def test_local_view_has_own_joints_those_nearby_and_the_root():
    environment = make("HalfCheetah-6x1-local", copies=1)
    observations = environment.step(actions(environment, 1)[0]).observations[0]
    frame = environment.frame(0)
    joint = {name_of(environment, i): i for i in range(environment.robot.model.njnt)}
    positions, velocities = frame["positions"], frame["velocities"]

    def expected(agent, own, *others):
        seen = [positions[joint[own]], velocities[joint[own]], *(positions[joint[name]] for name in others)]
        seen += [*positions[1:3], *velocities[:3]]
        return [*seen, *[0.0] * (11 - len(seen)), *np.eye(6)[agent]]

    # In the order of distance, then of names: the shin and the other thigh touch the thigh, and so on.
    assert np.allclose(observations[0], expected(0, "bthigh", "bshin", "fthigh", "bfoot", "fshin"), atol=1e-6)
    assert np.allclose(observations[2], expected(2, "bfoot", "bshin", "bthigh"), atol=1e-6)


def test_neighbours_sets_how_far_an_agent_sees():
    lengths = [make("HalfCheetah-6x1-local", neighbours=n).view.lengths for n in (0, 1, 2)]
    assert lengths == [[7] * 6, [9, 9, 8, 9, 9, 8], [11, 10, 9, 11, 10, 9]]


def test_touching_joints_follow_from_the_bodies():
    robot = Ant()
    model = robot.model
    names = [{model.joint(j).name for j in joints} for joints in touching(model, model.actuator_trnid[:, 0].tolist())]
    legs = [{f"hip_{i}", f"ankle_{i}"} for i in (1, 2, 3, 4)]
    assert sorted(map(sorted, names)) == sorted(map(sorted, [*legs, {f"hip_{i}" for i in (1, 2, 3, 4)}]))


def test_the_humanoid_takes_the_librarys_edges_because_the_bodies_say_otherwise():
    model = Humanoid().model
    sets = touching(model, model.actuator_trnid[:, 0].tolist())
    both = {model.joint(f"{side}_shoulder1").id for side in ("left", "right")}
    assert any(both <= joints for joints in sets)
    assert not any(set(edge) >= {"left_shoulder1", "right_shoulder1"} for edge in Humanoid.edges)


@pytest.mark.parametrize(
    ("task", "first", "last"),
    [
        ("HalfCheetah-3x2", [0, 1], [4, 5]),
        ("Ant-2x4", [0, 1, 2, 3], [4, 5, 6, 7]),
        ("Ant-2x4-library", [2, 3, 4, 5], [6, 7, 0, 1]),
        ("Walker2d-2x3-library", [2, 1, 0], [5, 4, 3]),
    ],
)
def test_partitions_deal_the_actuators(task, first, last):
    environment = make(task, copies=1)
    assert (environment.actuators[0], environment.actuators[-1]) == (first, last)
    joint = actions(environment, 1)[0]
    controls = environment.controls(joint)[0]
    for agent, own in enumerate(environment.actuators):
        assert np.allclose(controls[own], joint[0, agent])


def test_actions_span_the_range_of_the_actuators_and_cost_as_asked():
    environment = make("Humanoid-17x1", copies=1)
    assert np.allclose(environment.controls(torch.full((1, 17, 1), -1.0)), -0.4)
    assert np.allclose(environment.controls(torch.full((1, 17, 1), 2.0)), 0.8)
    once, twice = (make("HalfCheetah-3x2", copies=1).step(torch.full((1, 3, 2), a)) for a in (1.0, 2.0))
    assert torch.equal(once.state, twice.state)
    assert float(once.reward - twice.reward) == pytest.approx(0.1 * 6 * (4 - 1), rel=1e-5)


def test_a_run_depends_neither_on_its_cohort_nor_on_threads():
    pair, alone, shared = make("Hopper-3x1", (3, 5)), make("Hopper-3x1", (5,)), make("Hopper-3x1", (5,), threads=2)
    ended = 0
    for joint in actions(pair, 120):
        both, one, two = pair.step(joint), alone.step(joint[2:]), shared.step(joint[2:])
        assert same([None if part is None else part[2:] for part in both], one)
        assert same(one, two)
        ended += int(one.terminated.sum())
    assert ended > 4  # new starts were drawn on the way


def test_starts_differ_by_seed_copy_episode_and_stream_and_lie_within_the_noise():
    environment = make("HalfCheetah-3x2", (0, 1), episode_steps=1)
    starts = [environment.features.copy()]
    for joint in actions(environment, 2):
        environment.step(joint)
        starts.append(environment.features.copy())
    rows = np.concatenate([*starts, make(stream="evaluation").features])
    assert len(np.unique(rows[:, 1:].round(9), axis=0)) == len(rows)
    offset = rows[:, environment.robot.columns["qpos"]] - environment.robot.model.qpos0
    assert 0.08 < np.abs(offset).max() <= 0.1
    many = make("HalfCheetah-3x2", (0,), copies=200)
    velocities = many.features[:, many.robot.columns["qvel"]]
    assert velocities.std() == pytest.approx(0.1, rel=0.05)
    assert np.abs(velocities).max() > 0.3  # normal, not uniform


def test_an_evaluation_does_not_depend_on_how_long_the_one_before_was():
    first, second = make("Hopper-3x1"), make("Hopper-3x1")
    for joint in actions(first, 100):
        first.step(joint)
    again = first.reset()
    assert torch.equal(again, second.reset())
    assert not torch.equal(again, second.reset())


def test_a_fall_terminates_and_the_row_alone_starts_anew():
    environment = make("Hopper-3x1", copies=3)
    for joint in actions(environment, 60):
        step = environment.step(joint)
        if step.terminated.any() and not step.terminated.all():
            break
    fallen = step.terminated
    assert 0 < int(fallen.sum()) < 3
    assert not step.truncated.any()
    changed = (step.observations != step.next_observations).flatten(1).any(1)
    assert torch.equal(changed, fallen)
    assert torch.equal((step.state != step.next_state).any(1), fallen)
    assert torch.equal(step.state, environment.state)
    row = int(fallen.nonzero()[0])
    frame, start = environment.frame(row), environment.features[row, environment.robot.columns["qpos"]]
    assert not np.allclose(frame["positions"], start)  # it shows where the step led
    assert np.allclose(frame["positions"][1:], step.next_state[row, :5], atol=1e-6)


def test_time_truncates():
    environment = make(episode_steps=5)
    ends = [environment.step(joint).truncated.tolist() for joint in actions(environment, 10)]
    assert ends == [[False, False]] * 4 + [[True, True]] + [[False, False]] * 4 + [[True, True]]


@pytest.mark.parametrize("task", ["Hopper-3x1", "Ant-4x2-local", "HumanoidStandup-17x1"])
@pytest.mark.parametrize("until", [30, 45])  # with and without starts in the step before
def test_resume_is_exact(task, until):
    environment, other = (make(task, copies=8, episode_steps=30) for _ in range(2))
    played = actions(environment, 90)
    for joint in played[:until]:
        environment.step(joint)
    snapshot = environment.snapshot()
    expected = [environment.step(joint) for joint in played[until:]]
    observations = other.restore(snapshot)
    assert torch.equal(observations, other.restore({name: value.clone() for name, value in snapshot.items()}))
    assert all(same(other.step(joint), step) for joint, step in zip(played[until:], expected, strict=True))
    assert np.array_equal(other.engine.state(), environment.engine.state())
    assert np.array_equal(other.features, environment.features)


def test_resume_needs_the_warm_start():
    # Of the robots, the humanoids' solver (PGS, 50 iterations) depends on it most: 1e-4 in a step.
    environment, other = make("HumanoidStandup-17x1", copies=16), make("HumanoidStandup-17x1", copies=16)
    played = actions(environment, 31)
    for joint in played[:30]:
        environment.step(joint)
    other.restore(environment.snapshot())
    for data in other.engine.data:
        data.qacc_warmstart[:] = 0.0
    environment.step(played[30])
    other.step(played[30])
    assert np.abs(other.features - environment.features).max() > 1e-6


def test_an_unstable_row_is_not_finite_until_its_next_episode(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    environment, calm = make(copies=3, episode_steps=4), make(copies=3, episode_steps=4)
    environment.engine.data[1].qvel[:] = 1e12
    for joint in actions(environment, 3):
        step, other = environment.step(joint), calm.step(joint)
        finite = torch.isfinite(step.next_observations).flatten(1).all(1)
        assert finite.tolist() == torch.isfinite(step.reward).tolist() == [True, False, True]
        assert torch.equal(step.observations[[0, 2]], other.observations[[0, 2]])
    step = environment.step(actions(environment, 1)[0])
    assert step.truncated.all()
    assert torch.isfinite(step.observations).all()
    assert not list(tmp_path.iterdir())  # no MUJOCO_LOG.TXT


def test_references_are_simulated_once_and_leave_the_environment_alone():
    environment = make(episode_steps=30)
    state = environment.state.clone()
    first = environment.references(0)
    assert set(first) == {"uniform", "idle"}
    assert first["uniform"] < first["idle"] < 5.0  # random torque costs 0.2 a step and leads nowhere
    assert environment.references(1) == first
    assert torch.equal(environment.state, state)


def test_a_frame_is_enough_for_a_renderer():
    environment = make("ManyAgentSwimmer-10x2", copies=1)
    environment.step(actions(environment, 1)[0])
    frame = environment.frame(0)
    model = mujoco.MjModel.from_xml_string(frame["model"])
    assert (frame["kind"], len(frame["positions"]), len(frame["velocities"])) == ("robot", model.nq, model.nv)
    assert model.camera("track").id == 0
    assert frame["seconds"] == pytest.approx(0.02)


def test_the_swimmer_is_a_chain_of_motors():
    model = make("ManyAgentSwimmer-10x2").robot.model
    assert (model.nu, model.nq, model.nbody) == (20, 23, 22)
    assert model.opt.timestep == 0.005
    axes = [float(model.joint(f"rot{i}").axis[2]) for i in range(20)]
    assert axes == [1, 1, *[-1, 1] * 9][:20]
    assert not model.geom_contype.any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"robot": "Hoper"}, "mamujoco/HalfCheetah-3x2: unknown robot 'Hoper'; nearest: 'Hopper'"),
        ({"agents": 4}, "4 agents with 2 joints each, but the robot has 6 joints"),
        ({"partition": "library"}, "unknown partition of gymnasium-robotics '3x2'"),
        ({"view": "locl"}, "unknown view 'locl'; nearest: 'local'"),
    ],
)
def test_parameters_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(RepriseError, match=message):
        make(**changes)


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr(models, "find_spec", lambda name: None)
    with pytest.raises(RepriseError, match="pip install gymnasium"):
        make()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RepriseError, match="pip install mujoco gymnasium"):
        importlib.reload(package)


def test_gymnasium_is_not_imported(repository_root):
    program = "import sys; sys.path.insert(0, 'tests/unit'); import mujoco_worlds; mujoco_worlds.make(); "
    program += "sys.exit('gymnasium' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=repository_root, check=False).returncode == 0
