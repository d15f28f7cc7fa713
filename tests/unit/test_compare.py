"""A user's own curves beside the published ones, and every way in which their file can be wrong."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from test_figures import curve, games, put, statistics, three

from reprise.analysis import compare, figures, inference
from reprise.errors import RepriseError

STEPS = range(0, 100_001, 5_000)


def evaluations(level=450.0, seeds=4, exact=True) -> pd.DataFrame:
    """Evaluations of ``seeds`` runs at ``level`` plus the seed, two episodes a point, in the documented schema."""
    rows = [
        {
            "seed": s,
            "env_steps": x,
            "episode": e,
            "return": level + s + (1 if e else -1) * 7,
            "expected_return": level + s,
        }
        for s in range(seeds)
        for x in STEPS
        for e in (0, 1)
    ]
    table = pd.DataFrame(rows)
    return table if exact else table.drop(columns="expected_return")


def save(table, path):
    table.to_csv(path, index=False) if path.suffix == ".csv" else table.to_parquet(path)
    return path


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_file_joins_the_panel_and_is_judged(tmp_path, suffix, capsys):
    project = put(tmp_path, statistics(three()))
    file = save(evaluations(), tmp_path / f"mine.{suffix}")
    found = compare.compare(project, "quick", "dpo/fig01a", file, "My method")
    assert capsys.readouterr().out.splitlines() == found
    written = sorted(path.name for path in (tmp_path / "figures/quick/dpo").iterdir())
    assert written == [f"fig01a+My-method.{kind}" for kind in ("json", "pdf", "png", "svg")]
    drawn = json.loads((tmp_path / "figures/quick/dpo/fig01a+My-method.json").read_text())
    mine = drawn["series"][-1]
    assert (mine["label"], mine["n"], mine["x"]) == ("My method", 4, list(STEPS))
    assert mine["mean"] == [pytest.approx(451.5)] * len(STEPS)
    assert "mine." in drawn["footer"]
    # Each comparison carries the numbers of the tests that judge the claims.
    ours = [450.0, 451.0, 452.0, 453.0]
    theirs = [400.0 + seed for seed in range(5)]
    welch = inference.welch(ours, theirs)
    line = next(text for text in found if text.startswith("My method - DPO:"))
    assert f"{welch.value:.4g} [{welch.low:.4g}, {welch.high:.4g}]" in line
    assert "probability of improvement 1 [" in line
    assert "n = 4 and 5" in line
    assert sum(text.startswith("My method - ") for text in found) == 3


def test_the_published_statistics_are_untouched(tmp_path):
    project = put(tmp_path, statistics(three()))
    path = figures.statistics_file(tmp_path, "quick", "dpo/fig01a")
    before = path.read_bytes()
    compare.compare(project, "quick", "dpo/fig01a", save(evaluations(), tmp_path / "a.csv"), "Mine")
    assert path.read_bytes() == before
    assert not (tmp_path / "figures/quick/dpo/fig01a.svg").exists()


def test_sampled_returns_are_set_beside_exact_ones_with_a_word(tmp_path):
    project = put(tmp_path, statistics(three()))
    file = save(evaluations(exact=False).query("env_steps <= 50_000"), tmp_path / "a.csv")
    found = "\n".join(compare.compare(project, "quick", "dpo/fig01a", file, "Mine"))
    assert "sampled against exact" in found
    drawn = json.loads((tmp_path / "figures/quick/dpo/fig01a+Mine.json").read_text())
    assert drawn["series"][-1]["mean"][0] == pytest.approx(451.5)  # of the two episodes and of the seeds
    assert "your runs end at 50000 env steps, the published ones at 100000" in found


def test_one_seed_gives_a_difference_without_interval(tmp_path):
    project = put(tmp_path, statistics([*three(), curve("Absent", "other", n=0)]))
    found = compare.compare(project, "quick", "dpo/fig01a", save(evaluations(seeds=1), tmp_path / "a.csv"), "Mine")
    assert any("p = –" in text for text in found)
    assert "Mine - Absent: no run of Absent to compare with" in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"env_steps": "env_step"}), r"no column 'env_steps'; nearest: 'env_step'"),
        (lambda t: t.rename(columns={"return": "Return"}), r"no column 'return'; nearest: 'Return'"),
        (lambda t: t[:0], "no rows"),
        (lambda t: t.assign(seed=["a"] * len(t)), "column 'seed': numbers are needed, found 'a'"),
        (lambda t: t.assign(seed=0.5), "column 'seed': whole numbers"),
        (
            lambda t: t.assign(expected_return=np.where(t.env_steps == 0, np.nan, 1.0)),
            "column 'expected_return': empty",
        ),
        (lambda t: t.assign(env_steps=-t.env_steps), "column 'env_steps': negative"),
        (lambda t: pd.concat([t, t[:1]]), "seed 0, env_steps 0, episode 0 stands twice"),
        (lambda t: t[(t.seed != 2) | (t.env_steps != 5000)], "seed 2 has no evaluation at env_steps 5000"),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_bad_tables_are_refused_in_one_line(tmp_path, change, message, suffix):
    project = put(tmp_path, statistics(three()))
    file = save(change(evaluations()), tmp_path / f"mine.{suffix}")
    with pytest.raises(RepriseError, match=message) as fault:
        compare.compare(project, "quick", "dpo/fig01a", file, "Mine")
    assert str(file) in str(fault.value)
    assert not (tmp_path / "figures").exists()


def test_bad_files_labels_and_figures_are_refused(tmp_path):
    project = put(tmp_path, statistics(three(), tasks=("game/a1", "game/a2")))
    good = save(evaluations(), tmp_path / "good.csv")
    (tmp_path / "noise.parquet").write_bytes(b"not parquet at all")
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "latin.csv").write_bytes(b"seed,\xff\xfe\n1,2\n")
    cases = [
        (good, "DPO", "game/a1", "already has a curve 'DPO'"),
        (good, " ", "game/a1", "a name for your curve"),
        (good, "Mine", None, "choose one with --task: game/a1, game/a2"),
        (good, "Mine", "game/a", "unknown task 'game/a'; nearest: 'game/a"),
        (tmp_path / "absent.csv", "Mine", "game/a1", "no such file"),
        (tmp_path / "notes.txt", "Mine", "game/a1", "a .parquet or .csv file is needed"),
        (tmp_path / "noise.parquet", "Mine", "game/a1", "not a readable parquet file"),
        (tmp_path / "empty.csv", "Mine", "game/a1", "not a readable csv file"),
        (tmp_path / "latin.csv", "Mine", "game/a1", "not a readable csv file"),
    ]
    for file, label, task, message in cases:
        with pytest.raises(RepriseError, match=message):
            compare.compare(project, "quick", "dpo/fig01a", file, label, task)
    put(tmp_path, games())
    with pytest.raises(RepriseError, match="kind 'games' takes no further curve"):
        compare.compare(project, "quick", "dpo/fig01a", good, "Mine")
    assert not (tmp_path / "figures").exists()
