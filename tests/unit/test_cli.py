"""The command line: one line and exit 2 for every mistake, the right call for everything else."""

from __future__ import annotations

import importlib
import subprocess
import sys
import time
import types

import config_tree
import pytest

from reprise import cli
from reprise.errors import RepriseError

COMMANDS = (
    "plan train evaluate replay tune collect statistics plot claims report compare verify status doctor".split()  # noqa: SIM905
)
TRAIN = ["train", "--task", "grid_world/small", "--algorithm"]
MISTAKES = {  # words: what the line says
    "pln": "unknown command 'pln'; nearest: 'plan'",
    "plan --tire quick": "unknown option '--tire'; nearest: '--tier'",
    "plan --tier quik": "unknown tier 'quik'; nearest: 'quick'",
    "plan --papers demmo": "unknown paper 'demmo'; nearest: 'demo'",
    "plan --figure demo/fig1": "unknown figure 'demo/fig1'; nearest: 'demo/fig01'",
    "plan extra": "unexpected extra argument",
    "plan --tier": "'--tier' requires an argument",
    "train": "train needs --task and --algorithm, or --cells",
    "train --task grid_world/small --algorithm alph": "unknown algorithm 'alph'; nearest: 'alpha'",
    "train --task grid_world/small --algorithm alpha@slw": "'slw'; nearest: 'slow'",
    "train --task grid_wrld/small --algorithm alpha": "unknown task 'grid_wrld/small'; nearest: 'grid_world/small'",
    "train --task grid_world/small --algorithm glide": "glide has continuous actions only, and grid_world/small is",
    "train --task grid_world/small --algorithm alpha --seeds 3-1": "the range '3-1' runs backwards",
    "train --task grid_world/small --algorithm alpha --seeds 1,1": "seed 1 stands twice",
    "train --task grid_world/small --algorithm alpha --device gpu": "unknown device 'gpu'; nearest: 'cpu'",
    "train --task grid_world/small --algorithm alpha --checkpoint-seconds -1": "-1.0 must be >= 0",
    "train --cells nowhere.txt": "nowhere.txt: cannot be read",
    "train --cells x --task grid_world/small": "--cells names whole cohorts",
    "evaluate nowhere": "nowhere: no such run folder",
    "evaluate . --episodes 0": "Invalid value for '--episodes'",
    "replay nowhere": "nowhere: no such run folder",
    "replay . --format gfi": "unknown format 'gfi'; nearest: 'gif'",
    "replay . --format png --output x.gif": "--output x.gif: its suffix is not 'png'",
    "tune share": "unknown search 'share'; nearest: 'shared'",
    "collect": "Missing argument 'FIGURE'; see reprise collect --help",
    "collect demo/fig99": "unknown figure 'demo/fig99'",
    "statistics fig01": "unknown figure 'fig01'; nearest: 'demo/fig01'",
    "plot demo/fig01 --tier smok": "unknown tier 'smok'; nearest: 'smoke'",
    "compare mine.csv --figure demo/fig01": "mine.csv: no such file",
    "compare mine.csv": "Missing option '--figure'",
    "claims --tier x": "unknown tier 'x'",
}  # fmt: skip


@pytest.fixture
def root(tmp_path, monkeypatch):
    config_tree.write(tmp_path)
    (tmp_path / "config/tuning").mkdir()
    (tmp_path / "config/tuning/shared.yaml").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def fake(monkeypatch, module, **functions):
    """Replace ``module`` by one that holds ``functions`` only."""
    made = types.ModuleType(module)
    made.__dict__.update(functions)
    monkeypatch.setitem(sys.modules, module, made)
    package, _, name = module.rpartition(".")
    monkeypatch.setattr(importlib.import_module(package), name, made, raising=False)


