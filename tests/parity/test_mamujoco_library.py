"""The robots against gymnasium-robotics' mamujoco_v1, running freely from equal starts.

Needs gymnasium-robotics (`pip install gymnasium-robotics pettingzoo`), which the package itself does not; skipped where
it is absent (test_mamujoco_frozen.py then still compares with what it once gave). Both sides are MuJoCo, and only the
start of an episode is made equal, warm start included: what is compared is all that is done around the physics, from
the order of the joints to the moment at which contact forces are read.
"""

import numpy as np
import pytest

pytest.importorskip("mujoco")
pytest.importorskip("gymnasium_robotics.envs.multiagent_mujoco.mamujoco_v1")

from mamujoco_library import Library, actions_of, differences, largest, make_ours

from reprise.environments.mamujoco.robots.planar import Hopper

STEPS = 1100
TOLERANCE = 1e-9
TASKS = [
    *("Hopper-3x1", "HalfCheetah-2x3", "HalfCheetah-3x2", "HalfCheetah-6x1"),
    *("Walker2d-2x3", "Walker2d-3x2", "Walker2d-6x1", "Walker2d-2x3-library"),
    *("Ant-2x4", "Ant-4x2", "Ant-8x1", "Ant-2x4-library", "Ant-4x2-library"),
    *("Humanoid-17x1", "HumanoidStandup-17x1", "ManyAgentSwimmer-10x2-library"),
]
ROBOTS = [task for task in TASKS if task.split("-")[1] in ("3x1", "3x2", "4x2", "17x1", "10x2")]


def pair(root, task):
    ours = make_ours(root, task, view="local")
    library = Library(task, ours)
    library.start(ours)
    return ours, library


def played(root, task, steps=STEPS):
    """Largest differences, and how many episodes ended, of ``steps`` steps with resets."""
    ours, library = pair(root, task)
    assert np.array_equal(library.physics(), ours.engine.state()[0])
    found, ends = {}, 0
    for action in actions_of(ours, steps):
        before, controls = ours.features, ours.controls(action)
        seen, state, reward, terminated, truncated = library.step(controls[0], ours.actuators)
        step = ours.step(action)
        found = largest(found, differences(ours, before, ours.reached, controls, seen, state, reward))
        assert (bool(step.terminated), bool(step.truncated)) == (terminated, truncated)
        assert float(step.reward) == pytest.approx(reward, rel=1e-6, abs=1e-6)
        assert np.allclose(step.next_state[0], state, rtol=1e-6, atol=1e-6)
        if terminated or truncated:
            ends += 1
            library.start(ours)
            assert np.array_equal(library.physics(), ours.engine.state()[0])
    return found, ends


def played_on(root, task, steps=STEPS):
    """Largest differences of ``steps`` steps in a row, on the floor if need be."""
    ours, library = pair(root, task)
    found, fallen = {}, 0
    before = ours.features
    for action in actions_of(ours, steps):
        controls = ours.controls(action)
        seen, state, reward, terminated, _ = library.step(controls[0], ours.actuators)
        after = ours.engine.step(controls)
        assert bool(ours.robot.healthy(after)[0]) is not bool(terminated)
        fallen += terminated
        found = largest(found, differences(ours, before, after, controls, seen, state, reward))
        found = largest(found, {"physics": np.abs(ours.engine.state()[0] - library.physics()).max()})
        before = after
    return found, fallen


@pytest.mark.parametrize("task", TASKS)
def test_episodes_are_the_same(repository_root, task):
    found, ends = played(repository_root, task)
    assert all(value <= TOLERANCE for value in found.values()), found
    assert ends >= 1


@pytest.mark.parametrize("task", ROBOTS)
def test_more_than_a_thousand_steps_in_a_row_are_the_same(repository_root, task):
    found, _ = played_on(repository_root, task)
    assert all(value <= TOLERANCE for value in found.values()), found


def test_a_lost_warm_start_would_be_found(repository_root):
    ours, library = pair(repository_root, "HalfCheetah-3x2")
    found = {}
    for action in actions_of(ours, 200):
        before, controls = ours.features, ours.controls(action)
        seen, state, reward, *_ = library.step(controls[0], ours.actuators)
        ours.engine.data[0].qacc_warmstart[:] = 0.0
        ours.step(action)
        found = largest(found, differences(ours, before, ours.reached, controls, seen, state, reward))
    assert max(found.values()) > TOLERANCE


def test_a_wrong_constant_would_be_found(repository_root, monkeypatch):
    monkeypatch.setattr(Hopper, "control_cost", 2e-3)
    with pytest.raises(AssertionError):
        played(repository_root, "Hopper-3x1", 100)
    monkeypatch.setattr(Hopper, "control_cost", 1e-3)
    monkeypatch.setattr(Hopper, "angles", (-0.05, 0.05))
    with pytest.raises(AssertionError):
        played(repository_root, "Hopper-3x1", 100)
