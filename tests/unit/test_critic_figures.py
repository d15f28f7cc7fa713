"""Figures of critics on made-up statistics: groups of curves, sizes under panels, what parameters buy, what costs."""

from __future__ import annotations

import copy

import pytest

from reprise.analysis import critics, panels, style
from reprise.errors import RepriseError

NAVIGATION = "mpe/cooperative_navigation-n{}"


def curve(label, top, group=None):
    x = [0, 500, 1000]
    mean = [0.0, top / 2, top]
    return {
        "label": label,
        "cell": label,
        "setting": "",
        "algorithm": "maddpg",
        "color": {"MF": "#0072B2", "GCN": "#009E73"}[label[: 2 if label.startswith("MF") else 3]],
        "hash": label,
        "n": 3,
        "n_expected": 3,
        "diverged": 0,
        "x": x,
        "mean": mean,
        "low": [m - 1 for m in mean],
        "high": [m + 1 for m in mean],
        "final_interval": {"mean": top, "low": top - 1, "high": top + 1},
    } | ({"group": group} if group else {})


def statistics(kind, tasks, curves):
    """``curves``: (curve, critic, critic parameters); ``tasks``: numbers of agents."""
    covered = [
        {
            "panel": NAVIGATION.format(agents),
            "label": each["label"],
            "hyperparameters": {"critic": critic, "batch": 64},
            "parameters": {"agents": agents},
            "described": {"critic_parameters": size},
            "seeds_expected": [0, 1, 2],
            "steps_per_second": 30.0,
            "wall_seconds": 100.0,
            "seconds": {"rollout": 10.0, "update": 50.0, "evaluation": 40.0},
            "peak_memory_mb": 300.0 + agents,
        }
        for agents in tasks
        for each, critic, size in curves
    ]
    shown = [{"task": NAVIGATION.format(n), "references": {}, "curves": [c for c, _, _ in curves]} for n in tasks]
    return {
        "paper": "mfppo",
        "figure": "made_up",
        "tier": "quick",
        "stamp": None,
        "metric": "return",
        "footer": "tier quick",
        "panels": copy.deepcopy(shown),
        "coverage": {"spec": {"title": "A figure", "kind": kind, "columns": 2}, "curves": covered},
    }


def drawn(content):
    """(figure, series, texts)."""
    import matplotlib.text

    with style.house():
        figure, series = panels.compose(content)
        return figure, series, [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


@pytest.fixture
def grouped():
    curves = [
        (curve("MF, central", 10, "central"), "mf", 41328),
        (curve("GCN", 8), "gcn", 41345),
        (curve("MF, local", 30, "local"), "mf", 41328),
    ]
    return statistics("curves", [15], curves)


def test_a_group_is_a_panel_and_what_has_none_is_in_all(grouped):
    figure, series, texts = drawn(grouped)
    assert len(figure.axes) == 2
    assert {"N = 15, central", "N = 15, local"} <= set(texts)
    assert [each["label"] for each in series] == ["MF, central", "GCN", "GCN", "MF, local"]
    assert figure.axes[0].get_ylim() == figure.axes[1].get_ylim()  # they are there to be compared


def test_a_name_has_one_look_and_one_place_in_the_legend(grouped):
    figure, _, texts = drawn(grouped)
    assert texts.count("MF (n = 3)") == texts.count("GCN (n = 3)") == 1
    first, second = ([line for line in axes.lines if len(line.get_xdata()) == 3] for axes in figure.axes)
    assert first[0].get_color() == second[1].get_color() == "#0072B2"
    assert first[0].get_linestyle() == second[1].get_linestyle()


def test_critic_sizes_stand_under_the_panel(grouped):
    shown = drawn(grouped)[2]
    assert any("MF: 41,328" in text.replace("\u00a0", " ") for text in shown)
    curves = grouped["panels"][0]["curves"]
    size = critics.sizes(grouped, NAVIGATION.format(15), curves).replace("\u00a0", " ")
    assert size == "critic parameters: MF: 41,328 · GCN: 41,345 · MF: 41,328"
    for each in grouped["coverage"]["curves"]:
        del each["described"]
    assert critics.sizes(grouped, NAVIGATION.format(15), curves) == ""


def test_sizes_are_told_of_critics_that_are_compared(grouped):
    """Not where a joint critic is one detail of an algorithm among many."""
    for entry in grouped["coverage"]["curves"]:
        entry["hyperparameters"]["critic"] = "joint"
    _, _, texts = drawn(grouped)
    assert not any("critic parameters" in text for text in texts)


def test_a_long_title_ends_before_the_sheet_does(grouped):
    import matplotlib.text

    panel = grouped["panels"][0]
    panel["task"] = "mamujoco/ManyAgentSwimmer-10x2-of-a-name-too-long-for-it"
    for entry in grouped["coverage"]["curves"]:
        entry["panel"] = panel["task"]
    figure, _, _ = drawn(grouped)
    titles = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text().startswith("ManyAgent")]
    assert len(titles) == 2
    assert all(title.get_window_extent().x1 <= figure.bbox.x1 for title in titles)


def test_parameters_are_those_that_the_runs_tell():
    curves = [
        (curve("MF, large", 9), "mf", 41328),
        (curve("MF, small", 7), "mf", 1009),
        (curve("GCN", 5), "gcn", 995),
    ]
    _, series, texts = drawn(statistics("parameters", [3], curves))
    assert [(each["label"], each["x"], each["mean"]) for each in series] == [
        ("MF", [1009, 41328], [7, 9]),
        ("GCN", [995], [5]),
    ]
    assert "critic parameters" in texts


def test_cost_is_of_rollouts_and_updates_alone():
    content = statistics("cost", [200, 3], [(curve("MF", 9), "mf", 41328)])
    _, (speed, memory), _ = drawn(content)
    assert (speed["x"], speed["mean"]) == ([3, 200], [50.0, 50.0])  # 30 x 100 env steps in 10 + 50 seconds
    assert memory["mean"] == [303.0, 500.0]
    del content["coverage"]["curves"][0]["seconds"]
    assert drawn(content)[1][0]["x"] == [3]


@pytest.mark.parametrize(("key", "value"), [("seeds_expected", [0]), ("hyperparameters", {"batch": 1024})])
def test_costs_of_different_work_are_not_joined_by_a_line(key, value):
    content = statistics("cost", [200, 3], [(curve("MF", 9), "mf", 41328)])
    content["coverage"]["curves"][0][key] = value
    with pytest.raises(RepriseError, match="the numbers of runs or the batch sizes differ along a line"):
        drawn(content)
