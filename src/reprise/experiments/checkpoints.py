"""Checkpoints: everything that a run needs to go on exactly where it stopped.

One folder per checkpoint, written under a temporary name and renamed: ``update-00000012/`` with ``<group>.safetensors``
for the tensors and ``state.json`` for the counters, the config hash and the sha256 of every file. The last two are
kept, so that a damaged one falls back to the one before.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reprise.errors import RepriseError
from reprise.experiments import runs

KEPT = 2
SHORTEST_INTERVAL = 20.0
# The next save comes no sooner than this many times the cost of the last one: saving costs at most 2 % of wall time.
COST_MULTIPLE = 50.0
STATE = "state.json"


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

    def due(self) -> bool:
        """Whether it is time to save."""
        return self.clock() >= self._next

    def save(self, update: int, tensors: Mapping[str, Mapping[str, Any]], state: Mapping[str, Any]) -> float:
        """Save a checkpoint and drop the oldest; returns the seconds it took.

        Args:
            update: number of updates made; names the checkpoint.
            tensors: {group: {name: tensor}}.
            state: counters, as JSON.

        Raises RepriseError when the disk refuses; earlier checkpoints are then untouched.
        """
        start = self.clock()
        target = self.folder / f"update-{update:08d}"
        partial = self.folder / f".{target.name}{runs.PARTIAL}"
        try:
            if partial.exists():
                shutil.rmtree(partial)
            partial.mkdir(parents=True)
            digests = {}
            for group, content in tensors.items():
                data = runs.encode_tensors(content)
                runs.write_synced(partial / f"{group}.safetensors", data)
                digests[f"{group}.safetensors"] = hashlib.sha256(data).hexdigest()
            content = {"key": self.key, "files": digests, "state": dict(state)}
            runs.write_synced(partial / STATE, runs.encode_json(content | {"sha256": _digest(content)}))
            runs.fsync_folder(partial)
            if target.exists():
                shutil.rmtree(target)
            os.replace(partial, target)
            runs.fsync_folder(self.folder)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            raise RepriseError(
                f"{target}: cannot save a checkpoint ({error.strerror or error}); the one before is intact: "
                "free disk space and run the same command to go on",
                exit_code=1,
            ) from error
        for old in self._found()[KEPT:]:
            shutil.rmtree(old)
        cost = self.clock() - start
        wait = max(SHORTEST_INTERVAL, COST_MULTIPLE * cost) if self.every is None else self.every
        self._next = self.clock() + wait
        return cost

    def load(self) -> tuple[dict[str, dict[str, Any]], dict[str, Any]] | None:
        """The newest whole checkpoint made for this key, as (tensors on the CPU, state); None to start anew.

        Damaged ones and those of another config are removed, with a line on stderr.
        """
        for path in self._found():
            try:
                return self._read(path)
            except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
                print(f"{path}: not resumed ({type(error).__name__}: {error})", file=sys.stderr)
            shutil.rmtree(path)
        return None

    def _found(self) -> Sequence[Path]:
        return sorted(self.folder.glob("update-*"), reverse=True)

    def _read(self, path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Tensors and state of one checkpoint; one of several built-in errors when anything about it is odd."""
        content = json.loads((path / STATE).read_bytes())
        if content.pop("sha256") != _digest(content):
            raise ValueError(f"{STATE} is damaged")
        if content["key"] != self.key:
            raise ValueError("made for another config")
        groups = {}
        for name, expected in content["files"].items():
            data = (path / name).read_bytes()
            if hashlib.sha256(data).hexdigest() != expected:
                raise ValueError(f"{name} is damaged")
            groups[Path(name).stem] = runs.decode_tensors(data)
        return groups, content["state"]


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(runs.encode_json(content)).hexdigest()
