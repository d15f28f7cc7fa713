"""Pictures of the exact studies of Zhao et al.: the ratio game of appendix E, the performance-difference lemma."""

from __future__ import annotations

import numpy as np

from reprise.analysis import style
from reprise.analysis.drawings import common
from reprise.analysis.sheet import Sheet

BLUE, RED, GREEN, PINK, AMBER, SKY, BLACK = style.PALETTE
RATIO_GAME = {  # method of the study: label, look
    "released": ("sequential, released code", style.Line(AMBER, "-", "o")),
    "conditional": ("sequential, conditional policies", style.Line(RED, (0, (5, 1.6)), "s")),
    "localised": ("sequential, localised action values", style.Line(PINK, (0, (5, 1.4, 1.2, 1.4)), "^")),
    "independent": ("independent policy gradient", style.Line(SKY, "-", "D")),
    "natural": ("independent natural gradient (ours)", style.Line(BLUE, (0, (1.4, 1.2)), "v")),
}
STEPS = ("η = 0.001", "η = 0.01", "η = 0.05")
LEMMA = {  # quantity: label, look
    "lemma_error": ("as stated", style.Line(BLACK, "-", "o")),
    "old_visitation_error": ("old visitation", style.Line(RED, (0, (5, 1.6)), "s")),
    "old_prefix_error": ("earlier agents old", style.Line(BLUE, (0, (5, 1.4, 1.2, 1.4)), "^")),
    "reversed_prefix_error": ("earlier actions reversed", style.Line(GREEN, (0, (1.4, 1.2)), "D")),
    "later_agents_new_error": ("later agents new", style.Line(AMBER, (0, (8, 2)), "v")),
}
AGENTS = (2, 3, 4)


def ratio_game(statistics: dict):
    """Six panels as published: value against iterations, one start per row, one step size per column."""
    texts = [label for label, _ in RATIO_GAME.values()]
    sheet = Sheet(statistics, 2, 3, 1.5, texts, titles=True)
    handles, series = {}, []
    for i, (axes, panel) in enumerate(zip(sheet.axes, "abcdef", strict=True)):
        for place, (method, (label, look)) in enumerate(RATIO_GAME.items()):
            each = common.entry(statistics, "value", f"{panel} {method}")
            x = common.array(each, "x")
            # Markers of different curves at different iterations, evenly spaced on the axis.
            at = np.searchsorted(x, (np.arange(5) + 0.1 + 0.2 * place) / 5 * x[-1])
            handles[label] = common.line(axes, each, look, band=False, markevery=at.tolist())
            series.append(common.drawn(panel, label, each))
        axes.set_title(f"({panel}) {STEPS[i % 3]}, {'near stationary' if i < 3 else 'uniform'}", loc="left", pad=4)
        axes.set(ylim=(0.43, 1.03), xlim=(0, None), xlabel="iterations" if i >= 3 else None)
        axes.xaxis.set_major_formatter(style.si)
        axes.xaxis.set_major_locator(_few(4))
        if i % 3 == 0:
            axes.set_ylabel("value V")
    sheet.legend([handles[text] for text in texts], texts)
    return sheet.figure, series


def performance_difference(statistics: dict):
    """Errors of the lemma and of wrong versions; the change of the return after one step; how often it is lowered."""
    sheet = Sheet(statistics, 1, 3, 1.8, [], titles=True, between=0.66)
    series = _lemma(sheet.axes[0], statistics) + _steps(*sheet.axes[1:], statistics)
    return sheet.figure, series


def _lemma(axes, statistics: dict) -> list[dict]:
    series, handles = [], {}
    for quantity, (label, look) in LEMMA.items():
        for agents in AGENTS:
            if quantity == "reversed_prefix_error" and agents == 2:
                continue  # one earlier agent has no order
            each = common.entry(statistics, quantity, f"N = {agents}")
            shown = {**each, "quantiles": [max(value, 1e-17) for value in each["quantiles"]]}
            handles[label] = common.distribution(axes, shown, look, linewidth=0.9)
            series.append(common.drawn("a", f"{label}, N = {agents}", each))
    for ends in ((0, 0.3), (0.7, 1)):  # room for the legend
        axes.axvline(1e-10, *ends, color=style.MUTED, linewidth=0.7, linestyle=(0, (1.4, 1.2)))
    axes.set(xscale="log", xlim=(1e-17, 10), ylim=(0, 1), ylabel="share of games", xlabel="|right side − change of J|")
    axes.set_xticks([1e-15, 1e-10, 1e-5, 1])
    axes.set_title("(a) the lemma, N = 2, 3, 4", loc="left", pad=4)
    axes.legend(
        handles.values(),
        handles,
        fontsize=5,
        loc="center",
        bbox_to_anchor=(0.5, 0.5),
        handlelength=2,
        handletextpad=0.4,
    )
    return series


def _steps(changes, lowered, statistics: dict) -> list[dict]:
    series = []
    for agents, look in _by_agents().items():
        kinds = {"localised from product policies": ("localised", "-"), "product": ("product", (0, (3, 1.6)))}
        for kind, (label, dashes) in kinds.items():
            quantity = "product_change" if kind == "product" else "localised_change"
            each = common.entry(statistics, quantity, f"{kind}, N = {agents}")
            shown = {**each, "mean": each["minimum"]}
            text = f"{label}, N = {agents}"
            common.line(changes, shown, look, band=False, linestyle=dashes, linewidth=1, label=text)
            series.append(common.drawn("b", f"{text}, lowest game", shown) | {"low": None, "high": None})
        each = common.entry(statistics, "product_lowered", f"N = {agents}")
        text = f"product policies, N = {agents}"
        common.line(lowered, each, look, linestyle=(0, (3, 1.6)), label=text)
        series.append(common.drawn("c", text, each))
    changes.axhline(0, color=style.INK, linewidth=0.6)
    changes.set_yscale("symlog", linthresh=1e-2, linscale=0.6)
    changes.set(xscale="log", xlabel="step 1 / β", ylabel="change of J, lowest game", ylim=(-6, 6))
    changes.set_yticks([-1, -0.1, -0.01, 0, 0.01, 0.1, 1])
    changes.set_title("(b) one step of every agent", loc="left", pad=4)
    lowered.axhline(0, color=style.INK, linewidth=0.9, label="localised, all N: no game")
    lowered.set(xscale="log", xlabel="step 1 / β", ylabel="share of games with lower J", ylim=(-0.01, 0.24))
    lowered.set_title("(c) games made worse", loc="left", pad=4)
    for axes, place in ((changes, "lower left"), (lowered, "upper left")):
        axes.set_xticks([0.01, 1, 100])
        axes.legend(fontsize=5.2, loc=place, handlelength=2.4, borderaxespad=0.1, labelspacing=0.3)
    return series


def _by_agents() -> dict[int, style.Line]:
    kinds = zip(AGENTS, style.ramp(len(AGENTS)), style.MARKERS, strict=False)
    return {agents: style.Line(color, "-", marker) for agents, color, marker in kinds}


def _few(count: int):
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])
