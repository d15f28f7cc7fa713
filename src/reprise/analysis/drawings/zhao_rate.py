"""Picture of the rate of Zhao et al.'s multi-agent PPO: exact (a)-(f), with sampled evaluation (g)-(i)."""

from __future__ import annotations

import numpy as np

from reprise.analysis import style
from reprise.analysis.drawings import common
from reprise.analysis.sheet import Sheet

BLUE, RED, GREEN, PINK, AMBER, SKY, BLACK = style.PALETTE
AGENTS = (1, 2, 3, 4)
SHOWN = 3  # number of agents of panels (d) and (f)
DOTTED = (0, (1.4, 1.2))
METHODS = {  # method of the study: label, look; the first two lie on each other
    "centralised": ("centralised (= NPG, joint)", style.Line(GREEN, "-", "s")),
    "MA-PPO": ("MA-PPO (= NPG, conditional)", style.Line(BLUE, (0, (3, 1.6)), "o")),
    "product": ("product policies", style.Line(RED, (0, (5, 1.4, 1.2, 1.4)), "^")),
    "constant step": ("MA-PPO, constant step", style.Line(SKY, "-", "D")),
    "constant sum": ("steps of constant sum", style.Line(style.MUTED, (0, (5, 1.6)), "v")),
    "reversed": ("wrong: order reversed", style.Line(style.MUTED, DOTTED, "P")),
    "negated": ("wrong: sign", style.Line(style.MUTED, "-", "X")),
}
ENDS = {  # quantity product_end of the study: label, colour
    "optimal": ("optimum", GREEN),
    "suboptimal Nash point": ("suboptimal Nash point", RED),
    "neither": ("neither", style.MUTED),
}


def rate_in_k(statistics: dict):
    """Nine panels: rate in K, bound, growth with N; rivals and schedules; sampled evaluation."""
    sheet = Sheet(statistics, 3, 3, 1.55, [], titles=True, between=0.64)
    axes = sheet.axes
    series = _average(axes[0], statistics) + _bounds(axes[1], statistics) + _growth(axes[2], statistics)
    series += _methods(axes[3], statistics) + _ends(axes[4], statistics) + _course(axes[5], statistics)
    series += _critics(axes[6], statistics) + _sampled(axes[7], statistics) + _in_t(axes[8], statistics)
    for place, each in enumerate(axes):
        if place not in (2, 4):
            _scales(each)
    return sheet.figure, series


def _scales(axes) -> None:
    """Logarithmic axes, ticks where something was computed or at powers of ten, written plainly where short."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullFormatter

    axes.set(xscale="log", yscale="log")
    places = sorted({float(x) for line in axes.get_lines() for x in line.get_xdata() if x > 1})
    axes.xaxis.set_major_locator(FixedLocator(places) if len(places) <= 6 else LogLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = axes.get_ylim()
    if high / low < 60:
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _agents() -> dict[int, style.Line]:
    kinds = zip(AGENTS, style.ramp(len(AGENTS)), style.MARKERS, strict=False)
    return {agents: style.Line(color, "-", marker) for agents, color, marker in kinds}


def _width(method: str) -> dict:
    return {"linewidth": 2.6, "alpha": 0.6} if method == "centralised" else {}


def _curve(panel: str, axes, statistics: dict, quantity: str, name: str, look: style.Line, label: str, **line) -> dict:
    """Draw one series under ``label``; what was drawn."""
    each = common.entry(statistics, quantity, name)
    common.line(axes, each, look, label=label, **line)
    return common.drawn(panel, label, each)


def _finish(axes, title: str, x: str, y: str, place: str = "lower left", **legend) -> None:
    axes.set_title(title, loc="left", pad=4, fontsize=7.5)
    axes.set(xlabel=x, ylabel=y)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=5, loc=place, handlelength=2.2, labelspacing=0.25, borderaxespad=0.1, **legend)


def _average(axes, statistics: dict) -> list[dict]:
    """(a) Average gap against K, and the bound's first part, which it approaches."""
    series = []
    for agents, look in _agents().items():
        each = common.entry(statistics, "average_gap", f"MA-PPO, N = {agents}")
        common.line(axes, each, look, label=f"N = {agents}")
        first = common.entry(statistics, "distance", f"N = {agents}")
        text = "β N log|A| / ((1 − γ) √K)" if agents == AGENTS[-1] else None
        common.line(axes, first, look, band=False, markers=0, color=BLACK, linestyle=DOTTED, linewidth=0.9, label=text)
        series += [common.drawn("a", f"N = {agents}", each), common.drawn("a", f"first part, N = {agents}", first)]
    _finish(axes, "(a) exact: average gap", "iterations K", "average gap")
    return series


def _bounds(axes, statistics: dict) -> list[dict]:
    """(b) Minimum gap, beside the bound with the spans that were met and a priori; N = 1 and the largest N."""
    series = []
    for agents, look in _agents().items():
        if agents not in (AGENTS[0], AGENTS[-1]):
            continue
        each = common.entry(statistics, "minimum_gap", f"MA-PPO, N = {agents}")
        common.line(axes, each, look, band=False, label=f"minimum gap, N = {agents}")
        series.append(common.drawn("b", f"minimum gap, N = {agents}", each))
        shown = (
            ("measured_bound", "small beta", "bound, measured spans", (0, (5, 1.6))),
            ("explicit_bound", "best beta", "bound, best β", DOTTED),
            ("explicit_bound", "small beta", "bound, β = 0.1", (0, (5, 1.4, 1.2, 1.4))),
        )
        for quantity, beta, text, dashes in shown:
            each = common.entry(statistics, quantity, f"N = {agents}, {beta}")
            label = text if agents == AGENTS[-1] else None
            common.line(axes, each, look, band=False, markers=0, linestyle=dashes, linewidth=1, label=label)
            series.append(common.drawn("b", f"{text}, N = {agents}", each))
    axes.axhline(10, color=style.INK, linewidth=0.7)
    axes.annotate("max. gap", (1, 10), xycoords=("axes fraction", "data"), xytext=(-1, 2),
                  textcoords="offset points", ha="right", va="bottom", fontsize=5)  # fmt: skip
    axes.set_ylim(1e-7, 1e4)
    _finish(axes, "(b) minimum gap and its bound", "iterations K", "gap")
    return series


