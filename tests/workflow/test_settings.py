"""Targets and settings: what is planned for what a person types, and one line for what they mistype."""

from __future__ import annotations

import re

import pytest
from checkout import training

SLURM = ("--profile", "profiles/slurm")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--config", "tire=smoke"], "tier"),
        (["--config", "tier=papper"], "paper"),
        (["--config", "papers=dppo"], "dpo"),
        (["--config", "papers=[dpo,hatrop]"], "hatrpo"),
        (["--config", "device=gpu"], "cpu"),
        (["--dry-run", "figures/quick/dpo/fig1a.svg"], "dpo/fig01a"),
        (["--dry-run", "figures/quik/dpo/fig01a.svg"], "quick"),
        (["--dry-run", "results/quick/runs/stochastic_game/s100n6a5/dpoo/seeds-0-4/manifest.json"], "dpo"),
    ],
)
def test_mistyped_setting_is_one_line_and_exit_2(untrained, arguments, named):
    done = untrained.run("snakemake", "--cores", "1", *arguments)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("reprise: ")]
    assert f"'{named}'" in line or named in line.split("valid:")[-1]
    assert "Traceback" not in done.stderr
    assert not list(untrained.root.glob("results/*/*"))


def test_fault_in_a_config_file_is_one_line_and_exit_2(untrained):
    path = untrained.root / "config/tiers/quick.yaml"
    before = path.read_text()
    try:
        path.write_text(before + "\nbatchs: 2\n")
        done = untrained.run("snakemake", "--cores", "1")
    finally:
        path.write_text(before)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("reprise: ")]
    assert "config/tiers/quick.yaml" in line
    assert "'batches'" in line


def test_bare_call_plans_everything_once(untrained):
    grid = untrained.grid("quick")
    jobs = untrained.planned()
    assert jobs == untrained.planned("all")
    assert jobs["train"] + jobs["study"] == len({c.id for name in grid.standing for c in grid.cohorts_of(name)})
    assert jobs["collect"] == jobs["statistics"] == jobs["plot"] == len(grid.standing)
    assert jobs["judge"] == jobs["write_report"] == 1


def test_paper_tier_plans_its_grid(untrained):
    assert sum(training(untrained.planned("--config", "tier=paper")).values()) == len(untrained.grid("paper").cohorts)


def test_one_figure_trains_only_its_cohorts(untrained):
    grid = untrained.grid("quick")
    jobs = untrained.planned("figures/quick/dpo/fig01a.svg")
    assert jobs == {"train": len(grid.cohorts_of("dpo/fig01a")), "collect": 1, "statistics": 1, "plot": 1}


def test_a_figure_made_on_request_is_planned_when_named(untrained):
    grid = untrained.grid("quick")
    asked = [name for name in grid.figures if name not in grid.standing]
    assert asked
    for name in asked:
        jobs = untrained.planned(f"figures/quick/{name}.svg")
        assert jobs == {"train": len(grid.cohorts_of(name)), "collect": 1, "statistics": 1, "plot": 1}


def test_a_figure_made_on_request_is_kept_once_its_table_is_there(untrained):
    name = next(name for name, figure in untrained.grid("quick").figures.items() if figure.on_request)
    table = untrained.root / f"results/quick/tables/{name}.parquet"
    before = untrained.planned()
    table.parent.mkdir(parents=True)
    table.touch()
    try:
        assert untrained.planned()["plot"] == before["plot"] + 1
    finally:
        table.unlink()
        table.parent.rmdir()


def test_one_paper_and_a_target_of_another_tier(untrained):
    assert training(untrained.planned("dpo"))
    assert untrained.planned("figures/smoke/dpo/fig01a.svg")["plot"] == 1


def test_any_seeds_of_a_known_cell_can_be_asked_for(untrained):
    target = "results/quick/runs/stochastic_game/s100n6a5/dpo/seeds-70-72/manifest.json"
    output = untrained.ok("snakemake", "--cores", "1", "--dry-run", target)
    assert re.search(
        r"reprise train --task stochastic_game/s100n6a5 --algorithm dpo --seeds 70-72 --tier quick", output
    )


def test_slurm_profile_plans_gpu_jobs_and_groups_short_ones(untrained):
    output = untrained.ok("snakemake", *SLURM, "--dry-run", "--verbose", "--config", "tier=quick")
    assert "Group job short_cohorts" in output
    assert training(untrained.planned(*SLURM, "--config", "tier=paper"))


def test_rules_hold_no_retries_and_no_python(untrained):
    """Retries in a rule would be repeated inside a cluster job; a `run:` costs three seconds per job."""
    for path in (untrained.root / "workflow").rglob("*.smk"):
        assert not re.search(r"^\s+(retries|run|script):", path.read_text(), re.MULTILINE), path
