"""DVC: what is published reaches a clone under another parent folder, and nothing is trained there."""

from __future__ import annotations

import shutil

import pytest
import yaml
from checkout import Checkout, training


@pytest.fixture(scope="module")
def publishing(smoke, tmp_path_factory) -> Checkout:
    """The smoke run, copied, with dvc.yaml publishing tier smoke in place of quick."""
    root = tmp_path_factory.mktemp("publishing") / "reprise"
    shutil.copytree(smoke.root, root, symlinks=True)
    checkout = Checkout(root)
    for name in ("dvc.yaml", ".gitignore"):
        text = (root / name).read_text()
        (root / name).write_text(text.replace("quick", "smoke"))
    kept = [line for line in (root / ".dvcignore").read_text().splitlines() if "smoke" not in line]
    (root / ".dvcignore").write_text("\n".join(kept) + "\n")
    checkout.ok("dvc", "repro")
    checkout.ok("dvc", "push")
    checkout.commit()
    return checkout


def test_second_repro_does_nothing(publishing):
    assert "didn't change, skipping" in publishing.ok("dvc", "repro")
    assert "Nothing to be done" in publishing.ok("snakemake", "--cores", "all", "--config", "tier=smoke")


def test_metrics_and_plots_show(publishing):
    shown = publishing.ok("dvc", "metrics", "show")
    assert "results/smoke/metrics.json" in shown
    assert "failed to load" not in publishing.ok("dvc", "plots", "show")
    assert "fig01a" in (publishing.root / "dvc_plots/index.html").read_text()


def test_clone_pulls_and_redraws_without_training(publishing, tmp_path):
    clone = publishing.clone(tmp_path / "elsewhere" / "reprise")
    clone.ok("dvc", "pull")
    files = clone.figures("smoke")
    assert not [path.name for path in files if not path.is_file()]
    assert not (clone.root / "results/smoke/runs").exists()
    clone.touch_tracked()
    jobs = clone.planned("figures", "claims", "report", "--config", "tier=smoke")
    assert training(jobs) == {}
    assert "collect" not in jobs

    before = {path: path.read_bytes() for path in files if path.stem == "fig01a"}
    clone.ok("snakemake", "--cores", "all", "--forcerun", "plot", "--", "figures/smoke/dpo/fig01a.svg")
    assert not (clone.root / "results/smoke/runs").exists()
    assert [path.name for path in before if path.read_bytes() != before[path]] == []


def test_dvc_yaml_publishes_every_paper_with_figures(untrained):
    stage = yaml.safe_load((untrained.root / "dvc.yaml").read_text())
    figures = untrained.grid("quick").figures
    papers = {name.split("/")[0] for name in figures}
    outs = {name: out for entry in stage["stages"]["quick"]["outs"] for name, out in entry.items()}
    for paper in papers:
        for folder in (f"figures/quick/{paper}", f"results/quick/tables/{paper}", f"results/quick/statistics/{paper}"):
            assert outs[folder] == {"persist": True}
    plots = {path for entry in stage["plots"] for path in entry}
    assert plots == {f"results/quick/statistics/{name}.csv" for name in figures}
    assert "url = ../published" in (untrained.root / ".dvc/config").read_text()


def test_what_is_published_reaches_a_clone(repository_root, tmp_path):
    """The repository's own published/: every figure of the default tier, pulled from a clone of the last commit."""
    here = Checkout(repository_root)
    clone = here.clone(tmp_path / "elsewhere" / "reprise")
    clone.ok("dvc", "pull")
    assert not [path.name for path in clone.figures("quick") if not path.is_file()]
    clone.touch_tracked()
    assert training(clone.planned("figures", "claims", "report")) == {}