@pytest.mark.parametrize("words", MISTAKES)
def test_mistakes_are_one_line(root, capsys, words):
    before = sorted(root.rglob("*"))
    assert cli.main(words.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("reprise: ")
    assert err.count("\n") == 1
    assert MISTAKES[words] in err
    assert sorted(root.rglob("*")) == before


def test_outside_a_repository(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan"]) == 2
    assert "no Reprise repository here or above" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command, capsys):
    assert cli.main([command, "--help"]) == 0
    out = capsys.readouterr().out
    assert f"Example: reprise {command}" in " ".join(out.split())


def test_help_lists_every_command_in_whole_sentences(capsys):
    assert cli.main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f"\n  {command} " in out
    assert "..." not in out.partition("Commands:")[2]


def test_train_passes_cohorts_and_options(root, monkeypatch):
    calls = []
    fake(monkeypatch, "reprise.experiments.jobs", run=lambda *args, **more: calls.append((args, more)))
    assert cli.main([*TRAIN, "alpha@targets", "--seeds", "0,2", "--device", "cpu", "--tensorboard"]) == 0
    (_, cohorts, device), options = calls[0]
    names = [(cohort.name, cohort.seeds, cohort.tier) for cohort in cohorts]
    assert names == [("alpha@targets", (seed,), "quick") for seed in (0, 2)]
    assert device == "cpu"
    assert options == {"tensorboard": True, "checkpoint_seconds": None}


def test_train_takes_the_tiers_seeds(root, monkeypatch):
    calls = []
    fake(monkeypatch, "reprise.experiments.jobs", run=lambda *args, **more: calls.extend(args[1]))
    assert cli.main([*TRAIN, "beta", "--tier", "smoke"]) == 0
    assert [(cohort.seeds, cohort.tier) for cohort in calls] == [((0, 1), "smoke")]


def test_train_reads_a_cohort_file(root, monkeypatch, capsys):
    calls = []
    fake(monkeypatch, "reprise.experiments.jobs", run=lambda *args, **more: calls.extend(args[1]))
    path = root / "cells.txt"
    path.write_text("# a batch\ngrid_world/small alpha 0-1 smoke\n\ngrid_world/large beta 3 quick\n")
    assert cli.main(["train", "--cells", "cells.txt"]) == 0
    assert [cohort.id for cohort in calls] == ["grid_world/small/alpha/seeds-0-1", "grid_world/large/beta/seeds-3-3"]
    path.write_text("grid_world/small alpha 0-1 smoke\ngrid_world/small alpha\n")
    assert cli.main(["train", "--cells", "cells.txt"]) == 2
    assert "cells.txt: line 2: `task algorithm seeds tier` expected" in capsys.readouterr().err


def test_exit_codes(root, monkeypatch, capsys):
    def fail(error):
        def run(*_args, **_options):
            raise error

        fake(monkeypatch, "reprise.experiments.jobs", run=run)
        return cli.main([*TRAIN, "alpha"])

    assert fail(RepriseError("stopped; the same command goes on", exit_code=75)) == 75
    assert fail(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err == "reprise: stopped; the same command goes on\nreprise: interrupted\n"
    with pytest.raises(ZeroDivisionError):  # a bug is a bug: nobody hides its traceback
        fail(ZeroDivisionError())
    fake(monkeypatch, "reprise.experiments.verify", verify=lambda project, tier, repair: int(repair))
    assert cli.main(["verify"]) == 0
    assert cli.main(["verify", "--repair"]) == 1


@pytest.mark.parametrize(
    ("words", "module", "function", "expected"),
    [
        ("collect demo/fig01", "reprise.analysis.collect", "collect", ("quick", "demo/fig01")),
        ("statistics demo/fig01 --tier smoke", "reprise.analysis.statistics", "compute", ("smoke", "demo/fig01")),
        ("plot demo/fig01", "reprise.analysis.figures", "draw", ("quick", "demo/fig01")),
        ("claims --tier smoke", "reprise.analysis.claims", "judge", ("smoke",)),
        ("report", "reprise.analysis.report", "write", ("quick",)),
        ("status", "reprise.experiments.status", "status", ("quick",)),
        ("tune shared --jobs 2 --device cpu", "reprise.experiments.tuning", "tune", ("shared", "cpu", 2)),
    ],
)
def test_every_command_calls_its_module(root, monkeypatch, words, module, function, expected):
    import reprise.analysis
    import reprise.experiments  # noqa: F401  the packages whose modules are replaced

    calls = []
    fake(monkeypatch, module, **{function: lambda *args: calls.append(args)})
    assert cli.main(words.split()) == 0
    assert calls[0][1:] == expected


def test_a_closed_pipe_is_no_error(root):
    script = f"{sys.executable} -m reprise.cli train --help | head -c 1"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=root)
    assert done.stderr == ""


def test_help_and_mistakes_are_quick_and_import_little(root):
    code = (
        "import sys; from reprise import cli; cli.main(sys.argv[1:]); heavy = "
        "[m for m in ('torch', 'pandas', 'scipy', 'matplotlib', 'numpy') if m in sys.modules]; "
        "sys.exit(str(heavy) if heavy else 0)"
    )
    for words in (["--help"], ["plan", "--tier", "quik"], [*TRAIN, "glide"]):
        start = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=root)
        assert done.returncode == 0, done.stderr
        assert time.monotonic() - start < 2
