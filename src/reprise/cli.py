"""The command line: parses, calls, reports errors. Nothing imports it; each command imports what it needs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reprise.errors import RepriseError, nearest, unknown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reprise.experiments.config import Project
    from reprise.experiments.grid import Cohort

app = typer.Typer(
    name="reprise",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Cooperative multi-agent RL papers, from the page to a verdict. Run it inside a clone of the repository.",
    epilog="`snakemake --cores all` runs all of it in order; `reprise COMMAND --help` has an example for each step.",
)

Tier = Annotated[str | None, typer.Option(help="smoke, quick or paper.", show_default="config/config.yaml: tier")]
Device = Annotated[str | None, typer.Option(help="auto, cpu or cuda.", show_default="config/config.yaml: device")]
FigureName = Annotated[str, typer.Argument(metavar="FIGURE", help="paper/figure, for example dpo/fig01a.")]


@app.command()
def plan(
    tier: Tier = None,
    papers: Annotated[str | None, typer.Option(help="Comma-separated papers.", show_default="all configured")] = None,
    figure: Annotated[str | None, typer.Option(help="One figure only, paper/figure.")] = None,
    brief: Annotated[bool, typer.Option("--brief", help="One sentence: what is left to train, and how long.")] = False,
) -> None:
    """Say what a tier costs before anything runs.

    Jobs, runs, env steps and hours per figure, and the difference that the planned seeds can detect.

    Example: reprise plan --tier paper --figure dpo/fig08
    """
    project, tier, papers = _project(tier, papers)
    from reprise.experiments import grid, plan, throughput

    figures = [figure] if figure else None
    if figure:
        project.figure(figure, "--figure")
        papers = (figure.partition("/")[0],)
    made, speeds = grid.build(project, tier, papers), throughput.load(project)
    if brief:
        typer.echo(plan.brief(project, made, speeds, figures))
    else:
        todo = plan.to_do(project, made, figures)
        typer.echo(plan.table(plan.rows(made, speeds, figures), made, todo, speeds))


@app.command()
def train(
    task: Annotated[str | None, typer.Option(help="environment/task.")] = None,
    algorithm: Annotated[str | None, typer.Option(help="Algorithm, algorithm@variant or algorithm@sweep.")] = None,
    seeds: Annotated[str | None, typer.Option(help="0, 0-4 or 0,3.", show_default="the tier's")] = None,
    tier: Tier = None,
    device: Device = None,
    cells: Annotated[
        Path | None, typer.Option(help="Instead: a file with one cohort per line, `task algorithm seeds tier`.")
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="Log to results/<tier>/logs/tensorboard.")] = False,
    checkpoint_seconds: Annotated[
        float | None, typer.Option(help="Seconds between checkpoints.", show_default="so that they cost 2 %")
    ] = None,
) -> None:
    """Train all seeds of an algorithm, or of a sweep, on a task.

    They run as one batched program, a cohort. What is complete is skipped; after an interruption (exit code 75)
    or a kill the same command goes on. An exact study is the task theory/<study> with the algorithm `exact`.

    Example: reprise train --task stochastic_game/s100n6a5 --algorithm dpo@no_kl --seeds 0-4 --tier quick
    """
    project, tier, _ = _project(tier)
    device = _device(project, device)
    if checkpoint_seconds is not None and not checkpoint_seconds >= 0:
        raise RepriseError(f"--checkpoint-seconds: {checkpoint_seconds} must be >= 0")
    if cells is not None:
        if task or algorithm or seeds:
            raise RepriseError("--cells names whole cohorts; leave out --task, --algorithm and --seeds")
        cohorts = [cohort for line in _lines(cells) for cohort in _cohorts(project, *line)]
    elif task and algorithm:
        cohorts = _cohorts(project, task, algorithm, seeds, tier)
    else:
        raise RepriseError("train needs --task and --algorithm, or --cells; see reprise train --help")
    # Before numpy is imported: parallelism comes from jobs, and a second thread slows all of them down.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from reprise.experiments import jobs

    jobs.run(project, cohorts, device, tensorboard=tensorboard, checkpoint_seconds=checkpoint_seconds)


@app.command()
def evaluate(
    folder: Annotated[Path, typer.Argument(help="A finished run folder, results/<tier>/runs/.../seeds-0-4.")],
    episodes: Annotated[int, typer.Option(help="Episodes per run.", min=1)] = 32,
    device: Device = None,
) -> None:
    """Evaluate the policies of a run folder on fresh episodes.

    Prints a row per run: mean return, its 95 % interval over the episodes, and the exact value where there is one.

    Example: reprise evaluate results/quick/runs/stochastic_game/s100n6a5/dpo/seeds-0-4 --episodes 100
    """
    _exists(folder)
    project, _, _ = _project()
    device = _device(project, device)
    from reprise.experiments.evaluation import evaluate_run

    rows = evaluate_run(folder, episodes, device)
    typer.echo(f"{'setting':<16}{'seed':>6}{'mean':>12}{'95 % interval':>26}{'exact':>12}")
    for row in rows:
        interval = f"[{row['low']:.2f}, {row['high']:.2f}]"
        mean, exact = f"{row['mean']:.2f}", f"{row['expected_return']:.2f}"
        typer.echo(f"{row['setting'] or '-':<16}{row['seed']:>6}{mean:>12}{interval:>26}{exact:>12}")


@app.command()
def replay(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="A finished run folder, as for evaluate.")],
    seed: Annotated[int | None, typer.Option(help="Which run.", show_default="the first")] = None,
    setting: Annotated[str | None, typer.Option(help="Of a sweep: which setting.", show_default="the first")] = None,
    form: Annotated[
        str | None, typer.Option("--format", help="gif, mp4 or png (a strip).", show_default="--output's, or gif")
    ] = None,
    episode: Annotated[int, typer.Option(help="Another episode, which starts elsewhere: 1, 2, ...")] = 0,
    output: Annotated[
        Path | None, typer.Option(help="The picture.", show_default="figures/<tier>/replays/<task>/")
    ] = None,
    device: Device = None,
) -> None:
    """Show an episode of a trained policy.

    Beside it plays the policy that the training began with, from the same start. A json with the numbers drawn
    lies beside the picture. mp4 needs: pip install imageio-ffmpeg.

    Example: reprise replay results/quick/runs/stochastic_game/s100n6a5/dpo/seeds-0-4 --seed 2
    """
    _exists(folder)
    project, _, _ = _project()
    device = _device(project, device)
    from reprise.analysis import replay as pictures
    from reprise.experiments import replay as replays

    suffix = pictures.form(form, output)
    played = replays.play(project, folder, seed, setting, episode, device)
    path = replays.place(project.root, played, suffix, output)
    pictures.save(played, path, suffix)
    typer.echo(path)


@app.command()
def tune(
    name: Annotated[str, typer.Argument(help="A search declared in config/tuning/<name>.yaml.")],
    device: Device = None,
    jobs: Annotated[int, typer.Option(help="Processes that train side by side.", min=1)] = 1,
) -> None:
    """Run a declared hyper-parameter search.

    Every algorithm gets the same number of trials, on games that no figure uses.

    Example: reprise tune stochastic_game --jobs 2
    """
    project, _, _ = _project()
    device = _device(project, device)
    searches = [path.stem for path in (project.root / "config" / "tuning").glob("*.yaml")]
    if name not in searches:
        raise unknown("search", name, searches, "config/tuning")
    from reprise.experiments import tuning

    typer.echo(tuning.tune(project, name, device, jobs))


@app.command()
def collect(figure: FigureName, tier: Tier = None) -> None:
    """Gather the runs of a figure into one tidy table.

    Beside it stands a record of what is missing, diverged or refused, and of how each run was made.

    Example: reprise collect dpo/fig01a --tier quick
    """
    project, tier = _for_figure(figure, tier)
    from reprise.analysis import collect

    collect.collect(project, tier, figure)


@app.command()
def statistics(figure: FigureName, tier: Tier = None) -> None:
    """Compute means, intervals and final returns of a figure.

    Needs `reprise collect` first.

    Example: reprise statistics dpo/fig01a --tier quick
    """
    project, tier = _for_figure(figure, tier)
    from reprise.analysis import statistics

    statistics.compute(project, tier, figure)


@app.command()
def plot(figure: FigureName, tier: Tier = None) -> None:
    """Draw a figure: svg, png, pdf, and json with the numbers.

    Needs `reprise statistics` first.

    Example: reprise plot dpo/fig01a --tier quick
    """
    project, tier = _for_figure(figure, tier)
    from reprise.analysis import figures

    figures.draw(project, tier, figure)


@app.command()
def claims(tier: Tier = None) -> None:
    """Judge every claim of every paper.

    Writes results/<tier>/claims.json and metrics.json from the statistics of all figures.

    Example: reprise claims --tier quick
    """
    project, tier, _ = _project(tier)
    from reprise.analysis import claims

    claims.judge(project, tier)


@app.command()
def report(
    tier: Tier = None,
    pages: Annotated[bool, typer.Option("--pages", help="Instead, fill README.md and docs/ from claims.json.")] = False,
) -> None:
    """Write results/<tier>/report.html, one file that opens offline.

    Figures, verdicts with numbers, coverage, hyper-parameters with sources, run times.

    Example: reprise report --tier quick
    """
    project, tier, _ = _project(tier)
    if pages:
        from reprise.analysis import pages as documents

        documents.fill(project)
        return
    from reprise.analysis import report

    report.write(project, tier)


@app.command()
def compare(
    file: Annotated[Path, typer.Argument(help="Your evaluations: parquet or csv, see docs/evaluations-schema.md.")],
    figure: Annotated[str, typer.Option(help="The figure to join, paper/figure.")],
    label: Annotated[str, typer.Option(help="What the legend calls your curve.")] = "yours",
    task: Annotated[str | None, typer.Option(help="The panel to join, where a figure has several.")] = None,
    tier: Tier = None,
) -> None:
    """Put your own curves into a figure and judge them.

    Example: reprise compare mine.parquet --figure dpo/fig01a --label "My algorithm"
    """
    project, tier = _for_figure(figure, tier, "--figure")
    if not file.is_file():
        raise RepriseError(f"{file}: no such file")
    from reprise.analysis import compare

    compare.compare(project, tier, figure, file, label, task)


@app.command()
def verify(
    tier: Tier = None,
    repair: Annotated[bool, typer.Option("--repair", help="Set refused runs aside, to be trained again.")] = False,
) -> None:
    """Check file hashes, config hashes and coverage of all runs.

    Exit code 1 when a fault remains.

    Example: reprise verify --tier quick --repair
    """
    project, tier, _ = _project(tier)
    from reprise.experiments.verify import verify

    raise typer.Exit(verify(project, tier, repair))


@app.command()
def status(tier: Tier = None) -> None:
    """Show what is done, running, interrupted or still to train.

    Example: reprise status --tier quick
    """
    project, tier, _ = _project(tier)
    from reprise.experiments.status import status

    status(project, tier)


@app.command()
def doctor() -> None:
    """Look at python, torch, GPU, cores, memory and disk here.

    Exit code 0 when only optional parts (GPU, StarCraft II) are missing.

    Example: reprise doctor
    """
    from reprise import repository
    from reprise.experiments.doctor import doctor

    raise typer.Exit(doctor(repository.root()))


def _project(tier: str | None = None, papers: str | None = None) -> tuple[Project, str, tuple[str, ...]]:
    """The configuration around the current folder, and the tier and papers that are meant."""
    from reprise import repository
    from reprise.experiments import config

    project = config.load(repository.root())
    meant = config.settings(project, {"tier": tier, "papers": papers})
    return project, meant.tier, meant.papers


def _for_figure(figure: str, tier: str | None, place: str = "FIGURE") -> tuple[Project, str]:
    project, tier, _ = _project(tier)
    project.figure(figure, place)
    return project, tier


def _device(project: Project, device: str | None) -> str:
    from reprise.experiments import config

    return config.settings(project, {"device": device}).device


def _exists(folder: Path) -> None:
    if not folder.is_dir():
        raise RepriseError(f"{folder}: no such run folder; `reprise status` shows what there is")


def _cohorts(project: Project, task: str, algorithm: str, seeds: str | None, tier: str) -> list[Cohort]:
    from reprise.experiments import grid
    from reprise.experiments import seeds as seed_lists

    wanted = seed_lists.parse(seeds) if seeds is not None else grid.task_seeds(project, task, tier)
    return grid.cohort(project, tier, task, algorithm, wanted)


def _lines(path: Path) -> Iterator[list[str]]:
    """The (task, algorithm, seeds, tier) of each line of a cohort file; blank lines and comments are skipped."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RepriseError(f"{path}: cannot be read: {error}") from error
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.partition("#")[0].split()
        if words and len(words) != 4:
            raise RepriseError(f"{path}: line {number}: `task algorithm seeds tier` expected, got '{line.strip()}'")
        if words:
            yield words


