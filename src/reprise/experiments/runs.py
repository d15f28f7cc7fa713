"""Run folders: atomic writes, hashes, the manifest, and the lock that keeps two trainers apart.

A file appears under its name only when it is whole on disk (temporary name in the same folder, fsync, rename, fsync of
the folder), and the manifest is written last: a folder with a manifest is a complete run. Nothing is ever pickled.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import socket
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from reprise.errors import RepriseError

FORMAT = 1
EVALUATIONS, TRAINING, TIMINGS = "evaluations.parquet", "training.parquet", "timings.parquet"
POLICY, MANIFEST = "policy.safetensors", "manifest.json"
FILES = (EVALUATIONS, TRAINING, TIMINGS, POLICY)
RECORDS = "records.parquet"
MANIFEST_KEYS = frozenset({"format", "tier", "task", "name", "cells", "hash", "seeds", "files", "environment"})
PARTIAL = ".partial"
HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 300.0
REPAIR = "`reprise verify --repair` sets it aside so that the next call retrains it"


class Interrupted(RepriseError):
    """Training was asked to stop and left a checkpoint: the same command goes on from there (exit code 75)."""

    def __init__(self, message: str):
        super().__init__(message)
        self.exit_code = 75


# ---------------------------------------------------------------------------------------------------- atomic writes


def fsync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, data: bytes) -> None:
    """Write ``data`` and wait until it is on disk (no rename)."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_bytes(path: Path, data: bytes) -> None:
    """Replace ``path`` atomically: at every moment it is absent, the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    try:
        write_synced(temporary, data)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(path.parent)


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON atomically; a non-finite number becomes its name ("nan", "inf", "-inf")."""
    write_bytes(path, encode_json(value))


