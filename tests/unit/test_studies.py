"""Exact studies as cells of the grid: from the config over the run folder to checks with controls and verdicts."""

import json
import sys
import types

import config_tree
import numpy as np
import pandas as pd
import pytest
import toy_study

from reprise.analysis import claims, collect, figures, ledger, statistics, studies
from reprise.analysis.drawings import common
from reprise.analysis.sheet import Sheet
from reprise.errors import RepriseError
from reprise.experiments import config, grid, jobs, runs, verify

STUDY = """
study: toy
version: 1
module: toy_study
title: A toy
seeds: 0-1
parameters:
  games: {value: 40, kind: count, source: ours}
  lengths: {value: [16, 64, 256], kind: counts, source: ours}
tiers:
  smoke: {games: {value: 25, source: ours}}
"""
FIGURE = """
  toy:
    title: A toy
    caption: c
    kind: study
    studies: [toy]
    drawing: toy
    checks:
      bound: {quantity: margin, rule: at_least, value: 0.0, series: [all]}
      planted: {quantity: margin, rule: at_least, value: 0.0, series: [planted], control_of: bound}
      slope: {quantity: gap, rule: slope, series: [root]}
      no_slope: {quantity: gap, rule: slope, series: [flat], control_of: slope}
      level: {quantity: gap, rule: mean, series: [root], x: [16, 16]}
"""
CLAIMS = """
paper: demo
source: demo
claims:
  - &bound
    id: demo-01
    where: lemma
    statement: s
    kind: bound
    metric: bound
    lowest_tier: smoke
    min_seeds: 1
    comparable: value
    readings: [{protocol: theory, figure: demo/toy}]
  - {<<: *bound, id: demo-02, kind: rate, metric: slope, interval: [-10.0, -0.45]}
  - {<<: *bound, id: demo-03, kind: rate, metric: slope, interval: [-10.0, 10.0]}
  - {<<: *bound, id: demo-04, kind: rate, metric: level, interval: [0.5, 1.0]}
"""


@pytest.fixture
def root(tmp_path):
    config_tree.write(tmp_path)
    for name, text in (("studies/toy.yaml", STUDY), ("claims/demo.yaml", CLAIMS)):
        path = tmp_path / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    page = tmp_path / "config" / "papers" / "demo.yaml"
    page.write_text(page.read_text().rstrip() + FIGURE)
    return tmp_path


@pytest.fixture
def drawing(monkeypatch):
    """`drawing: toy` of paper demo."""

    def toy(found):
        looks = common.looks(common.names(found, "gap"))
        sheet = Sheet(found, 1, 1, 1.5, list(looks), titles=False)
        entries = {name: common.entry(found, "gap", name) for name in looks}
        handles = [common.line(sheet.axes[0], entries[name], look) for name, look in looks.items()]
        common.distribution(sheet.axes[0], common.entry(found, "margin", "all"), looks["root"])
        sheet.legend(handles, list(looks))
        return sheet.figure, [common.drawn("gap", name, each) for name, each in entries.items()]

    module = types.ModuleType("reprise.analysis.drawings.demo")
    module.toy = toy
    module.__spec__ = types.SimpleNamespace(name=module.__name__)
    monkeypatch.setitem(sys.modules, module.__name__, module)


def computed(root, tier="quick"):
    project = config.load(root)
    cohorts = grid.build(project, tier).cohorts_of("demo/toy")
    jobs.run(project, cohorts, "cpu", progress=False)
    return project, cohorts


def judged(project, tier="quick"):
    collect.collect(project, tier, "demo/toy")
    statistics.compute(project, tier, "demo/toy")
    path, _ = claims.judge(project, tier)
    return {claim["id"]: claim for claim in json.loads(path.read_text())["claims"]}


def test_a_study_is_a_cell_of_the_grid(root):
    project = config.load(root)
    found = grid.build(project, "smoke")
    (cohort,) = found.cohorts_of("demo/toy")
    assert cohort.id == "theory/toy/exact/seeds-0-1"
    assert set(cohort.files) == {"records.parquet", "manifest.json"}
    assert cohort.cells[0].config["environment"]["parameters"] == {"games": 25, "lengths": [16, 64, 256]}
    assert found.figures["demo/toy"].stamp == "smoke: a smaller study"
    assert grid.build(project, "quick").figures["demo/toy"].stamp is None
    assert cohort in [each for batch in found.batches for each in batch]


def test_the_run_folder_is_whole_and_a_second_call_does_nothing(root, capsys):
    project, (cohort,) = computed(root)
    manifest = runs.load_manifest(cohort.folder)
    assert manifest["records"] == 2 * 40 * (2 + 2 * 3)
    assert list(manifest["seeds"]) == ["0", "1"]
    assert runs.faults(cohort.folder, cohort.hash) == []
    assert not cohort.checkpoints.exists()
    assert jobs.run(project, [cohort], "cpu") == 0
    assert verify.verify(project, "quick") == 0
    (cohort.folder / runs.RECORDS).write_bytes(b"edited")
    assert verify.verify(project, "quick") == 1
    with pytest.raises(RepriseError, match=r"records\.parquet: sha256 differs.*verify --tier quick --repair"):
        collect.collect(project, "quick", "demo/toy")


