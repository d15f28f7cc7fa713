"""The plan: counts, hours from measured speed, what is left, and the detectable effect."""

from __future__ import annotations

import json

import config_tree
import numpy as np
import pytest
from scipy import stats

from reprise.errors import RepriseError
from reprise.experiments import config, grid, plan, throughput

THROUGHPUT = """
cpu:
  machine: test
  date: today
  startup_seconds: 10.0
  steps_per_second:
    grid_world/small: {alpha: 100.0, beta: 50.0}
    grid_world/large: {alpha: 100.0, beta: 100.0}
"""


@pytest.fixture
def root(tmp_path):
    config_tree.write(tmp_path)
    (tmp_path / "config" / "throughput.yaml").write_text(THROUGHPUT)
    return tmp_path


def made(root, tier="quick"):
    project = config.load(root)
    return project, grid.build(project, tier), throughput.load(project)


def coverage(root, tier, figure, curves):
    path = root / "results" / tier / "tables" / f"{figure}.coverage.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"tier": tier, "curves": curves}))


def curve(cell, speed, device=("cpu",)):
    return {"panel": "grid_world/small", "cell": cell, "algorithm": cell.partition("@")[0], "device": list(device),
            "steps_per_second": speed}  # fmt: skip


def test_counts_and_hours(root):
    _, grown, speeds = made(root)
    rows = {row.figure: row for row in plan.rows(grown, speeds)}
    small = rows["demo/fig02"]  # the sweep of two settings and alpha, five seeds each
    assert (small.cells, small.cohorts, small.runs, small.env_steps, small.seeds) == (3, 2, 15, 15_000, 4)
    assert small.cpu_hours == pytest.approx((10 + 10_000 / 100 + 10 + 5_000 / 100) / 3600)
    assert small.gpu_hours is None
    assert rows["all"].runs == sum(cohort.runs for cohort in grown.cohorts)  # shared runs count once
    assert rows["all"].runs < sum(row.runs for name, row in rows.items() if name != "all")


def test_a_gpu_section_gives_gpu_hours(root):
    text = THROUGHPUT + THROUGHPUT.replace("cpu:", "cuda:").replace("100.0", "1000.0")
    (root / "config" / "throughput.yaml").write_text(text)
    _, grown, speeds = made(root)
    row = plan.rows(grown, speeds, ["demo/fig02"])[0]
    assert row.gpu_hours == pytest.approx((10 + 10 + 10 + 5) / 3600)


def test_coverage_refines_the_file(root):
    beta = curve("beta", 400.0)
    coverage(root, "quick", "demo/fig01", [curve("alpha", 200.0), curve("alpha@no_root", 50.0), beta])
    coverage(root, "smoke", "demo/fig01", [curve("beta", 1.0)])  # two updates say nothing about speed
    coverage(
        root, "quick", "demo/fig03", [curve("beta", 800.0), curve("beta", 9.0, ("cpu", "cuda")), curve("beta", None)]
    )
    _, grown, speeds = made(root)
    cohorts = {cohort.name: cohort for cohort in grown.cohorts if cohort.task == "grid_world/small"}
    assert speeds.seconds(cohorts["alpha"], "cpu") == pytest.approx(10 + 5_000 / 200)
    assert speeds.seconds(cohorts["alpha@no_root"], "cpu") == pytest.approx(10 + 3_000 / 50)
    assert speeds.seconds(cohorts["alpha@targets"], "cpu") == pytest.approx(10 + 10_000 / 125)  # alpha's median
    assert speeds.seconds(cohorts["beta"], "cpu") == pytest.approx(10 + 3_000 / 600)


def test_a_tier_with_hyperparameters_of_its_own_has_speeds_of_its_own(root):
    own = "hyperparameters: {alpha: {grid_world/small: {epochs: {value: 1, source: ours}}}}\n"
    path = root / "config" / "tiers" / "quick.yaml"
    path.write_text(path.read_text() + own)
    (root / "config" / "tiers" / "paper.yaml").write_text(
        config_tree.FILES["tiers/quick.yaml"].replace("tier: quick", "tier: paper")
    )

    def seconds(tier):
        _, grown, speeds = made(root, tier)
        cohorts = {cohort.name: cohort for cohort in grown.cohorts if cohort.task == "grid_world/small"}
        return [speeds.seconds(cohorts[name], "cpu") for name in ("alpha", "beta")]

    alpha, beta = 10 + 5_000 / 100, 10 + 3_000 / 50
    assert seconds("paper") == pytest.approx([alpha, beta])
    assert seconds("quick") == [None, pytest.approx(beta)]  # nothing like alpha's was measured
    at_quick = "  steps_per_second_at: {quick: {grid_world/small: {alpha: 1000.0}}}\n"
    (root / "config" / "throughput.yaml").write_text(THROUGHPUT + at_quick)
    assert seconds("paper") == pytest.approx([alpha, beta])
    assert seconds("quick") == pytest.approx([10 + 5_000 / 1000, beta])
    coverage(root, "quick", "demo/fig01", [curve("alpha", 2000.0), curve("beta", 100.0)])
    assert seconds("paper") == pytest.approx([alpha, 10 + 3_000 / 100])  # beta is the same at both
    assert seconds("quick") == pytest.approx([10 + 5_000 / 2000, 10 + 3_000 / 100])