UsageError = typer.BadParameter.__base__  # typer carries its own copy of click and exports these classes only
ClickException = UsageError.__base__
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run one command. Faults that a person can mend are one line on stderr; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        code = app(arguments, prog_name="reprise", standalone_mode=False)
        sys.stdout.flush()
        if code == INTERRUPTED:  # typer's own answer to KeyboardInterrupt
            return _say("interrupted", INTERRUPTED)
        return code if isinstance(code, int) else 0
    except RepriseError as error:
        return _say(str(error), error.exit_code)
    except UsageError as error:
        return _say(_usage(error), 2)
    except ClickException as error:
        return _say(error.format_message(), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _say("interrupted", INTERRUPTED)
    except BrokenPipeError:
        # The reader (`| head`) has seen enough; keep the interpreter from complaining when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141


def _say(message: str, code: int) -> int:
    print(f"reprise: {' '.join(message.split())}", file=sys.stderr)
    return code


def _usage(error: UsageError) -> str:
    """What is wrong with the words typed, the nearest command or option, and where to read more."""
    context = error.ctx
    message = error.format_message().rstrip(".")
    if context is None:
        return message
    typed = getattr(error, "option_name", None)
    if typed:
        options = [name for each in context.command.get_params(context) for name in each.opts if name.startswith("--")]
        message = f"unknown option '{typed}'"
        close = nearest(typed, options)
    else:
        commands = list(getattr(context.command, "commands", ()))
        typed = next((part for part in message.split("'")[1:2] if message.startswith("No such command")), None)
        message = f"unknown command '{typed}'" if typed else message
        close = nearest(typed, commands) if typed else None
    return f"{message}; nearest: '{close}'" if close else f"{message}; see {context.command_path} --help"


if __name__ == "__main__":
    sys.exit(main())