def test_equal_runs_give_equal_bytes_and_other_seeds_other_numbers(root, tmp_path):
    _, (cohort,) = computed(root)
    first = (cohort.folder / runs.RECORDS).read_bytes()
    (cohort.folder / runs.MANIFEST).unlink()
    computed(root)
    assert (cohort.folder / runs.RECORDS).read_bytes() == first
    table = pd.read_parquet(cohort.folder / runs.RECORDS)
    assert not np.allclose(*(table[(table.seed == s) & (table.quantity == "gap")].value for s in (0, 1)))


def test_checks_and_verdicts(root):
    project, _ = computed(root)
    verdicts = judged(project)
    assert verdicts["demo-01"]["verdict"] == "REPRODUCED"
    assert "0 violations in 80" in verdicts["demo-01"]["sentence"]
    assert verdicts["demo-02"]["verdict"] == "REPRODUCED"
    assert verdicts["demo-02"]["statistic"]["value"] == pytest.approx(-0.5)
    # A claim so wide that the planted version passes as well says nothing.
    assert verdicts["demo-03"]["verdict"] == "INVALID"
    assert "no_slope" in verdicts["demo-03"]["reason"]
    assert verdicts["demo-04"]["verdict"] == "NOT_REPRODUCED"  # the mean is about 0.75 / 4


def test_a_violated_bound_is_not_reproduced(root, monkeypatch):
    broken = lambda parameters, seeds, records: toy_run(  # noqa: E731
        parameters, seeds, types.SimpleNamespace(add=lambda q, s, v, **at: records.add(q, s, v - 0.6, **at))
    )
    toy_run = toy_study.run
    monkeypatch.setattr(toy_study, "run", broken)
    project, _ = computed(root)
    found = judged(project)["demo-01"]
    assert found["verdict"] == "NOT_REPRODUCED"
    assert found["statistic"]["value"] > 0


def test_the_picture_and_its_numbers(root, drawing):
    project, _ = computed(root)
    judged(project)
    written = figures.draw(project, "quick", "demo/toy")
    record = json.loads(written[-1].read_text())
    assert record["studies"]["bound"] | {"worst": None} == {
        "violations": 0, "checked": 80, "worst": None, "rule": "at_least", "bound": 0.0, "tolerance": 0.0,
        "controls": record["studies"]["bound"]["controls"],
    }  # fmt: skip
    assert record["studies"]["bound"]["controls"]["planted"]["violations"] > 0
    assert record["series"][0]["n"] == 80
    assert "study toy · 2 seeds · float64" in record["footer"]
    before = written[0].read_bytes()
    assert figures.draw(project, "quick", "demo/toy")[0].read_bytes() == before


def test_a_study_that_was_not_run_is_not_judged(root):
    assert {claim["verdict"] for claim in judged(config.load(root)).values()} == {"NOT_RUN"}


def test_an_interrupted_study_leaves_nothing(root, monkeypatch):
    def stopped(parameters, seeds, records):
        jobs.signal.raise_signal(jobs.signal.SIGTERM)
        records.add("margin", "all", 1.0)

    monkeypatch.setattr(toy_study, "run", stopped)
    with pytest.raises(runs.Interrupted, match="the same command redoes it"):
        computed(root)
    assert not (root / "results/quick/runs/theory/toy/exact/seeds-0-1/manifest.json").exists()


def records(rows):
    columns = ["study", "quantity", "series", "seed", "game", "x", "value"]
    return pd.DataFrame([("s", "q", *row) for row in rows], columns=columns)


def check(**values):
    return {"quantity": "q", "value": None, "tolerance": 0.0, "series": None, "x": None, **values}


@pytest.mark.parametrize(
    ("rule", "values", "violations"),
    [("at_least", [0.0, -1e-12, -1.0, np.nan], 2), ("at_most", [0.0, 1.0], 1), ("equals", [0.0, 1.0, -1.0], 2)],
)
def test_counting_rules(rule, values, violations):
    table = records([("a", 0, i, 0.0, value) for i, value in enumerate(values)])
    found = studies._check(table, check(rule=rule, value=0.0, tolerance=1e-10), "here")
    assert (found["violations"], found["checked"]) == (violations, len(values))


def test_the_unit_of_a_slope_is_the_game():
    table = records([("a", 0, game, x, (game + 1) * x**-0.5) for game in range(3) for x in (1.0, 4.0, 16.0)])
    found = studies._check(table, check(rule="slope"), "here")
    assert (found["value"], found["n"]) == (pytest.approx(-0.5), 3)
    assert found["low"] == pytest.approx(found["high"])


