"""collect: what stands in the table and the coverage, and which folders it refuses."""

import json

import config_tree
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import run_folders

from reprise.analysis import collect
from reprise.errors import RepriseError
from reprise.experiments import config, grid, runs


@pytest.fixture
def project(tmp_path):
    root = config_tree.write(tmp_path)
    config_tree.edit(
        root, "papers/demo.yaml", "metric: return\n", "metric: expected_return\n    training_metrics: [kl]\n"
    )
    return config.load(root)


def cohorts(project, figure="demo/fig01"):
    return grid.build(project, "quick").cohorts_of(figure)


def trained(project, figure="demo/fig01", **options):
    return [run_folders.write(cohort, **options) for cohort in cohorts(project, figure)]


def gathered(project, figure="demo/fig01", **options):
    table, coverage = collect.collect(project, "quick", figure, **options)
    return pq.read_table(table).to_pandas(), json.loads(coverage.read_text())


def refusal(project):
    with pytest.raises(RepriseError) as caught:
        collect.collect(project, "quick", "demo/fig01")
    assert caught.value.exit_code == 1
    assert "reprise verify --tier quick --repair" in str(caught.value)
    assert not (project.root / "results/quick/tables").exists()
    return str(caught.value)


def test_table_holds_every_run_of_every_curve_and_nothing_else(project):
    trained(project)
    table, coverage = gathered(project)
    assert list(table.columns) == list(collect.COLUMNS)
    small = table[table["panel"] == "grid_world/small"]
    assert set(small["label"]) == {"Alpha", "Beta", "Beta-KL"}
    exact = small[(small["label"] == "Alpha") & (small["metric"] == "expected_return") & (small["seed"] == 1)]
    expected = run_folders.rising("alpha", 1, np.linspace(0, 1, 6))
    np.testing.assert_allclose(exact["value"], expected)
    assert set(table["metric"]) == {"return", "expected_return", "kl"}  # success is NaN here, so it has no rows
    entry = coverage["curves"][0]
    assert (entry["seeds_expected"], entry["seeds_found"], entry["missing"], entry["refused"]) == ([0, 1, 2],) * 2 + (
        [],
        [],
    )
    assert entry["return_bounds"] == [-10.0, 100.0]
    assert coverage["references"]["grid_world/small"]["optimum"] == {"mean": 100.0, "low": 100.0, "high": 100.0}


def test_sampled_returns_are_averaged_over_episodes(project):
    folder = trained(project)[0]
    raw = pd.read_parquet(folder / runs.EVALUATIONS).query("seed == 0 and env_steps == 1000")
    table, _ = gathered(project)
    row = table.query("panel == 'grid_world/small' and seed == 0 and env_steps == 1000 and metric == 'return'").iloc[0]
    assert len(raw) == 2
    assert row["value"] == pytest.approx(raw["return"].mean())


def test_sweep_settings_are_kept_apart(project):
    trained(project, "demo/fig02", curve=lambda name, seed, x: len(name) * x + seed)
    table, coverage = gathered(project, "demo/fig02")
    last = table[(table["env_steps"] == 1000) & (table["metric"] == "expected_return") & (table["seed"] == 1)]
    by_cell = {curve["cell"]: curve["label"] for curve in coverage["curves"]}
    values = dict(zip(last["cell"], last["value"], strict=True))
    assert len(values) == 3
    assert values == {cell: len(cell) + 1 for cell in by_cell}


def test_same_runs_give_the_same_bytes(project):
    trained(project)
    first = [path.read_bytes() for path in collect.collect(project, "quick", "demo/fig01")]
    assert [path.read_bytes() for path in collect.collect(project, "quick", "demo/fig01")] == first


def test_missing_runs_are_counted_not_dropped(project):
    trained(project)
    cohort = cohorts(project)[0]
    (cohort.folder / runs.MANIFEST).unlink()
    table, coverage = gathered(project)
    gone = coverage["curves"][0]
    assert (gone["seeds_found"], gone["missing"]) == ([], [0, 1, 2])
    assert "Alpha" not in set(table[table["panel"] == "grid_world/small"]["label"])


def test_diverged_runs_are_counted(project):
    run_folders.write(cohorts(project)[0], diverged={"1": 400})
    _, coverage = gathered(project)
    assert coverage["curves"][0]["diverged"] == [1]
    assert coverage["curves"][0]["divergences"] == {"1": {"env_steps": 400, "reason": "non-finite loss"}}


def test_what_algorithms_say_of_themselves_and_where_time_went(project):
    """Older runs say nothing: their coverage is what it was before there was anything to say."""
    trained(project)
    _, before = gathered(project)
    assert not any({"described", "seconds"} & entry.keys() for entry in before["curves"])
    cohort = cohorts(project)[0]
    path = cohort.folder / runs.MANIFEST
    manifest = json.loads(path.read_text())
    manifest["cells"][0]["described"] = {"critic_parameters": 41345}
    manifest["seconds"] = {"rollout": 1.5, "update": 2.0}
    runs.write_json(path, manifest)
    _, after = gathered(project)
    first, *others = after["curves"]
    assert (first["described"], first["seconds"]) == ({"critic_parameters": 41345}, {"rollout": 1.5, "update": 2.0})
    assert [each for each in others if each["hash"] != first["hash"]] == before["curves"][1:]
    told = {"described", "seconds"}
    assert {key: value for key, value in first.items() if key not in told} == before["curves"][0]


