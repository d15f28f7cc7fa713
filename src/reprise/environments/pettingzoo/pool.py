"""Worker processes: started, spoken to, watched and ended.

Each worker is a fresh interpreter, as multiprocessing's start method ``spawn`` makes one, because a fork would copy
torch with its threads and locks. It is started by ``subprocess``, so that the caller's main module is not run again
(a notebook or a script without a guard works) and a worker that hangs cannot hold up the end of this process.
"""

from __future__ import annotations

import contextlib
import mmap
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from reprise.environments.pettingzoo.messages import MARK, Fault, Job
from reprise.errors import RepriseError

MODULE = "reprise.environments.pettingzoo.worker"
# For what third-party packages ask their surroundings: no window, no sound, one thread, no greeting.
SURROUNDINGS = {
    "OMP_NUM_THREADS": "1",
    "SDL_VIDEODRIVER": "dummy",
    "SDL_AUDIODRIVER": "dummy",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
}
LOOK_SECONDS = 1.0
FAREWELL_SECONDS = 2.0


class Worker:
    """One process and its connection."""

    def __init__(self):
        self.connection, theirs = multiprocessing.Pipe()
        with tempfile.TemporaryFile() as file:
            file.truncate(MARK.size)
            self._shared = mmap.mmap(file.fileno(), MARK.size)
            handed = (theirs.fileno(), file.fileno())
            paths = [path or os.getcwd() for path in sys.path]  # what can be imported here can be imported there
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", MODULE, *map(str, handed), str(os.getpid())],
                env={**SURROUNDINGS, **os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                stdout=2,  # what an environment prints does not mix with the command's output
                start_new_session=True,  # Ctrl-C is for the trainer alone
            )
        theirs.close()

    def mark(self) -> tuple[int, int]:
        """The row being served, and the number of calls into the environment so far."""
        return MARK.unpack_from(self._shared)

    def receive(self, timeout: float) -> Any:
        """The next answer; TimeoutError when no call into the environment returns for ``timeout`` seconds, EOFError
        when the process has ended."""
        look = min(LOOK_SECONDS, timeout)
        calls, waited = self.mark()[1], 0.0  # in looks, not by the clock: a job that was suspended has not hung
        while not self.connection.poll(look):
            if self.process.poll() is not None and not self.connection.poll():
                raise EOFError
            waited += look
            if self.mark()[1] != calls:
                calls, waited = self.mark()[1], 0.0
            elif waited >= timeout:
                raise TimeoutError
        try:
            return self.connection.recv()
        except OSError as error:  # also where it was killed halfway through an answer
            raise EOFError from error


class Pool:
    """Workers with a share of the rows each.

    Args:
        jobs: one per worker.
        place: what messages begin with, the task.
        name_row: row number -> how people call it.

    Raises RepriseError, here and in ``call``, when a worker fails, dies or hangs; all are then ended.
    """

    def __init__(self, jobs: Sequence[Job], place: str, name_row: Callable[[int], str]):
        self.jobs, self.place, self.name_row = jobs, place, name_row
        self.workers = [Worker() for _ in jobs]
        self._end = weakref.finalize(self, _end, self.workers)
        for worker, job in zip(self.workers, jobs, strict=True):
            self._send(worker, job)
        self.descriptions = self._receive_all()

    def call(self, command: str, *arguments: Sequence[Any]) -> list[Any]:
        """Send each worker a command with its item of every argument, and wait for all answers.

        Where this is interrupted (a notebook's stop button) all workers are ended: an answer that stayed in a pipe
        would be taken for that to the next command.
        """
        if not self._end.alive:
            raise RepriseError(f"{self.place}: its workers were ended by a fault or an interrupt; make it anew")
        try:
            for i, worker in enumerate(self.workers):
                self._send(worker, (command, *(each[i] for each in arguments)))
            return self._receive_all()
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """End all workers."""
        self._end()

    def _send(self, worker: Worker, message: Any) -> None:
        with contextlib.suppress(ConnectionError):  # it has died, and `_receive_all` says of what
            worker.connection.send(message)

    def _receive_all(self) -> list[Any]:
        answers = []
        for worker, job in zip(self.workers, self.jobs, strict=True):
            try:
                answer = worker.receive(job.timeout)
            except TimeoutError:
                answer = Fault(f"does not answer within {job.timeout:g} s (the parameter timeout)", expected=False)
            except EOFError:
                answer = Fault(f"its process died ({_ending(worker.process)})", expected=False)
            if isinstance(answer, Fault):
                row = worker.mark()[0]
                self.end()
                self._raise(job, row, answer)
            answers.append(answer)
        return answers

    def _raise(self, job: Job, row: int, fault: Fault) -> None:
        if fault.expected:
            raise RepriseError(f"{self.place}: {job.factory}: {fault.text}")
        where = self.name_row(max(row, job.first))
        raise RepriseError(f"{self.place}: {where}: {job.factory}: {fault.text}", exit_code=1)


def _ending(process: subprocess.Popen) -> str:
    code = process.wait()
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _end(workers: Sequence[Worker]) -> None:
    """Close the connections, which idle workers take as the end; kill those that stay, with what they started."""
    for worker in workers:
        worker.connection.close()
    deadline = time.monotonic() + FAREWELL_SECONDS
    for worker in workers:
        try:
            worker.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.process.pid, signal.SIGKILL)
            worker.process.wait()