def encode_json(value: Any) -> bytes:
    """Strict, sorted, indented JSON as bytes."""
    return (json.dumps(_strict(value), indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n").encode()


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(k): _strict(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def write_parquet(path: Path, columns: Mapping[str, Any]) -> None:
    """Write columns (contiguous numpy arrays or lists of str, equal lengths) as parquet; equal input, equal bytes."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    def array(values: Any) -> pa.Array:
        # From buffers, since pa.array() imports pandas (0.5 s) to see what it was given.
        if isinstance(values, list):
            encoded = [text.encode() for text in values]
            ends = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
            return pa.StringArray.from_buffers(len(values), pa.py_buffer(ends), pa.py_buffer(b"".join(encoded)))
        return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])

    buffer = pa.BufferOutputStream()
    table = pa.Table.from_arrays([array(values) for values in columns.values()], names=list(columns))
    pq.write_table(table, buffer, compression="zstd", compression_level=3)
    write_bytes(path, buffer.getvalue().to_pybytes())


def encode_tensors(tensors: Mapping[str, Any]) -> bytes:
    """Tensors of any device as safetensors bytes."""
    from safetensors.torch import save

    return save({name: tensor.detach().cpu().clone().contiguous() for name, tensor in tensors.items()})


def decode_tensors(data: bytes) -> dict[str, Any]:
    """Safetensors bytes as CPU tensors; ValueError for anything else, a pickle included.

    Cloned: torch's kernels may round differently on memory that is not aligned as its allocator does it, and a resume
    must be exact.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        tensors = load(data)
    except SafetensorError as error:
        raise ValueError(f"not safetensors: {error}") from error
    return {name: tensor.clone() for name, tensor in tensors.items()}


def sha256(path: Path) -> str:
    """Hex digest of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remove_partials(folder: Path) -> None:
    """Delete what a killed process left half-written in ``folder``; only under its lock."""
    for path in folder.glob(f".*{PARTIAL}"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


# --------------------------------------------------------------------------------------------------------- manifest


def load_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a complete run folder.

    Raises RepriseError, naming the file and the next command, when it is missing, unreadable or not a manifest.
    """
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise RepriseError(f"{folder}: no {MANIFEST}: the run is not complete; train it") from None
    except ValueError as error:
        raise RepriseError(f"{path}: damaged ({error}); {REPAIR}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or not manifest.keys() >= MANIFEST_KEYS:
        raise RepriseError(f"{path}: not a manifest of format {FORMAT}; {REPAIR}")
    return manifest


def files(manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """The files that belong beside ``manifest``: those of a training, or the records of an exact study."""
    return (RECORDS,) if str(manifest["task"]).startswith("theory/") else FILES


def faults(folder: Path, expected_hash: str | None = None) -> list[str]:
    """What is wrong with a run folder, one line each; empty when it may be used.

    Checks that the manifest reads, that every file has the sha256 written there, and, if given, the config hash.
    """
    try:
        manifest = load_manifest(folder)
    except RepriseError as error:
        return [str(error)]
    found = []
    for name in files(manifest):
        path, expected = folder / name, manifest["files"].get(name)
        if not path.is_file():
            found.append(f"{path}: missing")
        elif sha256(path) != expected:
            found.append(f"{path}: sha256 differs from the manifest's (edited, truncated or mixed up)")
    if expected_hash is not None and manifest["hash"] != expected_hash:
        found.append(f"{folder}: trained with config {manifest['hash'][:12]}, the config now says {expected_hash[:12]}")
    return found


# ------------------------------------------------------------------------------------------------------------- lock


class RunLock:
    """One trainer per run folder: an flock on ``<folder>/lock`` and, for people, ``lock.json`` beside it.

    ``lock.json`` holds host, pid, since, heartbeat (Unix seconds) and the progress last reported. The flock goes with
    its process, so a dead holder is simply taken over; where a shared file system does not carry flocks between hosts,
    a heartbeat younger than ``STALE_SECONDS`` from another host refuses as well.
    """

    def __init__(self, folder: Path, wait_seconds: float = 2.0):
        self.folder = folder
        self.taken_over: str | None = None
        self._lock = FileLock(folder / "lock", timeout=wait_seconds)
        self._info: dict[str, Any] = {}

    def __enter__(self) -> RunLock:
        """Take the lock; RepriseError naming the holder when another process has it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise RepriseError(_busy(read_lock(self.folder), self.folder)) from None
        before = read_lock(self.folder)
        if _alive_elsewhere(before):
            self._lock.release()
            raise RepriseError(_busy(before, self.folder))
        if before:
            self.taken_over = f"taking over from pid {before.get('pid')} on {before.get('host')}, which has ended"
        self._info = {"host": socket.gethostname(), "pid": os.getpid(), "since": now()}
        self.beat(force=True)
        return self

    def __exit__(self, *_: object) -> None:
        (self.folder / "lock.json").unlink(missing_ok=True)
        self._lock.release()

    def beat(self, force: bool = False, **progress: float) -> None:
        """Refresh the heartbeat, at most every ``HEARTBEAT_SECONDS``."""
        if force or time.time() - self._info["heartbeat"] >= HEARTBEAT_SECONDS:
            self._info |= {"heartbeat": time.time(), **progress}
            write_bytes(self.folder / "lock.json", encode_json(self._info))

    def remove_folder(self) -> None:
        """Delete the locked folder with all it holds; filelock makes a waiter notice that the file is gone."""
        shutil.rmtree(self.folder)


def read_lock(folder: Path) -> dict[str, Any]:
    """What the holder (or a killed one) wrote about itself; empty when there is nothing readable."""
    try:
        info = json.loads((folder / "lock.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return info if isinstance(info, dict) else {}


def lock_holder(folder: Path) -> dict[str, Any] | None:
    """The holder's ``lock.json`` while some process trains this run, else None. Changes nothing on disk."""
    path = folder / "lock"
    if not path.exists():
        return None
    probe = FileLock(path, timeout=0)
    try:
        probe.acquire()
    except Timeout:
        return read_lock(folder)
    probe.release()
    info = read_lock(folder)
    return info if _alive_elsewhere(info) else None


def _alive_elsewhere(info: Mapping[str, Any]) -> bool:
    fresh = time.time() - info.get("heartbeat", 0.0) < STALE_SECONDS
    return bool(info) and info.get("host") != socket.gethostname() and fresh


def _busy(info: Mapping[str, Any], folder: Path) -> str:
    who = f"pid {info.get('pid', '?')} on {info.get('host', '?')}"
    return (
        f"{folder}: another process ({who}) is training this run folder since {info.get('since', '?')}; "
        "wait for it or stop it"
    )


def now() -> str:
    """The time of day in UTC, ISO 8601, for people to read; no decision depends on it."""
    return datetime.now(UTC).isoformat(timespec="seconds")
