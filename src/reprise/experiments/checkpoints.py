"""Checkpoints: everything that a run needs to go on exactly where it stopped.

One folder per checkpoint, written under a temporary name and renamed: ``update-00000012/`` with ``<group>.safetensors``
for the tensors and ``state.json`` for the counters, the config hash and the sha256 of every file. The last two are
kept, so that a damaged one falls back to the one before.

What an algorithm has gathered and never changes again (the full blocks of a replay) lies beside them, one
``<name>.safetensors`` per archive. It is written once, before the first checkpoint that names it, with its sha256, and
removed with the last: what a checkpoint costs does not grow with what was gathered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from reprise.errors import RepriseError
from reprise.experiments import runs

KEPT = 2
SHORTEST_INTERVAL = 20.0
# The next save comes no sooner than this many times the cost of the last one: saving costs at most 2 % of wall time.
COST_MULTIPLE = 50.0
STATE = "state.json"
SUFFIX = ".safetensors"
# What reading a file that is missing, damaged or not what it should be can raise.
ODD = (OSError, ValueError, KeyError, AttributeError, TypeError)

Archives = dict[str, Callable[[], dict[str, Any]]]


class Checkpoints:
    """The checkpoints of one cohort.

    Args:
        folder: where they lie (the lock's folder).
        key: what a checkpoint must have been made for: config hash, seeds; anything else is never resumed.
        every: seconds between saves; None adapts to the measured cost, 0 saves whenever asked.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        folder: Path,
        key: Mapping[str, Any],
        every: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.folder, self.key, self.every, self.clock = folder, json.loads(json.dumps(key)), every, clock
        self._next = clock() + (SHORTEST_INTERVAL if every is None else every)
        self._archives: dict[str, str] = {}  # sha256 of those known to be whole on disk

    def due(self) -> bool:
        """Whether it is time to save."""
        return self.clock() >= self._next

    def save(
        self,
        update: int,
        tensors: Mapping[str, Mapping[str, Any]],
        state: Mapping[str, Any],
        archives: Mapping[str, Callable[[], Mapping[str, Any]]] | None = None,
    ) -> float:
        """Save a checkpoint and drop the oldest; returns the seconds it took.

        Args:
            update: number of updates made; names the checkpoint.
            tensors: {group: {name: tensor}}.
            state: counters, as JSON.
            archives: all that belong to it, {name: how to get {name: tensor}}; a name stands for the same numbers for
                ever, and those that are on disk are not asked for.

        Raises RepriseError when the disk refuses; earlier checkpoints are then untouched.
        """
        start = self.clock()
        target = self.folder / f"update-{update:08d}"
        unfinished = self.folder / f".{target.name}{runs.PARTIAL}"
        try:
            if unfinished.exists():
                shutil.rmtree(unfinished)
            unfinished.mkdir(parents=True)
            named = {name: self._archive(name, tensors_of) for name, tensors_of in (archives or {}).items()}
            digests = {}
            for group, content in tensors.items():
                data = runs.encode_tensors(content)
                runs.write_synced(unfinished / f"{group}{SUFFIX}", data)
                digests[f"{group}{SUFFIX}"] = hashlib.sha256(data).hexdigest()
            content = {"key": self.key, "files": digests, "archives": named, "state": dict(state)}
            runs.write_synced(unfinished / STATE, runs.encode_json(content | {"sha256": _digest(content)}))
            runs.fsync_folder(unfinished)
            if target.exists():
                shutil.rmtree(target)
            os.replace(unfinished, target)
            runs.fsync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise RepriseError(
                f"{target}: cannot save a checkpoint ({error.strerror or error}); the one before is intact: "
                "free disk space and run the same command to go on",
                exit_code=1,
            ) from error
        for old in self._found()[KEPT:]:
            shutil.rmtree(old)
        self._remove_archives(named)
        cost = self.clock() - start
        wait = max(SHORTEST_INTERVAL, COST_MULTIPLE * cost) if self.every is None else self.every
        self._next = self.clock() + wait
        return cost

    def _archive(self, name: str, tensors_of: Callable[[], Mapping[str, Any]]) -> str:
        """The sha256 of an archive, written now if it is not known to be on disk."""
        if name not in self._archives:
            data = runs.encode_tensors(tensors_of())
            runs.write_bytes(self.folder / f"{name}{SUFFIX}", data)
            self._archives[name] = hashlib.sha256(data).hexdigest()
        return self._archives[name]

    def _remove_archives(self, named: Mapping[str, str]) -> None:
        """Remove those that are neither ``named`` by the newest checkpoint nor by an older one that is kept."""
        wanted = set(named)
        for path in self._found()[1:]:
            with contextlib.suppress(*ODD):  # a damaged one needs nothing
                wanted |= self._content(path)["archives"].keys()
        for path in self.folder.glob(f"*{SUFFIX}"):
            if path.stem not in wanted:
                path.unlink()
                self._archives.pop(path.stem, None)

    def load(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any], Archives] | None:
        """The newest whole checkpoint made for this key; None to start anew.

        Returns its tensors on the CPU, its state, and its archives, checked and to be read one at a time.
        Damaged ones and those of another config are removed, with a line on stderr.
        """
        for path in self._found():
            try:
                return self._read(path)
            except ODD as error:
                print(f"{path}: not resumed ({type(error).__name__}: {error})", file=sys.stderr)
            shutil.rmtree(path)
        return None

    def _found(self) -> Sequence[Path]:
        return sorted(self.folder.glob("update-*"), reverse=True)

    def _content(self, path: Path) -> dict[str, Any]:
        """What state.json says; one of the ``ODD`` errors when it is damaged or made for another config."""
        content = json.loads((path / STATE).read_bytes())
        if content.pop("sha256") != _digest(content):
            raise ValueError(f"{STATE} is damaged")
        if content["key"] != self.key:
            raise ValueError("made for another config")
        return content

    def _read(self, path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any], Archives]:
        """What ``load`` returns, of one checkpoint; one of the ``ODD`` errors when anything about it is odd."""
        content = self._content(path)
        groups = {}
        for name, expected in content["files"].items():
            data = (path / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != expected:
                raise ValueError(f"{name} is damaged")
            groups[Path(name).stem] = runs.decode_tensors(data)
        for name, expected in content["archives"].items():
            if runs.sha256(self.folder / f"{name}{SUFFIX}") != expected:
                raise ValueError(f"{name}{SUFFIX} is damaged")
        self._archives = dict(content["archives"])
        return groups, content["state"], {name: partial(self._read_archive, name) for name in self._archives}

    def _read_archive(self, name: str) -> dict[str, Any]:
        return runs.decode_tensors((self.folder / f"{name}{SUFFIX}").read_bytes())


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(runs.encode_json(content)).hexdigest()
