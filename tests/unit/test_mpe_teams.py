"""The tasks for large teams: geometry, rewards, contacts against the dense world, states and observations, absence."""

import pytest
import torch
from particle_worlds import make, parameters, project

from reprise.environments.mpe import sight
from reprise.environments.mpe.references import head_for_targets
from reprise.environments.mpe.world import World
from reprise.environments.protocol import Box
from reprise.errors import RepriseError

TASKS = [name for name in project().environments["mpe"].tasks if name.startswith("cooperative")]
QUICK = [name for name in TASKS if not name.endswith(("n200", "n200-pic", "n500", "n500-pic"))]
NAVIGATION = [3, 6, 15, 30, 100, 200, 500]


def actions_for(environment, steps, seed=0):
    shape = (steps, environment.rows, environment.spec.agents, 5)
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)).to(environment.state.dtype)


def crowd(environment, share=0.5, scale=0.25):
    """Move the agents of a share of the rows together, so that some have more in reach than they see."""
    world = environment.scenario.world
    world.positions[: int(share * environment.rows), : world.agents] *= scale
    world.refresh()


@pytest.mark.parametrize(
    ("task", "size", "state", "constant"),
    [
        *((f"cooperative_navigation-n{n}", 14 if n == 3 else 26, 6 * n, 2 * n) for n in NAVIGATION),
        ("cooperative_navigation-varying", 27, 105, 45),
        *((f"cooperative_push-n{n}", size, 4 * n + 6, 2) for n, size in ((3, 12), (6, 18), (15, 28), (30, 18))),
    ],
)
def test_spec(task, size, state, constant):
    spec = make(task, copies=1).spec
    assert (spec.observation_size, spec.state_size, spec.state_constant) == (size, state, constant)
    assert spec.actions == Box(5, 0.0, 1.0)
    assert spec.varying == task.endswith("varying")


def test_every_task_stands_beside_one_with_pics_errors():
    plain = [name for name in TASKS if not name.endswith(("-pic", "-varying"))]
    assert plain == [f"cooperative_navigation-n{n}" for n in NAVIGATION] + [
        f"cooperative_push-n{n}" for n in (3, 6, 15, 30)
    ]
    assert all(f"{name}-pic" in TASKS for name in plain)
    assert "arena" not in parameters("simple_spread")  # nothing of this reaches the other tasks


@pytest.mark.parametrize("task", QUICK)
def test_a_state_says_what_is_seen_to_the_last_bit(task):
    environment = make(task, copies=40)
    crowd(environment)
    for time, joint in enumerate(actions_for(environment, 26)):
        step = environment.step(joint)
        assert torch.equal(environment.spec.observe(step.next_state), step.next_observations)
        if time in (0, 24):
            states = step.state.view(2, 20, -1)[:, 3:17]
            assert torch.equal(
                environment.observe(states), step.observations.view(2, 20, *step.observations.shape[1:])[:, 3:17]
            )
    constant = environment.spec.state_constant
    assert torch.equal(step.state[:, -constant:], environment.scenario.world.state[:, -constant:])


@pytest.mark.parametrize(
    "task", ["cooperative_navigation-n15", "cooperative_navigation-varying", "cooperative_push-n30-pic"]
)
def test_a_row_does_not_depend_on_the_others(task):
    """To the last bit, alone or among others, crowded or not."""
    among, alone = make(task, copies=67), make(task, copies=1)
    crowd(among)
    row = 20
    alone.restore(
        {**among.snapshot(), "state": among.state[row : row + 1].clone().copy_(among.scenario.world.state[row])}
    )
    for joint in actions_for(among, 24):
        step, own = among.step(joint), alone.step(joint[row : row + 1])
        assert torch.equal(step.observations[row], own.observations[0])
        assert torch.equal(step.reward[row], own.reward[0])
        assert torch.equal(step.state[row], own.state[0])


@pytest.mark.parametrize("task", ["cooperative_navigation-n6", "cooperative_navigation-n30", "cooperative_push-n15"])
def test_contacts_are_those_of_the_dense_world(task):
    """The world that looks at all pairs moves the same way, also where agents are so crowded that sight misses some."""
    environment = make(task, copies=12, dtype=torch.float64)
    crowd(environment, scale=0.05 if "push" in task else 0.2)
    crowded = environment.scenario.world
    dense = World(crowded.entities, crowded.dialect, 12, torch.device("cpu"), torch.float64)
    most = 0
    for joint in actions_for(environment, 10):
        dense.state.copy_(crowded.state)
        dense.refresh()
        near = dense.agent_distances < crowded.touch + 40 * crowded.dialect.contact_margin
        most = max(most, int(near.sum(2).max()) - 1)
        dense.step(environment.forces(joint))
        environment.step(joint)
        torch.testing.assert_close(crowded.state, dense.state, rtol=0, atol=1e-11)
        touching = crowded.survey.touching
        assert torch.equal(touching.long(), dense.touching())
    assert most > min(sight.CONTACTS, crowded.eyes.others) or task.endswith("n6")


