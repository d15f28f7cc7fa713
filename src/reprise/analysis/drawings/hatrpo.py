"""Pictures of the exact studies of the HATRPO paper: figure 1, proposition 1, the lemmas."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from reprise.analysis import style
from reprise.analysis.drawings import common
from reprise.analysis.sheet import Sheet

BLUE, RED, GREEN, _, _, SKY, BLACK = style.PALETTE
PURPLE = "#7B3FA0"  # of figure 1's intervals in the paper
STEPS = {  # series: look; red and blue as in the paper
    "individual, simultaneous": style.Line("#C8102E", "-", "o"),
    "sequential, agent 1 first": style.Line("#1F4FBF", "-", "s"),
    "sequential, agent 2 first": style.Line("#1F4FBF", (0, (4, 1.6)), "^"),
}


def fig01(statistics: dict):
    """The landscape of J with the KL balls and the first steps, as in the paper; J when the steps are repeated."""
    texts = ["KL ball of an agent (δ = 0.5)", *STEPS]
    sheet = Sheet(statistics, 1, 2, 2.45, texts, titles=True, between=0.6)
    plane, repeated = sheet.axes
    series = _landscape(plane, statistics)
    handles = [_balls(plane, statistics)]
    for name, look in STEPS.items():
        means = [common.array(common.entry(statistics, f"mean_{i}", name), "mean")[:2] for i in (1, 2)]
        corner = _corner(name, *means)
        arrow = {"arrowstyle": "-|>", "color": look.color, "linewidth": 1.5, "linestyle": look.dashes}
        for tail, head in pairwise(corner):
            plane.annotate("", head, tail, arrowprops={**arrow, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 8})
        each = common.entry(statistics, "return", name)
        handles.append(common.line(repeated, each, look, band=False, markers=10))
        series.append(common.drawn("repeated steps", name, each))
        ends = common.array(each, "mean")
        place = (5, -2) if "2 first" not in name else (-3, -9)
        plane.annotate(
            f"J = {ends[1]:.4f}", corner[-1], place, textcoords="offset points", fontsize=6, color=look.color,
            ha="left",
        )  # fmt: skip
    start = [common.array(common.entry(statistics, f"mean_{i}", next(iter(STEPS))), "mean")[0] for i in (1, 2)]
    plane.plot(*start, "o", color="black", markersize=4, zorder=5)
    first = common.array(common.entry(statistics, "return", next(iter(STEPS))), "mean")[0]
    plane.annotate(f"start, J = {first:.4f}", start, (-4, 5), textcoords="offset points", fontsize=6, ha="right")
    plane.set(xlabel="mean of agent 1, μ¹", ylabel="mean of agent 2, μ²", aspect="equal")
    plane.grid(False)
    plane.set_title("(a) J = μ¹μ² and one step", loc="left", pad=4)
    repeated.set_yscale("symlog", linthresh=1)
    repeated.set_yticks([-1, 0, 1, 10], ["−1", "0", "1", "10"])
    repeated.set(xlabel="steps", ylabel="joint return J")
    repeated.set_title("(b) the steps repeated; both orders coincide", loc="left", pad=4)
    sheet.legend(handles, texts)
    return sheet.figure, series


def _landscape(axes, statistics: dict) -> list[dict]:
    rows = common.names(statistics, "landscape")
    entries = [common.entry(statistics, "landscape", name) for name in rows]
    first, second = np.array([float(name) for name in rows]), common.array(entries[0], "x")
    values = np.stack([common.array(each, "mean") for each in entries])
    axes.contourf(first, second, values.T, levels=np.linspace(-3.2, 3.2, 17), cmap="RdYlGn", alpha=0.45, zorder=0)
    for draw in (axes.axhline, axes.axvline):
        draw(0, color=style.MUTED, linewidth=0.6, zorder=0.5)
    axes.set(xlim=(first[0], first[-1]), ylim=(second[0], second[-1]))
    return [common.drawn("landscape", f"μ¹ = {name}", each) for name, each in zip(rows, entries, strict=True)]


def _balls(axes, statistics: dict):
    start = [common.array(common.entry(statistics, f"mean_{i}", next(iter(STEPS))), "mean")[0] for i in (1, 2)]
    ends = [common.array(common.entry(statistics, "ball", f"agent {i}"), "mean") for i in (1, 2)]
    axes.plot(ends[0], [start[1]] * 2, color=PURPLE, linewidth=4, alpha=0.5, solid_capstyle="butt")
    return axes.plot([start[0]] * 2, ends[1], color=PURPLE, linewidth=4, alpha=0.5, solid_capstyle="butt")[0]


def _corner(name: str, first: np.ndarray, second: np.ndarray) -> list[tuple[float, float]]:
    """The points a step passes: straight for simultaneous updates, one agent after the other for sequential ones."""
    between = {
        "sequential, agent 1 first": [(first[1], second[0])],
        "sequential, agent 2 first": [(first[0], second[1])],
    }
    return [(first[0], second[0]), *between.get(name, []), (first[1], second[1])]


def after_the_start(each: dict) -> dict:
    """A series without its first point, iteration 0, which a logarithmic axis cannot show."""
    return {**each, **{key: each[key][1:] for key in ("x", "mean", "low", "high")}}


def proposition_1(statistics: dict):
    """J* and the shared optimum against n with what is learned; learning curves; the share of runs that reach J*."""
    texts = ["shared: 2 / 2ⁿ", "shared: exact maximum", "shared: learned", "separate: learned"]
    sheet = Sheet(statistics, 1, 3, 1.75, texts, titles=True, between=0.5)
    ends, learning, reached = sheet.axes
    lines = [("-", None), ("none", "X"), ((0, (5, 1.6)), "s"), ("-", "o")]
    colors = (BLACK, BLACK, RED, BLUE)
    looks = {text: style.Line(color, *line) for text, color, line in zip(texts, colors, lines, strict=True)}
    sources = (("ratio", "stated"), ("ratio", "measured"), ("learned", "shared"), ("learned", "separate"))
    handles, series = [], []
    for text, source in zip(texts, sources, strict=True):
        each = common.entry(statistics, *source)
        handles.append(common.line(ends, each, looks[text], band=False, markers=10 if looks[text].marker else 0))
        series.append(common.drawn("a", text, each))
    counts = common.array(common.entry(statistics, "ratio", "stated"), "x").astype(int)
    ends.set(yscale="log", xlabel="agents n", ylabel="joint return J", xticks=counts)
    ends.set_title("(a) where it ends", loc="left", pad=4)
    for count, color in zip(counts, style.ramp(len(counts)), strict=True):
        for kind, dashes in (("separate", "-"), ("shared", (0, (3, 1.6)))):
            each = common.entry(statistics, "learning", f"{kind}, n = {count}")
            label = f"n = {count}" if kind == "separate" else None
            look = style.Line(color, dashes, None)
            common.line(learning, after_the_start(each), look, band=False, markers=0, label=label, linewidth=1)
            series.append(common.drawn("b", f"{kind}, n = {count}", each))
    learning.set(xscale="log", yscale="log", xlabel="gradient steps", ylabel="mean J", ylim=(3e-6, 1.5))
    small = {"fontsize": 5.5, "title_fontsize": 5.5}
    learning.legend(loc="lower right", handlelength=1.4, title="separate —, shared - -", ncols=2, **small)
    learning.set_title("(b) learning, mean of all starts", loc="left", pad=4)
    for kind, look in (
        ("separate", style.Line(BLUE, "-", "o")),
        ("separate, sampled", style.Line(SKY, (0, (1.4, 1.2)), "D")),
        ("shared", style.Line(RED, (0, (5, 1.6)), "s")),
    ):
        each = common.entry(statistics, "reached_optimum", kind)
        label = {"separate": "separate, exact gradient", "separate, sampled": "separate, sampled gradient"}.get(
            kind, kind
        )
        common.line(reached, each, look, label=label, markers=10)
        series.append(common.drawn("c", label, each))
    reached.set(xlabel="agents n", ylabel="share of starts above 0.95 J*", xticks=counts, ylim=(-0.03, 1.05))
    reached.legend(fontsize=5.5, loc="center left", handlelength=2.2)
    reached.set_title("(c) starts that reach J*", loc="left", pad=4)
    sheet.legend(handles, texts)
    return sheet.figure, series


IDENTITIES = {  # quantity: label, look
    "lemma_1_error": ("lemma 1", style.Line(BLACK, "-", "o")),
    "equation_6_error": ("equation 6", style.Line(GREEN, "-", "o")),
    "proposition_2_error": ("proposition 2", style.Line(BLUE, "-", "o")),
    "lemma_1_mixed_orders_error": ("lemma 1, orders mixed", style.Line(BLACK, (0, (3, 1.6)), "o")),
    "equation_6_no_minus_1_error": ("equation 9 without its −1", style.Line(GREEN, (0, (3, 1.6)), "o")),
    "no_product_error": ("proposition 2, no product", style.Line(BLUE, (0, (3, 1.6)), "o")),
    "later_agents_error": ("proposition 2, later agents' ratios", style.Line(SKY, (0, (1.4, 1.2)), "o")),
}


def lemmas(statistics: dict):
    """Errors of the identities with planted errors; the share of lemma 2's penalty that games use up."""
    texts = [label for label, _ in IDENTITIES.values()]
    sheet = Sheet(statistics, 1, 2, 1.9, texts, titles=True, between=0.6)
    errors, used = sheet.axes
    handles, series = {}, []
    for quantity, (label, look) in IDENTITIES.items():
        for name in common.names(statistics, quantity):
            each = common.entry(statistics, quantity, name)
            shown = {**each, "quantiles": [max(value, 1e-17) for value in each["quantiles"]]}
            handles[label] = common.distribution(errors, shown, look, linewidth=0.9)
            series.append(common.drawn("a", f"{label}, {name}", each))
    errors.axvline(1e-10, color=style.MUTED, linewidth=0.7, linestyle=(0, (1.4, 1.2)))
    errors.set(xscale="log", xlim=(1e-17, 30), ylim=(0, 1), ylabel="share of games", xlabel="largest error of a game")
    errors.set_title("(a) identities and planted errors, N = 3, 4", loc="left", pad=4)
    found = common.names(statistics, "bound_used")
    gammas = list(dict.fromkeys(name.split("γ = ")[1] for name in found))
    for gamma, color in zip(gammas, style.ramp(len(gammas)), strict=True):
        for name in (each for each in found if each.endswith(f"γ = {gamma}")):
            searched = name.startswith("searched")
            if searched or name.startswith("N = 2"):
                each = common.entry(statistics, "bound_used", name)
                label = f"γ = {gamma}" if searched else None
                look = style.Line(color, "-" if searched else (0, (2, 1.4)), None)
                if each["quantiles"]:
                    common.distribution(used, each, look, label=label, linewidth=1.1)
                series.append(common.drawn("b", name, each))
    for level, text in ((0.5, "Pinsker"), (1.0, "lemma 2")):
        used.axvline(level, color=style.INK, linewidth=0.8, linestyle=(0, (4, 2)))
        used.annotate(text, (level, 0.03), (-2, 0), textcoords="offset points", fontsize=6, rotation=90, ha="right")
    used.set(xlim=(-0.06, 1.04), ylim=(0, 1), ylabel="share of games", xlabel="(Σ L − gain) / (C Σ KL), must be ≤ 1")
    used.legend(
        fontsize=5.5, loc="center", bbox_to_anchor=(0.75, 0.45), title="searched —, random - -", title_fontsize=5.5
    )
    used.set_title("(b) how much of lemma 2's penalty is needed", loc="left", pad=4)
    sheet.legend([handles[text] for text in texts], texts)
    return sheet.figure, series
