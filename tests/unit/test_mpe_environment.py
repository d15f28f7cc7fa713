"""The particle environment behind the protocol: resets, resume, independence of runs, references, errors."""

import pytest
import torch
from particle_worlds import make, parameters, random_actions

from reprise.environments import registry
from reprise.environments.mpe.matching import ALL_PERMUTATIONS, Matching
from reprise.environments.mpe.references import head_for_targets
from reprise.environments.mpe.world import Dialect, Entities, Entity, World
from reprise.environments.protocol import Box, Discrete
from reprise.errors import RepriseError

RULES = ("position_first", "positive_first", "contact_distance", "gain")
RULES = (*RULES, "time_step", "damping", "contact_force", "contact_margin")


def play(environment, actions):
    steps = [environment.step(joint) for joint in actions]
    return torch.stack([step.observations for step in steps]), torch.stack([step.reward for step in steps])


def test_spec():
    spec = make().spec
    assert (spec.name, spec.agents, spec.actions, spec.episode_limit) == ("mpe/simple_spread", 5, Discrete(5), 25)
    assert (spec.observation_size, spec.state_size, spec.one_hot, spec.exact) == (30, 30, False, False)
    assert spec.return_bounds == (-375.0, 0.0)
    assert make("simple_spread_v3").spec.return_bounds == (float("-inf"), 0.0)
    assert make("simple_spread_v3", continuous=True).spec.actions == Box(5, 0.0, 1.0)
    assert make("line_control-n4").spec.agents == 4


def test_the_registry_makes_it(tmp_path):
    module = "reprise.environments.mpe.ParticleEnvironment"
    config = {"name": "mpe", "task": "simple_spread", "module": module, "parameters": parameters("simple_spread")}
    environment = registry.make(config, seeds=[0, 1], copies=3, cache=tmp_path)
    assert environment.reset().shape == (6, 5, 30)


def test_types_and_auto_reset():
    environment = make(copies=3)
    for time, joint in enumerate(random_actions(environment, 60), start=1):
        world = environment.scenario.world
        step = environment.step(joint)
        ends = time % 25 == 0
        assert step.observations.dtype == step.reward.dtype == torch.float32
        assert step.observations.shape == (3, 5, 30)
        assert step.reward.shape == (3,)
        assert step.terminated.tolist() == [False] * 3
        assert step.truncated.tolist() == [ends] * 3
        assert step.success.isnan().tolist() == [not ends] * 3
        assert step.available_actions is None
        assert torch.equal(step.state, world.state)
        assert torch.equal(environment.state, step.state)
        assert torch.equal(step.next_state, step.state) != ends
        assert torch.equal(environment.observe(step.next_state), step.next_observations)
        assert torch.equal(step.observations, step.next_observations) != ends
        # What is to be acted on belongs to the world as it now stands: at rest where an episode began.
        assert torch.equal(step.observations[..., 2:4], world.positions[:, :5])
        assert (step.observations[..., :2] == 0).all() == ends


def test_observations_are_not_overwritten_by_later_steps():
    environment = make()
    first = environment.step(random_actions(environment, 1)[0]).observations
    kept = first.clone()
    play(environment, random_actions(environment, 3))
    assert torch.equal(first, kept)


@pytest.mark.parametrize("task", ["simple_spread", "line_control", "circle_control"])
@pytest.mark.parametrize("before", [3, 25, 470])
def test_resume_is_exact(task, before):
    environment = make(task, seeds=(0, 1))
    actions = random_actions(environment, before + 60)
    play(environment, actions[:before])
    snapshot = environment.snapshot()
    expected = play(environment, actions[before:])
    again = make(task, seeds=(0, 1))
    observations = again.restore(snapshot)
    found = play(again, actions[before:])
    assert observations.shape == (8, 5, again.spec.observation_size)
    assert all(torch.equal(one, two) for one, two in zip(expected, found, strict=True))
    assert all(torch.equal(value, snapshot[key]) for key, value in environment_at(environment, snapshot).items())


def environment_at(environment, snapshot):
    environment.restore(snapshot)
    return environment.snapshot()


def test_a_run_does_not_depend_on_the_others():
    alone, among = make(seeds=(7,), copies=3), make(seeds=(2, 7, 4), copies=3)
    actions = random_actions(among, 80)
    observations, rewards = play(among, actions)
    own_observations, own_rewards = play(alone, actions[:, 3:6])
    torch.testing.assert_close(observations[:, 3:6], own_observations, rtol=0, atol=2e-5)
    torch.testing.assert_close(rewards[:, 3:6], own_rewards, rtol=0, atol=2e-5)


