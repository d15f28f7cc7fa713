"""The picture of HATRPO's algorithm 1: theorems 2 and 3 over random games, and DPO's stochastic game."""

from __future__ import annotations

import re

from reprise.analysis import style
from reprise.analysis.drawings import common
from reprise.analysis.drawings.hatrpo import after_the_start
from reprise.analysis.sheet import Sheet

BLUE, RED, GREEN, _, AMBER, *_ = style.PALETTE
CHANGES = {  # quantity: label, look
    "algorithm_1_change": ("algorithm 1", style.Line(BLUE, "-", "o")),
    "simultaneous_change": ("simultaneous, penalty C", style.Line(AMBER, (0, (5, 1.6)), "s")),
    "no_penalty_change": ("sequential, no penalty", style.Line(GREEN, (0, (5, 1.4, 1.2, 1.4)), "^")),
    "simultaneous_no_penalty_change": ("simultaneous, no penalty", style.Line(RED, (0, (1.4, 1.2)), "D")),
}
CLASSES = {  # policy class and mode: label, look
    "tabular, sequential": ("sequential", style.Line(BLUE, "-", "o")),
    "tabular, simultaneous": ("simultaneous", style.Line(RED, "-", "s")),
    "blind, sequential": ("sequential, blind agents", style.Line(BLUE, (0, (3, 1.6)), "^")),
    "blind, simultaneous": ("simultaneous, blind agents", style.Line(RED, (0, (3, 1.6)), "D")),
}
LIMITS = {  # series: look
    "random order": style.Line(BLUE, "-", "o"),
    "fixed order": style.Line(AMBER, (0, (5, 1.6)), "s"),
    "one agent never updates": style.Line(RED, (0, (1.4, 1.2)), "D"),
}
SHOWN_GAMMA = "0.3"  # of the panels that show one discount


def algorithm_1(statistics: dict):
    """Theorem 2 and its controls, the scaled penalty, theorem 3, and the stochastic game."""
    sheet = Sheet(statistics, 3, 2, 1.6, [], titles=True, between=0.75)
    panels = zip("abcdef", sheet.axes, (_changes, _lowered, _gaps, _equilibria, _progress, _worst), strict=True)
    return sheet.figure, [each for name, axes, draw in panels for each in draw(name, axes, statistics)]


def _changes(panel: str, axes, statistics: dict) -> list[dict]:
    series = []
    for quantity, (label, look) in CHANGES.items():
        for i, name in enumerate(common.names(statistics, quantity)):
            each = common.entry(statistics, quantity, name)
            common.distribution(axes, each, look, linewidth=0.8, label=label if i == 0 else None)
            series.append(common.drawn(panel, f"{label}, {name}", each))
    axes.axvline(0, color=style.INK, linewidth=0.6)
    axes.set_xscale("symlog", linthresh=1e-2, linscale=0.4)
    axes.set_xticks([-10, -1, -0.1, 0, 0.1, 1, 10], ["−10", "−1", "", "0", "", "1", "10"])
    axes.set(xlabel="smallest change of J in one update", ylabel="share of games", ylim=(0, 1.42), yticks=[0, 0.5, 1])
    axes.legend(fontsize=5.5, loc="upper center", handlelength=2.2, ncols=2)
    axes.set_title(f"({panel}) theorem 2, all N and γ", loc="left", pad=4)
    return series


def _lowered(panel: str, axes, statistics: dict) -> list[dict]:
    series = []
    for name, (label, look) in CLASSES.items():
        each = common.entry(statistics, "lowered", f"{name}, γ = {SHOWN_GAMMA}")
        _against_kappa(
            axes, each, look, label, place=each["x"], shown=[k or min(filter(None, each["x"])) / 5 for k in each["x"]]
        )
        series.append(common.drawn(panel, label, each))
    axes.set(ylabel="share of games where J falls", ylim=(-0.03, 1))
    axes.legend(fontsize=5.5, loc="upper left", handlelength=2.2)
    axes.set_title(f"({panel}) penalty κC, γ = {SHOWN_GAMMA}, N = 2", loc="left", pad=4)
    return series


def _against_kappa(axes, each: dict, look: style.Line, label: str, place: list[float], shown: list[float]) -> None:
    """Against kappa in logarithm from the paper's 1 on the left; kappa 0, where there is one, at the right end."""
    common.line(axes, {**each, "x": shown}, look, markers=20, label=label)
    axes.set(xscale="log", xlabel="κ")
    axes.set_xticks(shown, [_power(kappa) for kappa in place], fontsize=6)
    axes.minorticks_off()
    axes.set_xlim(max(shown) * 1.6, min(shown) / 1.6)


