"""The replay of states: against a plain list of transitions, its memory, and its archives."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from reprise.blocks import state_replay
from reprise.blocks.rollout import Rollout
from reprise.blocks.state_replay import StateReplay
from reprise.blocks.streams import Streams
from reprise.environments.protocol import Box, Discrete, Spec
from reprise.errors import RepriseError

STEPS, AGENTS, MOVING, CONSTANT, ACTIONS = 5, 3, 4, 2, 2


def observe(states: torch.Tensor) -> torch.Tensor:
    """What agent i sees: the state times i + 1."""
    return states[..., None, :] * torch.arange(1.0, AGENTS + 1)[:, None]


def spec(**changes) -> Spec:
    task = Spec(
        name="test/points", agents=AGENTS, observation_size=MOVING + CONSTANT, one_hot=False,
        state_size=MOVING + CONSTANT, actions=Box(ACTIONS, 0.0, 1.0), episode_limit=STEPS, backend="test", exact=False,
        return_bounds=(-1.0, 1.0), state_constant=CONSTANT, observe=observe,
    )  # fmt: skip
    return replace(task, **changes)


def rollout(seeds, copies: int, seed: int, episodes: int = 1) -> Rollout:
    """Random episodes; run r's numbers are a function of (its seed, ``seed``)."""
    parts = []
    for run in seeds:
        generator = torch.Generator().manual_seed(1000 * run + seed)

        def normal(*shape, generator=generator):
            return torch.randn(episodes * STEPS, copies, *shape, generator=generator)

        path = torch.randn(episodes, STEPS + 1, copies, MOVING, generator=generator)
        fixed = torch.randn(episodes, 1, copies, CONSTANT, generator=generator).expand(-1, STEPS + 1, -1, -1)
        states = torch.cat([path, fixed], -1)
        terminated = torch.zeros(episodes, STEPS, copies, dtype=torch.bool)
        terminated[:, -1] = torch.rand(episodes, copies, generator=generator) < 0.5
        actions = normal(AGENTS, ACTIONS).half().float()
        parts.append(
            (states[:, :-1].flatten(0, 1), states[:, 1:].flatten(0, 1), actions, normal(), terminated.flatten(0, 1))
        )
    state, next_state, actions, reward, terminated = (torch.cat(each, 1) for each in zip(*parts, strict=True))
    truncated = ~terminated
    truncated.unflatten(0, (-1, STEPS))[:, :-1] = False
    return Rollout(
        observations=observe(state), actions=actions, reward=reward, terminated=terminated, truncated=truncated,
        next_observations=observe(next_state), available_actions=None, extras={}, state=state, next_state=next_state,
    )  # fmt: skip


def transitions(rollouts, run: int, copies: int, capacity: int) -> list[tuple]:
    """What a run did, episode by episode in order of time, and of it what a ring of ``capacity`` episodes keeps."""
    episodes = []
    for each in rollouts:
        for first in range(0, len(each.reward), STEPS):
            for row in range(run * copies, (run + 1) * copies):
                episodes.append(
                    [
                        tuple(
                            getattr(each, name)[t, row]
                            for name in ("observations", "actions", "reward", "terminated", "next_observations")
                        )
                        for t in range(first, first + STEPS)
                    ]
                )
    return [step for episode in episodes[-capacity:] for step in episode]


def fill(replay: StateReplay, seeds, copies: int, count: int, episodes: int = 1) -> list[Rollout]:
    rollouts = [rollout(seeds, copies, number, episodes) for number in range(count)]
    for each in rollouts:
        replay.insert(each)
    return rollouts


@pytest.fixture
def small_parts(monkeypatch):
    """Blocks and segments so small that a few episodes fill them."""
    monkeypatch.setattr(state_replay, "BLOCK", 4)
    monkeypatch.setattr(state_replay, "SEGMENT", 8)


@pytest.mark.parametrize("count", [1, 3, 6, 7, 20])
@pytest.mark.parametrize(("copies", "episodes"), [(1, 1), (3, 1), (2, 2)])
def test_samples_are_those_of_a_plain_list(small_parts, count, copies, episodes):
    seeds, capacity = (3, 8), 14
    replay = StateReplay(Streams(seeds), capacity * STEPS - 2, spec())
    rollouts = fill(replay, seeds, copies, count, episodes)
    held = min(capacity, count * copies * episodes)
    assert len(replay) == held * STEPS
    for draw in range(3):
        sample = replay.sample(50)
        drawn = Streams(seeds).integers("replay", draw, held * STEPS, (50,))
        for run in range(2):
            known = transitions(rollouts, run, copies, capacity)
            wanted = [known[index] for index in drawn[run].tolist()]
            for mine, theirs in zip(sample, zip(*wanted, strict=True), strict=True):
                assert torch.equal(mine[run], torch.stack(theirs))
    assert replay.sample(4, following=False).next_observations is None


