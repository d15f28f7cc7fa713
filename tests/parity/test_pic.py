"""The -pic tasks against the released code of PIC (Liu et al. 2019, commit 59a61b3), step by step.

``data/pic.npz`` holds what PIC's own environments did, so that the test needs none of it. The script that made it
loads ``multiagent/scenarios/simple_spread_n{3,6,15,30,100,200}.py`` and ``simple_coop_push_n{3,6,15,30}.py`` of that
commit with stand-ins for gym, numba and bridson (PIC uses of them names, a decorator and a sampler of landmarks),
resets, crowds the agents of every second episode around the ball, or around the centre, and plays random relaxed
actions k/255, 40 % of the weights 0. Per task: ``start`` positions [e, E, 2], ``actions`` uint8 [e, T, N, 5],
``rewards`` [e, T] of a single agent (all are equal), and k times an episode ``states`` [e, k, S] and ``observations``
[e, k, N, O]; float64.

Once, longer recordings of the same kind were compared: 20 episodes of 25 steps per task (12 for N >= 100), half of them
crowded; docs/environments/mpe.md has the differences.
"""

from pathlib import Path

import numpy as np
import pytest
import torch

from reprise.environments.mpe import ParticleEnvironment
from reprise.experiments import config

DATA = Path(__file__).parent / "data" / "pic.npz"
NAVIGATION = [f"cooperative_navigation-n{n}" for n in (3, 6, 15, 30, 100, 200)]
PUSH = [f"cooperative_push-n{n}" for n in (3, 6, 15, 30)]
PARTS = ("start", "actions", "rewards", "states", "observations")


@pytest.fixture(scope="module")
def project(repository_root):
    return config.load(repository_root)


def make(project, task, copies, dtype, **changes):
    """The environment of a task as configured, some parameters changed."""
    environment, entry = project.task(f"mpe/{task}")
    values = {name: each.value for name, each in {**environment.declared(entry), **entry.parameters}.items()}
    place = {"seeds": [0], "copies": copies, "device": torch.device("cpu"), "dtype": dtype}
    return ParticleEnvironment(values | changes, task=f"mpe/{task}", **place)


def recorded(task):
    with np.load(DATA, allow_pickle=False) as data:
        return {part: torch.from_numpy(data[f"{task}/{part}"]) for part in PARTS}


def largest_difference(project, task, dtype=torch.float64, **wrong):
    """Of rewards, states and observations over the recorded steps; ``wrong`` changes a parameter on our side."""
    theirs = recorded(task)
    episodes, steps = theirs["rewards"].shape
    every = steps // theirs["states"].shape[1]
    environment = make(project, f"{task}-pic", episodes, dtype, episode_steps=steps + 1, **wrong)
    environment.scenario.world.place(theirs["start"].to(dtype))
    worst = 0.0
    for time in range(steps):
        step = environment.step((theirs["actions"][:, time].double() / 255.0).to(dtype))
        pairs = [(step.reward, theirs["rewards"][:, time])]
        if (time + 1) % every == 0:
            index = (time + 1) // every - 1
            pairs += [
                (step.state, theirs["states"][:, index]),
                (step.observations, theirs["observations"][:, index]),
                (environment.observe(step.state), theirs["observations"][:, index]),
            ]
        worst = max(worst, *(float((ours - there).abs().max()) for ours, there in pairs))
    return worst


@pytest.mark.parametrize("task", NAVIGATION + PUSH)
def test_the_same_states_and_actions_give_the_same(project, task):
    assert largest_difference(project, task) < 1e-9


@pytest.mark.parametrize(
    ("task", "wrong"),
    [
        ("cooperative_navigation-n6", {"others_order": "distance"}),
        ("cooperative_navigation-n6", {"landmarks_order": "distance"}),
        ("cooperative_navigation-n6", {"coverage_weight": 1.0}),
        ("cooperative_navigation-n6", {"self_collision": False}),
        ("cooperative_navigation-n15", {"own_position_twice": False}),
        ("cooperative_navigation-n30", {"own_position_twice": False}),
        ("cooperative_navigation-n100", {"own_position_twice": True}),
        ("cooperative_navigation-n100", {"others_order": "index"}),
        ("cooperative_navigation-n200", {"collision_penalty": 0.9}),
        ("cooperative_navigation-n30", {"agent_size": 0.14}),
        ("cooperative_navigation-n30", {"position_first": True}),
        ("cooperative_navigation-n15", {"positive_first": False}),
        ("cooperative_push-n3", {"contact_distance": "sizes"}),
        ("cooperative_push-n6", {"contact_distance": "sizes"}),
        ("cooperative_push-n6", {"ball_mass": 3.9}),
        ("cooperative_push-n15", {"contact_distance": "sizes"}),
        ("cooperative_push-n15", {"contact_bonus": 0.0}),
        ("cooperative_push-n15", {"ball_weight": 1.0}),
        ("cooperative_push-n15", {"approach_weight": 1.0}),
        ("cooperative_push-n15", {"others_order": "index"}),
        ("cooperative_push-n30", {"ghosts": 0}),
    ],
    ids=str,
)
def test_an_error_of_pic_repaired_or_a_fault_planted_is_seen(project, task, wrong):
    assert largest_difference(project, task, **wrong) > 1e-3
