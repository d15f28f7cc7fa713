"""The replay of single steps: against a plain list of transitions, its memory, and its archives."""

from __future__ import annotations

import pytest
import torch
from mujoco_worlds import actions as random_actions
from mujoco_worlds import make as make_robots
from wandering import COPIES, LIMIT, STEPS, Wandering, observe, spec

from reprise.blocks import transition_replay
from reprise.blocks.rollout import Rollout
from reprise.blocks.streams import Streams
from reprise.blocks.transition_replay import TransitionReplay
from reprise.errors import RepriseError

SEEDS = (3, 8)
GAMMA = torch.tensor([[0.9], [0.5]])


def make(seeds=SEEDS, capacity: int = 10_000, states: bool = True, **changes) -> TransitionReplay:
    return TransitionReplay(Streams(seeds), capacity, spec(**changes), steps=STEPS, copies=COPIES, states=states)


def fill(replay: TransitionReplay, seeds, count: int, risk: float = 0.15) -> list[Rollout]:
    world = Wandering(seeds, risk)
    rollouts = [world.next() for _ in range(count)]
    for each in rollouts:
        replay.insert(each)
    return rollouts


def history(rollouts: list[Rollout], name: str) -> torch.Tensor:
    """A field of all steps, [time, rows, ...]."""
    return torch.cat([getattr(each, name) for each in rollouts])


def expected(rollouts: list[Rollout], row: int, first: int, n_step: int, gamma: float) -> dict[str, torch.Tensor]:
    """One transition, looked up step by step in all that happened; the newest step's future is not known yet."""
    reward, terminated, truncated = (history(rollouts, k)[:, row] for k in ("reward", "terminated", "truncated"))
    newest, total, at = len(reward) - 2, torch.zeros(()), first
    for ahead in range(n_step):
        at = first + ahead
        total = total + gamma**ahead * reward[at]
        if terminated[at] or truncated[at] or at == newest:
            break
    discount = 0.0 if terminated[at] else gamma ** (at - first + 1)
    return {
        "reward": total, "discount": torch.tensor(discount),
        "state": history(rollouts, "state")[first, row], "next_state": history(rollouts, "next_state")[at, row],
        "observations": history(rollouts, "observations")[first, row],
        "next_observations": history(rollouts, "next_observations")[at, row],
        "actions": history(rollouts, "actions")[first, row], "terminated": terminated[at],
    }  # fmt: skip


@pytest.fixture
def small_parts(monkeypatch):
    """Blocks and segments so small that a few rollouts fill them."""
    monkeypatch.setattr(transition_replay, "BLOCK", 2)
    monkeypatch.setattr(transition_replay, "SEGMENT", 4)


