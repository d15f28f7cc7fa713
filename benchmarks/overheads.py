"""What surrounds training, as markdown.

    python benchmarks/overheads.py [PART ...]

Parts: ``start`` (help, process start to first update, imports), ``grid`` (building the paper tier's), ``game``
(building and opening the tables), ``shares`` (evaluation and checkpoints in a training at tier quick), ``workflow``
(a smoke run, then Snakemake with nothing to do, then a dry run of the paper tier). Runs are made in temporary folders.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from measure import ROOT, command, machine, quickest, table

TASK = "stochastic_game/s100n6a5"
TRAIN = ["train", "--task", TASK, "--algorithm", "dpo", "--seeds", "0-4", "--device", "cpu"]
HEAD = ["what", "seconds wall", "seconds CPU", "target, s"]

# `reprise train`, with the moments that interest us written to stderr, in seconds since the parent's START.
FIRST_UPDATE = """
import os, sys, time
start = float(os.environ["START"])
say = lambda what: print(f"AT {what}: {time.time() - start:.3f} {time.process_time():.3f}", file=sys.stderr, flush=True)
say("interpreter")
import reprise.cli
say("command line")
from reprise.experiments import training
say("training imported")
build, evaluate = training.Training.__init__, training.Training._evaluate
def built(self, *arguments):
    build(self, *arguments)
    say("environment and networks made")
def evaluated(self):
    seconds = evaluate(self)
    say("first evaluation made")
    training.Training._evaluate = evaluate
    return seconds
step = training.Training._step
def stepped(self):
    step(self)
    say("first update made")
    training.Training._step = step
training.Training.__init__, training.Training._evaluate, training.Training._step = built, evaluated, stepped
sys.exit(reprise.cli.main(sys.argv[1:]))
"""

OPEN_GAME = """
import sys, time
from pathlib import Path
from reprise.environments.stochastic_game.tables import Game, open_tables
begin = time.perf_counter(), time.process_time()
open_tables(Game(100, 6, 5, -5.0, 5.0, 4.0, 1), Path(sys.argv[1]))
print("TOOK", time.perf_counter() - begin[0], time.process_time() - begin[1])
"""

BUILD_GRID = """
import time
from reprise import repository
from reprise.experiments import config, grid
begin = time.perf_counter(), time.process_time()
project = config.load(repository.root())
loaded = time.perf_counter(), time.process_time()
made = grid.build(project, "paper")
print("TOOK", loaded[0] - begin[0], loaded[1] - begin[1], len(made.cohorts))
print("TOOK", time.perf_counter() - loaded[0], time.process_time() - loaded[1], len(made.cohorts))
"""


def python(script: str, *arguments: str) -> list[str]:
    """The command that runs ``script``."""
    return [sys.executable, "-c", script, *arguments]


def took(output: str) -> list[list[float]]:
    """The numbers that a script printed behind TOOK."""
    return [[float(word) for word in line.split()[1:]] for line in output.splitlines() if line.startswith("TOOK")]


def scratch(folder: Path) -> Path:
    """A root with this configuration and this cache, where runs may be written."""
    (folder / "results").mkdir()
    (folder / "config").symlink_to(ROOT / "config")
    (ROOT / "results" / "cache").mkdir(parents=True, exist_ok=True)
    (folder / "results" / "cache").symlink_to(ROOT / "results" / "cache")
    return folder


def start() -> str:
    """Help, and the way from the process's start to its first update."""
    spent = quickest(["reprise", "--help"], 7)
    rows = [["`reprise --help`, best of 7", *spent, 0.5]]
    attempts = []
    for _ in range(4):  # the first may have to build the game and is left out
        with tempfile.TemporaryDirectory() as folder:
            root = scratch(Path(folder))
            # The shell's clock, so that starting the interpreter counts.
            shell = f'START=$(date +%s.%N) exec {sys.executable} -c "$1" {" ".join(TRAIN)} --tier smoke'
            output = command(["bash", "-c", shell, "bash", FIRST_UPDATE], root).output
        attempts.append(re.findall(r"AT ([\w ]+): ([\d.]+) ([\d.]+)", output))
    best = min(attempts[1:], key=lambda moments: float(moments[-1][1]))
    rows += [
        [f"start to: {what}", float(wall), float(cpu), 2 if what == "first update made" else ""]
        for what, wall, cpu in best
    ]
    script = (
        "import reprise.cli, reprise.experiments.training, reprise.algorithms.dpo, reprise.environments.stochastic_game"
    )
    output = command([sys.executable, "-X", "importtime", "-c", script]).output
    lines = re.findall(r"import time: +(\d+) \| +(\d+) \| +(\S+)", output)
    packages: dict[str, int] = {}
    for own, _, name in lines:
        package = name.split(".")[0]
        packages[package] = packages.get(package, 0) + int(own)
    largest = sorted(packages.items(), key=lambda item: -item[1])[:8]
    imports = table(["imported by training", "seconds (own modules)"], [[name, value / 1e6] for name, value in largest])
    return f"{table(HEAD, rows)}\n\n{imports}"


