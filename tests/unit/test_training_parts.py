"""The parts of the training loop: how often it saves, what it says, how rows become columns."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from reprise.blocks.hyper import Hyper
from reprise.errors import RepriseError
from reprise.experiments import doctor, progress, records
from reprise.experiments.checkpoints import Checkpoints
from reprise.experiments.evaluation import Evaluation, Evaluator, copies_at_once, make_algorithm, resolve_device
from reprise.experiments.rollouts import Collector


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_saving_costs_at_most_two_percent(tmp_path):
    clock = Clock()
    store = Checkpoints(tmp_path, {}, clock=clock)
    cost, spent = 3.0, 0.0
    found = store._found

    def slow():
        clock.now += cost
        return found()

    store._found = slow
    for step in range(10_000):
        clock.now += 1.0
        if store.due():
            spent += store.save(step, {}, {})
    assert 10 * cost < spent <= 0.02 * clock.now


def test_no_save_within_the_first_seconds_and_always_when_told(tmp_path):
    clock = Clock()
    adaptive, eager = Checkpoints(tmp_path, {}, clock=clock), Checkpoints(tmp_path, {}, every=0, clock=clock)
    assert not adaptive.due()
    assert eager.due()
    clock.now = 20.0
    assert adaptive.due()


def test_the_last_two_are_kept_and_the_newest_is_loaded(tmp_path):
    store = Checkpoints(tmp_path, {"hash": "a", "runs": [(None, 0)]})
    for update in (1, 2, 3):
        store.save(update, {"algorithm": {"w": torch.full((2,), float(update))}, "loop": {}}, {"update": update})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["update-00000002", "update-00000003"]
    tensors, state, archives = Checkpoints(tmp_path, {"hash": "a", "runs": [(None, 0)]}).load()
    assert state == {"update": 3}
    assert tensors["algorithm"]["w"].tolist() == [3.0, 3.0]
    assert tensors["loop"] == {}
    assert archives == {}


def _lines(terminal: bool) -> str:
    stream, clock = io.StringIO(), Clock()
    stream.isatty = lambda: terminal
    line = progress.Progress("job", 1000, stream, clock)
    line.start(0)
    for step in range(101):
        clock.now = float(step) / 2
        line.update(step * 10, runs=5, mean_return=1.25)
    line.finish("done")
    return stream.getvalue()


def test_a_log_gets_a_plain_line_every_ten_seconds():
    lines = _lines(terminal=False).splitlines()
    assert len(lines) == 7  # at 0, 10, .. 50 s, and the last word
    assert lines[3] == "job  600/1,000 env steps  return 1.2  100 steps/s  20 s left"
    assert lines[-1] == "job  done"


def test_a_terminal_gets_one_line_that_is_refreshed():
    text = _lines(terminal=True)
    assert text.count("\n") == 1
    assert text.count("\r") == 102


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (75, "1 min 15 s"), (7500, "2 h 05 min")])
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_rows_are_sorted_and_stop_at_a_divergence():
    rows = records.Records([("b", 0), ("b", 1), ("a", 0), ("a", 1)])
    alive = np.array([True, True, True, True])
    for point in range(2):
        values = np.arange(8.0).reshape(4, 2) + 100 * point
        result = Evaluation(values, np.full((4, 2), 3), np.full((4, 2), np.nan), np.arange(4.0))
        rows.add_evaluation(10 * point, result, alive)
        rows.add_training(point + 1, 10 * point, {"loss": np.arange(4.0)}, alive)
        alive = np.array([True, False, True, True])
    columns = rows.evaluations()
    keys = list(zip(columns["setting"], columns["seed"], columns["env_steps"], columns["episode"], strict=True))
    assert keys == sorted(keys)
    assert len(keys) == (4 + 3) * 2
    assert ("b", 1, 10, 0) not in keys
    found = dict(zip(keys, columns["return"], strict=True))
    assert found["a", 0, 10, 1] == 105.0
    assert found["b", 1, 0, 0] == 2.0
    training = rows.training()
    assert list(zip(training["setting"], training["seed"], training["update"], training["loss"], strict=True)) == [
        ("a", 0, 1, 2.0),
        ("a", 0, 2, 2.0),
        ("a", 1, 1, 3.0),
        ("a", 1, 2, 3.0),
        ("b", 0, 1, 0.0),
        ("b", 0, 2, 0.0),
        ("b", 1, 1, 1.0),
    ]


def test_rows_survive_a_checkpoint():
    first = records.Records([(None, 0)])
    first.add_training(1, 10, {"b": np.ones(1), "a": np.zeros(1)}, np.ones(1, bool))
    second = records.Records([(None, 0)])
    second.restore(first.state())
    assert {k: v.tolist() for k, v in second.training().items()} == {
        "seed": [0],
        "update": [1],
        "env_steps": [10],
        "a": [0.0],
        "b": [1.0],
    }
    with pytest.raises(ValueError, match="columns changed"):
        second.add_training(2, 20, {"a": np.zeros(1)}, np.ones(1, bool))


class Counting:
    """An environment of 2 rows and 1 agent that counts its steps in place and ends an episode every third."""

    def __init__(self):
        self.time = torch.zeros(2, 1, dtype=torch.int64)
        self.state = self.time[:, 0]

    def reset(self):
        return self.time

    def step(self, actions):
        from reprise.environments.protocol import Transition

        self.time += 1
        ended = (self.time[:, 0] % 3) == 0
        never = torch.zeros(2, dtype=torch.bool)
        return Transition(self.time, self.time, self.state, self.state, actions[:, 0].float(), never, ended, None, None)


class Remembering:
    """Acts with the number of steps it remembers."""

    def initial_memory(self, rows):
        return {"steps": torch.zeros(rows, 1)}

    def act(self, observations, available, memory):
        return memory["steps"].long(), {"twice": 2 * memory["steps"]}, {"steps": memory["steps"] + 1}


def test_rollouts_copy_what_the_environment_overwrites_and_reset_memory():
    collector = Collector(Counting(), Remembering(), length=5, rows=2)
    rollout = collector.collect()
    assert rollout.observations[:, 0, 0].tolist() == [0, 1, 2, 3, 4]
    assert rollout.next_observations[:, 0, 0].tolist() == [1, 2, 3, 4, 5]
    assert rollout.actions[:, 0, 0].tolist() == [0, 1, 2, 0, 1]  # the memory is fresh after the third step
    assert rollout.extras["twice"][:, 0, 0].tolist() == [0, 2, 4, 0, 2]
    assert rollout.reward.shape == (5, 2)
    assert rollout.available_actions is None
    other = Collector(Counting(), Remembering(), length=5, rows=2)
    other.restore(collector.observations, collector.state())
    assert other.collect().actions[0, 0, 0] == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_one_line():
    assert resolve_device("auto").type == "cpu"
    with pytest.raises(RepriseError, match="no CUDA device"):
        resolve_device("cuda")


def test_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.utils.tensorboard", None)
    with pytest.raises(RepriseError, match="pip install tensorboard"):
        progress.tensorboard_writer(tmp_path)


def test_doctor_needs_what_it_needs_and_no_more(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("SC2PATH", raising=False)
    monkeypatch.setattr(doctor, "LEAST_DISK_GB", 0.0)
    monkeypatch.setattr(doctor.machine, "gpu", lambda: None)
    (tmp_path / "constraints.txt").write_text(f"torch=={torch.__version__}\nnumpy=={np.__version__}\nabsent==1\n")
    assert doctor.doctor(tmp_path) == 0
    said = capsys.readouterr().out
    assert "optional  gpu" in said
    assert "optional  StarCraft II" in said
    assert said.endswith("ready\n")
    (tmp_path / "constraints.txt").write_text("numpy==0.1\n")
    assert doctor.doctor(tmp_path) == 1
    assert "(locked ==0.1)" in capsys.readouterr().out


class Seeing(Remembering):
    """The same, and it asks for the states."""

    needs_state = True


def test_rollouts_have_states_for_those_who_ask_only():
    rollout = Collector(Counting(), Seeing(), length=4, rows=2).collect()
    assert rollout.state[:, 0].tolist() == [0, 1, 2, 3]
    assert rollout.next_state[:, 1].tolist() == [1, 2, 3, 4]
    without = Collector(Counting(), Remembering(), length=4, rows=2).collect()
    assert without.state is None
    assert without.next_state is None


class Budgeted:
    """Looks at its budget."""

    def __init__(self, spec, hyper, seeds, copies, device):
        self.hyper = hyper

    def rollout_length(self):
        return 5


@pytest.mark.parametrize(("budget", "total"), [({"env_steps": 1003}, 1003), ({"updates": 7}, 7 * 5 * 4)])
def test_an_algorithm_knows_its_budget(budget, total):
    config = {"algorithm": {"name": "b", "module": f"{__name__}.Budgeted", "hyperparameters": {"lr": 0.1}}}
    algorithm = make_algorithm([config | {"budget": budget}] * 2, None, [0, 1], 4, "cpu")
    assert algorithm.hyper.total_env_steps == total
    assert algorithm.hyper.per_run("total_env_steps").tolist() == [[total], [total]]


def test_facts_of_the_training_are_no_hyperparameters():
    hyper = Hyper([{"total_env_steps": 5}])
    assert hyper.total_env_steps == 5  # as a test would make it
    with pytest.raises(ValueError, match="not a hyperparameter but a fact of the training: total_env_steps"):
        hyper.provide(total_env_steps=6)


class Walk:
    """Rows that walk for 1 to 3 steps; where to is a function of (reset, row)."""

    def __init__(self, rows: int):
        self.rows, self.resets = rows, 0
        self.spec = SimpleNamespace(episode_limit=4, exact=False)

    def reset(self):
        self.resets, self.time = self.resets + 1, 0
        return torch.zeros(self.rows, 1)

    def step(self, actions):
        from reprise.environments.protocol import Transition

        self.time += 1
        row = torch.arange(self.rows)
        ended = self.time == row % 3 + 1
        success = torch.where(ended, (row % 2).float(), float("nan"))
        reward = 100.0 * self.resets + row
        return Transition(actions, actions, actions, actions, reward, ended, ended & False, None, success)


class Idle:
    tabular = False

    def initial_memory(self, rows):
        return None

    def greedy(self, observations, available, memory):
        return observations, memory


def test_an_evaluation_in_waves_has_its_episodes_in_order_and_no_more():
    runs, episodes, copies = 2, 7, 3
    evaluator = Evaluator(Walk(runs * copies), runs, episodes, copies)
    evaluator.evaluate(Idle())
    result = evaluator.evaluate(Idle())
    assert evaluator.environment.resets == 6
    for run in range(runs):
        for episode in range(episodes):
            wave, copy = divmod(episode, copies)
            row = run * copies + copy
            assert result.lengths[run, episode] == row % 3 + 1
            assert result.returns[run, episode] == (100.0 * (4 + wave) + row) * (row % 3 + 1)
            assert result.success[run, episode] == row % 2
    assert result.returns.shape == (runs, episodes)


@pytest.mark.parametrize(
    ("agents", "episodes", "copies"),
    [(6, 32, 32), (3, 10_000, 10_000), (30, 1000, 1000), (200, 1000, 143), (500, 1000, 63)],
)
def test_few_agents_play_all_episodes_at_once(agents, episodes, copies):
    assert copies_at_once(agents, episodes) == copies
    assert copies * agents <= 2**15
