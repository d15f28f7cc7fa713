"""The declared search: equal trials, disjoint games, and the config runs what it chose."""

import csv
import json
from collections import Counter

import pytest

from reprise.errors import RepriseError
from reprise.experiments import config, resolution, tuning

NAME = "stochastic_game"


@pytest.fixture(scope="module")
def project(repository_root):
    return config.load(repository_root)


def row(algorithm: str, shared: str, knob: str, mean: float) -> dict:
    return {"trial": tuning.Trial(algorithm, shared, knob, {"x": knob}), "mean": mean}


def test_the_shared_setting_has_the_best_mean_rank_over_algorithms_at_their_best_knobs():
    rows = [
        row("a", "s", "1", 5.0), row("a", "s", "2", 9.0), row("a", "t", "1", 8.0), row("a", "u", "1", 1.0),
        row("b", "s", "1", 2.0), row("b", "t", "1", 3.0), row("b", "u", "1", 900.0),
        row("c", "s", "1", 2.0), row("c", "t", "1", 1.0), row("c", "u", "1", 0.0),
        row("q", "", "1", 4.0), row("q", "", "2", 6.0),
    ]  # fmt: skip
    chosen = tuning.choose(rows)
    assert chosen["shared"]["mean_rank"] == pytest.approx({"s": 5 / 3, "t": 2.0, "u": 7 / 3})
    assert chosen["shared"]["setting"] == "s"
    assert chosen["shared"]["algorithms"]["a"]["trial"] == "s 2"
    assert chosen["shared"]["algorithms"]["q"]["trial"] == "2"
    assert {a: entry["mean"] for a, entry in chosen["tuned"].items()} == {"a": 9.0, "b": 900.0, "c": 2.0, "q": 6.0}


def test_every_algorithm_has_the_same_number_of_trials_and_the_games_are_no_figures(project):
    search = tuning.load(project, NAME)
    counts = Counter(trial.algorithm for trial in tuning.trials(search))
    assert set(counts.values()) == {32}
    assert len(search.seeds) >= 3
    assert search.env_steps >= 100_000
    tasks = project.environments["stochastic_game"].tasks
    tuned = {tasks["s100n6a5-tuning"].parameters["game_seed"].value + seed for seed in search.seeds}
    figures = {1} | {tasks["s30n3a5-games"].parameters["game_seed"].value + seed for seed in range(100)}
    assert not tuned & figures


def test_cohorts_hold_every_trial_once_and_differ_in_sweepable_keys_only(project):
    search = tuning.load(project, NAME)
    found = [(trial.algorithm, trial.name) for _, members in tuning.cohorts(project, search) for trial in members]
    assert sorted(found) == sorted((t.algorithm, t.name) for t in tuning.trials(search))
    for cohort, _ in tuning.cohorts(project, search):
        hyper = [cell.config["algorithm"]["hyperparameters"] for cell in cohort.cells]
        differing = {key for key in hyper[0] if len({str(h[key]) for h in hyper}) > 1}
        assert differing <= set(project.algorithms[cohort.cells[0].algorithm].sweepable)


@pytest.mark.parametrize("protocol", ["shared", "tuned"])
def test_the_config_runs_what_the_search_chose(project, protocol):
    chosen = json.loads((project.root / "results" / "tuning" / f"{NAME}.json").read_text())[protocol]
    chosen = chosen["algorithms"] if protocol == "shared" else chosen
    assert len(chosen) == 5
    for algorithm, entry in chosen.items():
        variants = project.algorithms[algorithm.partition("@")[0]].variants
        name = (
            f"{algorithm}@tuned" if protocol == "tuned" and "@" not in algorithm and "tuned" in variants else algorithm
        )
        cell = resolution.resolve(project, "stochastic_game/s100n6a5", name, "quick")
        used = cell.config["algorithm"]["hyperparameters"]
        assert {key: used[key] for key in entry["values"]} == entry["values"], name


def test_the_published_choice_follows_from_the_published_table(project):
    folder = project.root / "results" / "tuning"
    trials = {(t.algorithm, t.shared, t.knob): t for t in tuning.trials(tuning.load(project, NAME))}
    with (folder / f"{NAME}.csv").open() as file:
        table = list(csv.DictReader(file))
    rows = [{"trial": trials[r["algorithm"], r["shared"], r["knob"]], "mean": float(r["mean"])} for r in table]
    assert len(rows) == len(trials)
    again, published = tuning.choose(rows), json.loads((folder / f"{NAME}.json").read_text())
    assert again["shared"]["setting"] == published["shared"]["setting"]
    for algorithm, entry in published["tuned"].items():
        assert again["tuned"][algorithm]["trial"] == entry["trial"]


def test_an_unknown_search_is_refused_with_the_nearest_name(project):
    with pytest.raises(RepriseError, match="nearest: 'stochastic_game'"):
        tuning.load(project, "stochastic_gam")
