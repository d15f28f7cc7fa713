"""What runs in a worker process: some rows of a third-party environment, on request.

``python -m reprise.environments.pettingzoo.worker CONNECTION MARK PARENT``: file descriptors of the connection and of
two shared int64 (the row that is being served, and a count of calls into the environment), and the parent's pid.

A fault of the environment is not caught: it ends the worker, and the last thing sent is what it was.
"""

from __future__ import annotations

import json
import mmap
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module, metadata
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from reprise.environments.pettingzoo import answers
from reprise.environments.pettingzoo.codec import codecs_of, layout_of
from reprise.environments.pettingzoo.messages import MARK, Fault, Job
from reprise.environments.pettingzoo.row import Arrays, Row, apart, check_determinism, close
from reprise.errors import RepriseError, unknown

TIMER_SECONDS = 5.0


class Rows:
    """The rows of one worker; the methods without underscore are its commands."""

    def __init__(self, job: Job, mark: Callable[[int], None]):
        self.job, self.mark = job, mark
        self.make = partial(_factory(job.factory), **_keywords(job.arguments))
        first = self._environment(job.first)
        self.codecs = codecs_of(first)
        self._look_for_masks(first)
        size = np.asarray(first.state()).size if job.rules.own_state else None
        self.layout = layout_of(self.codecs, size)
        if job.rules.action_masks and not self.layout.choices:
            raise RepriseError("the parameter action_masks is for discrete actions, and these are continuous")
        self.arrays = Arrays(self.layout, job.rules, len(job.keys))
        environments = [first, *(self._environment(job.first + i) for i in range(1, len(job.keys)))]
        apart(environments)
        rows = zip(environments, job.keys, strict=True)
        self.rows = [self._row(each, key, self.arrays, i) for i, (each, key) in enumerate(rows)]
        if job.check:
            check_determinism(self._spare_row)

    def describe(self) -> tuple[Any, str]:
        """The layout, and which package runs."""
        package = self.job.factory.partition(".")[0]
        try:
            return self.layout, f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            return self.layout, package

    def reset(self, round_: int) -> Arrays:
        """Start the first episode of a round in all rows."""
        for row in self.rows:
            row.start(round_, 0)
        return self.arrays

    def step(self, actions: np.ndarray) -> Arrays:
        """One step of the actions [b, N(, size)]."""
        for row, action in zip(self.rows, actions, strict=True):
            row.step(action)
        return self.arrays

    def positions(self) -> tuple[np.ndarray, list[np.ndarray]]:
        """Episode numbers [b], and each row's actions since the start of its episode."""
        return np.array([row.episode for row in self.rows]), [np.array(row.history) for row in self.rows]

    def replay(self, round_: int, episodes: np.ndarray, actions: list[np.ndarray]) -> Arrays:
        """Go back to what ``positions`` said."""
        for row, episode, taken in zip(self.rows, episodes, actions, strict=True):
            row.replay(round_, int(episode), taken)
        return self.arrays

    def close(self) -> None:
        """Close all environments."""
        for row in self.rows:
            close(row.environment)

    def _environment(self, number: int) -> Any:
        self.mark(number)
        return self.make()

    def _row(self, environment: Any, key: Sequence[int], arrays: Arrays, index: int) -> Row:
        def mark(i: int) -> None:
            self.mark(self.job.first + i)

        return Row(self.make, environment, self.layout, self.codecs, self.job.rules, key, arrays, index, mark)

    def _spare_row(self) -> Row:
        """A row beside the others, to try things with."""
        arrays = Arrays(self.layout, self.job.rules, 1)
        return self._row(self._environment(self.job.first), (0,), arrays, 0)

    def _look_for_masks(self, environment: Any) -> None:
        """RepriseError when the environment masks actions and nobody would look."""
        self.mark(self.job.first)
        observations, infos = answers.checked("reset", environment.reset(seed=0))
        if self.job.rules.action_masks:
            return
        for agent, observation in observations.items():
            if self.codecs[agent].mask(observation, infos.get(agent)) is not None:
                raise RepriseError(f"agent {agent} has an action_mask: set the parameter action_masks to true")


def _factory(path: str) -> Any:
    module_name, _, name = path.rpartition(".")
    try:
        module = import_module(module_name)
    except (ImportError, ValueError) as error:
        raise RepriseError(f"the module cannot be imported: {error}") from error
    if not hasattr(module, name):
        raise unknown("factory", name, [each for each, value in vars(module).items() if callable(value)], module_name)
    return getattr(module, name)


def _keywords(text: str) -> dict[str, Any]:
    try:
        keywords = json.loads(text)
    except json.JSONDecodeError as error:
        raise RepriseError(f"the parameter arguments is not JSON: {error}") from error
    if not isinstance(keywords, dict):
        raise RepriseError(f'the parameter arguments must be a JSON object, as {{"N": 3}}, got {text}')
    return keywords


def _leave() -> None:
    """End this process at once, and those that its environments have started."""
    sys.stdout.flush()
    os.killpg(os.getpid(), signal.SIGKILL)


def _leave_with(parent: int, timeout: float) -> None:
    """End this process when the parent has ended, whatever the environment is doing."""
    while os.getppid() == parent:
        # An environment that computes without end and never gives up the interpreter's lock stops this thread, but not
        # this timer, which the thread sets anew as long as it runs: SIGPROF then ends the process. A living parent has
        # given up before. It counts processor time, so that a job may be suspended for as long as anyone likes.
        signal.setitimer(signal.ITIMER_PROF, timeout + TIMER_SECONDS)
        time.sleep(1.0)
    _leave()


def main(connection: Connection, shared: mmap.mmap, parent: int) -> None:
    """Serve ``parent`` until it closes the connection."""
    # These ask the trainer to stop after its update, for which it needs its workers; they leave when it has gone.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    calls = 0

    def mark(row: int) -> None:
        nonlocal calls
        calls += 1
        MARK.pack_into(shared, 0, row, calls)

    def receive() -> Any:
        try:
            return connection.recv()
        except (EOFError, ConnectionError):
            return None

    def send(answer: Any) -> None:
        try:
            connection.send(answer)
        except ConnectionError:
            sys.exit(1)

    def report(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        where = traceback.extract_tb(trace)[-1]
        text = f"{kind.__name__}: {error} ({os.path.basename(where.filename)}, line {where.lineno})"
        expected = kind is RepriseError
        send(Fault(str(error) if expected else text, expected))
        _leave()

    sys.excepthook = report
    job = receive()
    if job is None:
        return
    threading.Thread(target=_leave_with, args=(parent, job.timeout), daemon=True).start()
    rows = Rows(job, mark)
    send(rows.describe())
    while (message := receive()) is not None:
        command, *arguments = message
        send(getattr(rows, command)(*arguments))
    rows.close()


if __name__ == "__main__":
    descriptors = [int(word) for word in sys.argv[1:]]
    os.set_inheritable(descriptors[0], False)
    main(Connection(descriptors[0]), mmap.mmap(descriptors[1], MARK.size), descriptors[2])
