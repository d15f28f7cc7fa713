"""Kill a trainer at any moment, type the same command again: the results are those of an undisturbed run."""

from __future__ import annotations

import json
import random
import signal
import time

import pytest
import small_root
import victims

MOMENTS = 20


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """(results, seconds) of a run that nothing happens to; the whole process is timed."""
    root = small_root.write(tmp_path_factory.mktemp("undisturbed"))
    victims.finish(root)  # starts the fork server and builds the game
    _, cohort = small_root.cohort(root)
    for path in cohort.files.values():
        path.unlink()
    begin = time.monotonic()
    assert victims.finish(root) == 0
    return small_root.results(cohort.folder), time.monotonic() - begin


@pytest.fixture
def root(tmp_path):
    return small_root.write(tmp_path)


def manifest(cohort) -> dict:
    return json.loads((cohort.folder / "manifest.json").read_text())


def test_sigkill_at_random_moments(undisturbed, root):
    expected, seconds = undisturbed
    victims.finish(root)  # builds the game
    _, cohort = small_root.cohort(root)
    chance = random.Random(7)
    resumed = killed = 0
    for _ in range(MOMENTS):
        for path in cohort.files.values():
            path.unlink()
        process = victims.start(root)
        time.sleep(chance.uniform(0.1, 0.95) * seconds)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
        assert victims.finish(root) == 0
        assert small_root.results(cohort.folder) == expected
        resumed += manifest(cohort)["resumes"] == 1
        assert not cohort.checkpoints.exists()
    assert killed >= MOMENTS * 3 // 4  # the others were faster than the killer
    assert resumed >= MOMENTS // 3


@pytest.mark.parametrize("number", [2, 5, 8, 9])
@pytest.mark.parametrize("after", [False, True])
def test_sigkill_around_a_rename(undisturbed, root, number, after):
    assert victims.finish(root, victims.die_at_rename, number, after) == -signal.SIGKILL
    assert victims.finish(root) == 0
    _, cohort = small_root.cohort(root)
    assert small_root.results(cohort.folder) == undisturbed[0]


# Six files per checkpoint and one for the lock; 15 checkpoints; then the five result files.
@pytest.mark.parametrize("number", [3, 7, 8, 13, 6 * 15 + 3, 6 * 15 + 5, 6 * 15 + 6])
def test_sigkill_inside_a_write(undisturbed, root, number):
    assert victims.finish(root, victims.die_while_writing, number) == -signal.SIGKILL
    _, cohort = small_root.cohort(root)
    assert not cohort.complete
    assert victims.finish(root) == 0
    assert small_root.results(cohort.folder) == undisturbed[0]
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
    assert small_root.results(cohort.folder) == undisturbed[0]
    assert manifest(cohort)["resumes"] == 1


def test_a_full_disk_keeps_the_checkpoint_before(undisturbed, root):
    assert victims.finish(root, victims.disk_full_at, 22) == 1
    assert "No space left on device" in (root / "log.txt").read_text()
    _, cohort = small_root.cohort(root)
    assert sorted(path.name for path in cohort.checkpoints.glob("update-*")) == ["update-00000002", "update-00000003"]
    assert victims.finish(root) == 0
    assert small_root.results(cohort.folder) == undisturbed[0]
    assert manifest(cohort)["resumes"] == 1


def test_a_full_disk_at_the_end_leaves_no_result(undisturbed, root):
    assert victims.finish(root, victims.disk_full_at, 6 * 15 + 4) == 1
    _, cohort = small_root.cohort(root)
    assert not cohort.complete
    assert victims.finish(root) == 0
    assert small_root.results(cohort.folder) == undisturbed[0]
