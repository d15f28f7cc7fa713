"""Pictures: the same bytes when redrawn, the numbers beside them, and what legends and axes say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types

import pytest

from reprise.analysis import factors, figures, panels, style
from reprise.errors import RepriseError

TASK = "stochastic_game/s100n6a5"
REFERENCES = {"optimum": {"mean": 499.9}, "nash": {"mean": 474.2}, "uniform": {"mean": 0.3}}


def curve(label, algorithm="dpo", color="#0072B2", n=5, n_expected=5, diverged=0, top=400.0, **more):
    x = list(range(0, 100_001, 5_000))
    mean = [top * (1 - 0.8 ** (i + 1)) for i in range(len(x))]
    finals = {str(seed): top + seed for seed in range(n)}
    return {
        "label": label,
        "cell": algorithm,
        "setting": "",
        "algorithm": algorithm,
        "color": color,
        "hash": f"{label:0>64}"[-64:],
        "n": n,
        "n_expected": n_expected,
        "diverged": diverged,
        "x": x if n else [],
        "mean": mean if n else [],
        "low": [m - 10 for m in mean] if n else [],
        "high": [m + 10 for m in mean] if n else [],
        "final": finals,
        "final_interval": {"mean": top, "low": top - 10, "high": top + 10}
        if n
        else dict.fromkeys(("mean", "low", "high")),
        **more,
    }


def statistics(curves, kind="curves", hyper=None, tasks=(TASK,), columns=1):
    coverage = [
        {
            "panel": task,
            "label": c["label"],
            "cell": c["cell"],
            "algorithm": c["algorithm"],
            "hash": c["hash"],
            "hyperparameters": (hyper or {}).get(c["label"], {"actor_lr": 5e-4}),
        }
        for task in tasks
        for c in curves
    ]
    return {
        "paper": "dpo",
        "figure": "fig01a",
        "tier": "quick",
        "stamp": "quick tier: 100k of the paper's unknown budget",
        "metric": "expected_return",
        "interval": "Student t 95 %, 5 seeds",
        "footer": "tier quick · 100,000 env steps per run · 5 seeds · commit 3fa9c21",
        "panels": [{"task": task, "references": REFERENCES, "curves": curves} for task in tasks],
        "coverage": {
            "spec": {"title": "A figure", "kind": kind, "columns": columns, "references": ["optimum", "nash"]},
            "curves": coverage,
        },
    }


def three():
    return [curve("DPO"), curve("IPPO", "ippo", "#D55E00", n=4, top=380.0), curve("IQL", "iql", "#009E73", top=300.0)]


def games():
    curves = three()
    for i, one in enumerate(curves):
        one["normalised"] = {
            "final": {str(seed): 0.9 - 0.1 * i + (0.15 if (seed, i) == (3, 1) else 0) for seed in range(20)}
        }
    return statistics(curves, "games")


def grid_of_settings():
    """Three algorithms, two of them told apart by a switch, each at 2 x 2 settings."""
    hyper, curves = {}, []
    for name, algorithm, switch in (("DPO", "dpo", True), ("IPPO", "ippo", False), ("IPPO-KL", "ippo", True)):
        for copies in (2, 10):
            for entropy in (0.0, 0.01):
                label = f"{name}, {copies} episodes, entropy = {entropy}"
                hyper[label] = {"copies": copies, "entropy": entropy, "penalty": switch, "actor_lr": 5e-4}
                curves.append(
                    curve(
                        label,
                        algorithm,
                        top=400.0 + copies + 3000 * entropy * (name == "IPPO") - 40 * (name == "IPPO-KL"),
                    )
                )
    return statistics(curves, "sensitivity", hyper)


def texts(statistics_):
    """Every text of the composed figure."""
    import matplotlib.text

    with style.house():
        figure, _ = panels.compose(statistics_)
        return [t.get_text() for t in figure.findobj(matplotlib.text.Text)]


def put(root, content, key="dpo/fig01a"):
    path = figures.statistics_file(root, "quick", key)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return types.SimpleNamespace(root=root)


@pytest.mark.parametrize(
    "content", [statistics(three()), grid_of_settings(), games()], ids=["curves", "sensitivity", "games"]
)
def test_redrawing_in_another_process_gives_the_same_bytes(tmp_path, content):
    drawn = []
    for hash_seed in ("0", "4242"):
        root = tmp_path / hash_seed
        put(root, content)
        code = (
            "import types, pathlib, sys; from reprise.analysis import figures; "
            "figures.draw(types.SimpleNamespace(root=pathlib.Path(sys.argv[1])), 'quick', 'dpo/fig01a')"
        )
        # Neither a matplotlibrc nor a clock may show in the picture.
        (root / "matplotlibrc").write_text("axes.facecolor: pink\n" if hash_seed == "0" else "")
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "SOURCE_DATE_EPOCH": "1" + hash_seed}
        subprocess.run([sys.executable, "-c", code, str(root)], check=True, cwd=root, env=environment, timeout=120)
        folder = root / "figures/quick/dpo"
        drawn.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert sorted(drawn[0]) == ["fig01a.json", "fig01a.pdf", "fig01a.png", "fig01a.svg"]
    assert drawn[0] == drawn[1]
    assert drawn[0]["fig01a.png"].startswith(b"\x89PNG")
    assert drawn[0]["fig01a.pdf"].startswith(b"%PDF")
    assert b"Date" not in drawn[0]["fig01a.pdf"]


def test_json_holds_the_statistics_as_drawn(tmp_path):
    content = statistics(three(), tasks=(TASK, "stochastic_game/s30n3a5"), columns=2)
    paths = figures.draw(put(tmp_path, content), "quick", "dpo/fig01a")
    assert [path.suffix for path in paths] == [".svg", ".png", ".pdf", ".json"]
    found = json.loads(paths[-1].read_text())
    expected = [
        {"panel": p["task"], **{k: c[k] for k in ("label", "n", "x", "mean", "low", "high")}}
        for p in content["panels"]
        for c in p["curves"]
    ]
    assert found["series"] == expected
    assert found["tier"] == "quick"
    assert found["footer"] == content["footer"]
    assert found["references"] == {panel["task"]: REFERENCES for panel in content["panels"]}


def test_drawn_lines_and_bands_are_the_statistics():
    content = statistics(three())
    with style.house():
        figure, _ = panels.compose(content)
    axes = figure.axes[0]
    for line, one in zip(
        [line for line in axes.lines if len(line.get_xdata()) > 2], content["panels"][0]["curves"], strict=True
    ):
        assert line.get_xdata().tolist() == one["x"]
        assert line.get_ydata().tolist() == one["mean"]
    for band, one in zip(axes.collections, content["panels"][0]["curves"], strict=True):
        heights = band.get_paths()[0].vertices[:, 1]
        assert heights.min() == min(one["low"])
        assert heights.max() == max(one["high"])


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([curve("DPO")], "DPO (n = 5)"),
        ([curve("DPO", n=4)], "DPO (n = 4 of 5)"),
        ([curve("DPO", n=4, diverged=1)], "DPO (n = 4 of 5, 1 diverged)"),
        ([curve("DPO", n=4, diverged=[3, 4])], "DPO (n = 4 of 5, 2 diverged)"),
        ([curve("DPO", n=0)], "DPO (n = 0 of 5)"),
        ([curve("DPO"), curve("DPO", n=3)], "DPO (n = 3–5 of 5)"),
        # Panels that are planned with different numbers of seeds lack none.
        ([curve("DPO", n=2) | {"n_expected": 2}, curve("DPO", n=1) | {"n_expected": 1}], "DPO (n = 1–2)"),
    ],
)
def test_legend_counts_runs(entries, expected):
    assert figures.legend_text("DPO", entries) == expected


def test_picture_says_what_it_is():
    content = statistics([*three(), curve("DPO, no run", n=0)])
    found = texts(content)
    for expected in (
        "DPO (n = 5)",
        "IPPO (n = 4 of 5)",
        "DPO, no run (n = 0 of 5)",
        "optimum 499.9",
        "Nash level 474.2",
    ):
        assert expected in found
    assert content["stamp"] in found
    assert " ".join(found).count("commit 3fa9c21") == 1
    assert "exact expected return\n(greedy joint policy)" in found
    assert not any("uniform" in text for text in found)


def test_reference_lines_are_dashed_and_dotted_at_their_levels():
    with style.house():
        figure, _ = panels.compose(statistics(three()))
        levels = {
            line.get_ydata()[0]: line.get_linestyle() for line in figure.axes[0].lines if len(line.get_xdata()) == 2
        }
    assert set(levels) == {499.9, 474.2}
    assert set(levels.values()) == {"--"}  # matplotlib's name for every custom pattern


def test_an_empty_figure_is_drawn_and_says_so():
    assert "no complete run" in texts(statistics([curve("DPO", n=0)]))


def test_one_colour_per_algorithm_and_distinct_looks():
    looks = style.lines([curve("DPO"), curve("DPO w/o KL"), curve("IPPO", "ippo", "#D55E00")])
    assert looks["DPO"].color == "#0072B2"
    assert looks["IPPO"].color == "#D55E00"
    assert len({look.color for look in looks.values()}) == len({look.marker for look in looks.values()}) == 3
    alone = style.lines([curve("IPPO", "ippo", "#D55E00"), curve("DPO")])
    assert alone["DPO"].color == looks["DPO"].color
    sweep = style.lines([curve(f"d = {d}") for d in range(7)])
    lightness = [
        sum(int(look.color[i : i + 2], 16) * w for i, w in ((1, 3), (3, 6), (5, 1))) for look in sweep.values()
    ]
    assert lightness == sorted(lightness)
    assert len(set(lightness)) == 7


@pytest.mark.parametrize(
    ("value", "expected"), [(0, "0"), (500, "500"), (20_000, "20k"), (1_500_000, "1.5M"), (1e9, "1G")]
)
def test_si_ticks(value, expected):
    assert style.si(value) == expected


def test_sensitivity_reads_the_factors_and_names_the_leader():
    content = grid_of_settings()
    found = factors.factors(content)
    assert sorted(found.order) == ["copies", "entropy"]
    assert list(found.series) == ["DPO", "IPPO", "IPPO-KL"]
    with style.house():
        _, series = panels.compose(content)
    assert len(series) == 6
    one = next(s for s in series if s["label"] == "IPPO" and s["panel"].endswith("entropy = 0.01"))
    assert one["x"] == [2, 10]
    assert one["mean"] == [432.0, 440.0]
    assert one["n"] == 5
    found = texts(content)
    # Equal means meet: brackets. Intervals apart: no brackets.
    assert [found.count(name) for name in ("(DPO)", "DPO", "IPPO", "(IPPO)", "IPPO-KL")] == [2, 0, 2, 0, 0]


def test_sensitivity_without_a_shared_factor_is_refused():
    with pytest.raises(RepriseError, match="hyperparameter"):
        figures.render(statistics(three(), "sensitivity"))


def test_games_counts_the_games_won():
    content = games()
    with style.house():
        _, series = panels.compose(content)
    assert "DPO wins of 20 games: 19 over IPPO, 20 over IQL" in texts(content)
    assert series[1]["x"][0] == "3"  # the game that the rival won comes first
    assert series[1]["mean"][0] == pytest.approx(0.95)


def test_errors_name_file_and_command(tmp_path):
    project = types.SimpleNamespace(root=tmp_path)
    with pytest.raises(
        RepriseError, match=r"fig01a\.json: no such file; run: reprise statistics dpo/fig01a --tier quick"
    ):
        figures.draw(project, "quick", "dpo/fig01a")
    put(tmp_path, {}).root.joinpath("results/quick/statistics/dpo/fig01a.json").write_text("{tru")
    with pytest.raises(RepriseError, match="damaged"):
        figures.draw(project, "quick", "dpo/fig01a")
    put(tmp_path, statistics(three(), "pie"))
    with pytest.raises(RepriseError, match="unknown kind of figure 'pie'"):
        figures.draw(project, "quick", "dpo/fig01a")
    assert not (tmp_path / "figures").exists()


def test_importing_is_cheap():
    code = (
        "import sys, reprise.analysis.figures, reprise.analysis.report, reprise.analysis.style; "
        "print([m for m in ('torch', 'matplotlib', 'pandas', 'scipy', 'jinja2') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]"