def _growth(axes, statistics: dict) -> list[dict]:
    """(c) Average gap times sqrt(K) at the largest K, against the number of agents."""
    series = []
    for method in ("centralised", "MA-PPO"):
        label, look = METHODS[method]
        series.append(_curve("c", axes, statistics, "factor", f"{method}, largest K", look, label, **_width(method)))
    first = [common.entry(statistics, "distance", f"N = {agents}") for agents in AGENTS]
    line = [each["mean"][-1] * np.sqrt(each["x"][-1]) for each in first]
    axes.plot(AGENTS, line, color=BLACK, linestyle=DOTTED, linewidth=0.9, label="β N log|A| / (1 − γ)")
    axes.set(xticks=AGENTS, ylim=(0, None))
    _finish(axes, "(c) exact: linear in N", "agents N", "average gap × √K", "upper left")
    return series


def _methods(axes, statistics: dict) -> list[dict]:
    """(d) Rivals, schedules and planted errors."""
    series = [
        _curve("d", axes, statistics, "average_gap", f"{method}, N = {SHOWN}", look, label, **_width(method))
        for method, (label, look) in METHODS.items()
    ]
    _finish(axes, f"(d) others, N = {SHOWN}", "iterations K", "average gap")
    axes.set_ylim(1e-4, None)
    return series


def _ends(axes, statistics: dict) -> list[dict]:
    """(e) Where product policies end: shares of the games, stacked."""
    series, below = [], np.zeros(len(AGENTS) - 1)
    for kind, (label, color) in ENDS.items():
        each = common.entry(statistics, "product_end", kind)
        share = common.array(each, "mean")
        axes.bar(each["x"], share, 0.6, bottom=below, color=color, alpha=0.75, label=label)
        series.append(common.drawn("e", label, each))
        below = below + share
    for agents in AGENTS[1:]:
        each = common.entry(statistics, "product_greedy_gap", f"N = {agents}")
        axes.annotate(f"gap {each['mean'][0]:.2f}", (agents, 1.01), ha="center", va="bottom", fontsize=5.5)
        series.append(common.drawn("e", f"mean gap, N = {agents}", each))
    axes.set(xticks=AGENTS[1:], ylim=(0, 1.42), yticks=[0, 0.25, 0.5, 0.75, 1])
    axes.grid(False, axis="x")
    _finish(axes, "(e) ends of product policies", "agents N", "share of games", "upper center", ncols=1)
    return series


def _course(axes, statistics: dict) -> list[dict]:
    """(f) The gap within the longest run."""
    series = []
    for method in ("centralised", "MA-PPO", "product"):
        label, look = METHODS[method]
        name, width = f"{method}, N = {SHOWN}", _width(method)
        series.append(_curve("f", axes, statistics, "gap_at", name, look, label, band=False, **width))
    _finish(axes, f"(f) one run, N = {SHOWN}", "iteration k", "gap of π_k, mean")
    return series


def _critics(axes, statistics: dict) -> list[dict]:
    """(g) Squared error of the sampled critic against T."""
    looks = common.looks(common.names(statistics, "critic_error"))
    series = [_curve("g", axes, statistics, "critic_error", name, look, name) for name, look in looks.items()]
    _finish(axes, "(g) sampled: error of the critic", "steps T", "mean squared error")
    return series


def _sampled(axes, statistics: dict) -> list[dict]:
    """(h) Average gap against K with one-hot features, for every T and with exact sub-problems."""
    names = [name for name in common.names(statistics, "average_gap") if name.startswith("one-hot, ")]
    series = []
    for name, color, marker in zip(names, style.ramp(len(names)), style.MARKERS, strict=False):
        each = common.entry(statistics, "average_gap", name)
        label = name.removeprefix("one-hot, ")
        look = style.Line(BLACK if label.startswith("exact") else color, "-", marker)
        common.line(axes, each, look, label=label)
        series.append(common.drawn("h", name, each))
    _finish(axes, "(h) sampled, one-hot", "iterations K", "average gap")
    return series


def _in_t(axes, statistics: dict) -> list[dict]:
    """(i) Average gap against T at one K; dotted: exact sub-problems with the same features."""
    series = []
    names = common.names(statistics, "gap_in_t")
    for name, look in common.looks(names).items():
        series.append(_curve("i", axes, statistics, "gap_in_t", name, look, name))
        if name in common.names(statistics, "gap_exact"):
            exact = common.entry(statistics, "gap_exact", name)
            axes.axhline(exact["mean"][0], color=look.color, linestyle=DOTTED, linewidth=0.9)
            series.append(common.drawn("i", f"{name}, exact sub-problems", exact))
    if names:
        axes.set_ylim(min(line.get_ydata()[0] for line in axes.get_lines()) / 4, None)  # room for the legend
    _finish(axes, "(i) sampled (dotted: exact)", "steps T", "average gap")
    return series
