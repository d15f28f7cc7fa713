# The settings, the grid, and the lists of files that the rules ask for.
import hashlib
import importlib.metadata
import json
import shutil
import sys
from functools import cache
from glob import glob
from pathlib import Path

from reprise import repository
from reprise.errors import RepriseError, unknown
from reprise.experiments import config as experiments
from reprise.experiments import grid as grids
from reprise.experiments import plan
from reprise.experiments import replay as replays

RUN = "results/{tier}/runs/{environment}/{task}/{cell}/seeds-{first}-{last}"
FORMATS = ("svg", "png", "pdf", "json")
# A generous wall time of one cohort at tier paper; profiles/slurm overrides it for a cluster.
RUNTIME_MINUTES = {"stochastic_game": 480, "theory": 60}
# What the driver and its libraries take of the host's memory, in MB.
GPU_HOST_MB = 2000
# Cohorts below this many env steps (over all their runs) are over in minutes: a cluster job takes several.
SHORT_ENV_STEPS = 2_000_000


wildcard_constraints:
    tier="[^/]+",
    paper="[^/]+",
    figure="[^/.]+",
    environment="[^/]+",
    task="[^/]+",
    cell="[^/]+",
    first=r"\d+",
    last=r"\d+",


# Seconds each: on a cluster they run beside Snakemake, because submitting one costs more than running it.
localrules:
    collect,
    statistics,
    plot,
    replay,
    judge,
    write_report,


def stop(error):
    """One line for a person and exit code 2; an exception here would be shown with the Snakefile's line numbers."""
    print(f"reprise: {error}", file=sys.stderr, flush=True)
    sys.exit(error.exit_code)


try:
    PROJECT = experiments.load(repository.root())
    # `config` holds what --config gave; the defaults are config/config.yaml, read and checked by the package.
    TIER, PAPERS, DEVICE = experiments.settings(PROJECT, config)
except RepriseError as error:
    stop(error)


@cache
def grid_of(tier):
    """The grid of every paper at ``tier``: which cohort trains a shared cell must not depend on the papers chosen."""
    try:
        PROJECT.tier(tier, "target")
        return grids.build(PROJECT, tier)
    except RepriseError as error:
        stop(error)


def relative(path):
    return str(Path(path).relative_to(PROJECT.root)) if Path(path).is_absolute() else str(path)


def manifest(cohort):
    return f"{relative(cohort.folder)}/manifest.json"


@cache
def cohorts_by_folder(tier):
    return {relative(cohort.folder): cohort for cohort in grid_of(tier).cohorts}


def cohort_at(wildcards):
    """The cohort of a run folder: the grid's, or any other that the config can describe (``seeds-7-9``)."""
    folder = RUN.format(**wildcards)
    found = cohorts_by_folder(wildcards.tier).get(folder)
    if found is None:
        seeds = range(int(wildcards.first), int(wildcards.last) + 1)
        try:
            task = f"{wildcards.environment}/{wildcards.task}"
            cohorts = {
                relative(c.folder): c for c in grids.cohort(PROJECT, wildcards.tier, task, wildcards.cell, seeds)
            }
            if folder not in cohorts:
                raise RepriseError(f"{folder}: these runs are trained in {', '.join(cohorts)}; ask for that")
        except RepriseError as error:
            stop(error)
        found = cohorts[folder]
    return found


def figure_at(wildcards):
    """The figure that the wildcards name, or the nearest valid name and exit 2."""
    figures = grid_of(wildcards.tier).figures
    name = f"{wildcards.paper}/{wildcards.figure}"
    if name not in figures:
        stop(unknown("figure", name, figures, f"figures/{wildcards.tier}"))
    return figures[name]


@cache
def replays_of(tier):
    return replays.declared(PROJECT, grid_of(tier))


def replay_at(wildcards):
    """The declared replay that the wildcards name, or the nearest valid name and exit 2."""
    name = replays.key(wildcards.paper, f"{wildcards.environment}/{wildcards.task}")
    if name not in replays_of(wildcards.tier):
        stop(unknown("replay", name, replays_of(wildcards.tier), f"figures/{wildcards.tier}"))
    return replays_of(wildcards.tier)[name]


def replay_files(tier):
    names = [name for name in replays_of(tier) if name.split("/")[0] in PAPERS]
    return [f"figures/{tier}/{name}.{suffix}" for name in names for suffix in ("png", "json")]


def digest_of_figure(wildcards):
    """What a figure is made of: a change in its config redraws it although no file is newer."""
    figure = figure_at(wildcards)
    drawn = [[panel.task, [[c.label, c.cell.hash, c.color, c.seeds] for c in panel.curves]] for panel in figure.panels]
    made_of = json.dumps([figure.spec.model_dump(mode="json"), figure.stamp, drawn], sort_keys=True)
    return hashlib.sha256(made_of.encode()).hexdigest()[:16]


def at_hand(tier, name):
    """Whether the tables of a figure that is made on request are there: pulled, or asked for by name before."""
    return Path(f"results/{tier}/tables/{name}.parquet").is_file()


def figure_names(tier):
    """The figures that ``tier`` makes by itself, and those made on request that have been."""
    found = grid_of(tier).figures.items()
    wanted = [name for name, figure in found if not figure.on_request or at_hand(tier, name)]
    return [name for name in wanted if name.split("/")[0] in PAPERS]


def figure_files(tier, papers=None, formats=FORMATS):
    names = [name for name in figure_names(tier) if papers is None or name.split("/")[0] in papers]
    return [f"figures/{tier}/{name}.{suffix}" for name in names for suffix in formats]


def statistics_files(tier, suffix="json"):
    return [f"results/{tier}/statistics/{name}.{suffix}" for name in figure_names(tier)]


def figures_chosen(wildcards):
    return figure_files(TIER)


def everything_chosen(wildcards):
    verdicts = [f"results/{TIER}/claims.json", f"results/{TIER}/metrics.json", f"results/{TIER}/report.html"]
    # A tier that trains in batches exists to run everything once, also what no figure shows.
    trained = [manifest(cohort) for batch in BATCHES for cohort in batch]
    return figures_chosen(wildcards) + replay_files(TIER) + verdicts + trained


def on_gpu():
    """1 where training will find a GPU, without importing torch: a CPU job must not wait for the GPU's turn."""
    if DEVICE != "auto":
        return int(DEVICE == "cuda")
    driver = Path("/dev/nvidia0").exists() or shutil.which("nvidia-smi") is not None
    return int(driver and not importlib.metadata.version("torch").endswith("+cpu"))


def env_steps(cohort):
    """Env steps of a cohort over all its runs; a budget in updates (tier smoke) counts as 0."""
    return sum(cell.config["budget"].get("env_steps") or 0 for cell in cohort.cells) * len(cohort.seeds)


def work(cohort):
    """About how long a cohort takes, in arbitrary units: an update costs nearly the same however many copies feed it."""
    cells = [cell.config for cell in cohort.cells]
    steps = [c["budget"].get("env_steps", 0) / c["algorithm"]["hyperparameters"].get("copies", 1) for c in cells]
    return int(sum(steps) * len(cohort.seeds))


BATCHES = grid_of(TIER).batches if PROJECT.tier(TIER).batches else []
GPU = on_gpu()