def test_damaged_files_are_named(root):
    coverage(root, "quick", "demo/fig01", [])
    path = root / "results/quick/tables/demo/fig01.coverage.json"
    path.write_text("{")
    with pytest.raises(RepriseError, match=r"fig01\.coverage\.json: damaged coverage file"):
        made(root)
    path.unlink()
    (root / "config" / "throughput.yaml").write_text(THROUGHPUT.replace("beta: 50.0", "bet: 50.0"))
    with pytest.raises(
        RepriseError, match=r"throughput\.yaml: cpu\.steps_per_second\.grid_world/small: unknown algorithm 'bet'"
    ):
        made(root)
    (root / "config" / "throughput.yaml").write_text(THROUGHPUT + "  steps_per_second_at: {quik: {}}\n")
    with pytest.raises(RepriseError, match=r"throughput\.yaml: cpu\.steps_per_second_at: unknown tier 'quik'"):
        made(root)


def test_the_brief_counts_what_is_left(root):
    project, grown, speeds = made(root)
    total = len(grown.cohorts)
    assert plan.brief(project, grown, speeds).startswith(f"Tier quick: {total} training jobs to do, about ")
    config_tree.complete(root, "quick", "grid_world/small", "beta", 0, 2)
    assert len(plan.to_do(project, grid.build(project, "quick"))) == total - 1
    for name in ("fig01", "fig02", "fig03"):  # published tables: nothing needs training
        (root / "results/quick/tables/demo").mkdir(parents=True, exist_ok=True)
        (root / f"results/quick/tables/demo/{name}.parquet").touch()
    assert "nothing left to train" in plan.brief(project, grid.build(project, "quick"), speeds)


def test_the_brief_admits_what_was_never_timed(root):
    (root / "config" / "throughput.yaml").write_text(
        THROUGHPUT.replace("beta: 50.0", "alpha: 1.0").replace("alpha: 100.0, a", "a")
    )
    project, grown, speeds = made(root)
    assert "at least" in plan.brief(project, grown, speeds)
    assert "never timed" in plan.brief(project, grown, speeds)


def test_wall_time_is_never_below_the_longest_job(root):
    _, grown, speeds = made(root)
    seconds = [speeds.seconds(cohort, "cpu") for cohort in grown.cohorts]
    assert plan.wall_seconds(grown.cohorts, speeds, 1) == pytest.approx(sum(seconds))
    assert plan.wall_seconds(grown.cohorts, speeds, 1000) == pytest.approx(max(seconds))


def test_memory_grows_with_what_a_replay_will_hold(repository_root):
    project = config.load(repository_root)

    def asked(tier, task, cell):
        (cohort,) = grid.cohort(project, tier, task, cell, range(5))
        return plan.memory_mb(cohort)

    largest = "mpe/cooperative_navigation-n500"
    assert asked("paper", largest, "maddpg") == plan.TRAINING_MB + 5 * 13_500  # five full replays of a million
    assert asked("quick", largest, "maddpg") == plan.TRAINING_MB + 5 * 270  # 20,000 transitions
    assert asked("paper", largest, "mfppo") == plan.TRAINING_MB
    assert asked("smoke", largest, "maddpg") == plan.TRAINING_MB
    study = next(cohort for cohort in grid.build(project, "smoke").cohorts if cohort.is_study)
    assert plan.memory_mb(study) == plan.STUDY_MB


def test_the_smoke_tier_has_no_env_steps(root):
    project, grown, speeds = made(root, "smoke")
    rows = plan.rows(grown, speeds)
    assert {row.env_steps for row in rows} == {None}
    text = plan.table(rows, grown, plan.to_do(project, grown), speeds)
    assert "demo/fig03" in text
    assert " sd" in text


@pytest.mark.parametrize("seeds", [3, 5, 20])
def test_the_detectable_effect_has_the_stated_power(seeds):
    rng = np.random.default_rng(0)
    effect = plan.detectable_effect(seeds)
    a, b = rng.normal(size=(2, 20_000, seeds))
    power = np.mean(stats.ttest_ind(a + effect, b, axis=1).pvalue < 0.05)
    assert power == pytest.approx(0.8, abs=0.012)


def test_known_effects():
    assert plan.detectable_effect(5) == pytest.approx(2.02, abs=0.01)
    assert plan.detectable_effect(2) > plan.detectable_effect(3) > plan.detectable_effect(100) > 0.3
