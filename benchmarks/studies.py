"""What each exact study costs: wall and CPU seconds of a process of its own, start-up included, one after the other.

    .venv/bin/python benchmarks/studies.py [smoke | quick | paper] [study ...]

Prints markdown. Nothing is written to results/.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time

from reprise import repository
from reprise.experiments import config

TIERS = ("smoke", "quick", "paper")
CODE = """
import json, sys
from importlib import import_module
from reprise.theory.study import Parameters, Records
study = json.loads(sys.argv[1])
records = Records()
import_module(study["module"]).run(Parameters(study["parameters"]), study["seeds"], records)
print(len(records.columns()["value"]))
"""


def measure(study: dict) -> tuple[float, float, int]:
    """(wall seconds, CPU seconds, rows recorded) of one study in a process of its own."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [sys.executable, "-c", CODE, json.dumps(study)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, int(done.stdout)


def main(words: list[str]) -> None:
    """Measure the studies named (all), at the tier named (quick)."""
    tier = next((word for word in words if word in TIERS), "quick")
    project = config.load(repository.root())
    names = [word for word in words if word not in TIERS] or list(project.studies)
    total = [0.0, 0.0]
    print(f"Tier {tier}:\n\n| study | wall s | CPU s | numbers |\n| --- | --- | --- | --- |")
    for name in names:
        cell = config.resolve(project, f"theory/{name}", "exact", tier)
        environment = cell.config["environment"]
        study = {"module": environment["module"], "parameters": environment["parameters"]}
        wall, cpu, rows = measure(study | {"seeds": project.study(name).seeds})
        total = [total[0] + wall, total[1] + cpu]
        print(f"| {name} | {wall:.1f} | {cpu:.1f} | {rows:,} |", flush=True)
    print(f"| all | {total[0]:.1f} | {total[1]:.1f} | |")


if __name__ == "__main__":
    main(sys.argv[1:])