def edit_evaluations(folder, change):
    frame = change(pd.read_parquet(folder / runs.EVALUATIONS))
    runs.write_parquet(folder / runs.EVALUATIONS, {name: frame[name].to_numpy() for name in frame})


@pytest.mark.parametrize("file", runs.FILES)
def test_one_changed_byte_is_refused(project, file):
    folder = trained(project)[0]
    data = bytearray((folder / file).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / file).write_bytes(data)
    text = refusal(project)
    assert str(folder) in text
    assert file in text


@pytest.mark.parametrize("file", runs.FILES)
def test_a_truncated_or_absent_file_is_refused(project, file):
    folder = trained(project)[0]
    path = folder / file
    path.write_bytes(path.read_bytes()[:-3])
    assert file in refusal(project)
    path.unlink()
    assert file in refusal(project)


def test_a_damaged_manifest_is_refused(project):
    folder = trained(project)[0]
    (folder / runs.MANIFEST).write_text("{")
    assert str(folder) in refusal(project)


def test_a_run_of_another_config_is_refused(project):
    trained(project)
    config_tree.edit(project.root, "algorithms/alpha.yaml", "epochs: {value: 15", "epochs: {value: 16")
    assert "hash" in refusal(config.load(project.root))


def test_a_manifest_whose_config_was_edited_is_refused(project):
    folder = trained(project)[0]
    path = folder / runs.MANIFEST
    path.write_text(path.read_text().replace('"epochs": 15', '"epochs": 16'))
    assert "config" in refusal(project)


def test_a_folder_copied_to_other_seeds_is_refused(project):
    folder = trained(project)[0]
    cells = grid.build(project, "quick").figures["demo/fig01"].panels[0].curves
    assert cells[0].seeds == (0, 1, 2)
    folder.rename(folder.with_name("seeds-1-3"))
    assert "seeds" in refusal(project)


def test_two_seeds_with_one_curve_are_refused(project):
    folder = trained(project)[0]

    def copy_seed(frame):
        frame.loc[frame["seed"] == 1, ["return", "expected_return"]] = frame.loc[
            frame["seed"] == 0, ["return", "expected_return"]
        ].to_numpy()
        return frame

    edit_evaluations(folder, copy_seed)
    run_folders.reseal(folder)
    assert "seeds 0 and 1 have the same evaluation curve" in refusal(project)


def test_a_missing_evaluation_point_is_refused(project):
    folder = trained(project)[0]
    edit_evaluations(folder, lambda f: f[~((f["seed"] == 1) & (f["env_steps"] == 400))])
    run_folders.reseal(folder)
    assert "run 1 has 5 of 6 evaluation points" in refusal(project)


def test_a_cut_tail_is_refused(project):
    folder = trained(project)[0]
    edit_evaluations(folder, lambda f: f[f["env_steps"] <= 600])
    run_folders.reseal(folder)
    assert "last evaluation is at 600 of 1000" in refusal(project)


def test_a_missing_episode_is_refused(project):
    folder = trained(project)[0]
    edit_evaluations(folder, lambda f: f.iloc[1:])
    run_folders.reseal(folder)
    assert "evaluation episodes" in refusal(project)


def test_not_strict_leaves_the_refused_run_out_and_says_why(project):
    folder = trained(project)[0]
    (folder / runs.POLICY).unlink()
    _, coverage = gathered(project, strict=False)
    entry = coverage["curves"][0]
    assert entry["seeds_found"] == []
    assert "policy.safetensors" in entry["refused"][0]


def test_unknown_figures_and_metrics_are_named(project):
    trained(project)
    with pytest.raises(RepriseError, match=r"nearest: 'demo/fig01'"):
        collect.collect(project, "quick", "demo/fig1")
    config_tree.edit(project.root, "papers/demo.yaml", "training_metrics: [kl]", "training_metrics: [kll]")
    with pytest.raises(RepriseError, match="no run has the training metric 'kll'"):
        collect.collect(config.load(project.root), "quick", "demo/fig01")


def test_long_training_tables_are_averaged_over_blocks():
    updates = np.arange(1, 1001)
    frame = pd.DataFrame({"update": updates, "env_steps": updates * 10, "kl": updates.astype(float)})
    steps, values = collect._training_series(frame, ("kl", "absent"))["kl"]
    assert len(steps) == 200
    assert (steps[0], values[0]) == (50, 3.0)
    assert (steps[-1], values[-1]) == (10000, 998.0)