def test_every_transition_is_drawn_equally_often():
    replay = StateReplay(Streams([0]), 4 * STEPS, spec())
    fill(replay, [0], 3, 3)
    seen = torch.cat([replay.sample(2000).reward[0] for _ in range(20)])
    values, counts = seen.unique(return_counts=True)
    expected = 40_000 / (4 * STEPS)
    assert len(values) == 4 * STEPS
    assert (counts - expected).abs().max() < 5 * expected**0.5


def test_a_run_does_not_depend_on_its_cohort():
    together, alone = StateReplay(Streams([3, 8]), 40, spec()), StateReplay(Streams([8]), 40, spec())
    fill(together, [3, 8], 2, 6)
    fill(alone, [8], 2, 6)
    for mine, theirs in zip(together.sample(30), alone.sample(30), strict=True):
        assert torch.equal(mine[1:], theirs)


def resident_mb() -> float:
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize(("agents", "limit"), [(15, 0.6e9), (500, 16e9)])
def test_a_million_transitions_fit_and_take_memory_only_as_they_come(agents, limit):
    """Cooperative navigation: N agents (two velocities, two positions each), N landmarks, weights of five actions."""
    steps = 25
    task = spec(
        agents=agents, state_size=6 * agents, state_constant=2 * agents, actions=Box(5, 0.0, 1.0), episode_limit=steps
    )
    replay = StateReplay(Streams([0]), 1_000_000, task)
    before = resident_mb()
    states, nothing = torch.zeros(steps, 1, 6 * agents), torch.zeros(steps, 1, dtype=torch.bool)
    ended = nothing.clone()
    ended[-1] = True
    actions, reward = torch.zeros(steps, 1, agents, 5), torch.zeros(steps, 1)
    replay.insert(Rollout(None, actions, reward, nothing, ended, None, None, {}, states, states))
    # What is really there for one segment, times the segments that a full ring has.
    (segment,) = replay._segments.values()
    per_episode = sum(field.nbytes for field in segment.values()) / len(segment["reward"][0])
    assert per_episode * replay.slots <= limit
    assert replay.slots * steps >= 1_000_000
    assert resident_mb() - before < 30


def test_archives_never_change_and_bring_everything_back(small_parts):
    seeds, capacity = (3, 8), 10
    replay = StateReplay(Streams(seeds), capacity * STEPS, spec())
    written: dict[str, dict] = {}
    for number in range(17):
        replay.insert(rollout(seeds, 3, number))
        for name, tensors_of in replay.archives().items():
            now = {key: tensor.clone() for key, tensor in tensors_of().items()}
            before = written.setdefault(name, now)
            assert all(torch.equal(now[key], before[key]) for key in before)
        assert len(replay.archives()) <= capacity // 4 + 2
        if replay.held:
            replay.sample(3)
        state = {key: tensor.clone() for key, tensor in replay.state_dict().items()}
        other = StateReplay(Streams(seeds), capacity * STEPS, spec())
        other.load_state_dict(state)
        for name in replay.archives():
            other.load_archive(name, written[name])
        mine, theirs = (each.sample(40) for each in (replay, other))
        assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=True))
        replay.draws -= 1
    assert len(written) == 17 * 3 // 4


def test_what_it_cannot_hold_is_refused():
    with pytest.raises(RepriseError, match="test/points: the replay of states needs"):
        StateReplay(Streams([0]), 10, spec(observe=None))
    with pytest.raises(RepriseError, match="vector actions"):
        StateReplay(Streams([0]), 10, spec(actions=Discrete(5)))
    replay, good = StateReplay(Streams([0]), 100, spec()), rollout([0], 2, 0)
    with pytest.raises(ValueError, match="rounded to float16"):
        replay.insert(good._replace(actions=good.actions + 1e-5))
    early = good.terminated.clone()
    early[1, 1] = True
    with pytest.raises(ValueError, match="must end after 5 steps"):
        replay.insert(good._replace(terminated=early))
    with pytest.raises(ValueError, match="must end after 5 steps"):
        replay.insert(good._replace(terminated=early & False, truncated=early & False))
    assert len(replay) == 0
