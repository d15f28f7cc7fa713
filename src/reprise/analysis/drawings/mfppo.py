"""Pictures of MF-PPO's exact studies: the propositions, theorem 4.1 and lemma 4.3."""

from __future__ import annotations

import re

import numpy as np

from reprise.analysis import style
from reprise.analysis.drawings import common
from reprise.analysis.sheet import Sheet

BLUE, RED, GREEN, PINK, AMBER, SKY, BLACK = style.PALETTE
IDENTITIES = (  # quantity, beginning of its series' names, label
    ("proposition_2_1_error", "V*,", "2.1: V* under permutations"),
    ("proposition_2_1_error", "Q*,", "2.1: Q* under permutations"),
    ("proposition_2_1_error", "V of an invariant policy - V*,", "2.1: V of an invariant policy is V*"),
    ("proposition_2_1_error", "V of invariant policies,", "2.1: V of invariant policies"),
    ("proposition_2_1_error", "Q of invariant policies,", "2.1: Q of invariant policies"),
    ("proposition_2_2_error", "", "2.2: V within a histogram"),
    ("proposition_3_2_error", "", "3.2: the closed form is the maximiser"),
)
PLANTED = (
    ("asymmetric_game_error", "", "2.1, game not symmetric"),
    ("other_policy_error", "", "2.2, policy not invariant"),
    ("wrong_step_error", "", "3.2, temperature left out"),
)
AGENTS = re.compile(r"N = \d+")  # series of a number of sampled agents, without further conditions
ZERO = 1e-17  # where an error of exactly zero is drawn
TITLE = {"loc": "left", "fontsize": 7}


def propositions(statistics: dict):
    """Errors of the identities; inputs and their order in N; what narrower classes of policies lose."""
    sheet = Sheet(statistics, 2, 2, 1.8, [], titles=True, between=0.5)
    errors, inputs, orders, losses = sheet.axes
    series = _errors(errors, statistics)
    series += _lines(inputs, statistics, "b", "log10_inputs", common.names(statistics, "log10_inputs"))
    inputs.set(xscale="log", yscale="log", ylim=(1, 1e4), xlabel="agents N", ylabel="log10(number of inputs)")
    inputs.set_title("(b) prop. 3.1: inputs of a network, |S| = 5", **TITLE)
    names = common.names(statistics, "exponent")
    for name in names:
        limit = int(name.rpartition(" ")[2]) - 1
        orders.axhline(limit, color=style.MUTED, linewidth=0.7, linestyle=(0, (1.4, 1.2)))
    series += _lines(orders, statistics, "c", "exponent", names, columns=2)
    orders.set(xscale="log", ylim=(0.3, 5.9), xlabel="agents N", ylabel="exponent, N to 2N")
    orders.set_title("(c) prop. 3.1: order in N (dotted: |S| − 1)", **TITLE)
    series += _losses(losses, statistics)
    return sheet.figure, series


def _errors(axes, statistics: dict) -> list[dict]:
    """(a) From the smallest to the largest error of each identity, and of each planted wrong version."""
    drawn, rows = [], [(*each, BLUE) for each in IDENTITIES] + [(*each, RED) for each in PLANTED]
    for place, (quantity, start, label, color) in enumerate(rows):
        names = [name for name in common.names(statistics, quantity) if name.startswith(start)]
        found = [common.entry(statistics, quantity, name) for name in names]
        low = max(ZERO, min(min(each["minimum"]) for each in found))
        high = max(ZERO, max(max(each["maximum"]) for each in found))
        axes.plot([low, high], [place, place], color=color, linewidth=2.4, solid_capstyle="butt", alpha=0.4)
        axes.plot([high], [place], marker="o", color=color, linestyle="none")
        _note(axes, 1e3, place, label)
        drawn += [common.drawn("a", f"{label}: {name}", each) for name, each in zip(names, found, strict=True)]
    axes.axvline(1e-10, color=style.INK, linewidth=0.7, linestyle=(0, (5, 2)))
    axes.set(xscale="log", xlim=(ZERO / 2, 1e24), ylim=(len(rows) - 0.4, -0.6), yticks=[])
    axes.set_xticks([1e-16, 1e-10, 1e-4, 1e2])
    axes.set_xlabel("error, smallest to largest (dashed: 1e-10)")
    axes.set_title("(a) identities (blue) and planted errors (red)", **TITLE)
    return drawn