@pytest.mark.parametrize("n_step", [1, 3, 20])
@pytest.mark.parametrize("count", [1, 4, 13])
@pytest.mark.parametrize("changes", [{}, {"observe": None}])
def test_samples_are_those_of_a_plain_list(small_parts, n_step, count, changes):
    held = 6
    replay = make(capacity=held * STEPS * COPIES - 1, **changes)
    rollouts = fill(replay, SEEDS, count)[-held:]
    usable = len(rollouts) * STEPS - 1
    assert len(replay) == usable * COPIES
    sample = replay.sample(80, n_step, GAMMA)
    drawn = Streams(SEEDS).integers("replay", 0, usable * COPIES, (80,))
    for run in range(2):
        for m, index in enumerate(drawn[run].tolist()):
            row = run * COPIES + index % COPIES
            wanted = expected(rollouts, row, index // COPIES, n_step, float(GAMMA[run]))
            ended = wanted.pop("terminated")
            for name, value in wanted.items():
                got = getattr(sample, name)
                got = got[run, :, m] if name in ("observations", "next_observations", "actions") else got[run, m]
                if name in ("reward", "discount"):
                    torch.testing.assert_close(got, value)
                elif not (ended and name.startswith("next_")):  # nobody asks what lies behind a termination
                    assert torch.equal(got, value)


def test_a_cut_episode_keeps_its_future_and_what_it_reached():
    replay = make(seeds=[1])
    rollouts = fill(replay, [1], 4, risk=1e-9)
    cut = history(rollouts, "truncated")
    assert cut.sum() == 2 * COPIES
    assert not history(rollouts, "terminated").any()
    fresh = history(rollouts, "state")[1:][cut[:-1]]
    reached = history(rollouts, "next_state")[cut]
    sample = replay.sample(500, 1, GAMMA[:1])
    found = sample.next_state[0]
    assert (sample.discount == 0.9).all()
    assert all((found == state).all(1).any() for state in reached)
    assert not any((found == state).all(1).any() for state in fresh)


def test_states_are_kept_only_where_somebody_needs_them():
    assert set(make(states=False).seen) == {"state"}
    assert set(make(states=False, observe=None).seen) == {"observations"}
    assert set(make(states=True, observe=None).seen) == {"state", "observations"}
    replay = make(states=False, observe=None)
    fill(replay, SEEDS, 2)
    assert replay.sample(4, 1, GAMMA).state is None


def test_every_transition_is_drawn_equally_often():
    replay = make(seeds=[0], capacity=2 * STEPS * COPIES)
    fill(replay, [0], 5)
    seen = torch.cat([replay.sample(2000, 1, GAMMA[:1]).reward[0] for _ in range(20)])
    values, counts = seen.unique(return_counts=True)
    expected = 40_000 / len(replay)
    assert len(values) == len(replay) == (2 * STEPS - 1) * COPIES
    assert (counts - expected).abs().max() < 5 * expected**0.5


def test_a_run_does_not_depend_on_its_cohort():
    together, alone = make(), make(seeds=SEEDS[1:])
    fill(together, SEEDS, 6)
    fill(alone, SEEDS[1:], 6)
    for mine, theirs in zip(together.sample(30, 3, GAMMA), alone.sample(30, 3, GAMMA[1:]), strict=True):
        assert torch.equal(mine[1:], theirs)


def test_archives_never_change_and_bring_everything_back(small_parts):
    capacity, written = 5, {}
    replay, world = make(capacity=capacity * STEPS * COPIES), Wandering(SEEDS)
    for _ in range(17):
        replay.insert(world.next())
        for name, tensors_of in replay.archives().items():
            now = {key: tensor.clone() for key, tensor in tensors_of().items()}
            before = written.setdefault(name, now)
            assert all(torch.equal(now[key], before[key]) for key in before)
        assert len(replay.archives()) <= capacity // 2 + 2
        state = {key: tensor.clone() for key, tensor in replay.state_dict().items()}
        other = make(capacity=capacity * STEPS * COPIES)
        other.load_state_dict(state)
        for name in replay.archives():
            other.load_archive(name, written[name])
        mine, theirs = (each.sample(40, 3, GAMMA) for each in (replay, other))
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
    assert len(written) == 17 // 2


def test_a_million_transitions_of_the_humanoid_take_two_gigabytes():
    task = make_robots("Humanoid-17x1", copies=1).spec
    replay = TransitionReplay(Streams([0]), 1_000_000, task, steps=50, copies=10, states=True)
    per_rollout = sum(torch.Size(shape).numel() * dtype.itemsize for shape, dtype in replay.layout.values())
    assert replay.slots * 500 >= 1_000_000
    assert per_rollout * replay.slots < 2e9


def test_rollouts_longer_than_an_episode_are_refused():
    with pytest.raises(RepriseError, match=f"rollouts of {LIMIT + 1} steps, but episodes end after {LIMIT}"):
        TransitionReplay(Streams([0]), 100, spec(), steps=LIMIT + 1, copies=1, states=False)


@pytest.mark.parametrize("task", ["Hopper-3x1", "Ant-4x2", "ManyAgentSwimmer-10x2"])
def test_robots_observations_are_made_again_bit_for_bit(task):
    """Those of steps and of fresh episodes, whatever rows are asked for together."""
    world = make_robots(task, copies=3, episode_steps=20)
    fresh = world.reset()
    assert torch.equal(world.spec.observe(world.state), fresh)
    for action in random_actions(world, 50):
        step = world.step(action)
        for state, seen in ((step.state, step.observations), (step.next_state, step.next_observations)):
            assert torch.equal(world.spec.observe(state), seen)
            assert torch.equal(world.spec.observe(state[1]), seen[1])
            many = world.spec.observe(state.repeat(100, 1).unflatten(0, (20, 15)))
            assert torch.equal(many, seen.repeat(100, 1, 1).unflatten(0, (20, 15)))


def test_robots_that_see_their_surroundings_only_have_no_such_function():
    assert make_robots("HalfCheetah-6x1-local").spec.observe is None


def test_the_world_of_these_tests_ends_in_both_ways():
    world = Wandering(SEEDS).next(30)
    assert torch.equal(observe(world.state), world.observations)
    assert world.truncated.any()
    assert world.terminated.any()
