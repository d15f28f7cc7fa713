"""Claims that no single panel's finals can tell: leads along the number of agents, costs, ranges without an optimum,
and the published numbers of another environment."""

import json

import config_tree
import numpy as np
import pytest

from reprise.analysis import claims, ledger
from reprise.errors import RepriseError
from reprise.experiments import config

FIGURE = "results/quick/statistics/demo/fig01.json"
TASKS = {"grid_world/crowd-2": 2, "grid_world/crowd-8": 8}
NOISE = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


@pytest.fixture
def root(tmp_path):
    """The small configuration with its two tasks renamed, so that they differ in the number of agents."""
    config_tree.write(tmp_path)
    for path in (tmp_path / "config").rglob("*.yaml"):
        text = path.read_text().replace("grid_world/small", "grid_world/crowd-2")
        text = text.replace("grid_world/large", "grid_world/crowd-8").replace("  small: {", "  crowd-2: {")
        path.write_text(text.replace("  large: {", "  crowd-8: {"))
    return tmp_path


def load(root, extra, reading="more: [alpha], less: [beta]"):
    folder = root / "config/claims"
    folder.mkdir(exist_ok=True)
    (folder / "demo.yaml").write_text(
        "paper: demo\nsource: s\nclaims:\n  - {id: demo-1, where: w, statement: s, lowest_tier: quick, min_seeds: 1, "
        f"{extra}, readings: [{{protocol: script, figure: demo/fig01, {reading}}}]}}\n"
    )
    return config.load(root)


def write(project, finals, **covered):
    """``finals``: {name: [mean final per task]}; ``covered``: {name: coverage of its runs}."""
    panels, curves = [], []
    for place, (task, agents) in enumerate(TASKS.items()):
        drawn = []
        for name, levels in finals.items():
            cell = config.resolve(project, task, name, "quick")
            final = {str(seed): float(value) for seed, value in enumerate(levels[place] + NOISE)}
            rest = {"first": dict.fromkeys(final, 0.0), "auc": final, "x": [0, 4000], "diverged": 0}
            drawn.append({"cell": cell.name, "hash": cell.hash, "final": final, "n": 5, "n_expected": 5} | rest)
            entry = {"panel": task, "hash": cell.hash, "refused": [], "parameters": {"agents": agents}}
            curves.append(entry | covered.get(name, {}))
        panels.append({"task": task, "references": {"uniform": {"mean": 0.0}}, "curves": drawn})
    path = project.root / FIGURE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"panels": panels, "coverage": {"spec": {"kind": "curves"}, "curves": curves}}))


def judged(project):
    (found,) = json.loads(claims.judge(project, "quick")[0].read_text())["claims"]
    return found


@pytest.mark.parametrize(
    ("leads", "verdict"),
    [((10, 40), "REPRODUCED"), ((40, 10), "NOT_REPRODUCED"), ((10, 10), "INCONCLUSIVE")],
)
def test_a_gap_is_the_slope_of_the_lead_on_the_number_of_agents(root, leads, verdict):
    project = load(root, "kind: gap, comparable: ordering")
    write(project, {"alpha": [100 + leads[0], 300 + leads[1]], "beta": [100, 300]})
    found = judged(project)
    assert found["verdict"] == verdict
    # Two tasks of 2 and 8 agents: the slope is the difference of the leads over 6.
    assert found["statistic"]["value"] == pytest.approx((leads[1] - leads[0]) / 6)
    # Each of the four means has the variance 2.5 / 5, so the slope has 4 * 0.5 / 36, with 16 degrees of freedom.
    half = found["statistic"]["high"] - found["statistic"]["value"]
    assert half == pytest.approx(2.1199 * np.sqrt(4 * 0.5 / 36), rel=1e-4)


def test_a_gap_needs_panels_that_differ_in_agents(root):
    project = load(root, "kind: gap, comparable: ordering", "more: [alpha], less: [beta], tasks: [grid_world/crowd-2]")
    write(project, {"alpha": [9, 9], "beta": [1, 1]})
    assert judged(project)["verdict"] == "NOT_RUN"


COSTS = {
    "critic_parameters": lambda value: {"described": {"critic_parameters": int(value)}},
    "peak_memory_mb": lambda value: {"peak_memory_mb": value},
    "update_seconds": lambda value: {"seconds": {"update": value}, "steps_per_second": 10.0, "wall_seconds": 100.0},
}


@pytest.mark.parametrize("metric", COSTS)
def test_costs_are_compared_in_every_panel(root, metric):
    project = load(root, f"kind: costs, metric: {metric}, comparable: ordering")
    finals = {"alpha": [0, 0], "beta": [0, 0]}
    write(project, finals, alpha=COSTS[metric](300.0), beta=COSTS[metric](200.0))
    found = judged(project)
    assert found["verdict"] == "REPRODUCED"
    assert "ratio 1.5" in found["sentence"]
    write(project, finals, alpha=COSTS[metric](200.0), beta=COSTS[metric](200.0))
    assert judged(project)["verdict"] == "NOT_REPRODUCED"
    write(project, finals, alpha=COSTS[metric](200.0))
    assert judged(project)["verdict"] == "INVALID"


def test_a_cost_of_something_else_is_refused(root):
    with pytest.raises(RepriseError, match="costs are critic_parameters, update_seconds, peak_memory_mb, not 'kl'"):
        ledger.load(load(root, "kind: costs, metric: kl, comparable: ordering"))


@pytest.mark.parametrize(("size", "verdict"), [(0.29, "REPRODUCED"), (0.31, "PARTLY")])
def test_a_range_ends_at_the_highest_curve_drawn(root, size, verdict):
    effect = f"effect: {{value: {size}, unit: range, reason: r}}"
    project = load(root, f"kind: ordering, {effect}, comparable: ordering")
    # A lead of 30 of a range that ends at 100: at a curve that the claim does not name.
    write(project, {"alpha": [80, 80], "beta": [50, 50], "alpha@slow": [100, 100]})
    assert judged(project)["verdict"] == verdict


def test_a_range_needs_a_curve_above_the_uniform_policy(root):
    project = load(root, "kind: ordering, effect: {value: 0.1, unit: range, reason: r}, comparable: ordering")
    write(project, {"alpha": [-10, -10], "beta": [-50, -50]})
    found = judged(project)
    assert found["verdict"] == "INCONCLUSIVE"
    assert "no curve ends above the uniform policy" in found["sentence"]


def test_a_number_of_another_environment_is_told_beside_ours(root):
    project = load(root, 'kind: value, paper_value: "alpha 4500", comparable: "no"', "curves: [alpha]")
    write(project, {"alpha": [80, 90]})
    found = judged(project)
    assert found["verdict"] == "NOT_COMPARABLE"
    assert "paper alpha 4500; here alpha after 4,000 env steps 80 (n = 5)" in found["sentence"]
    with pytest.raises(RepriseError, match="that is comparable needs 'interval'"):
        ledger.load(load(root, "kind: value, paper_value: 3, comparable: value", "curves: [alpha]"))
