"""What one training leaves behind: the schema of the run folder, evaluation points, sweeps, divergence."""

from __future__ import annotations

import json
import math

import pandas as pd
import pytest
import small_root

from reprise.errors import RepriseError
from reprise.experiments import evaluation, jobs, runs, verify


def train(root, name="ippo", seeds=(0, 1), **options):
    project, cohort = small_root.cohort(root, name, seeds)
    jobs.run(project, [cohort], "cpu", progress=False, **options)
    return cohort


def table(cohort, name="evaluations"):
    return pd.read_parquet(cohort.folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return small_root.write(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def cohort(root):
    return train(root)


def test_the_folder_holds_the_files_of_the_contract(cohort):
    assert sorted(path.name for path in cohort.folder.iterdir()) == sorted(cohort.files)
    assert not cohort.checkpoints.exists()
    manifest = json.loads((cohort.folder / "manifest.json").read_text())
    assert set(manifest) == {
        *("format", "tier", "task", "name", "cells", "hash", "seeds", "references", "commit", "dirty", "versions"),
        *("hardware", "device", "environment", "env_steps", "wall_seconds", "steps_per_second", "peak_memory_mb"),
        *("seconds", "resumes", "started", "finished", "files"),
    }
    assert manifest["hash"] == cohort.hash
    assert manifest["env_steps"] == 16 * 10 * 2  # updates, steps of an episode, copies
    assert manifest["seeds"]["1"]["status"] == "complete"
    assert set(manifest["references"]) == {"0", "1"}
    assert manifest["references"]["0"]["optimum"] > manifest["references"]["0"]["uniform"]


def test_evaluations(cohort):
    rows = table(cohort)
    assert {name: str(kind) for name, kind in rows.dtypes.items()} == {
        "seed": "int32",
        "env_steps": "int64",
        "episode": "int32",
        "return": "float64",
        "length": "int32",
        "success": "float64",
        "expected_return": "float64",
    }
    assert sorted(rows.env_steps.unique()) == [40 * k for k in range(9)]
    assert len(rows) == 2 * 9 * 3
    assert rows.equals(rows.sort_values(["seed", "env_steps", "episode"], ignore_index=True))
    assert (rows.length == 10).all()
    assert rows.success.isna().all()
    # The exact value is one number per seed and point; the sampled ones scatter around it.
    assert (rows.groupby(["seed", "env_steps"]).expected_return.nunique() == 1).all()
    error = rows["return"] - rows.expected_return
    assert abs(error.mean()) < 4 * error.std() / math.sqrt(len(error))


def test_training_rows_and_timings(cohort):
    rows = table(cohort, "training")
    assert list(rows.columns[:3]) == ["seed", "update", "env_steps"]
    assert rows["update"].tolist() == 2 * list(range(1, 17))
    assert (rows.env_steps == 20 * rows["update"]).all()
    assert all(str(kind) == "float64" for kind in rows.dtypes.iloc[3:])
    timings = table(cohort, "timings")
    assert timings["update"].tolist() == list(range(17))
    assert (timings.loc[1:, "update_seconds"] > 0).all()


def test_training_learns_and_a_second_call_does_nothing(root, cohort, capsys):
    rows = table(cohort)
    means = rows.groupby("env_steps").expected_return.mean()
    assert means.iloc[-1] > means.iloc[0] + 5
    before = (cohort.folder / "manifest.json").read_bytes()
    train(root)
    assert "already complete" in capsys.readouterr().err
    assert (cohort.folder / "manifest.json").read_bytes() == before


def test_evaluating_more_often_does_not_disturb_training(cohort, tmp_path, monkeypatch):
    monkeypatch.setitem(small_root.BUDGET, "evaluations", 2)
    seldom = train(small_root.write(tmp_path))
    assert table(seldom).env_steps.unique().tolist() == [0, 160, 320]
    assert table(seldom, "training").equals(table(cohort, "training"))


def test_evaluations_that_outnumber_the_updates_come_once_per_update(tmp_path, monkeypatch):
    monkeypatch.setitem(small_root.BUDGET, "evaluations", 30)
    assert table(train(small_root.write(tmp_path))).env_steps.unique().tolist() == [20 * k for k in range(17)]


def test_env_steps_are_rounded_up_to_whole_updates(tmp_path, monkeypatch):
    monkeypatch.delitem(small_root.BUDGET, "updates")
    monkeypatch.setitem(small_root.BUDGET, "env_steps", 110)
    monkeypatch.setitem(small_root.BUDGET, "evaluations", 2)
    rows = table(train(small_root.write(tmp_path)))
    assert rows.env_steps.unique().tolist() == [0, 60, 120]  # targets 0, 55, 110 after updates of 20


def test_a_run_does_not_depend_on_its_cohort(cohort, tmp_path):
    alone = table(train(small_root.write(tmp_path), seeds=(1,)))
    together = table(cohort).query("seed == 1").reset_index(drop=True)
    pd.testing.assert_frame_equal(alone, together, rtol=1e-4)


def test_a_sweep_names_its_settings(root):
    cohort = train(root, "ippo@clips")
    rows = table(cohort)
    assert list(rows.columns[:2]) == ["setting", "seed"]
    assert rows.equals(rows.sort_values(["setting", "seed", "env_steps", "episode"], ignore_index=True))
    assert set(runs.load_manifest(cohort.folder)["seeds"]) == {f"clip{c}/{s}" for c in (0.01, 0.3) for s in (0, 1)}
    # `clip` is 0.2 in ippo: the settings differ from each other in what they learn.
    final = table(cohort, "training").groupby("setting").kl.mean()
    assert final["clip0.01"] != pytest.approx(final["clip0.3"], rel=0.01)


def test_a_run_that_diverges_is_frozen_and_the_others_go_on(root):
    cohort = train(root, "ippo@entropies")
    seeds = runs.load_manifest(cohort.folder)["seeds"]
    assert seeds["entropy0.5/0"]["status"] == "complete"
    entry = seeds["entropy1e+38/1"]
    assert entry["status"] == "diverged"
    assert entry["diverged_at"] == entry["env_steps"]
    assert "non-finite" in entry["reason"]
    assert entry["last_batch"]
    rows = table(cohort, "training")
    last = rows.groupby(["setting", "seed"])["env_steps"].max()
    assert last["entropy0.5", 0] == 320
    assert last.get(("entropy1e+38", 1), 0) < entry["diverged_at"]
    points = table(cohort).query("setting == 'entropy1e+38' and seed == 1").env_steps
    assert points.max() < entry["diverged_at"]


def test_evaluate_a_finished_run(cohort, monkeypatch, root):
    monkeypatch.chdir(root)
    rows = evaluation.evaluate_run(cohort.folder, 40, "cpu")
    assert [row["seed"] for row in rows] == [0, 1]
    final = table(cohort).query("env_steps == 320").groupby("seed").expected_return.first()
    for row in rows:
        assert row["expected_return"] == pytest.approx(final[row["seed"]], rel=1e-6)
        assert row["low"] < row["mean"] < row["high"]
        assert row["low"] - 10 < row["expected_return"] < row["high"] + 10


def test_verify_names_what_is_wrong_and_repair_sets_it_aside(tmp_path, capsys):
    root = small_root.write(tmp_path)
    cohort = train(root)
    project, _ = small_root.cohort(root)
    assert verify.verify(project, "smoke") == 0
    assert "1 of 2 cohorts complete, no faults" in capsys.readouterr().out

    (cohort.folder / "training.parquet").write_bytes(b"edited")
    assert verify.verify(project, "smoke") == 1
    assert "training.parquet: sha256 differs" in capsys.readouterr().out
    with pytest.raises(RepriseError, match=r"training\.parquet"):
        evaluation.evaluate_run(cohort.folder, 2, "cpu")

    assert verify.verify(project, "smoke", repair=True) == 0
    assert "0 of 2 cohorts complete, no faults left" in capsys.readouterr().out
    refused = root / "results" / "smoke" / "refused" / cohort.task / "ippo"
    assert [path.name for path in refused.iterdir()] == ["seeds-0-1-1"]
    train(root)
    assert verify.verify(project, "smoke") == 0
    (cohort.folder / "policy.safetensors").unlink()
    with pytest.raises(RepriseError, match=r"policy\.safetensors is missing; `reprise verify --repair`"):
        train(root)
    assert verify.verify(project, "smoke", repair=True) == 0
    assert sorted(path.name for path in refused.iterdir()) == ["seeds-0-1-1", "seeds-0-1-2"]


def test_another_config_is_refused_until_repaired(tmp_path, capsys):
    root = small_root.write(tmp_path)
    train(root)
    small_root.write(root, actor_lr=0.02)
    with pytest.raises(RepriseError, match="another config"):
        train(root)
    project, cohort = small_root.cohort(root)
    assert verify.verify(project, "smoke", repair=True) == 0
    assert cohort.cells[0].hash[:8] in capsys.readouterr().out
    train(root)
    assert cohort.complete


def test_verify_sees_strays_and_doubled_seeds(tmp_path, capsys):
    root = small_root.write(tmp_path)
    train(root)
    train(root, seeds=(2,))  # by hand: more seeds than the tier wants, and no fault
    project, cohort = small_root.cohort(root)
    assert verify.verify(project, "smoke") == 0
    cohort.folder.with_name("copy").mkdir()
    stray = cohort.folder.parents[1] / "ipppo" / "seeds-0-0"
    stray.mkdir(parents=True)
    double = cohort.folder.with_name("seeds-1-1")
    double.mkdir()
    for name in cohort.files:
        (double / name).write_bytes((cohort.folder / name).read_bytes())
    capsys.readouterr()
    assert verify.verify(project, "smoke") == 1
    said = capsys.readouterr().out
    assert "copy: not the name of a run folder" in said
    assert "seeds-0-0: nothing in the config trains here" in said
    assert "nearest: 'ippo'" in said
    assert "seed 1 is also in" in said