def test_missing_what_is_in_reach_beyond_sight_would_be_seen(monkeypatch):
    """The comparison above fails where crowded agents are taken for complete."""
    monkeypatch.setattr(sight.Sight, "_crowded", lambda self, agents, rows: (0.0, 0))
    with pytest.raises(AssertionError):
        test_contacts_are_those_of_the_dense_world("cooperative_navigation-n30")


@pytest.mark.parametrize("task", ["cooperative_navigation-n15", "cooperative_navigation-n6-pic"])
def test_the_reward_of_navigation(task):
    environment = make(task, copies=6, dtype=torch.float64)
    crowd(environment)
    step = environment.step(actions_for(environment, 1)[0])
    agents = environment.spec.agents
    positions = environment.scenario.world.positions
    for row in range(6):
        people, marks = positions[row, :agents], positions[row, agents:]
        covered = sum(float((people - mark).norm(dim=1).min()) for mark in marks)
        touching = sum(
            float((people[i] - people[j]).norm()) < 0.3 for i in range(agents) for j in range(agents) if i != j
        )
        pic = task.endswith("pic")
        expected = -(agents * covered + touching + agents) if pic else -(covered + touching)
        assert float(step.reward[row]) == pytest.approx(expected, abs=1e-9)
    assert environment.scenario.world.survey.touching[:3].sum() > 0


@pytest.mark.parametrize("task", ["cooperative_push-n15", "cooperative_push-n15-pic"])
def test_the_reward_of_push(task):
    environment = make(task, copies=6, dtype=torch.float64, contact_force=0.0)
    world = environment.scenario.world
    world.positions[:3, :4] = world.positions[:3, 15:16] + 0.1
    world.refresh()
    step = environment.step(torch.zeros(6, 15, 5, dtype=torch.float64))
    touched = 0
    for row in range(6):
        people, ball, target = world.positions[row].split([15, 1, 1])
        near = (people - ball).norm(dim=1)
        touched += int((near < 0.22).sum())
        expected = -float((ball - target).norm()) - float(near.min())
        if task.endswith("pic"):
            expected = -2 * float((ball - target).norm()) - 0.1 * float(near.min()) + 0.1 * int((near < 0.22).sum())
        assert float(step.reward[row]) == pytest.approx(expected, abs=1e-9)
    assert touched > 0


@pytest.mark.parametrize(("task", "width"), [("n3", 3.0), ("n6", 1.5), ("n15", 2.2), ("n30", 3.0), ("n100", 5.0)])
def test_starts_of_navigation(task, width):
    environment = make(f"cooperative_navigation-{task}", copies=100)
    agents = environment.spec.agents
    people, marks = environment.scenario.world.positions.split(agents, dim=1)
    assert people.abs().max() <= width
    assert people.abs().amax() > 0.97 * width
    assert marks.abs().max() <= width
    apart = torch.cdist(marks.double(), marks.double()) + 9 * torch.eye(agents)
    assert apart.min() >= 0.675 - 1e-6
    again = make(f"cooperative_navigation-{task}", copies=100)
    assert torch.equal(environment.state, again.state)
    assert not torch.equal(environment.state, make(f"cooperative_navigation-{task}", copies=100, seeds=(1,)).state)
    assert environment.scenario.world.velocities.abs().max() == 0


@pytest.mark.parametrize(("number", "spacing", "inner"), [(3, 0.8, 0.8), (6, 0.8, 0.8), (15, 1.0, 1.8), (30, 1.2, 1.8)])
def test_starts_of_push(number, spacing, inner):
    environment = make(f"cooperative_push-n{number}", copies=3000)
    ball, target = environment.scenario.world.positions[:, number:].unbind(1)
    assert torch.cat([ball, target]).abs().max() <= inner
    assert (ball - target).norm(dim=1).min() > spacing
    pic = make(f"cooperative_push-n{number}-pic", copies=3000)
    ball, target = pic.scenario.world.positions[:, number:].unbind(1)
    near = ((ball - target).norm(dim=1) <= spacing).double().mean()
    assert (near > 0) == (number > 6)  # two tries are not always enough
    assert near < 0.2


