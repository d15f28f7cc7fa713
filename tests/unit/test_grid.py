"""The grid: every run once, sweeps grouped, seeds extended, paths distinct."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import config_tree
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reprise.errors import RepriseError
from reprise.experiments import config, grid
from reprise.experiments import seeds as seed_lists

SMALL, LARGE = "grid_world/small", "grid_world/large"


@pytest.fixture
def root(tmp_path):
    return config_tree.write(tmp_path)


def ids(cohorts):
    return sorted(cohort.id for cohort in cohorts)


def test_every_run_is_trained_once(root):
    made = grid.build(config.load(root), "quick")
    runs = Counter((cell.hash, seed) for cohort in made.cohorts for cell in cohort.cells for seed in cohort.seeds)
    assert set(runs.values()) == {1}
    for figure in made.figures.values():
        for curve in figure.curves:
            held = {(cell.hash, seed) for each in made.cohorts_for(curve) for cell in each.cells for seed in each.seeds}
            assert {(curve.cell.hash, seed) for seed in curve.seeds} <= held


def test_a_cell_is_trained_for_the_union_of_seeds(root):
    # alpha on small: seeds 0-2 for fig01; fig02 shows it as a setting of the sweep with seeds 1-4.
    made = grid.build(config.load(root), "quick")
    assert ids(cohort for cohort in made.cohorts if cohort.task == SMALL) == [
        f"{SMALL}/alpha/seeds-0-4",
        f"{SMALL}/alpha@no_root/seeds-0-2",
        f"{SMALL}/alpha@targets/seeds-0-4",
        f"{SMALL}/beta/seeds-0-2",
    ]


def test_a_setting_equal_to_an_earlier_cell_is_trained_there_only(root):
    made = grid.build(config.load(root), "quick")
    sweep = next(cohort for cohort in made.cohorts if cohort.name == "alpha@targets")
    assert [cell.setting for cell in sweep.cells] == ["target0.1", "target1"]
    assert sweep.is_sweep
    curve = made.figures["demo/fig02"].panels[0].curves[1]
    assert (curve.label, curve.name, curve.cell.name, curve.cell.setting) == ("0.2", "alpha@target0.2", "alpha", None)
    assert [cohort.name for cohort in made.cohorts_for(curve)] == ["alpha"]


def test_an_alias_shares_its_targets_run_under_its_own_label_and_colour(root):
    made = grid.build(config.load(root), "quick")
    curve = made.figures["demo/fig01"].panels[0].curves[2]
    assert (curve.label, curve.color, curve.name) == ("Beta-KL", "#00ff00", "beta@kl")
    assert [cohort.name for cohort in made.cohorts_for(curve)] == ["alpha@no_root"]
    assert not any(cohort.name.startswith("beta@") for cohort in made.cohorts)


def test_labels_of_sweeps(root):
    figures = grid.build(config.load(root), "quick").figures
    assert [curve.label for curve in figures["demo/fig02"].curves] == ["0.1", "0.2", "1"]
    assert [curve.label for curve in figures["demo/fig03"].curves] == ["Alpha without root", "A, 0.1", "A, 0.2", "A, 1"]


def test_tiers_choose_tasks_seeds_and_stamps(root):
    project = config.load(root)
    smoke, quick = grid.build(project, "smoke"), grid.build(project, "quick")
    assert [panel.task for panel in smoke.figures["demo/fig01"].panels] == [SMALL]
    assert [panel.task for panel in quick.figures["demo/fig01"].panels] == [SMALL, LARGE]
    assert quick.figures["demo/fig01"].panels[1].curves[0].seeds == (0, 3)
    assert quick.figures["demo/fig02"].curves[0].seeds == (1, 2, 3, 4)
    assert (smoke.figures["demo/fig01"].stamp, quick.figures["demo/fig02"].stamp) == ("smoke only", "fewer seeds")
    assert quick.figures["demo/fig01"].stamp is None


def test_gaps_between_seeds_make_several_cohorts(root):
    made = grid.cohort(config.load(root), "quick", SMALL, "beta", (0, 1, 3))
    assert [cohort.seeds for cohort in made] == [(0, 1), (3,)]
    assert made[1].folder == root / "results/quick/runs/grid_world/small/beta/seeds-3-3"
    assert made[1].checkpoints == root / "results/quick/checkpoints/grid_world/small/beta/seeds-3-3"
    assert made[0].files["manifest.json"] == made[0].folder / "manifest.json"


def test_only_seeds_that_no_complete_folder_holds_are_planned(root):
    project = config.load(root)
    config_tree.complete(root, "quick", SMALL, "beta", 0, 1)
    unfinished = config_tree.complete(root, "quick", SMALL, "beta", 2, 9)
    (unfinished / "manifest.json").unlink()
    made = grid.build(project, "quick")
    found = [cohort for cohort in made.cohorts if (cohort.task, cohort.name) == (SMALL, "beta")]
    assert [(cohort.seeds, cohort.complete) for cohort in found] == [((0, 1), True), ((2,), False)]
    # The grid of a running workflow must not change when a job finishes.
    config_tree.complete(root, "quick", SMALL, "beta", 2, 2)
    assert ids(grid.build(project, "quick").cohorts) == ids(made.cohorts)
    # A command line that names other seeds trains the rest only.
    assert [cohort.seeds for cohort in grid.cohort(project, "quick", SMALL, "beta", range(5))] == [(0, 1), (2,), (3, 4)]


@settings(max_examples=60, deadline=None)
@given(
    wanted=st.sets(st.integers(0, 12), min_size=1),
    held=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 4)), max_size=4),
)
def test_extending_covers_every_wanted_seed(tmp_path_factory, wanted, held):
    root = config_tree.write(tmp_path_factory.mktemp("extend"))
    for first, more in held:
        config_tree.complete(root, "quick", SMALL, "beta", first, first + more)
    made = grid.cohort(config.load(root), "quick", SMALL, "beta", wanted)
    new = [cohort for cohort in made if not cohort.complete]
    on_disk = {seed for first, more in held for seed in range(first, first + more + 1)}
    assert wanted <= {seed for cohort in made for seed in cohort.seeds}
    assert [cohort.seeds for cohort in new] == seed_lists.segments(wanted - on_disk)
    assert all(wanted.intersection(cohort.seeds) for cohort in made)


def test_asking_for_a_setting_trains_its_sweep(root):
    made = grid.cohort(config.load(root), "quick", SMALL, "alpha@target1", (0,))
    assert [(cohort.name, len(cohort.cells), cohort.runs) for cohort in made] == [("alpha@targets", 2, 2)]


def test_the_hash_of_a_cohort_follows_its_cells(root):
    project = config.load(root)
    first, second = (grid.cohort(project, "quick", SMALL, name, (0,))[0] for name in ("alpha", "beta"))
    assert first.hash != second.hash
    assert first.hash == grid.cohort(config.load(root), "quick", SMALL, "alpha", (0, 1))[0].hash


def test_two_configs_in_one_folder_are_refused(root):
    project = config.load(root)
    first, second = (grid.cohort(project, "quick", SMALL, name, (0,))[0] for name in ("alpha", "beta"))
    with pytest.raises(RepriseError, match="two different resolved configs want this folder"):
        grid._distinct_paths([first, replace(second, name="ALPHA")])
    grid._distinct_paths([first, replace(first)])


def test_two_curves_with_one_label_are_refused(root):
    config_tree.edit(root, "papers/demo.yaml", "{algorithm: beta}", "{algorithm: beta, label: Alpha}")
    with pytest.raises(RepriseError, match=r"figures\.fig01: the label 'Alpha' stands for both alpha and beta"):
        grid.build(config.load(root), "quick")


def test_batches_split_all_cohorts_evenly(root):
    project = config.load(root)
    made = grid.build(project, "smoke")
    assert ids(cohort for batch in made.batches for cohort in batch) == ids(made.cohorts)
    loads = [sum(cohort.runs for cohort in batch) for batch in made.batches]
    assert len(loads) == 2
    assert max(loads) - min(loads) <= max(cohort.runs for cohort in made.cohorts)
    assert all(len(batch) == 1 for batch in grid.build(project, "quick").batches)


def test_papers_select_figures(root):
    project = config.load(root)
    assert set(grid.build(project, "quick", ["demo"]).figures) == {"demo/fig01", "demo/fig02", "demo/fig03"}
    with pytest.raises(RepriseError, match="unknown paper 'dem'; nearest: 'demo'"):
        grid.build(project, "quick", ["dem"])


def test_no_quadratic_work(root):
    # 4,000 settings over 8 tasks: seconds in the wrong complexity class, well under one otherwise.
    settings = "".join(
        f"      s{i}: {{label: l{i}, set: {{target: {{value: {i + 1}, source: o}}}}}}\n" for i in range(500)
    )
    config_tree.edit(
        root, "algorithms/alpha.yaml", "sweeps:\n", f"sweeps:\n  many:\n    label: m\n    settings:\n{settings}"
    )
    tasks = [f"t{i}" for i in range(8)]
    config_tree.edit(
        root,
        "environments/grid_world.yaml",
        "tasks:",
        "tasks:" + "".join(f"\n  {t}: {{description: d}}" for t in tasks),
    )
    config_tree.edit(
        root,
        "papers/demo.yaml",
        "tasks: [grid_world/small]\n    curves: [{algorithm: alpha@targets}]",
        "tasks: [" + ", ".join(f"grid_world/{t}" for t in tasks) + "]\n    curves: [{algorithm: alpha@many}]",
    )
    project = config.load(root)
    start = time.process_time()
    made = grid.build(project, "quick")
    assert sum(len(cohort.cells) for cohort in made.cohorts) >= 8 * 499
    assert time.process_time() - start < 3


def test_a_sweeps_name_means_its_own_cohort_and_not_the_cell_that_one_setting_equals(repository_root):
    """Otherwise the sweep's job would train that cell too, beside the job that the workflow starts for it."""
    project = config.load(repository_root)
    task, seeds = "stochastic_game/s100n6a5", (0, 1)
    (sweep,) = grid.cohort(project, "smoke", task, "dpo@delta_omega", seeds)
    assert sweep.name == "dpo@delta_omega"
    assert "delta1.5_omega2" not in [cell.setting for cell in sweep.cells]
    (setting,) = grid.cohort(project, "smoke", task, "dpo@delta1.5_omega2", seeds)
    assert setting.name == "dpo"


