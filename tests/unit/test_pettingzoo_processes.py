"""The adapter's worker processes: none is left behind, and none hears what the trainer is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from toy_rows import make, play

from reprise.errors import RepriseError


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_for_end(pids: list[int], seconds: float = 60.0) -> list[int]:
    """Those that still run after ``seconds``."""
    deadline = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return [pid for pid in pids if alive(pid)]


def test_workers_end_with_the_environment():
    environment = make()
    pids = [worker.process.pid for worker in environment._pool.workers]
    assert all(map(alive, pids))
    del environment
    assert wait_for_end(pids, 5.0) == []


OWNER = """
import signal, toy_rows
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell hands it down ignored
environment = toy_rows.make(arguments={arguments!r}, deterministic=False, timeout={timeout})
print(*(worker.process.pid for worker in environment._pool.workers), flush=True)
while True:
    toy_rows.play(environment, 1)
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize(
    ("number", "fault", "timeout"),
    [
        (signal.SIGKILL, None, 300.0),
        (signal.SIGKILL, "hang", 300.0),
        (signal.SIGINT, "hang", 300.0),
        (signal.SIGKILL, "spin", 1.0),  # no thread of the worker runs any more: it ends after 6 s of processor time
    ],
)
def test_no_worker_outlives_its_owner(number, fault, timeout):
    """Killed, or interrupted by Ctrl-C: also while an environment hangs."""
    script = OWNER.format(arguments={"fault": fault}, timeout=timeout)
    paths = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    owner = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONPATH": paths},
        start_new_session=True,
    )
    pids = [int(word) for word in owner.stdout.readline().split()]
    assert len(pids) == 2
    time.sleep(0.5)
    assert all(map(alive, pids))
    os.killpg(owner.pid, number)  # as a terminal does it
    owner.wait(10)
    assert wait_for_end(pids) == []


@pytest.mark.parametrize("fault", ["raise", "hang", "spin"])
def test_what_an_environment_has_started_ends_with_its_worker(fault, tmp_path):
    """A simulator, say: the fault leaves the environment no chance to end it."""
    numbers = tmp_path / "pids"
    arguments = {"fault": fault, "child": str(numbers)}
    environment = make(arguments=arguments, deterministic=False, timeout=1.5, seeds=[0], copies=1, workers=1)
    (child,) = map(int, numbers.read_text().split())
    assert alive(child)
    with pytest.raises(RepriseError, match=r"three lines of it|does not answer within 1\.5 s"):
        play(environment, 9, count=1)
    assert wait_for_end([child], 5.0) == []


def test_workers_ignore_what_asks_the_trainer_to_stop():
    environment = make()
    play(environment, 1)
    for worker in environment._pool.workers:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            worker.process.send_signal(number)
    time.sleep(0.2)
    assert torch.isfinite(play(environment, 3)[-1].reward).all()


def test_workers_import_no_torch():
    script = "import reprise.environments.pettingzoo.worker, sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False"]