def test_absent_agents():
    environment = make("cooperative_navigation-varying", copies=300)
    world = environment.scenario.world
    numbers = world.present.sum(1)
    assert sorted(set(numbers.tolist())) == list(range(6, 16))
    for joint in actions_for(environment, 10):
        step = environment.step(joint)
    absent = world.present == 0
    assert absent.any()
    assert torch.equal(step.observations[..., -1], world.present)
    assert (step.observations[absent] == 0).all()
    assert (world.velocities[absent] == 0).all()
    # A team of n among absent ones is the team of n alone.
    for number in (6, 11):
        row = int((numbers == number).nonzero()[0])
        small = make("cooperative_navigation-n15", copies=1, agents=number)
        state, own = world.state[row], small.scenario.world
        own.velocities.copy_(state[:30].view(15, 2)[:number])
        own.positions[:, :number] = state[30:60].view(15, 2)[:number]
        own.positions[:, number:] = state[60:90].view(15, 2)[:number]
        own.refresh()
        seen = environment.observe(state)[:number, :-1]
        assert torch.equal(seen, small.scenario.observe()[0])
        torch.testing.assert_close(environment.scenario.reward()[row], small.scenario.reward()[0])
        assert torch.equal(world.survey.contacts[row, :number], own.survey.contacts[0])
        assert environment.frame(row)["positions"].shape == (2 * number, 2)


def test_fewer_than_one_sees_are_present():
    environment = make("cooperative_navigation-varying", copies=50, least_present=1)
    world = environment.scenario.world
    row = int((world.present.sum(1) == 1).nonzero()[0])
    seen = environment.scenario.observe()[row, 0]
    assert (seen[6:26] == 0).all()  # five of six landmarks, five others
    assert (seen[4:6] != 0).all()
    assert world.survey.touching[row] == 0


@pytest.mark.parametrize("before", [3, 30])
def test_resume_is_exact(before):
    environment = make("cooperative_navigation-varying", seeds=(0, 1))
    actions = actions_for(environment, before + 30)
    for joint in actions[:before]:
        environment.step(joint)
    again = make("cooperative_navigation-varying", seeds=(0, 1))
    again.restore(environment.snapshot())
    assert torch.equal(again.state, environment.state)
    for joint in actions[before:]:
        one, two = environment.step(joint), again.step(joint)
        assert torch.equal(one.observations, two.observations)
        assert torch.equal(one.reward, two.reward)
        assert torch.equal(one.state, two.state)


@pytest.mark.parametrize("task", ["cooperative_navigation-n6", "cooperative_navigation-varying", "cooperative_push-n6"])
def test_references(task):
    found = make(task).references(0)
    assert found["uniform"] < found["scripted"] < 0


def test_the_script_covers_the_landmarks():
    environment = make("cooperative_navigation-n30", copies=50, continuous=False)
    before = environment.scenario.gaps().mean()
    for _ in range(24):
        environment.step(head_for_targets(environment.scenario, environment.controls, 25))
    assert environment.scenario.gaps().mean() < before / 3


@pytest.mark.parametrize("task", ["cooperative_navigation-n6", "cooperative_push-n3"])
def test_frame(task):
    environment = make(task, copies=2)
    frame = environment.frame(1)
    assert frame["extent"] == parameters(task)["arena"]
    assert len(frame["positions"]) == len(frame["sizes"]) == len(frame["roles"])
    for entity, target in frame["links"]:
        others = (environment.scenario.world.positions[1] - torch.from_numpy(frame["targets"][target])).norm(dim=1)
        if entity < environment.spec.agents:
            assert others[: environment.spec.agents].argmin() == entity


def test_success():
    environment = make("cooperative_navigation-n6", copies=2, contact_force=0.0, episode_steps=1)
    world = environment.scenario.world
    world.positions[:, :6] = world.positions[:, 6:].flip(1)
    world.positions[1, 0] += 0.2
    world.refresh()
    assert environment.step(torch.zeros(2, 6, 5)).success.tolist() == [1.0, 0.0]


def test_entities_on_one_spot_do_not_break():
    environment = make("cooperative_navigation-n30", copies=3)
    environment.scenario.world.place(torch.zeros(3, 60, 2))
    step = environment.step(torch.zeros(3, 30, 5))
    assert step.observations.isfinite().all()
    assert step.reward.tolist() == [-30.0 * 29] * 3


def test_bad_parameters():
    with pytest.raises(RepriseError, match="5 other agents cannot be seen: there are 4"):
        make("cooperative_navigation-n15", agents=5)
    with pytest.raises(RepriseError, match="at most 1024"):
        make("cooperative_navigation-n15", agents=1025, copies=1)