def test_starts_depend_on_seed_stream_and_episode():
    starts = [make(seeds=(seed,), stream=stream).reset() for seed in (0, 1) for stream in ("environment", "other")]
    assert all(not torch.equal(one, two) for one in starts for two in starts if one is not two)
    environment = make()
    assert not torch.equal(environment.reset(), environment.reset())
    assert torch.equal(make().reset(), starts[0])


@pytest.mark.parametrize("size", [1, 2, 5, ALL_PERMUTATIONS, ALL_PERMUTATIONS + 1, 12])
def test_matching_is_the_cheapest(size):
    from scipy.optimize import linear_sum_assignment

    costs = torch.rand(50, size, size, generator=torch.Generator().manual_seed(size), dtype=torch.float64)
    matching = Matching(size, costs.device, costs.dtype)
    for cost, total, columns in zip(costs, matching.cost(costs), matching.columns(costs), strict=True):
        rows, best = linear_sum_assignment(cost.numpy())
        assert float(total) == pytest.approx(float(cost[rows, best].sum()), abs=1e-12)
        assert columns.tolist() == best.tolist()


@pytest.mark.parametrize(("contact_distance", "reach"), [("sizes", 0.30), ("first_agent", 0.20)])
def test_world_with_objects_pushes_by_mass(contact_distance, reach):
    """An agent inside a heavy ball: equal and opposite forces, accelerations by mass, depth by the contact rule."""
    rules = {name: parameters("simple_spread")[name] for name in RULES} | {"contact_distance": contact_distance}
    entities = Entities([Entity(size=0.1)], [Entity(size=0.2, mass=4.0)])
    world = World(entities, Dialect(**rules), 1, torch.device("cpu"), torch.float64)
    world.place(torch.tensor([[[0.0, 0.0], [0.15, 0.0]]], dtype=torch.float64))
    world.step(torch.zeros(1, 1, 2, dtype=torch.float64))
    force = 100 * (reach - 0.15)  # far above the margin
    torch.testing.assert_close(world.velocities[0, :, 0], torch.tensor([-0.1 * force, 0.1 * force / 4.0]).double())


def test_entities_on_one_spot_do_not_break():
    environment = make()
    environment.scenario.world.place(torch.zeros(4, 10, 2))
    step = environment.step(random_actions(environment, 1)[0])
    assert step.observations.isfinite().all()
    assert step.reward.isfinite().all()


def test_many_agents():
    environment = make("simple_spread_original", copies=1, agents=200)
    observations, rewards = play(environment, random_actions(environment, 2))
    assert observations.shape == (2, 1, 200, 4 + 400 + 398 + 398)
    assert rewards.isfinite().all()


@pytest.mark.parametrize("task", ["simple_spread", "line_control", "circle_control", "simple_spread_v3"])
def test_references(task):
    environment = make(task, seeds=(0, 1))
    found = environment.references(0)
    assert found == environment.references(1) == make(task, seeds=(5,)).references(5)
    assert found["uniform"] < 2 * found["scripted"] < 0
    # Fresh episodes of the uniform policy agree within four standard errors.
    fresh = make(task, copies=2000, seeds=(9,))
    returns = play(fresh, random_actions(fresh, 25))[1].double().sum(0)
    error = float(returns.std()) * (1 / 2000 + 1 / 4096) ** 0.5
    assert abs(float(returns.mean()) - found["uniform"]) < 4 * error


@pytest.mark.parametrize("task", ["simple_spread", "line_control", "circle_control", "simple_spread_v3"])
def test_the_script_arrives(task):
    environment = make(task, copies=500)
    for _ in range(24):
        step = environment.step(head_for_targets(environment.scenario, environment.controls, 25))
    left = environment.scenario.matching.cost(environment.scenario.target_distances()) / 5
    assert not step.truncated.any()
    assert left.mean() < 0.1  # one action moves the point where an agent stops by 0.2


def test_bad_parameters():
    with pytest.raises(RepriseError, match="unknown scenario 'simple_spred'; nearest: 'simple_spread'"):
        make(scenario="simple_spred")
    with pytest.raises(RepriseError, match="line_control needs 2 agents or more"):
        make("line_control", agents=1)