def test_a_slope_through_a_gap_of_zero_is_not_a_number():
    table = records([("a", 0, 0, 1.0, 1.0), ("a", 0, 0, 2.0, 0.0), ("a", 0, 1, 1.0, 1.0), ("a", 0, 1, 2.0, 1.0)])
    assert studies._check(table, check(rule="slope"), "here")["value"] is None


def test_lines_have_means_intervals_extremes_and_quantiles():
    table = records([("a", 0, game, 0.0, float(game)) for game in range(101)])
    (line,) = studies.summarise(table, coverage())["series"]
    assert (line["n"], line["mean"], line["minimum"], line["maximum"]) == (101, [50.0], [0.0], [100.0])
    assert line["quantiles"] == pytest.approx(list(range(101)))
    assert line["low"][0] < 50 < line["high"][0]


def coverage():
    """Of a figure without checks."""
    curve = {"panel": "theory/s", "missing": [], "refused": [], "commits": ["abc"], "seeds_found": [0]}
    spec = {"kind": "study", "checks": {}}
    head = {"paper": "p", "figure": "f", "tier": "quick", "stamp": None}
    return {**head, "spec": spec, "curves": [curve], "checks": {}}


def test_what_is_published_is_small_and_judged_in_full_precision(root, monkeypatch):
    run = toy_study.run

    def barely(parameters, seeds, records):
        """A violation of 1e-12 next to 1, which single precision cannot hold."""

        def add(quantity, series, value, **at):
            records.add(quantity, series, value * 0 + 1 - 1e-12 if series == "all" else value, **at)

        run(parameters, seeds, types.SimpleNamespace(add=add))

    config_tree.edit(root, "papers/demo.yaml", "value: 0.0, series: [all]", "value: 1.0, series: [all]")
    monkeypatch.setattr(toy_study, "run", barely)
    project, _ = computed(root)
    assert judged(project)["demo-01"]["statistic"]["value"] == 80
    table = pd.read_parquet(root / "results/quick/tables/demo/toy.parquet")
    assert table["value"].dtype == np.float32
    assert (table["value"][table["series"] == "all"] == 1).all()


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        ("studies/toy.yaml", "kind: counts", "kind: count", "whole number >= 1 expected"),
        ("studies/toy.yaml", "smoke: {games:", "smoke: {game:", "unknown parameter 'game'; nearest: 'games'"),
        ("studies/toy.yaml", "study: toy", "study: toys", "must be the file's name"),
        ("papers/demo.yaml", "studies: [toy]", "studies: [tay]", "unknown study 'tay'; nearest: 'toy'"),
        ("papers/demo.yaml", "drawing: toy", "drawin: toy", "unknown key 'drawin'; nearest: 'drawing'"),
        ("papers/demo.yaml", "rule: mean", "rule: means", "'means' is not valid; nearest: 'mean'"),
        ("papers/demo.yaml", "control_of: slope", "control_of: slop", "no check 'slop'"),
        ("papers/demo.yaml", "rule: mean,", "rule: mean, value: 1.0,", "'value' belongs to the rules"),
    ],
)
def test_faults_in_the_config_are_named(root, file, old, new, message):
    config_tree.edit(root, file, old, new)
    with pytest.raises(RepriseError, match=message):
        config.load(root)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("metric: bound", "metric: bond", "unknown check 'bond'; nearest: 'bound'"),
        ("metric: bound", "metric: planted", "unknown check 'planted'"),
        ("metric: bound", "metric: slope", "kind 'bound' cannot be judged on a check of rule 'slope'"),
        (
            "kind: bound",
            "kind: ordering\n    effect: {value: 0.1, unit: return, reason: r}",
            "compares 'more' with 'less'",
        ),
    ],
)
def test_faults_in_the_ledger_are_named(root, old, new, message):
    config_tree.edit(root, "claims/demo.yaml", old, new)
    with pytest.raises(RepriseError, match=message):
        ledger.load(config.load(root))


def test_a_study_takes_no_algorithm_and_a_wrong_name_the_nearest(root):
    project = config.load(root)
    with pytest.raises(RepriseError, match="exact study, which takes no 'alpha'"):
        grid.cohort(project, "quick", "theory/toy", "alpha", [0])
    with pytest.raises(RepriseError, match="unknown study 'tox'; nearest: 'toy'"):
        grid.task_seeds(project, "theory/tox", "quick")
    with pytest.raises(RepriseError, match="unknown task 'theroy/toy'; nearest: 'theory/toy'"):
        project.task("theroy/toy")


def test_a_quantity_that_nobody_recorded(root):
    config_tree.edit(root, "papers/demo.yaml", "quantity: gap, rule: mean", "quantity: gop, rule: mean")
    project, _ = computed(root)
    with pytest.raises(RepriseError, match="demo/toy: level: unknown quantity 'gop'; nearest: 'gap'"):
        judged(project)
