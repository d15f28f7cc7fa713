"""Run folders: atomic writes, hashes, manifests, deterministic tables, and the lock between processes."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from reprise.errors import RepriseError
from reprise.experiments import runs


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    runs.write_json(path, {"a": 1})

    def full(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        runs.write_json(path, {"a": 2})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_a_write_is_on_disk_before_its_name_is(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (order.append(name), real(*a))[1])
    runs.write_bytes(tmp_path / "a", b"x")
    assert order == ["fsync", "replace", "fsync"]


def test_json_is_strict(tmp_path):
    runs.write_json(tmp_path / "a.json", {"b": [float("nan"), float("inf")], "a": (1, 2.5)})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": [1, 2.5], "b": ["nan", "inf"]}


def test_equal_columns_give_equal_parquet_bytes_without_pandas(tmp_path):
    columns = {"setting": ["a", "b"], "seed": np.array([1, 2], np.int32), "return": np.array([0.1, np.nan])}
    runs.write_parquet(tmp_path / "a.parquet", columns)
    runs.write_parquet(tmp_path / "b.parquet", {name: values[:] for name, values in columns.items()})
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert [str(field.type) for field in schema] == ["string", "int32", "double"]
    assert not schema.metadata
    read = pq.read_table(tmp_path / "a.parquet").to_pydict()
    assert read["setting"] == ["a", "b"]
    assert read["seed"] == [1, 2]
    assert read["return"][0] == 0.1
    assert np.isnan(read["return"][1])
    code = (
        "import sys, numpy, pathlib; from reprise.experiments import runs;"
        f"runs.write_parquet(pathlib.Path({str(tmp_path / 'c.parquet')!r}), {{'s': ['a'], 'x': numpy.ones(1)}});"
        "sys.exit('pandas' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_tensors_go_there_and_back():
    # A transposed view and two views of one storage: safetensors takes neither as it is.
    base = torch.arange(6.0).view(2, 3)
    tensors = {"a": base.T, "b": base, "c": torch.tensor(True), "d": torch.zeros(0, dtype=torch.uint8)}
    read = runs.decode_tensors(runs.encode_tensors(tensors))
    assert all(torch.equal(read[name], tensor) and read[name].dtype == tensor.dtype for name, tensor in tensors.items())
    assert all(tensor.data_ptr() % 64 == 0 for tensor in read.values())


def test_anything_but_safetensors_is_refused():
    with pytest.raises(ValueError, match="not safetensors"):
        runs.decode_tensors(b"\x80\x04." * 20)


@pytest.fixture
def folder(tmp_path):
    """A run folder with a valid manifest."""
    for name in runs.FILES:
        runs.write_bytes(tmp_path / name, name.encode())
    manifest = dict.fromkeys(runs.MANIFEST_KEYS)
    manifest |= {"format": runs.FORMAT, "hash": "abc", "files": {n: runs.sha256(tmp_path / n) for n in runs.FILES}}
    runs.write_json(tmp_path / runs.MANIFEST, manifest)
    return tmp_path


def test_a_sound_folder_has_no_faults(folder):
    assert runs.faults(folder, "abc") == []


@pytest.mark.parametrize("name", runs.FILES)
def test_an_edited_or_missing_file_is_named(folder, name):
    stamp = (folder / name).stat().st_mtime
    (folder / name).write_bytes(b"edited")
    os.utime(folder / name, (stamp, stamp))
    assert [str(folder / name) in line and "sha256" in line for line in runs.faults(folder)] == [True]
    (folder / name).unlink()
    assert runs.faults(folder) == [f"{folder / name}: missing"]


def test_another_config_is_named(folder):
    (line,) = runs.faults(folder, "def")
    assert "trained with config abc" in line


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1}', "\udcff"])
def test_a_damaged_manifest_names_the_file_and_the_next_command(folder, text):
    (folder / runs.MANIFEST).write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(RepriseError, match=r"manifest\.json: .*reprise verify --repair"):
        runs.load_manifest(folder)


def _try_lock(folder, results):
    try:
        with runs.RunLock(folder, wait_seconds=0.2):
            results.put("locked")
    except RepriseError as error:
        results.put(str(error))


def test_one_process_at_a_time(tmp_path):
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    with runs.RunLock(tmp_path):
        other = context.Process(target=_try_lock, args=(tmp_path, results))
        other.start()
        message = results.get(timeout=20)
        other.join()
        assert f"pid {os.getpid()} on" in message
        assert message.endswith("wait for it or stop it")
    other = context.Process(target=_try_lock, args=(tmp_path, results))
    other.start()
    assert results.get(timeout=20) == "locked"
    other.join()
    assert not (tmp_path / "lock.json").exists()


def test_a_fresh_heartbeat_from_another_host_refuses_and_a_stale_one_does_not(tmp_path):
    info = {"host": "elsewhere", "pid": 7, "since": "noon", "heartbeat": runs.time.time()}
    runs.write_json(tmp_path / "lock.json", info)
    with pytest.raises(RepriseError, match="pid 7 on elsewhere"), runs.RunLock(tmp_path):
        pass
    assert runs.lock_holder(tmp_path)["pid"] == 7
    runs.write_json(tmp_path / "lock.json", info | {"heartbeat": runs.time.time() - runs.STALE_SECONDS - 1})
    assert runs.lock_holder(tmp_path) is None
    with runs.RunLock(tmp_path) as lock:
        assert "pid 7 on elsewhere" in lock.taken_over
    assert runs.lock_holder(tmp_path) is None


def test_partials_of_killed_processes_go(tmp_path):
    (tmp_path / ".a.json.7.partial").write_text("half")
    (tmp_path / ".update-00000001.partial").mkdir()
    (tmp_path / "kept").touch()
    runs.remove_partials(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["kept"]