def grid() -> str:
    """Loading the configuration and building the paper tier's grid."""
    loaded, built = min((took(command(python(BUILD_GRID)).output) for _ in range(3)), key=lambda pair: pair[1][1])
    rows = [["`config.load`", *loaded[:2], ""], [f"`grid.build`, paper, {int(built[2])} cohorts", *built[:2], ""]]
    return table(HEAD, rows)


def game() -> str:
    """The tables of the 100-state game: built, then opened (which checks every byte)."""
    with tempfile.TemporaryDirectory(dir=ROOT / "results" if (ROOT / "results").is_dir() else None) as folder:
        rows = []
        for what in ("build", "open"):
            ran = command(python(OPEN_GAME, folder))
            rows.append([f"{what}; peak memory of the process {ran.peak_mb:.0f} MB", *took(ran.output)[0], ""])
    return table(HEAD, rows)


def shares() -> str:
    """What evaluation and checkpoints take of a training of five seeds at tier quick."""
    import pyarrow.parquet as parquet

    with tempfile.TemporaryDirectory() as folder:
        root = scratch(Path(folder))
        ran = command(["reprise", *TRAIN, "--tier", "quick"], root)
        (run,) = (root / "results/quick/runs" / TASK / "dpo").iterdir()
        timings = parquet.read_table(run / "timings.parquet")
        manifest = json.loads((run / "manifest.json").read_bytes())
    seconds = {name: sum(timings[name].to_pylist()) for name in timings.column_names if name.endswith("_seconds")}
    inside = manifest["wall_seconds"]
    seconds["everything else inside the loop"] = inside - sum(seconds.values())
    rows = [[name.replace("_seconds", ""), value, f"{100 * value / inside:.1f} %"] for name, value in seconds.items()]
    rows.append(["start and end of the process", ran.cost.wall - inside, ""])
    steps = manifest["env_steps"] * len(manifest["seeds"])
    copies = manifest["cells"][0]["config"]["algorithm"]["hyperparameters"]["copies"]
    title = (
        f"dpo, 5 seeds, {copies} episodes per update, {manifest['env_steps']:,} env steps each: "
        f"{ran.cost.wall:.1f} s wall, {ran.cost.cpu:.1f} s CPU, {steps / ran.cost.wall:,.0f} steps/s wall, "
        f"{steps / ran.cost.cpu:,.0f} per CPU-s, peak {ran.peak_mb:.0f} MB"
    )
    return f"{title}\n\n{table(['part', 'seconds wall', 'share of the loop (checkpoints: at most 2 %)'], rows)}"


def workflow() -> str:
    """Snakemake in a copy of the repository: smoke from nothing, again with nothing to do, and a dry run of paper."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "repository"
        listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(listing, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
        for name in filter(None, names):
            if (ROOT / name).is_file() and not name.startswith(("results/", "published/")):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, root / name)
        (root / "results").mkdir(exist_ok=True)
        (root / "results" / "cache").symlink_to(ROOT / "results" / "cache")
        snakemake = ["snakemake", "--cores", "all"]
        smoke = command([*snakemake, "--config", "tier=smoke"], root).cost
        nothing = command([*snakemake, "--config", "tier=smoke"], root)
        if "Nothing to be done" not in nothing.output:
            raise RuntimeError(f"the second smoke run had something to do:\n{nothing.output[-3000:]}")
        rows = [
            ["smoke from nothing, games cached", *smoke, 60],
            ["nothing to do, best of 3", *quickest([*snakemake, "--config", "tier=smoke"], 3, root), 5],
            [
                "dry run of tier paper, best of 3",
                *quickest([*snakemake, "--dry-run", "--config", "tier=paper"], 3, root),
                15,
            ],
        ]
    return table(HEAD, rows)


PARTS = {"start": start, "grid": grid, "game": game, "shares": shares, "workflow": workflow}


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    options = parser.parse_args()
    unknown = set(options.parts) - PARTS.keys()
    if unknown:
        parser.error(f"unknown part {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}")
    print(machine(), flush=True)
    for name in options.parts or PARTS:
        print(f"\n### {name}\n\n{PARTS[name]()}", flush=True)
    print(f"\n{machine()}")


if __name__ == "__main__":
    main()
