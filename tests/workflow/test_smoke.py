"""The pipeline from end to end at tier smoke: what it makes, and that it makes nothing twice."""

from __future__ import annotations

import json
import os
import re
import shutil

import yaml
from checkout import Checkout, training


def test_every_run_is_complete(smoke):
    cohorts = smoke.grid("smoke").cohorts
    assert cohorts
    assert not [cohort.id for cohort in cohorts if not cohort.complete]
    assert len(re.findall(r"^train_batch_\d+ +1$", smoke.first, re.MULTILINE)) == 2


def test_every_figure_in_four_formats(smoke):
    files = smoke.figures("smoke")
    assert len(files) >= 28
    assert not [path.name for path in files if not path.is_file() or path.stat().st_size == 0]


def test_figure_json_holds_what_is_drawn(smoke):
    for path in (path for path in smoke.figures("smoke") if path.suffix == ".json"):
        drawn = json.loads(path.read_text())
        assert drawn["tier"] == "smoke", path
        assert drawn["series"], path
        assert {"label", "n", "x", "mean", "low", "high"} <= set(drawn["series"][0]), path


def test_claims_hold_every_claim_once(smoke):
    declared = []
    for path in sorted((smoke.root / "config/claims").glob("*.yaml")):
        declared += [claim["id"] for claim in yaml.safe_load(path.read_text())["claims"]]
    judged = json.loads((smoke.root / "results/smoke/claims.json").read_text())["claims"]
    assert declared
    assert sorted(claim["id"] for claim in judged) == sorted(declared)
    # Two updates judge nothing: a verdict that says more would be an artefact of the pipeline.
    trained = [claim for claim in judged if claim["lowest_tier"] != "smoke"]
    assert {claim["verdict"] for claim in trained} <= {"INCONCLUSIVE", "NOT_RUN", "NOT_COMPARABLE"}


def test_exact_studies_are_judged_at_every_tier(smoke):
    judged = json.loads((smoke.root / "results/smoke/claims.json").read_text())["claims"]
    exact = {claim["id"]: claim["verdict"] for claim in judged if claim["lowest_tier"] == "smoke"}
    assert len(exact) >= 40
    assert not {name: verdict for name, verdict in exact.items() if verdict in ("NOT_RUN", "INVALID")}


def test_every_check_has_counted_something(smoke):
    for path in smoke.figures("smoke"):
        drawn = json.loads(path.read_text()) if path.suffix == ".json" else {}
        for name, result in drawn.get("studies", {}).items():
            assert result.get("checked", result.get("n")) > 0, f"{path}: {name}"


def test_metrics_are_a_flat_dict(smoke):
    metrics = json.loads((smoke.root / "results/smoke/metrics.json").read_text())
    assert metrics
    assert all(isinstance(value, int | float) for value in metrics.values())


def test_report_opens_offline(smoke):
    text = (smoke.root / "results/smoke/report.html").read_text()
    assert "<html" in text
    loaded = re.findall(r"<(?:img|script|link|iframe|object)\b[^>]*?(?:src|href|data)=[\"']?([^\"'\s>]+)", text)
    assert [url for url in loaded if not url.startswith(("data:", "#"))] == []


def test_second_call_does_nothing(smoke):
    assert "Nothing to be done" in smoke.ok("snakemake", "--cores", "all", "--config", "tier=smoke")


def test_touched_files_plan_nothing_to_train(smoke):
    smoke.touch_tracked()
    assert training(smoke.planned("--config", "tier=smoke")) == {}


def test_figure_of_another_tier_needs_no_config(smoke):
    assert smoke.planned("figures/smoke/dpo/fig01a.svg") == {}


def test_changed_hyperparameter_retrains(smoke):
    """With local metadata the cohort's hash shows it; without, `reprise collect` refuses the run."""
    path = smoke.root / "config/environments/stochastic_game.yaml"
    before = path.read_text()
    version = re.search(r"^version: (\d+)$", before, re.MULTILINE)
    try:
        path.write_text(before.replace(version[0], f"version: {int(version[1]) + 1}"))
        assert training(smoke.planned("--config", "tier=smoke"))
        refused = smoke.run("reprise", "collect", "dpo/fig01a", "--tier", "smoke")
        assert refused.returncode == 1
    finally:
        path.write_text(before)


def test_tampered_result_is_refused(smoke):
    cohort = smoke.grid("smoke").cohorts_of("dpo/fig01a")[0]
    table = smoke.root / "results/smoke/tables/dpo/fig01a.parquet"
    path = cohort.files["evaluations.parquet"]
    before, collected = path.read_bytes(), table.read_bytes()
    try:
        path.write_bytes(before[:-20] + bytes(20))
        refused = smoke.run("reprise", "collect", "dpo/fig01a", "--tier", "smoke")
        assert refused.returncode == 1
        (line,) = refused.stderr.splitlines()
        assert line.startswith("reprise: ")
        assert "evaluations.parquet" in line
        assert table.read_bytes() == collected
    finally:
        path.write_bytes(before)


def test_repaired_run_is_trained_again(smoke, tmp_path):
    """The table and the figure still stand when a run folder is set aside: that alone would plan nothing."""
    copy = Checkout(tmp_path / "reprise")
    shutil.copytree(smoke.root, copy.root, symlinks=True)
    path = copy.grid("smoke").cohorts_of("dpo/fig01a")[0].files["evaluations.parquet"]
    path.write_bytes(path.read_bytes()[:-20] + bytes(20))
    copy.ok("reprise", "verify", "--tier", "smoke", "--repair")
    assert training(copy.planned("figures/smoke/dpo/fig01a.svg"))


def test_redrawn_figure_is_byte_identical(smoke):
    files = [path for path in smoke.figures("smoke") if path.stem == "fig01a"]
    before = [path.read_bytes() for path in files]
    times = [path.stat() for path in files]
    smoke.ok("reprise", "plot", "dpo/fig01a", "--tier", "smoke")
    assert [path.read_bytes() for path in files] == before
    for path, stat in zip(files, times, strict=True):  # leave the shared run as it was
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_snakemake_report(smoke, tmp_path):
    smoke.ok("snakemake", "--report", str(tmp_path / "report.html"), "--config", "tier=smoke")
    text = (tmp_path / "report.html").read_text()
    assert "fig01a" in text
    assert "undefined" not in re.findall(r"<title>(.*?)</title>", text)
