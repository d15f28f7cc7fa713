"""What lies in a checkpoint folder is not to be trusted: damaged, foreign and hostile ones are never resumed."""

from __future__ import annotations

import json
import os
import pickle
import re
import signal
from pathlib import Path

import pytest
import small_root
import victims

import reprise
from reprise.experiments import checkpoints, jobs


@pytest.fixture
def interrupted(tmp_path):
    """(root, cohort) with the checkpoints of updates 4 and 5."""
    root = small_root.write(tmp_path)
    assert victims.finish(root, victims.signal_at_update, 5, signal.SIGTERM) == 75
    _, cohort = small_root.cohort(root)
    assert sorted(p.name for p in cohort.checkpoints.glob("update-*")) == ["update-00000004", "update-00000005"]
    return root, cohort


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    root = small_root.write(tmp_path_factory.mktemp("undisturbed"))
    assert victims.finish(root) == 0
    return small_root.results(small_root.cohort(root)[1].folder)


def resume(root) -> str:
    """Train on; what it said."""
    assert victims.finish(root) == 0
    return (root / "log.txt").read_text()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("name", ["algorithm.safetensors", "rows.safetensors", "state.json"])
@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(interrupted, expected, name, damage):
    root, cohort = interrupted
    damage(cohort.checkpoints / "update-00000005" / name)
    assert "going on from 80 env steps" in resume(root)
    assert small_root.results(cohort.folder) == expected


def test_two_damaged_checkpoints_start_anew(interrupted, expected):
    root, cohort = interrupted
    for path in cohort.checkpoints.glob("update-*/state.json"):
        truncate(path)
    assert "going on" not in resume(root)
    assert small_root.results(cohort.folder) == expected


def test_a_changed_config_is_never_resumed(interrupted, expected):
    root, _ = interrupted
    small_root.write(root, actor_lr=0.02)
    log = resume(root)
    assert "made for another config" in log
    assert "going on" not in log
    _, changed = small_root.cohort(root)
    assert small_root.results(changed.folder) != expected


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_never_loaded(interrupted, expected, tmp_path):
    root, cohort = interrupted
    folder = cohort.checkpoints / "update-00000005"
    data = pickle.dumps(Hostile(tmp_path / "touched"))
    (folder / "algorithm.safetensors").write_bytes(data)
    # An attacker can write a matching hash, too.
    content = json.loads((folder / "state.json").read_text())
    del content["sha256"]
    content["files"]["algorithm.safetensors"] = checkpoints.hashlib.sha256(data).hexdigest()
    content["sha256"] = checkpoints._digest(content)
    (folder / "state.json").write_text(json.dumps(content))
    assert "not safetensors" in resume(root)
    assert small_root.results(cohort.folder) == expected
    assert not (tmp_path / "touched").exists()


def test_no_source_loads_pickles():
    forbidden = re.compile(r"\b(torch\.load|pickle\.loads?|np\.load\((?!.*allow_pickle=False))")
    sources = Path(reprise.__file__).parent.rglob("*.py")
    assert [str(p) for p in sources for line in p.read_text().splitlines() if forbidden.search(line)] == []


def test_a_second_trainer_is_refused(tmp_path, capfd):
    root = small_root.write(tmp_path)
    project, cohort = small_root.cohort(root)
    first = victims.start(root, victims.signal_at_update, 2, signal.SIGSTOP)
    while not (cohort.checkpoints / "update-00000001").exists():
        first.join(0.02)
    with pytest.raises(jobs.RepriseError, match=rf"another process \(pid {first.pid} on .*wait for it or stop it"):
        jobs.run(project, [cohort], "cpu")
    os.kill(first.pid, signal.SIGCONT)
    first.join()
    assert first.exitcode == 0
    assert jobs.run(project, [cohort], "cpu") == 0
    assert "already complete" in capfd.readouterr().err


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path):
    root = small_root.write(tmp_path)
    assert victims.finish(root, victims.signal_at_update, 3, signal.SIGKILL) == -signal.SIGKILL
    assert "taking over from pid" in resume(root)
