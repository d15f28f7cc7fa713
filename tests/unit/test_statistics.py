"""statistics: per-seed summaries, intervals, diverged runs, games, and the files."""

import json
import math

import config_tree
import numpy as np
import pytest
import run_folders

from reprise.analysis import aggregate, collect, statistics
from reprise.errors import RepriseError
from reprise.experiments import config, grid


def made(tmp_path, curve=run_folders.rising, kind="curves", diverged=None, references=lambda s: run_folders.REFERENCES):
    root = config_tree.write(tmp_path)
    exact = "metric: expected_return\n    training_metrics: [kl]\n"
    config_tree.edit(root, "papers/demo.yaml", "metric: return\n", exact)
    config_tree.edit(root, "papers/demo.yaml", "kind: curves", f"kind: {kind}")
    project = config.load(root)
    for cohort in grid.build(project, "quick").cohorts_of("demo/fig01"):
        run_folders.write(cohort, curve, diverged, references)
    collect.collect(project, "quick", "demo/fig01")
    path, table = statistics.compute(project, "quick", "demo/fig01")
    return project, json.loads(path.read_text()), table.read_text()


def first_curve(content):
    return content["panels"][0]["curves"][0]


def test_curve_is_mean_and_student_interval_over_seeds(tmp_path):
    values = {0: 10.0, 1: 20.0, 2: 60.0}
    _, content, csv = made(tmp_path, lambda name, seed, x: values[seed % 3] * x)
    curve = first_curve(content)
    assert curve["x"] == [0, 200, 400, 600, 800, 1000]
    assert curve["mean"][-1] == pytest.approx(30.0)
    half = 4.302652729911275 * np.std([10, 20, 60], ddof=1) / math.sqrt(3)
    assert curve["low"][-1] == -10.0  # clipped to the lower return bound
    assert curve["high"][-1] == pytest.approx(30 + half)
    assert curve["final"] == {"0": 10.0, "1": 20.0, "2": 60.0}
    assert curve["first"] == {"0": 0.0, "1": 0.0, "2": 0.0}
    assert csv.splitlines()[0] == "panel,label,env_steps,mean,low,high,n"
    assert len(csv.splitlines()) == 1 + sum(len(c["x"]) for p in content["panels"] for c in p["curves"])


def test_one_seed_has_a_mean_and_no_interval(tmp_path):
    project, content, _ = made(tmp_path)
    coverage = content["coverage"]
    for curve in coverage["curves"]:
        curve["seeds_found"] = curve["seeds_found"][:1]
    import pandas as pd

    table = pd.read_parquet(project.root / "results/quick/tables/demo/fig01.parquet").query("seed == 0")
    curve = first_curve(statistics.summarise(table, coverage))
    assert curve["mean"][-1] is not None
    assert curve["low"] == curve["high"] == [None] * 6
    assert curve["final_interval"]["low"] is None


def test_a_diverged_run_is_the_worst_score_and_counted(tmp_path):
    _, content, _ = made(tmp_path, lambda name, seed, x: 50 * x + seed, diverged={"1": 600})
    curve = first_curve(content)
    assert (curve["diverged"], curve["n"], curve["n_expected"]) == (1, 3, 3)
    assert curve["final"] == {"0": 50.0, "1": -10.0, "2": 52.0}
    assert curve["mean"][-1] == pytest.approx((50 - 10 + 52) / 3)
    assert "diverged" in content["footer"]


def test_missing_seeds_are_in_the_footer(tmp_path):
    project, content, _ = made(tmp_path)
    assert "missing" not in content["footer"]
    folder = next((project.root / "results/quick/runs/grid_world/small/alpha").iterdir())
    (folder / "manifest.json").unlink()
    collect.collect(project, "quick", "demo/fig01")
    content = json.loads(statistics.compute(project, "quick", "demo/fig01")[0].read_text())
    assert "3 of 15 runs missing" in content["footer"]
    assert first_curve(content)["n"] == 0
    assert first_curve(content)["mean"] == []


def test_footer_says_what_a_reader_must_know(tmp_path):
    _, content, _ = made(tmp_path)
    for part in (
        "tier quick",
        "1,000-5,000 env steps",
        "2-3 seeds",
        "Student t 95 %",
        "exact expected return",
        "backend torch",
        "commit 01234567",
    ):
        assert part in content["footer"]


def test_games_are_normalised_by_their_own_references(tmp_path):
    levels = [(50.0, 10.0), (100.0, 20.0), (40.0, 0.0), (80.0, 0.0), (80.0, 0.0)]
    _, content, _ = made(
        tmp_path,
        lambda name, seed, x: np.full(len(x), 30.0),
        kind="games",
        references=lambda seed: {"optimum": levels[seed][0], "nash": 1.0, "uniform": levels[seed][1]},
    )
    curve = first_curve(content)
    assert curve["final"] == {"0": 30.0, "1": 30.0, "2": 30.0}
    assert curve["normalised"]["final"] == pytest.approx({"0": 0.5, "1": 0.125, "2": 0.75})
    assert curve["normalised"]["mean"][-1] == pytest.approx((0.5 + 0.125 + 0.75) / 3)


