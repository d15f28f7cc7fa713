"""What a replay has gathered is written once, beside the checkpoints; a run resumed with it ends as if undisturbed."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from functools import partial

import gatherer
import pytest
import small_root
import torch
import victims

from reprise.blocks.state_replay import StateReplay
from reprise.blocks.streams import Streams
from reprise.experiments import checkpoints, runs
from reprise.experiments.checkpoints import Checkpoints

UPDATE = "gatherer.Gatherer"
KILLS = 8


def finish(root, hook=None, *arguments) -> int:
    return victims.finish(root, hook, *arguments, cell=gatherer.CELL)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """The results of a run that nothing happens to, and its manifest."""
    root = gatherer.write(tmp_path_factory.mktemp("undisturbed"))
    assert finish(root) == 0, (root / "log.txt").read_text()
    folder = gatherer.cohort(root).folder
    return small_root.results(folder), json.loads((folder / "manifest.json").read_text())


@pytest.fixture
def root(tmp_path):
    return gatherer.write(tmp_path)


def interrupt(root, update: int):
    """Stop after ``update`` updates, the last two checkpointed; the folder of the checkpoints."""
    assert finish(root, victims.signal_at_update, update, signal.SIGTERM, UPDATE) == 75
    return gatherer.cohort(root).checkpoints


def archives(folder) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def check_end(root, undisturbed, resumes: int) -> None:
    """The command, typed again, ends as if nothing had happened."""
    assert finish(root) == 0, (root / "log.txt").read_text()
    cohort = gatherer.cohort(root)
    assert small_root.results(cohort.folder) == undisturbed[0]
    assert json.loads((cohort.folder / "manifest.json").read_text())["resumes"] == resumes
    assert not cohort.checkpoints.exists()


def test_the_manifest_says_what_the_algorithm_is_and_where_time_went(undisturbed):
    manifest = undisturbed[1]
    assert manifest["cells"][0]["described"] == {"critic_parameters": 2}
    assert set(manifest["seconds"]) == {"rollout", "update", "evaluation", "checkpoint"}
    assert 0 < sum(manifest["seconds"].values()) < manifest["wall_seconds"]


@pytest.mark.parametrize("update", [1, 5, 15])
def test_a_resume_is_exact_before_and_after_the_ring_is_full(undisturbed, root, update):
    folder = interrupt(root, update)
    episodes = update * gatherer.COPIES
    # The ring keeps the last 300 episodes; the checkpoint before may still need a block more.
    first = max(0, episodes - gatherer.COPIES - gatherer.CAPACITY) // 64
    assert archives(folder) == [f"replay-{block:08d}" for block in range(first, episodes // 64)]
    check_end(root, undisturbed, resumes=1)


def test_maddpg_resumes_exactly(tmp_path):
    """Actors, critics, targets, optimisers, noise and the replay of particle worlds: interrupted twice, ring full."""
    cell, results = gatherer.MADDPG, []
    for name, stops in (("undisturbed", ()), ("interrupted", (5, 8))):
        root = gatherer.write_maddpg(tmp_path / name)
        for update in stops:
            stop = (victims.signal_at_update, update, signal.SIGTERM, "reprise.algorithms.maddpg.MADDPG")
            assert victims.finish(root, *stop, cell=cell) == 75
            assert archives(gatherer.cohort(root, cell).checkpoints)
        assert victims.finish(root, cell=cell) == 0, (root / "log.txt").read_text()
        results.append(small_root.results(gatherer.cohort(root, cell).folder))
    assert results[0] == results[1]


def test_interrupted_again_and_again(undisturbed, root):
    for count in range(5):
        assert finish(root, victims.signal_at_update, 3, signal.SIGTERM, UPDATE) == 75
        assert archives(gatherer.cohort(root).checkpoints), count
    check_end(root, undisturbed, resumes=5)


def test_sigkill_at_random_moments(undisturbed, root):
    cohort, chance, kills = gatherer.cohort(root), random.Random(5), 0
    while kills < KILLS:
        process = victims.start(root, cell=gatherer.CELL)
        wanted = chance.randrange(1, small_root.UPDATES)
        while process.exitcode is None and max(_saved(cohort), default=0) < wanted:
            process.join(0.001)
        time.sleep(chance.uniform(0.0, 0.02))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        assert finish(root) == 0
        assert small_root.results(cohort.folder) == undisturbed[0]
        shutil.rmtree(cohort.folder)


def _saved(cohort) -> list[int]:
    return [int(path.name[-8:]) for path in cohort.checkpoints.glob("update-*")]


# The lock; 6 files of the first checkpoint (48 episodes, no archive yet); an archive and 6 files; and so on.
@pytest.mark.parametrize("number", [8, 9, 14, 15, 22, 23])
def test_sigkill_inside_a_write(undisturbed, root, number):
    assert finish(root, victims.die_while_writing, number) == -signal.SIGKILL
    check_end(root, undisturbed, resumes=1)


def test_a_full_disk_inside_an_archive_keeps_the_checkpoint_before(undisturbed, root):
    assert finish(root, victims.disk_full_at, 8) == 1
    assert "No space left on device" in (root / "log.txt").read_text()
    folder = gatherer.cohort(root).checkpoints
    assert sorted(path.name for path in folder.glob("update-*")) == ["update-00000001"]
    assert archives(folder) == []
    check_end(root, undisturbed, resumes=1)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path):
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def remove(path):
    path.unlink()


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove])
def test_damage_to_the_newest_archive_falls_back_to_the_checkpoint_before(undisturbed, root, damage):
    folder = interrupt(root, 4)  # 192 episodes: three blocks, the third only in the newest checkpoint
    damage(folder / "replay-00000002.safetensors")
    check_end(root, undisturbed, resumes=1)
    log = (root / "log.txt").read_text()
    assert "update-00000004: not resumed" in log
    assert f"going on from {3 * gatherer.COPIES * gatherer.STEPS} env steps" in log


@pytest.mark.parametrize("damage", [truncate, flip_a_bit, remove])
def test_damage_to_an_archive_of_both_checkpoints_starts_anew(undisturbed, root, damage):
    folder = interrupt(root, 4)
    damage(folder / "replay-00000000.safetensors")
    check_end(root, undisturbed, resumes=0)
    assert "going on" not in (root / "log.txt").read_text()


def test_archives_of_another_config_are_never_taken_up(undisturbed, root):
    folder = interrupt(root, 4)
    for path in folder.glob("update-*/state.json"):
        content = json.loads(path.read_text())
        del content["sha256"]
        content["key"]["hash"] = "another"
        path.write_text(json.dumps(content | {"sha256": checkpoints._digest(content)}))
    for name in archives(folder):
        flip_a_bit(folder / f"{name}.safetensors")
    check_end(root, undisturbed, resumes=0)
    assert "made for another config" in (root / "log.txt").read_text()


@pytest.mark.parametrize("number", [3, 4, 5])
@pytest.mark.parametrize("after", [False, True])
def test_sigkill_around_a_rename(undisturbed, root, number, after):
    """The lock, the first checkpoint, then in turn an archive and a checkpoint."""
    assert finish(root, victims.die_at_rename, number, after) == -signal.SIGKILL
    check_end(root, undisturbed, resumes=1)


def test_a_checkpoint_writes_what_is_new_and_nothing_else(tmp_path, monkeypatch):
    """A hundred checkpoints, a block of a ring of ten between each: the bytes written stay what they were."""
    written, bytes_of, asked = [], [], []
    real = runs.write_synced
    monkeypatch.setattr(runs, "write_synced", lambda path, data: (written.append(len(data)), real(path, data)))
    world = gatherer.Points({}, task="t", seeds=[0], copies=64, device="cpu", cache=None)
    replay = StateReplay(Streams([0]), 10 * 64 * gatherer.STEPS, world.spec)
    store = Checkpoints(tmp_path, {})

    def noted(name, read):
        asked.append(name)
        return read()

    for update in range(1, 101):
        replay.insert(gatherer.episodes(world))
        ring = {name: partial(noted, name, read) for name, read in replay.archives().items()}
        written.clear()
        store.save(update, {"algorithm": replay.state_dict()}, {}, ring)
        bytes_of.append(sum(written))
    assert asked == [f"replay-{block:08d}" for block in range(100)]
    assert max(bytes_of) - min(bytes_of) < 11 * 110  # names and sha256 of the ring's archives, in state.json
    assert bytes_of[10:] == [bytes_of[10]] * 90
    assert archives(tmp_path) == asked[-11:]
    tensors, _, found = Checkpoints(tmp_path, {}).load()
    again = StateReplay(Streams([0]), 10 * 64 * gatherer.STEPS, world.spec)
    again.load_state_dict(tensors["algorithm"])
    for name, read in found.items():
        again.load_archive(name, read())
    assert all(torch.equal(a, b) for a, b in zip(replay.sample(99), again.sample(99), strict=True))
