"""The generator's statistics, and the cache: shared, memory-bounded, and rebuilt when damaged."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from reprise.environments.stochastic_game import tables as tables_module
from reprise.environments.stochastic_game.tables import Game, cached_references, checksums, draw_state, open_tables
from reprise.errors import RepriseError

GAME = Game(states=30, agents=3, actions=5, reward_low=-5.0, reward_high=5.0, logit_width=4.0, seed=7)
TINY = replace(GAME, states=3, agents=2, actions=3)  # odd rows: an odd number of 4-byte words per state

BUILD = """
import resource, sys, time
from pathlib import Path
from reprise.environments.stochastic_game import tables as module
cache, states, agents, start = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
builds, build = [], module._build
module._build = lambda *arguments: (builds.append(1), build(*arguments))
start.with_name(start.name + str(time.monotonic_ns())).touch()
while not start.exists():
    time.sleep(0.001)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
tables = module.open_tables(module.Game(states, agents, 5, -5.0, 5.0, 4.0, 1), cache)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(grown, len(builds), module.checksums(tables.transitions))
"""


def build_elsewhere(tmp_path, processes, states, agents):
    """Build in so many processes that begin at the same moment; the last line each printed, split at blanks."""
    start = tmp_path / "start"
    command = [sys.executable, "-c", BUILD, str(tmp_path), str(states), str(agents), str(start)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    children = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        for _ in range(processes)
    ]
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("start?*"))) < processes and time.monotonic() < deadline:
        time.sleep(0.01)
    start.touch()
    return [answer(child) for child in children]


def answer(process):
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output.split()


def test_rewards_are_uniform(tmp_path):
    rewards = open_tables(GAME, tmp_path).rewards
    assert rewards.shape == (30, 125)
    assert rewards.dtype == np.float32
    assert rewards.min() >= -5
    assert rewards.max() <= 5
    counts = np.histogram(rewards, bins=10, range=(-5, 5))[0]
    assert (np.abs(counts - 375) < 5 * np.sqrt(375)).all()


def test_rows_are_softmax_of_uniform_logits_of_width_4(tmp_path):
    transitions = open_tables(GAME, tmp_path).transitions
    assert transitions.shape == (30, 125, 30)
    np.testing.assert_allclose(transitions.sum(axis=2, dtype=np.float64), 1, atol=1e-6)
    logs = np.log(transitions.astype(np.float64))
    width = logs.max(axis=2) - logs.min(axis=2)
    assert width.max() < 4
    # The expected range of 30 uniform numbers is 29/31 of the interval; its standard error here is 0.003.
    assert abs(width.mean() - 4 * 29 / 31) < 0.015
    rescaled = (logs - logs.min(axis=2, keepdims=True)) / width[..., None]
    inner = np.sort(rescaled, axis=2)[..., 1:-1]
    counts = np.histogram(inner, bins=10, range=(0, 1))[0]
    assert (np.abs(counts / inner.size - 0.1) < 0.003).all()


def test_games_of_other_seeds_differ_and_equal_seeds_agree(tmp_path):
    first = open_tables(GAME, tmp_path / "a")
    assert np.array_equal(first.transitions, open_tables(GAME, tmp_path / "b").transitions)
    assert not np.array_equal(first.rewards, open_tables(replace(GAME, seed=8), tmp_path / "a").rewards)


def test_a_state_does_not_depend_on_the_pieces_the_game_is_built_in(tmp_path):
    tables = open_tables(GAME, tmp_path)
    for state in (29, 0, 13):
        rewards, rows = draw_state(GAME, state)
        assert np.array_equal(tables.rewards[state], rewards)
        assert np.array_equal(tables.transitions[state], rows)


def test_checksums_notice_every_single_bit():
    table = np.random.default_rng(0).random((2, 3, 3), dtype=np.float32)
    before = checksums(table)
    bits = table.view(np.uint32)
    for word in np.ndindex(bits.shape):
        for bit in range(32):
            bits[word] ^= np.uint32(1 << bit)
            assert checksums(table)[word[0]] != before[word[0]]
            bits[word] ^= np.uint32(1 << bit)
    assert checksums(table) == before


def test_writing_into_an_opened_table_leaves_the_file_alone(tmp_path):
    open_tables(GAME, tmp_path).rewards[:] = 0
    assert open_tables(GAME, tmp_path).rewards.any()


@pytest.fixture
def built(tmp_path, monkeypatch):
    """A built tiny game: its pristine tables, and a list that grows with every further build."""
    tables = open_tables(TINY, tmp_path)
    pristine = (np.array(tables.rewards), np.array(tables.transitions))
    builds, build = [], tables_module._build
    monkeypatch.setattr(tables_module, "_build", lambda *a: (builds.append(a), build(*a)))
    return tables.folder, pristine, builds


def reopened_intact(built, cache):
    again = open_tables(TINY, cache)
    return np.array_equal(again.rewards, built[1][0]) and np.array_equal(again.transitions, built[1][1])


def test_an_intact_cache_is_not_rebuilt(built, tmp_path):
    assert reopened_intact(built, tmp_path)
    assert built[2] == []


@pytest.mark.parametrize("name", ["rewards.npy", "transitions.npy"])
@pytest.mark.parametrize("position", [3, 40, -1, -30])  # magic, header, last and an inner value
def test_a_flipped_bit_is_found_and_the_table_rebuilt(built, tmp_path, name, position):
    path = built[0] / name
    content = bytearray(path.read_bytes())
    content[position] ^= 4
    path.write_bytes(content)
    assert reopened_intact(built, tmp_path)
    assert len(built[2]) == 1


@pytest.mark.parametrize("name", ["rewards.npy", "transitions.npy", "game.json"])
@pytest.mark.parametrize("kept", [0, 20, -1, None])
def test_a_truncated_or_absent_file_is_rebuilt(built, tmp_path, name, kept):
    path = built[0] / name
    content = path.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(content[:kept])
    assert reopened_intact(built, tmp_path)
    assert len(built[2]) == 1


def test_an_altered_record_is_refused(built, tmp_path):
    path = built[0] / "game.json"
    content = json.loads(path.read_text())
    content["record"]["references"] = {"horizon=10,start=0": {"optimum": 1e9}}
    path.write_text(json.dumps(content))
    assert reopened_intact(built, tmp_path)
    assert len(built[2]) == 1
    assert "references" not in json.loads(path.read_text())["record"]


def test_a_build_left_half_way_is_finished(built, tmp_path):
    for path in built[0].iterdir():
        path.unlink()
    (built[0] / "transitions.npy.partial").write_bytes(b"half")
    assert reopened_intact(built, tmp_path)
    assert not list(built[0].glob("*.partial"))


def test_references_are_computed_once_and_kept(tmp_path):
    tables, calls = open_tables(TINY, tmp_path), []

    def compute():
        calls.append(1)
        return {"optimum": 1.5}

    assert cached_references(tables, "a", compute) == {"optimum": 1.5}
    assert cached_references(open_tables(TINY, tmp_path), "a", compute) == {"optimum": 1.5}
    assert cached_references(tables, "b", compute) == {"optimum": 1.5}
    assert len(calls) == 2


def test_of_processes_that_begin_at_once_one_builds_and_all_share(tmp_path):
    answers = build_elsewhere(tmp_path, 3, states=30, agents=4)
    assert sum(int(builds) for _, builds, *_ in answers) == 1
    assert answers[0][2:] == answers[1][2:] == answers[2][2:]
    [folder] = [path for path in (tmp_path / "stochastic_game").iterdir() if path.is_dir()]
    assert sorted(path.name for path in folder.iterdir()) == ["game.json", "rewards.npy", "transitions.npy"]


def test_building_holds_little_more_than_the_mapped_file(tmp_path):
    size = Game(60, 5, 5, -5.0, 5.0, 4.0, 1).nbytes
    [[grown, *_]] = build_elsewhere(tmp_path, 1, states=60, agents=5)
    assert size > 45e6
    # The check after building maps the whole file, which counts once; the build itself holds one state at a time.
    assert int(grown) < 1.3 * size


@pytest.mark.long
def test_building_the_papers_game_stays_under_1_2_gb(tmp_path):
    [[grown, *_]] = build_elsewhere(tmp_path, 1, states=100, agents=6)
    assert int(grown) < 0.8e9  # on top of 0.25 GB for Python and torch


def test_an_unusable_cache_folder_is_a_plain_error(tmp_path):
    (tmp_path / "stochastic_game").write_text("a file where the folder should be")
    with pytest.raises(RepriseError, match="cannot be kept there"):
        open_tables(TINY, tmp_path)


def test_a_game_too_large_for_the_disk_is_refused(tmp_path):
    with pytest.raises(RepriseError, match="are free"):
        open_tables(replace(GAME, agents=20), tmp_path)


def test_a_process_maps_a_game_once_and_lets_it_go(tmp_path):
    first, second = (tables_module.shared_tables(TINY, tmp_path) for _ in range(2))
    assert first is second
    key = (TINY, tmp_path.resolve())
    assert key in tables_module._OPEN
    del first, second
    assert key not in tables_module._OPEN
