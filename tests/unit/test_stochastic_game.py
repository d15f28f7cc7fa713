"""The batched environment against a plain-loop simulator, and its auto-reset, resume and independence of runs."""

import numpy as np
import pytest
import torch

from reprise.blocks.streams import BlockUniforms, Streams
from reprise.environments import registry
from reprise.environments.protocol import Discrete
from reprise.environments.stochastic_game import game as game_module
from reprise.errors import RepriseError

MODULE = "reprise.environments.stochastic_game.StochasticGame"
SMALL = {
    "states": 7,
    "agents": 3,
    "actions": 2,
    "horizon": 5,
    "reward_low": -5.0,
    "reward_high": 5.0,
    "logit_width": 4.0,
    "start_state": 2,
    "game_seed": 3,
    "game_per_run": False,
}


def make(cache, seeds=(0, 1, 2), copies=4, device="cpu", stream="environment", module=MODULE, **changes):
    config = {"name": "stochastic_game", "task": "small", "module": module, "parameters": {**SMALL, **changes}}
    return registry.make(config, seeds=seeds, copies=copies, device=device, cache=cache, stream=stream)


def random_actions(environment, rows, steps, seed=0):
    size = (steps, rows, environment.spec.agents)
    return torch.randint(0, environment.spec.actions.n, size, generator=torch.Generator().manual_seed(seed))


def trajectory(environment, actions):
    steps = [environment.step(joint) for joint in actions]
    return torch.stack([step.state for step in steps]), torch.stack([step.reward for step in steps])


def test_spec(tmp_path):
    spec = make(tmp_path).spec
    assert (spec.name, spec.agents, spec.actions, spec.episode_limit) == ("stochastic_game/small", 3, Discrete(2), 5)
    assert (spec.observation_size, spec.state_size, spec.one_hot, spec.exact) == (7, 7, True, True)
    assert spec.return_bounds == (-25.0, 25.0)
    assert make(tmp_path, horizon=None).spec.episode_limit == 7


@pytest.mark.parametrize("game_per_run", [False, True])
def test_equals_a_plain_loop_simulator(tmp_path, game_per_run):
    seeds, copies = (0, 1, 2), 4
    environment = make(tmp_path, seeds, copies, game_per_run=game_per_run)
    uniforms = BlockUniforms(Streams(seeds), "environment", (copies,), game_module.BLOCK)
    observations = environment.reset()
    assert observations.shape == (12, 3)
    assert observations.dtype == torch.int64
    states, elapsed = [2] * 12, [0] * 12
    assert observations.tolist() == [[2, 2, 2]] * 12
    # 300 steps: past the end of one block of uniform numbers.
    for joint in random_actions(environment, 12, 300):
        numbers = uniforms.next()
        step = environment.step(joint)
        for row in range(12):
            run, copy = divmod(row, copies)
            tables = environment._tables[run if game_per_run else 0]
            assert tables.game.seed == 3 + (seeds[run] if game_per_run else 0)
            index = int("".join(str(int(action)) for action in joint[row]), base=2)
            reward = tables.rewards[states[row], index]
            cumulative = np.cumsum(tables.transitions[states[row], index], dtype=np.float64)
            reached = next(s for s in range(7) if cumulative[s] > float(numbers[run, copy]) * cumulative[-1])
            elapsed[row] += 1
            ended = elapsed[row] == 5
            states[row], elapsed[row] = (2, 0) if ended else (reached, elapsed[row])
            assert float(step.reward[row]) == reward
            assert bool(step.truncated[row]) == ended
            assert step.next_observations[row].tolist() == [reached] * 3
            assert step.observations[row].tolist() == [states[row]] * 3
            assert int(step.next_state[row]) == reached
            assert int(step.state[row]) == int(environment.state[row]) == states[row]
    assert not step.terminated.any()
    assert step.available_actions is None
    assert step.success is None


def test_earlier_transitions_are_not_overwritten(tmp_path):
    environment = make(tmp_path)
    actions = random_actions(environment, 12, 6)
    first = environment.step(actions[0])
    kept = [tensor.clone() for tensor in first[:6]]
    for joint in actions[1:]:
        environment.step(joint)
    assert all(torch.equal(a, b) for a, b in zip(first[:6], kept, strict=True))


def test_restore_continues_exactly(tmp_path):
    environment = make(tmp_path)
    actions = random_actions(environment, 12, 700)
    trajectory(environment, actions[:303])
    snapshot = environment.snapshot()
    observations = snapshot["state"][:, None].repeat(1, 3)
    expected = trajectory(environment, actions[303:])
    for other in (environment, make(tmp_path)):
        assert torch.equal(other.restore(snapshot), observations)
        found = trajectory(other, actions[303:])
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_a_state_of_probability_zero_is_never_drawn(tmp_path, monkeypatch):
    environment = make(tmp_path, logit_width=600.0)  # in float32 nearly all probabilities are 0
    for number in (0.0, 1 - 2**-24):
        monkeypatch.setattr(environment._uniforms, "next", lambda number=number: torch.full((3, 4), number))
        for joint in random_actions(environment, 12, 30):
            before = environment.snapshot()["state"]
            reached = environment.step(joint).next_observations[:, 0]
            index = (joint * torch.tensor([4, 2, 1])).sum(dim=1)
            assert (environment._tables[0].transitions[before, index, reached] > 0).all()


