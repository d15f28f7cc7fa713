"""One line per job on stderr: env steps, return, steps/s, time left; and, on request, TensorBoard."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from reprise.errors import RepriseError


class Progress:
    """A line refreshed in a terminal (5 times a second at most), or a plain line every 10 s in a log.

    Args:
        label: what is trained.
        total: env steps per run.
        stream: where to write.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        label: str,
        total: int,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.label, self.total, self.clock = label, total, clock
        self.stream = stream if stream is not None else sys.stderr
        self._terminal = self.stream.isatty()
        self._interval = 0.2 if self._terminal else 10.0
        self._last = -math.inf
        self._first = (clock(), 0)

    def start(self, env_steps: int) -> None:
        """Measure the speed from here on: training begins, or goes on, at ``env_steps``."""
        self._first = (self.clock(), env_steps)

    def update(self, env_steps: int, runs: int, mean_return: float) -> None:
        """Report ``env_steps`` of one run, the number of ``runs`` trained together and the last evaluation's return."""
        now = self.clock()
        if now - self._last < self._interval:
            return
        self._last = now
        seconds, done = now - self._first[0], env_steps - self._first[1]
        speed = done / seconds if seconds > 0 else 0.0
        left = duration((self.total - env_steps) / speed) if speed > 0 else "?"
        line = (
            f"{self.label}  {env_steps:,}/{self.total:,} env steps  return {mean_return:.1f}  "
            f"{speed * runs:,.0f} steps/s  {left} left"
        )
        self.stream.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        self.stream.flush()

    def finish(self, text: str) -> None:
        """Replace the refreshed line by a last one."""
        self.stream.write(f"\r\x1b[K{self.label}  {text}\n" if self._terminal else f"{self.label}  {text}\n")
        self.stream.flush()


def duration(seconds: float) -> str:
    """Seconds as people say them: '42 s', '3 min 10 s', '2 h 05 min'."""
    whole = math.ceil(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def tensorboard_writer(folder: Path):
    """A TensorBoard writer for ``folder``; RepriseError saying what to install when the package is missing."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise RepriseError("--tensorboard: package 'tensorboard' is missing; pip install tensorboard") from None
    return SummaryWriter(str(folder))
