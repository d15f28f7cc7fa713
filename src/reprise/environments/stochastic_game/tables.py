"""The random tables of a game: drawn state by state, cached on disk, shared by concurrent jobs, checked when opened.

A folder ``<cache>/stochastic_game/<key>/`` holds ``rewards.npy`` (float32 [S, J]), ``transitions.npy`` (float32
[S, J, S]) and ``game.json``, where J = A^N joint actions and agent 0 is the most significant digit of a joint action.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
from filelock import FileLock

from reprise.errors import RepriseError

GENERATOR = 1  # raise it when the same parameters give other numbers: old caches are then never opened


@dataclass(frozen=True)
class Game:
    """What determines the tables.

    Attributes:
        states, agents, actions: S, N, A.
        reward_low, reward_high: rewards are uniform between the two.
        logit_width: transition rows are the softmax of uniform logits on an interval of this width.
        seed: game seed, >= 0.
    """

    states: int
    agents: int
    actions: int
    reward_low: float
    reward_high: float
    logit_width: float
    seed: int

    @property
    def joint_actions(self) -> int:
        """J = A^N."""
        return self.actions**self.agents

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each table."""
        pairs = (self.states, self.joint_actions)
        return {"rewards": pairs, "transitions": (*pairs, self.states)}

    @property
    def nbytes(self) -> int:
        """Size of the tables in bytes."""
        return 4 * self.states * self.joint_actions * (self.states + 1)

    @property
    def key(self) -> str:
        """Folder name: readable, and different for different tables."""
        text = json.dumps({"generator": GENERATOR, **asdict(self)}, sort_keys=True)
        name = f"s{self.states}n{self.agents}a{self.actions}-seed{self.seed}"
        return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Tables:
    """Opened tables: ``rewards`` float32 [S, J] and ``transitions`` float32 [S, J, S], memory-mapped copy-on-write."""

    game: Game
    folder: Path
    rewards: np.ndarray
    transitions: np.ndarray


_OPEN: WeakValueDictionary[tuple[Game, Path], Tables] = WeakValueDictionary()