def _losses(axes, statistics: dict) -> list[dict]:
    """(d) Mean loss of each class of policies with its 95 % interval, and the largest loss as a tick."""
    names = sorted(common.names(statistics, "class_loss"), key=lambda name: name.partition(", N")[0])
    drawn = []
    for place, name in enumerate(names):
        each = common.entry(statistics, "class_loss", name)
        color = BLUE if name.startswith("factorised") else AMBER
        mean, low, high = (common.array(each, key)[0] for key in ("mean", "low", "high"))
        if each["n"] > 1:
            axes.plot([low, high], [place, place], color=color, linewidth=2.4, alpha=0.4, solid_capstyle="butt")
        axes.plot([mean], [place], marker="o", color=color, linestyle="none")
        axes.plot(each["maximum"], [place], marker="|", markersize=6, color=color, linestyle="none")
        label = name.replace("N = 2, |S| = 1", "anti-coordination").replace("invariant and ", "")
        _note(axes, 1.06, place, label)
        drawn.append(common.drawn("d", name, each))
    axes.set(xlim=(0, 2.1), ylim=(len(names) - 0.4, -0.6), yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1.0])
    axes.set_xlabel("loss, share of best minus worst (tick: largest)")
    axes.set_title("(d) what narrower classes of policies lose", **TITLE)
    return drawn


def theorem_4_1(statistics: dict):
    """Gaps against K: exact with the bounds, over upsilon, with other steps, and with networks."""
    sheet = Sheet(statistics, 2, 2, 1.95, [], titles=True, between=0.5)
    exact, upsilons, others, neural = sheet.axes
    shown = "crowding game, upsilon = 0.05"
    rows = (
        ("bound_printed", "bound, M as the sketch prints it", RED),
        ("bound_exact", "bound, M = rbar² / 2", AMBER),
        ("bound_spread", "bound, M ours", GREEN),
        ("average_gap", "average gap", BLUE),
        ("min_gap", "minimum gap", SKY),
    )
    series = _named(exact, "a", [(common.entry(statistics, key, shown), label, color) for key, label, color in rows])
    exact.set(ylim=(1e-7, 1e9))
    exact.set_title("(a) exact, the game of the figures, υ = 0.05", **TITLE)
    names = [name for name in common.names(statistics, "average_gap") if name.startswith("random games")]
    rows = [
        (common.entry(statistics, "average_gap", name), name.replace("random games, upsilon", "υ"), color)
        for name, color in zip(names, style.ramp(len(names)), strict=True)
    ]
    series += _named(upsilons, "b", rows, columns=2)
    _root(upsilons, rows[0][0])
    upsilons.set(ylim=(5e-4, 5))
    upsilons.set_title("(b) exact, random games (dotted: 1/√K)", **TITLE)
    rows = [(common.entry(statistics, "average_gap", names[0]), "algorithm 1, υ_k = υ√K", BLUE)]
    for name, color in zip(_others(statistics), (GREEN, PINK, AMBER, RED), strict=True):
        label = {"constant step": "υ_k = υ", "steps of constant sum": "υ_k = υK"}.get(name, name)
        rows.append((common.entry(statistics, "other_average_gap", f"random games, {name}"), label, color))
    series += _named(others, "c", rows)
    others.set(ylim=(1e-4, 1e2))
    others.set_title("(c) other steps, random games, υ = 0.01", **TITLE)
    series += _neural(neural, statistics, shown)
    for axes in sheet.axes:
        axes.set(xscale="log", yscale="log", xlabel="iterations K")
    ticks = [int(x) for x in common.array(_neural_bound(statistics), "x")]
    neural.set_xticks(ticks, [str(x) for x in ticks])
    neural.set_xticks([], minor=True)
    for axes, label in zip(sheet.axes, ("gap and bounds", *["average gap"] * 2, "minimum gap"), strict=True):
        axes.set_ylabel(label)
    return sheet.figure, series


def _others(statistics: dict) -> list[str]:
    return [name.partition(", ")[2] for name in common.names(statistics, "other_average_gap") if name.startswith("r")]


def _agents(statistics: dict) -> list[str]:
    """Series of the runs with networks, by the number of sampled agents."""
    names = [name for name in common.names(statistics, "theorem_bound") if AGENTS.fullmatch(name)]
    return sorted(names, key=lambda name: int(name.removeprefix("N = ")))


def _neural_bound(statistics: dict) -> dict:
    """The theorem's right side with measured errors, for the most sampled agents."""
    names = _agents(statistics)
    return common.entry(statistics, "theorem_bound", names[-1] if names else "N = 1")


