"""The robots against what gymnasium-robotics 1.4.2 once gave (mamujoco.npz, written by mamujoco_library.py)."""

import numpy as np
import pytest

pytest.importorskip("mujoco")

import mujoco
from mamujoco_library import FROZEN, FROZEN_TASKS, LENGTH, SAMPLED, SEGMENTS, actions_of, largest, make_ours

# Every segment of 25 steps starts from a recorded physics state, so that rounding, which a chaotic motion amplifies and
# which may differ from processor to processor, has no time to grow.
TOLERANCE = 1e-9


@pytest.fixture(scope="module")
def frozen():
    with np.load(FROZEN) as file:
        recorded = dict(file)
    if str(recorded["mujoco"]) != mujoco.__version__:
        pytest.skip(f"recorded with mujoco {recorded['mujoco']}; this is {mujoco.__version__}")
    return recorded


def replayed(frozen, root, task):
    """Largest differences of rewards, single-agent and agents' observations from the recorded ones."""
    ours = make_ours(root, task)
    physics, anchor, state, reward, terminated, starts, last = (
        frozen[f"{task}/{name}"] for name in ("physics", "anchor", "state", "reward", "terminated", "starts", "last")
    )
    found, starts = {}, iter(starts)
    for step, action in enumerate(actions_of(ours, SEGMENTS * LENGTH)):
        segment, since = divmod(step, LENGTH)
        if since == 0:
            ours.engine.set_state(physics[segment : segment + 1])
            ours.features = ours.features.copy()
            ours.features[:, 0] = anchor[segment]
        before, controls = ours.features, ours.controls(action)
        made = ours.step(action)
        after = ours.reached
        healthy = ours.robot.healthy(after)
        assert bool(made.terminated) == terminated[step]
        difference = ours.robot.reward(before, after, healthy, controls)[0] - reward[step]
        found = largest(found, {"reward": abs(difference)})
        if (step + 1) % (SAMPLED * LENGTH) == 0:
            difference = ours.robot.state(after)[0] - state[(step + 1) // (SAMPLED * LENGTH) - 1]
            found = largest(found, {"state": np.abs(difference).max()})
        if made.terminated or made.truncated:
            start = next(starts)
            ours.engine.start(0, start[: ours.robot.model.nq], start[ours.robot.model.nq :])
            ours.features = ours.engine.read()
    parts = zip(ours.view.parts(after)[0], ours.view.lengths, strict=True)
    found["observations"] = np.abs(np.concatenate([own[:length] for own, length in parts]) - last).max()
    return found


@pytest.mark.parametrize("task", FROZEN_TASKS)
def test_steps_are_those_recorded(frozen, repository_root, task):
    found = replayed(frozen, repository_root, task)
    assert all(value <= TOLERANCE for value in found.values()), found


def test_the_record_is_small():
    assert FROZEN.stat().st_size < 300e3