def test_a_figure_made_on_request_stands_beside_the_others(root):
    config_tree.edit(root, "tiers/quick.yaml", "{seeds: 1-4, stamp: fewer seeds}", "{seeds: 1-4, on_request: true}")
    made = grid.build(config.load(root), "quick")
    assert set(made.figures) - set(made.standing) == {"demo/fig02"}
    assert made.cohorts_of("demo/fig02")
    assert grid.build(config.load(root), "smoke").standing == list(made.figures)


def test_a_curve_may_be_on_some_tasks_and_in_a_group(root):
    old = "{algorithm: beta}"
    config_tree.edit(root, "papers/demo.yaml", old, "{algorithm: beta, tasks: [grid_world/large], group: plain}")
    small, large = grid.build(config.load(root), "quick").figures["demo/fig01"].panels
    assert [(curve.name, curve.group) for curve in small.curves] == [("alpha", None), ("beta@kl", None)]
    assert [(curve.name, curve.group) for curve in large.curves][1] == ("beta", "plain")


def test_a_tier_departs_from_an_algorithm_on_a_task(root):
    layer = "hyperparameters:\n  alpha: {grid_world/small: {epochs: {value: 2, source: short}}}\nfigures:"
    config_tree.edit(root, "tiers/quick.yaml", "figures:", layer)
    project = config.load(root)
    cells = {
        (tier, task): config.resolve(project, task, "alpha", tier)
        for tier in ("smoke", "quick")
        for task in (SMALL, LARGE)
    }
    epochs = {key: cell.config["algorithm"]["hyperparameters"]["epochs"] for key, cell in cells.items()}
    assert epochs == {("smoke", SMALL): 15, ("smoke", LARGE): 15, ("quick", SMALL): 2, ("quick", LARGE): 15}
    assert cells["quick", SMALL].provenance["hyperparameters"]["epochs"] == "short"
    # What a variant sets is the variant: a tier does not take it away.
    config_tree.edit(
        root,
        "algorithms/alpha.yaml",
        "set: {root: {value: false, source: ours}}",
        "set: {epochs: {value: 3, source: ours}}",
    )
    cell = config.resolve(config.load(root), SMALL, "alpha@no_root", "quick")
    assert cell.config["algorithm"]["hyperparameters"]["epochs"] == 3


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("alhpa: {grid_world/small: {epochs: {value: 2, source: s}}}", "unknown algorithm 'alhpa'; nearest: 'alpha'"),
        ("alpha: {grid_world/smal: {epochs: {value: 2, source: s}}}", "unknown task 'grid_world/smal'"),
        (
            "alpha: {grid_world/small: {epoch: {value: 2, source: s}}}",
            "unknown hyperparameter 'epoch'; nearest: 'epochs'",
        ),
        (
            "alpha: {grid_world/small: {epochs: {value: 0, source: s}}}",
            r"hyperparameters\.alpha\.grid_world/small\.epochs",
        ),
    ],
)
def test_a_fault_in_a_tiers_departure_is_named(root, layer, message):
    config_tree.edit(root, "tiers/quick.yaml", "figures:", f"hyperparameters:\n  {layer}\nfigures:")
    with pytest.raises(RepriseError, match=message):
        config.load(root)


def test_a_task_of_a_figure_without_a_curve_is_refused(root):
    config_tree.edit(
        root,
        "papers/demo.yaml",
        "curves: [{algorithm: alpha@targets}]",
        "curves: [{algorithm: alpha@targets, tasks: [grid_world/large]}]",
    )
    with pytest.raises(RepriseError, match=r"fig02\.curves: none of them is on grid_world/small"):
        config.load(root)