def _neural(axes, statistics: dict, exact: str) -> list[dict]:
    """(d) The minimum gap with networks for each number of sampled agents, with exact values, and the bound."""
    bound, names = _neural_bound(statistics), _agents(statistics)
    rows = [(bound, f"bound, errors as measured, {bound['series']}", RED)]
    for name, color in zip(names, style.ramp(len(names)), strict=True):
        rows.append((common.entry(statistics, "min_gap", name), f"networks, {name}", color))
    rows.append((common.entry(statistics, "min_gap", exact), "exact", BLACK))
    axes.set(xlim=(bound["x"][0] / 1.3, bound["x"][-1] * 1.3), ylim=(1e-3, 1e9))
    axes.set_title("(d) networks, the game of the figures, υ = 0.05", **TITLE)
    return _named(axes, "d", rows)


def lemma_4_3(statistics: dict):
    """Both sides of the recursion at every iteration of a run, and the smallest margins over random games."""
    sheet = Sheet(statistics, 1, 2, 1.95, [], titles=True, between=0.55)
    along, over = sheet.axes
    rows = [(common.entry(statistics, "along_left", "left side"), "left side, (1 − γ) gap", BLUE)]
    for name, label, color in (
        ("M printed", "right side, M as the sketch prints it", RED),
        ("M exact", "right side, M = rbar² / 2", AMBER),
        ("M spread", "right side, M ours", GREEN),
    ):
        rows.append((common.entry(statistics, "along_right", name), label, color))
    series = _named(along, "a", rows, markers=0)
    along.set(yscale="log", ylim=(1e-7, 1e6), xlabel="iteration k", ylabel="sides of (4.3)")
    along.set_title("(a) the game of the figures, υ = 0.05, K = 256", **TITLE)
    upsilon = "upsilon = 0.05"
    for quantity, name, label, color in (
        ("literal_lemma_4_3_margin", upsilon, "rbar bounds r from above only", PINK),
        ("wrong_lemma_4_3_margin", f"critic read in mirror image, {upsilon}", "critic read in mirror image", RED),
        ("lemma_4_3_spread_margin", upsilon, "M ours", GREEN),
        ("lemma_4_3_exact_margin", upsilon, "M = rbar² / 2", AMBER),
    ):
        each = common.entry(statistics, quantity, name)
        common.distribution(over, each, style.Line(color, "-", "o"), label=label)
        series.append(common.drawn("b", label, each))
    over.plot([0, 0], [0, 1], color=style.INK, linewidth=0.7)
    over.set_xscale("symlog", linthresh=1e-5)
    over.set(xlabel="smallest right minus left side", ylabel="share of games", ylim=(0, 1.75), yticks=[0, 0.5, 1])
    over.set_xticks([-1e-1, -1e-3, 0, 1e-3, 1e-1, 1e1])
    over.set_title("(b) over random games, υ = 0.05", **TITLE)
    over.legend(loc="upper left", fontsize=5.8, borderaxespad=0.1, labelspacing=0.25)
    return sheet.figure, series


def _lines(axes, statistics: dict, panel: str, quantity: str, names: list[str], columns: int = 1) -> list[dict]:
    """A line per series of a quantity, under its own name."""
    rows = [
        (common.entry(statistics, quantity, name), name, color)
        for name, color in zip(names, style.PALETTE, strict=False)
    ]
    return _named(axes, panel, rows, columns=columns)


def _named(axes, panel: str, rows: list[tuple[dict, str, str]], columns: int = 1, markers: int = 7) -> list[dict]:
    """Lines (series, label, colour) with a key at the top of the panel, where the limits leave room for it."""
    for i, (each, label, color) in enumerate(rows):
        look = style.Line(color, style.DASHES[i % len(style.DASHES)], style.MARKERS[i % len(style.MARKERS)])
        common.line(axes, each, look, band="bound" not in each["quantity"], markers=markers, label=label)
    axes.legend(loc="upper left", ncols=columns, fontsize=5.8, borderaxespad=0.1, labelspacing=0.25, columnspacing=0.8)
    return [common.drawn(panel, label, each) for each, label, _ in rows]


def _root(axes, each: dict) -> None:
    """A guide of slope -1/2 below a series."""
    x, mean = common.array(each, "x"), common.array(each, "mean")
    axes.plot(x, 0.6 * mean[0] * np.sqrt(x[0] / x), color=style.INK, linewidth=0.7, linestyle=(0, (1.4, 1.2)))


def _note(axes, x: float, y: float, text: str) -> None:
    """Small text to the right of a row of a panel."""
    axes.annotate(text, (x, y), ha="left", va="center", fontsize=5.6)