@pytest.mark.parametrize("game_per_run", [False, True])
def test_a_run_alone_equals_the_run_among_others(tmp_path, game_per_run):
    together = make(tmp_path, (4, 9, 2), game_per_run=game_per_run)
    alone = make(tmp_path, (9,), game_per_run=game_per_run)
    actions = random_actions(together, 12, 50)
    states, rewards = trajectory(together, actions)
    own_states, own_rewards = trajectory(alone, actions[:, 4:8])
    assert torch.equal(states[:, 4:8], own_states)
    assert torch.equal(rewards[:, 4:8], own_rewards)
    assert not torch.equal(states[:, 0:4], own_states)


def test_another_stream_draws_other_states(tmp_path):
    one, other = make(tmp_path), make(tmp_path, stream="evaluation")
    actions = random_actions(one, 12, 20)
    assert not torch.equal(trajectory(one, actions)[0], trajectory(other, actions)[0])


def test_large_games_are_gathered_one_by_one_alike(tmp_path, monkeypatch):
    seeds = (5, 6, 5)  # as in a sweep: the first and last run share a game
    stacked = make(tmp_path, seeds, game_per_run=True)
    actions = random_actions(stacked, 12, 50)
    policies = torch.rand(3, 3, 7, 2, generator=torch.Generator().manual_seed(1))
    expected = (*trajectory(stacked, actions), stacked.exact_return(policies))
    monkeypatch.setattr(game_module, "STACK_BYTES", 0)
    apart = make(tmp_path, seeds, game_per_run=True)
    assert len(apart._parts) == 2
    found = (*trajectory(apart, actions), apart.exact_return(policies))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_references_are_those_of_the_runs_own_game(tmp_path):
    environment = make(tmp_path, (5, 6), game_per_run=True)
    first, second = environment.references(5), environment.references(6)
    assert first != second
    assert set(first) == {"optimum", "nash", "nash_low", "nash_high", "uniform"}
    assert first["uniform"] < first["nash_low"] <= first["nash"] <= first["nash_high"] <= first["optimum"]
    assert make(tmp_path, (0,), game_seed=9).references(0) == make(
        tmp_path, (4,), game_per_run=True, game_seed=5
    ).references(4)


def test_references_depend_on_the_horizon(tmp_path):
    assert make(tmp_path).references(0)["optimum"] < make(tmp_path, horizon=9).references(0)["optimum"]


def test_the_exact_return_is_the_mean_of_sampled_episodes(tmp_path):
    episodes = 20_000
    environment = make(tmp_path, (0, 1), episodes)
    policies = torch.softmax(2 * torch.randn(2, 3, 7, 2, generator=torch.Generator().manual_seed(0)), dim=-1)
    total = torch.zeros(2 * episodes)
    observations = environment.reset()
    generator = torch.Generator().manual_seed(1)
    agents = torch.arange(3)[None, None]
    for _ in range(5):
        where = observations.view(2, episodes, 3)
        rows = policies[torch.arange(2)[:, None, None], agents, where].reshape(-1, 2)
        step = environment.step(torch.multinomial(rows, 1, generator=generator).view(-1, 3))
        total += step.reward
        observations = step.observations
    returns = total.view(2, episodes).double()
    error = returns.std(dim=1) / episodes**0.5
    assert ((returns.mean(dim=1) - environment.exact_return(policies)).abs() < 4 * error).all()
    assert (error < 0.1).all()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"start_state": 7}, "start_state 7"),
        ({"states": 0}, "at least 1"),
        ({"horizon": 0}, "horizon"),
        ({"reward_low": 5.0}, "reward_low"),
        ({"game_seed": -1}, "game_seed"),
        ({"logit_width": -1.0}, "logit_width"),
    ],
)
def test_senseless_parameters_are_refused(tmp_path, changes, words):
    with pytest.raises(RepriseError, match=words):
        make(tmp_path, **changes)
    assert not list(tmp_path.iterdir())


def test_a_mistyped_module_names_the_nearest_class(tmp_path):
    with pytest.raises(RepriseError, match="nearest: 'StochasticGame'"):
        make(tmp_path, module=MODULE.replace("Game", "Gane"))
    with pytest.raises(RepriseError, match="cannot be imported"):
        make(tmp_path, module="reprise.environments.nowhere.Class")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
@pytest.mark.parametrize("game_per_run", [False, True])
def test_cuda_equals_cpu(tmp_path, game_per_run):
    cpu, cuda = (make(tmp_path, device=device, game_per_run=game_per_run) for device in ("cpu", "cuda"))
    actions = random_actions(cpu, 12, 400)
    expected, found = trajectory(cpu, actions[:300]), trajectory(cuda, actions[:300].cuda())
    assert all(torch.equal(a, b.cpu()) for a, b in zip(expected, found, strict=True))
    # A run may go on on the other device.
    cpu.restore(cuda.snapshot())
    expected, found = trajectory(cpu, actions[300:]), trajectory(cuda, actions[300:].cuda())
    assert all(torch.equal(a, b.cpu()) for a, b in zip(expected, found, strict=True))
    policies = torch.rand(3, 3, 7, 2)
    for kind in (policies, torch.nn.functional.one_hot(policies.argmax(dim=-1), 2)):
        torch.testing.assert_close(cuda.exact_return(kind.cuda()).cpu(), cpu.exact_return(kind), rtol=1e-12, atol=1e-12)
