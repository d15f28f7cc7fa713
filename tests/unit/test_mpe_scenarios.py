"""Each task against plain loops written from its definition: whole episodes, crowded ones among them."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from particle_worlds import Loops, make, parameters, random_actions

TASKS = ["simple_spread", "line_control", "circle_control", "simple_spread_original"]
COPIES = 6


def crowded(environment):
    """In half of the copies the agents start so close together that some touch: within 1, 2 and 4 sizes."""
    world = environment.scenario.world
    size = world.entities.agents[0].size
    world.positions[COPIES // 2 :, : world.agents] *= size * torch.tensor([1.0, 2.0, 4.0])[:, None, None]
    world.refresh()
    environment.scenario.begun()
    return world.positions.numpy().copy()


def largest_difference(task, agents, wrong=None, dtype=torch.float64, **changes):
    """Of observations and rewards, over 25 steps; ``wrong`` changes the package's side only."""
    environment = make(task, copies=COPIES, dtype=dtype, agents=agents, **changes, **(wrong or {}))
    starts = crowded(environment)
    plain = [Loops(parameters(task, agents=agents, **changes), start) for start in starts]
    worst, touched = 0.0, 0
    for joint in random_actions(environment, 25):
        step = environment.step(joint)
        for row, loops in enumerate(plain):
            touched += sum(loops.collisions(i) for i in range(agents)) > agents
            loops.step(joint[row].tolist())
            seen = step.next_observations[row].double().numpy() - loops.observations()
            worst = max(worst, float(np.abs(seen).max()), abs(float(step.reward[row]) - loops.reward()))
    assert touched > 0
    return worst


@pytest.mark.parametrize("agents", [2, 3, 5, 7])
@pytest.mark.parametrize("task", TASKS)
def test_equals_plain_loops(task, agents):
    assert largest_difference(task, agents) < 1e-10


@pytest.mark.parametrize("task", TASKS[:3])
def test_equals_plain_loops_with_a_collision_penalty(task):
    assert largest_difference(task, 4, collision_penalty=0.7) < 1e-10


def test_equals_plain_loops_without_matrices(monkeypatch):
    monkeypatch.setattr("reprise.environments.mpe.linear.LARGEST", 0)
    assert largest_difference("line_control", 5) < 1e-10


@pytest.mark.parametrize(
    "wrong",
    [
        {"position_first": True},
        {"positive_first": False},
        {"damping": 0.24},
        {"contact_force": 99.0},
        {"contact_margin": 2e-3},
        {"agent_size": 0.031},
        {"vision": 0.9},
        {"circle_radius": 0.51},
    ],
    ids=str,
)
def test_a_planted_fault_is_caught(wrong):
    assert largest_difference("circle_control", 5, wrong) > 1e-4


@pytest.mark.parametrize(
    "wrong", [{"self_collision": False}, {"reward_join": "mean"}, {"coverage_weight": 0.9}], ids=str
)
def test_a_fault_planted_in_the_reward_is_caught(wrong):
    assert largest_difference("simple_spread_original", 5, wrong) > 0.5


@pytest.mark.parametrize("join", ["sum", "mean"])
@pytest.mark.parametrize("selfish", [True, False])
def test_shared_reward_joins_the_agents_rewards(join, selfish):
    environment = make("simple_spread_original", copies=COPIES, reward_join=join, self_collision=selfish)
    crowded(environment)
    step = environment.step(random_actions(environment, 1)[0])
    own = environment.scenario.agent_rewards()
    torch.testing.assert_close(step.reward, own.sum(1) if join == "sum" else own.mean(1))
    assert (own.amax(1) > own.amin(1)).any()  # the agents' rewards differ where some collide


def test_reward_is_clipped():
    environment = make(copies=2)
    world = environment.scenario.world
    world.positions[1] *= 0.01
    world.positions[1, :5] += 40.0
    world.refresh()
    assert environment.step(torch.zeros(2, 5, dtype=torch.int64)).reward[1] == -15.0


@pytest.mark.parametrize(
    ("task", "size", "distances"),
    [("simple_spread", 30, None), ("line_control", 24, 1.25 / 4), ("circle_control", 22, math.sin(math.pi / 5))],
)
def test_starts_and_targets(task, size, distances):
    environment = make(task, copies=500)
    assert environment.spec.observation_size == size
    positions = environment.scenario.world.positions
    agents, marks = positions[:, :5], positions[:, 5:]
    assert agents.abs().max() <= 1
    assert agents.abs().amax() > 0.99
    assert agents.mean().abs() < 0.05
    assert marks[:, 0].abs().max() <= (1.0 if task == "simple_spread" else 0.25)
    assert marks.abs().max() <= 1
    targets = environment.scenario.targets()
    assert targets.shape == (500, 5, 2)
    if distances is not None:
        for one, two in pairwise(targets.unbind(1)):
            torch.testing.assert_close((one - two).norm(dim=1), torch.full((500,), distances))
    if task == "line_control":
        torch.testing.assert_close(targets[:, -1], marks[:, 1])
        angles = torch.atan2(*(marks[:, 1] - marks[:, 0]).T)
        assert len(angles[angles > 0]) in range(200, 300)  # all directions


@pytest.mark.parametrize("task", ["simple_spread", "line_control", "simple_spread_original"])
def test_success_is_every_target_taken(task):
    environment = make(task, copies=3, contact_force=0.0, episode_steps=1, success_distance=0.02)
    world = environment.scenario.world
    world.positions[:, :5] = environment.scenario.targets().flip(1)
    world.positions[1, 0] += 0.1
    world.positions[2, 0] = world.positions[2, 1]
    world.refresh()
    step = environment.step(torch.zeros(3, 5, dtype=torch.int64))
    assert step.success.tolist() == [1.0, 0.0, 0.0]
