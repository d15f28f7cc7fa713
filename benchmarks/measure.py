"""Clocks, commands and tables shared by the benchmarks."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # for the processes started here

ROOT = Path(__file__).resolve().parents[1]
PROGRAMS = Path(sys.executable).parent


class Cost(NamedTuple):
    """Seconds of one call: ``wall`` depends on what else the machine does, ``cpu`` (user + system) hardly."""

    wall: float
    cpu: float


def cost(call: Callable[[], object], seconds: float, finish: Callable[[], object] = lambda: None) -> Cost:
    """The mean cost of ``call``, made once unmeasured and then again until ``seconds`` have passed.

    ``finish`` waits for what a call left under way on a GPU.
    """
    call()
    finish()
    wall, cpu, calls = time.perf_counter(), time.process_time(), 0
    while calls == 0 or time.perf_counter() - wall < seconds:
        call()
        calls += 1
    finish()
    return Cost((time.perf_counter() - wall) / calls, (time.process_time() - cpu) / calls)


class Ran(NamedTuple):
    """A finished process: its cost, its children's included, peak memory in MB of the largest one, and its output."""

    cost: Cost
    peak_mb: float
    output: str


def command(arguments: Sequence[str], folder: Path = ROOT, **environment: str) -> Ran:
    """Run a program of this environment in ``folder``; RuntimeError with its output when it fails."""
    path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
    start = time.perf_counter()
    process = subprocess.Popen(
        arguments,
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit {process.returncode}\n{output[-4000:]}")
    return Ran(Cost(wall, usage.ru_utime + usage.ru_stime), usage.ru_maxrss / 1024, output)


def quickest(arguments: Sequence[str], repeats: int, folder: Path = ROOT, **environment: str) -> Cost:
    """The least wall and the least CPU seconds of ``repeats`` calls: what the program needs, without its neighbours."""
    found = [command(arguments, folder, **environment).cost for _ in range(repeats)]
    return Cost(min(each.wall for each in found), min(each.cpu for each in found))


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A markdown table; floats with three significant digits, thousands with separators."""
    lines = [head, ["---"] * len(head), *([_cell(value) for value in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def machine() -> str:
    """One line on what was measured on, when, and how busy it was."""
    from reprise.experiments import machine as here

    processor = here.hardware("cpu")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "numpy"))
    load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {processor['cpu']}, {processor['cores']} cores, "
        f"{processor['memory_gb']} GB; python {platform.python_version()}, {versions}; load average {load}"
    )


def run_parts(parts: dict[str, Callable[[float], str]], description: str, seconds: float, about: str = "") -> None:
    """The command line of a benchmark made of parts: each gets the seconds of one measurement and returns markdown."""
    import torch

    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(parts)} (all)")
    parser.add_argument("--seconds", type=float, default=seconds, help="length of one measurement")
    options = parser.parse_args()
    unknown = set(options.parts) - parts.keys()
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; parts: {', '.join(parts)}")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as training does
    print(machine(), flush=True)
    for name in options.parts or parts:
        print(f"\n### {name}{about}\n\n{parts[name](options.seconds)}", flush=True)
    print(f"\n{machine()}")