def test_training_metrics_are_kept_for_claims(tmp_path):
    _, content, _ = made(tmp_path)
    kl = first_curve(content)["training"]["kl"]
    assert kl["x"] == [100 * i for i in range(1, 11)]
    assert kl["final"]["0"] == pytest.approx(0.01)


def test_same_table_gives_the_same_bytes(tmp_path):
    project, _, _ = made(tmp_path)
    paths = statistics.compute(project, "quick", "demo/fig01")
    before = [path.read_bytes() for path in paths]
    statistics.compute(project, "quick", "demo/fig01")
    assert [path.read_bytes() for path in paths] == before


def test_absent_and_damaged_tables_are_named(tmp_path):
    project, _, _ = made(tmp_path)
    path = project.root / "results/quick/tables/demo/fig01.parquet"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(RepriseError, match="damaged"):
        statistics.compute(project, "quick", "demo/fig01")
    path.unlink()
    with pytest.raises(RepriseError, match="reprise collect demo/fig01 --tier quick"):
        statistics.compute(project, "quick", "demo/fig01")


def test_final_is_the_last_tenth_and_steps_to_90_is_reached_there_at_the_latest():
    x = np.arange(31) * 100
    y = np.concatenate([np.linspace(0, 10, 21), np.full(10, 10.0)])
    found = statistics.summary(x, y)
    assert found["final"] == 10.0
    running = [y[max(0, i - 2) : i + 1].mean() for i in range(31)]
    assert found["steps_to_90"] == next(x[i] for i in range(31) if running[i] >= 9.0)
    assert statistics.summary(x, y[::-1])["steps_to_90"] is None
    assert statistics.summary(x, np.arange(31.0))["final"] == 29.0  # mean of 28, 29, 30


def test_auc_is_in_score_units_and_fluctuation_ignores_trend():
    x = np.linspace(0, 1000, 2001)
    noise = np.random.default_rng(0).normal(0, 3, 2001)
    found = statistics.summary(x, 0.05 * x + noise)
    assert found["auc"] == pytest.approx(25, abs=0.3)
    assert found["fluctuation"] == pytest.approx(3, rel=0.08)


# Fixed random table; the expected numbers come from the plain loops below, not from the module.
SCORES = np.random.default_rng(7).normal(0.5, 0.2, (5, 4))
OTHERS = np.random.default_rng(8).normal(0.4, 0.2, (6, 4))


def test_interquartile_mean_against_plain_code():
    ordered = sorted(SCORES.ravel().tolist())
    assert aggregate.interquartile_mean(SCORES) == pytest.approx(sum(ordered[5:15]) / 10, abs=1e-12)


def test_performance_profile_against_plain_code():
    expected = []
    for threshold in (0.3, 0.5):
        shares = [sum(SCORES[r][t] > threshold for r in range(5)) / 5 for t in range(4)]
        expected.append(sum(shares) / 4)
    np.testing.assert_allclose(aggregate.performance_profile(SCORES, [0.3, 0.5]), expected, atol=1e-12)


def test_probability_of_improvement_against_plain_code():
    tied = OTHERS.copy()
    tied[0, 0] = SCORES[0, 0]
    wins = 0.0
    for t in range(4):
        for a in SCORES[:, t]:
            for b in tied[:, t]:
                wins += 1.0 if a > b else 0.5 if a == b else 0.0
    assert aggregate.probability_of_improvement(SCORES, tied) == pytest.approx(wins / (4 * 5 * 6), abs=1e-12)


def test_bootstrap_resamples_runs_within_tasks():
    tasks = np.tile([0.0, 100.0], (5, 1))  # no spread within a task, all of it between tasks
    assert aggregate.stratified_bootstrap(aggregate.interquartile_mean, tasks, repetitions=50) == (50.0, 50.0)
    low, high = aggregate.stratified_bootstrap(aggregate.interquartile_mean, SCORES, repetitions=500)
    assert low < aggregate.interquartile_mean(SCORES) < high
    assert (low, high) == aggregate.stratified_bootstrap(aggregate.interquartile_mean, SCORES, repetitions=500)


def test_normalise_refuses_upside_down_references():
    np.testing.assert_allclose(aggregate.normalise([[5.0, 1.0]], [0.0, 0.0], [10.0, 2.0]), [[0.5, 0.5]])
    with pytest.raises(ValueError, match="must exceed"):
        aggregate.normalise(SCORES, [1.0] * 4, [0.0] * 4)
