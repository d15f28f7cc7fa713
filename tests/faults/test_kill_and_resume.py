"""Kill a trainer at any moment, type the same command again: the results are those of an undisturbed run."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time

import pytest
import small_root
import victims

MOMENTS = 20


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of a run that nothing happens to."""
    root = small_root.write(tmp_path_factory.mktemp("undisturbed"))
    assert victims.finish(root) == 0
    return small_root.results(small_root.cohort(root)[1].folder)


@pytest.fixture
def root(tmp_path):
    return small_root.write(tmp_path)


def manifest(cohort) -> dict:
    return json.loads((cohort.folder / "manifest.json").read_text())


def kill(root, cohort, chance: random.Random) -> bool:
    """Kill a trainer some milliseconds after a random checkpoint (or its start); False when it was faster."""
    process = victims.start(root)
    wanted = chance.randrange(small_root.UPDATES)
    while process.exitcode is None and wanted:
        saved = [int(path.name[-8:]) for path in cohort.checkpoints.glob("update-*")]
        if max(saved, default=0) >= wanted:
            break
        process.join(0.001)
    time.sleep(chance.uniform(0.0, 0.03 if wanted else 0.3))
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def test_sigkill_at_random_moments(undisturbed, root):
    _, cohort = small_root.cohort(root)
    chance = random.Random(7)
    kills = resumes = 0
    while kills < MOMENTS:
        if kill(root, cohort, chance):
            kills += 1
            assert victims.finish(root) == 0
            resumes += manifest(cohort)["resumes"]
        assert small_root.results(cohort.folder) == undisturbed
        assert not cohort.checkpoints.exists()
        shutil.rmtree(cohort.folder)
    assert resumes >= MOMENTS // 2


@pytest.mark.parametrize("number", [2, 5, 8, 9])
@pytest.mark.parametrize("after", [False, True])
def test_sigkill_around_a_rename(undisturbed, root, number, after):
    assert victims.finish(root, victims.die_at_rename, number, after) == -signal.SIGKILL
    assert victims.finish(root) == 0
    _, cohort = small_root.cohort(root)
    assert small_root.results(cohort.folder) == undisturbed


# Six files per checkpoint and one for the lock; 15 checkpoints; then the five result files.
@pytest.mark.parametrize("number", [3, 7, 8, 13, 6 * 15 + 3, 6 * 15 + 5, 6 * 15 + 6])
def test_sigkill_inside_a_write(undisturbed, root, number):
    assert victims.finish(root, victims.die_while_writing, number) == -signal.SIGKILL
    _, cohort = small_root.cohort(root)
    assert not cohort.complete
    assert victims.finish(root) == 0
    assert small_root.results(cohort.folder) == undisturbed
    assert sorted(path.name for path in cohort.folder.iterdir()) == sorted(cohort.files)


@pytest.mark.parametrize("which", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_checkpoints_and_exits_75(undisturbed, root, which):
    assert victims.finish(root, victims.signal_at_update, 4, which) == 75
    log = (root / "log.txt").read_text()
    assert "interrupted at 80 of 320 env steps" in log
    assert "the same command" in log
    assert "Traceback" not in log
    assert victims.finish(root) == 0
    _, cohort = small_root.cohort(root)
    assert small_root.results(cohort.folder) == undisturbed
    assert manifest(cohort)["resumes"] == 1


def test_a_full_disk_keeps_the_checkpoint_before(undisturbed, root):
    assert victims.finish(root, victims.disk_full_at, 22) == 1
    assert "No space left on device" in (root / "log.txt").read_text()
    _, cohort = small_root.cohort(root)
    assert sorted(path.name for path in cohort.checkpoints.glob("update-*")) == ["update-00000002", "update-00000003"]
    assert victims.finish(root) == 0
    assert small_root.results(cohort.folder) == undisturbed
    assert manifest(cohort)["resumes"] == 1


def test_a_full_disk_at_the_end_leaves_no_result(undisturbed, root):
    assert victims.finish(root, victims.disk_full_at, 6 * 15 + 4) == 1
    _, cohort = small_root.cohort(root)
    assert not cohort.complete
    assert victims.finish(root) == 0
    assert small_root.results(cohort.folder) == undisturbed