def _limits(panel: str, axes, statistics: dict, quantity: str) -> list[dict]:
    """A line per order and kappa; the paper's kappa 1 is thick, or all are where it is not among them."""
    series = []
    found = common.names(statistics, quantity)
    for name in found:
        order, kappa = name.split(", κ = ")
        strong = kappa == "1" or all(not each.endswith("κ = 1") for each in found)
        each = common.entry(statistics, quantity, name)
        kept = after_the_start(each)
        common.line(axes, kept, LIMITS[order], band=False, label=name, linewidth=1.4 if strong else 0.7)
        series.append(common.drawn(panel, name, each))
    return series


def _gaps(panel: str, axes, statistics: dict) -> list[dict]:
    series = _limits(panel, axes, statistics, "nash_gap")
    axes.set(xscale="log", yscale="log", xlabel="iterations", ylabel="Nash gap, mean of games")
    axes.legend(fontsize=5, loc="lower left", handlelength=2.2)
    axes.set_title(f"({panel}) theorem 3: gap within η-soft policies", loc="left", pad=4)
    return series


def _equilibria(panel: str, axes, statistics: dict) -> list[dict]:
    series = _limits(panel, axes, statistics, "is_nash")
    axes.set(xscale="log", xlabel="iterations", ylabel="share with a gap < 10⁻⁶", ylim=(-0.03, 1.03))
    axes.set_title(f"({panel}) theorem 3: games at an equilibrium", loc="left", pad=4)
    return series


def _progress(panel: str, axes, statistics: dict) -> list[dict]:
    series = []
    kappas = [
        name.split("κ = ")[1] for name in common.names(statistics, "progress") if name.startswith("sequential, κ")
    ]
    for kappa, color in zip(kappas, style.ramp(len(kappas)), strict=True):
        for rule, dashes in (("sequential", "-"), ("simultaneous", (0, (3, 1.6)))):
            each = common.entry(statistics, "progress", f"{rule}, κ = {kappa}")
            kept = after_the_start(each)
            label = f"κ = {_power(float(kappa))}" if rule == "sequential" else None
            common.line(axes, kept, style.Line(color, dashes, None), band=False, markers=0, label=label, linewidth=1)
            series.append(common.drawn(panel, f"{rule}, κ = {kappa}", each))
    axes.set(
        xscale="log", xlabel="iterations", ylabel="J, 0 start to 1 optimum", ylim=(-0.55, 1.03), yticks=[0, 0.5, 1]
    )
    small = {"fontsize": 5, "title_fontsize": 5, "handlelength": 1.6}
    axes.legend(loc="lower center", ncols=3, title="sequential —, simultaneous - -", **small)
    axes.set_title(f"({panel}) DPO's stochastic game, γ = 0.99", loc="left", pad=4)
    return series


def _worst(panel: str, axes, statistics: dict) -> list[dict]:
    series = []
    rules = {"sequential": "tabular, sequential", "simultaneous": "tabular, simultaneous"}
    rules["sequential, blind"] = "blind, sequential"
    for rule, look in rules.items():
        found = [name for name in common.names(statistics, "worst_change") if name.split(", κ")[0] == rule]
        parts = [common.entry(statistics, "worst_change", name) for name in found]
        each = {key: [part[key][0] for part in parts] for key in ("x", "mean", "low", "high")} | {"n": parts[0]["n"]}
        shown = {**each, "low": [None] * len(parts)}
        _against_kappa(axes, shown, CLASSES[look][1], CLASSES[look][0], place=each["x"], shown=each["x"])
        series.append(common.drawn(panel, CLASSES[look][0], each))
    axes.axhline(0, color=style.INK, linewidth=0.6)
    axes.set_yscale("symlog", linthresh=1e-3, linscale=0.4)
    axes.set_yticks([-100, -1, 0, 1], ["−100", "−1", "0", "1"])
    axes.set(ylabel="smallest change of J")
    axes.legend(fontsize=5.5, loc="lower left", handlelength=2.2)
    axes.set_title(f"({panel}) DPO's stochastic game, in one update", loc="left", pad=4)
    return series


def _power(kappa: float) -> str:
    """0.01 as it is, 0.00001 as a power of ten."""
    return re.sub(r"^1e-0?(\d+)$", r"$10^{-\1}$", f"{kappa:.0e}") if 0 < kappa < 1e-3 else f"{kappa:g}"