def draw_state(game: Game, state: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw one state's rewards, float32 [J], and transition rows, float32 [J, S] (DPO section 4.1; released game file).

    Each state has a generator of its own, so that the tables do not depend on the order or size of the pieces.
    """
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence(game.seed, spawn_key=(state,))))
    rewards = generator.uniform(game.reward_low, game.reward_high, game.joint_actions)
    rows = generator.random((game.joint_actions, game.states))
    rows *= game.logit_width
    np.exp(rows, out=rows)
    rows /= rows.sum(axis=1, keepdims=True)
    return rewards.astype(np.float32), rows.astype(np.float32)


def checksums(table: np.ndarray) -> list[int]:
    """One checksum per state: the sum of its raw 8-byte words modulo 2^64, at the speed of memory.

    A changed bit changes one word by a power of two, hence the sum. An odd last 4-byte word is added as it is.
    """
    words = table.reshape(len(table), -1).view(np.uint32)
    even = words.shape[1] // 2 * 2
    sums = np.add.reduce(words[:, :even].view(np.uint64), axis=1)
    if even < words.shape[1]:
        sums = sums + words[:, -1]
    return [int(value) for value in sums]


def open_tables(game: Game, cache: Path) -> Tables:
    """Open the tables of ``game``, building them first where they are absent, damaged or incomplete.

    Safe when several processes call it at once: one builds, the others wait and share the file.

    Raises:
        RepriseError: the cache folder cannot be read or written, or the disk is too small.
    """
    folder = Path(cache) / "stochastic_game" / game.key
    try:
        tables = _verified(game, folder)
        if tables is None:
            folder.mkdir(parents=True, exist_ok=True)
            with _lock(folder):
                tables = _verified(game, folder)
                if tables is None:
                    _check_space(game, folder)
                    _build(game, folder)
                    tables = _verified(game, folder)
    except OSError as error:
        raise _unusable(game, folder, error) from error
    if tables is None:
        raise RepriseError(f"{folder}: the game's tables do not read back as written; is the disk sound?")
    return tables


def shared_tables(game: Game, cache: Path) -> Tables:
    """``open_tables``, once per process and game for as long as somebody holds the tables: a training and its
    evaluation play the same game, and a second mapping would be verified again and count twice as memory."""
    key = (game, Path(cache).resolve())
    tables = _OPEN.get(key)
    if tables is None:
        tables = _OPEN[key] = open_tables(game, cache)
    return tables


def cached_references(tables: Tables, name: str, compute: Callable[[], dict[str, float]]) -> dict[str, float]:
    """The reference values ``name`` kept beside the tables, computed once for all processes on first use.

    Raises:
        RepriseError: the cache folder cannot be read or written.
    """
    found = _read_record(tables.folder).get("references", {}).get(name)
    if found is not None:
        return found
    try:
        with _lock(tables.folder):
            record = _read_record(tables.folder)
            known = record.setdefault("references", {})
            if name not in known:
                known[name] = compute()
                _write_record(tables.folder, record)
            return known[name]
    except OSError as error:
        raise _unusable(tables.game, tables.folder, error) from error


def _lock(folder: Path) -> FileLock:
    return FileLock(folder.with_name(folder.name + ".lock"))


def _unusable(game: Game, folder: Path, error: OSError) -> RepriseError:
    return RepriseError(f"{folder}: the game's tables ({game.nbytes / 1e6:.0f} MB) cannot be kept there: {error}")


def _check_space(game: Game, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if game.nbytes > free:
        raise RepriseError(f"{folder}: the game's tables need {game.nbytes / 1e6:.0f} MB, {free / 1e6:.0f} MB are free")


def _header(shape: tuple[int, ...]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def _write(path: Path, header: bytes, pieces: Iterator[np.ndarray]) -> list[int]:
    # Plain writes, not a mapping: written pages then do not count as this process's memory. No fsync: what a crash
    # of the machine loses, the checksums find.
    temporary = path.with_name(path.name + ".partial")
    sums = []
    with temporary.open("wb") as file:
        file.write(header)
        for piece in pieces:
            file.write(piece.data)
            sums += checksums(piece[None])
    os.replace(temporary, path)
    return sums


def _build(game: Game, folder: Path) -> None:
    (folder / "game.json").unlink(missing_ok=True)
    rewards = []

    def transitions() -> Iterator[np.ndarray]:
        for state in range(game.states):
            reward, rows = draw_state(game, state)
            rewards.append(reward)
            yield rows

    sums = {"transitions": _write(folder / "transitions.npy", _header(game.shapes["transitions"]), transitions())}
    sums["rewards"] = _write(folder / "rewards.npy", _header(game.shapes["rewards"]), iter(rewards))
    _write_record(folder, {"generator": GENERATOR, "game": asdict(game), "checksums": sums})


def _digest(record: dict) -> str:
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()


def _write_record(folder: Path, record: dict) -> None:
    temporary = folder / "game.json.partial"
    temporary.write_text(json.dumps({"record": record, "sha256": _digest(record)}, indent=1), encoding="utf-8")
    os.replace(temporary, folder / "game.json")


def _read_record(folder: Path) -> dict:
    """The verified content of game.json; empty when it is absent or damaged."""
    try:
        content = json.loads((folder / "game.json").read_bytes())
        record = content["record"]
        return record if content["sha256"] == _digest(record) else {}
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return {}


def _map(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Map a table, or None when the file is absent or its header or size is not what ``shape`` says."""
    header = _header(shape)
    try:
        with path.open("rb") as file:
            if file.read(len(header)) != header:
                return None
            if os.fstat(file.fileno()).st_size != len(header) + 4 * int(np.prod(shape)):
                return None
            # Copy-on-write: torch wants a writable array, and nothing may write into the shared file.
            return np.memmap(file, np.float32, "c", len(header), shape).view(np.ndarray)
    except FileNotFoundError:
        return None


def _verified(game: Game, folder: Path) -> Tables | None:
    expected = _read_record(folder).get("checksums")
    if expected is None:
        return None
    tables = {name: _map(folder / f"{name}.npy", shape) for name, shape in game.shapes.items()}
    for name, table in tables.items():
        if table is None or checksums(table) != expected.get(name):
            return None
    return Tables(game, folder, **tables)
