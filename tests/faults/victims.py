"""Trainers to be killed: `reprise train` in processes forked from a server that has torch loaded already."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

import small_root

IPPO = (small_root.TASK, "ippo")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "pyarrow.parquet",
        "reprise.algorithms.ippo",
        "reprise.cli",
        "reprise.environments.stochastic_game",
        "reprise.experiments.training",
        "safetensors.torch",
        "victims",
    ]
)


def start(root: Path, hook=None, *arguments, cell=IPPO):
    """A process that trains ``cell`` (task, algorithm) by the command; ``hook(*arguments)`` is called in it first."""
    process = CONTEXT.Process(target=_train, args=(root, cell, hook, arguments))
    process.start()
    return process


def finish(root: Path, hook=None, *arguments, cell=IPPO) -> int:
    """Run the command to its end; its exit code, negative for a signal."""
    process = start(root, hook, *arguments, cell=cell)
    process.join(60)
    return process.exitcode


def _train(root: Path, cell, hook, arguments) -> None:
    os.chdir(root)
    if hook is not None:
        hook(*arguments)
    log = os.open(root / "log.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.dup2(log, 2)
    sys.argv = ["reprise", "train", "--task", cell[0], "--algorithm", cell[1], "--seeds", "0-1"]
    sys.argv += ["--tier", "smoke", "--device", "cpu", "--checkpoint-seconds", "0"]
    from reprise.cli import main

    sys.exit(main())


def die_at_rename(number: int, after: bool) -> None:
    """SIGKILL right before or right after the ``number``-th rename."""
    real, count = os.replace, [0]

    def replace(source, target):
        count[0] += 1
        if count[0] == number and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        real(source, target)
        if count[0] == number:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace


def die_while_writing(number: int) -> None:
    """SIGKILL with half of the ``number``-th file written."""
    from reprise.experiments import runs

    real, count = runs.write_synced, [0]

    def write_synced(path, data):
        count[0] += 1
        if count[0] == number:
            path.write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        real(path, data)

    runs.write_synced = write_synced


def disk_full_at(number: int) -> None:
    """The ``number``-th file does not fit on the disk any more."""
    from reprise.experiments import runs

    real, count = runs.write_synced, [0]

    def write_synced(path, data):
        count[0] += 1
        if count[0] == number:
            path.write_bytes(data[: len(data) // 2])
            raise OSError(28, "No space left on device")
        real(path, data)

    runs.write_synced = write_synced


def signal_at_update(number: int, which: int, algorithm: str = "reprise.algorithms.ippo.IPPO") -> None:
    """Send ourselves a signal in the middle of the ``number``-th update."""
    module, _, name = algorithm.rpartition(".")
    algorithm = getattr(import_module(module), name)
    real, count = algorithm.update, [0]

    def update(self, rollout):
        count[0] += 1
        if count[0] == number:
            os.kill(os.getpid(), which)
        return real(self, rollout)

    algorithm.update = update
