"""Pictures of section 3 of the DPO paper: critic, lemma 3.1 and theorem 3.2, theorem 3.3, its constants scaled down."""

from __future__ import annotations

import numpy as np

from reprise.analysis import style
from reprise.analysis.drawings import common
from reprise.analysis.sheet import Sheet

BLUE, RED, GREEN, PINK, AMBER, SKY, BLACK = style.PALETTE
TITLE = {"loc": "left", "fontsize": 7, "pad": 4}
AGENTS = {f"N = {n}": style.Line(c, d, m) for n, c, d, m in zip(
    (2, 3, 4, 5), (BLUE, RED, GREEN, PINK), style.DASHES, style.MARKERS, strict=False)}  # fmt: skip
COORDINATION = {
    "both at once": style.Line(BLACK, "-", "D"),
    "one after the other": style.Line(AMBER, (0, (5, 1.6)), "v"),
}
GAMMAS = ("0.3", "0.6", "0.9")
SOUGHT = ("0.01", *GAMMAS)
STEPS = (
    ("change of J to (3)", "(3): TRPO's bound", style.MUTED),
    ("(3) to (13)", "(13): lemma 3.1", BLUE),
    ("(13) to (14)", "(14): Cauchy", GREEN),
    ("(14) to (15)", "(15): KL of the product", AMBER),
    ("(15) to (16)", "(16): root of a sum", RED),
)
RULES = {
    "DPO": style.Line("#0072B2", "-", "o"),
    "DPO without root": style.Line("#009E73", (0, (5, 1.6)), "^"),
    "in turn": style.Line("#D55E00", (0, (5, 1.4, 1.2, 1.4)), "s"),
}
RULE_TEXTS = ("DPO, equation 18", "without the root term (IPPO-KL)", "in turn (HATRPO, algorithm 1)")
GREEDY = {"greedy at once": ("#0072B2", "o"), "greedy in turn": ("#D55E00", "s")}
GREEDY_TEXTS = ("no penalty, at once", "no penalty, in turn")


def _title(axes, letter: str, text: str) -> None:
    axes.set_title(f"({letter}) {text}", **TITLE)


def _percent(axis) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _spread(axes, x: float, each: dict, look: style.Line, hollow: bool = False, largest: bool = False):
    """Median and the range from 5 to 95 % at ``x``; a dot at the largest if wanted. The handle is the median's."""
    low, middle, high = (each["quantiles"][k] for k in (5, 50, 95))
    axes.vlines(x, low, high, color=look.color, linewidth=1.3, alpha=0.6)
    if largest:
        axes.plot(x, each["maximum"][0], ".", color=look.color, markersize=2.5)
    face = "white" if hollow else look.color
    edge = {"markerfacecolor": face, "markeredgecolor": look.color, "markeredgewidth": 0.8}
    return axes.plot(x, middle, linestyle="none", marker=look.marker, color=look.color, markersize=4, **edge)[0]


def decentralised_critic(statistics: dict):
    """Noise of the advantage estimate; the coordination game; random games whose J a step of all agents lowers."""
    texts = [*AGENTS, "both agents at once", "one after the other"]
    sheet = Sheet(statistics, 2, 2, 1.5, texts, titles=True, between=0.62)
    noise, game, greedy, ball = sheet.axes
    series, handles = [], {}
    for i, agents in enumerate(list(AGENTS)[:3]):
        for k, gamma in enumerate(GAMMAS):
            each = common.entry(statistics, "noise_to_signal", f"{agents}, γ = {gamma}")
            handles[agents] = _spread(noise, k + 0.2 * (i - 1), each, AGENTS[agents])
            share = common.entry(statistics, "variance_from_others", f"{agents}, γ = {gamma}")
            series.append(common.drawn("noise over signal", each["series"], each))
            series.append(common.drawn("share of the variance from the others", share["series"], share))
            at = (k + 0.2 * (i - 1), each["quantiles"][95])
            noise.annotate(f"{share['mean'][0]:.0%}", at, (0, 2), textcoords="offset points", ha="center", fontsize=5)
    noise.set_xticks(range(3), [f"γ = {gamma}" for gamma in GAMMAS])
    noise.set_ylim(0, 8)
    noise.set_ylabel("noise / signal\n(standard deviations)")
    _title(noise, "a", "r + γV(s′) − V(s); %: of its variance from the others")
    for name, look in COORDINATION.items():
        each = common.entry(statistics, "coordination_return", name)
        handles[name] = common.line(game, each, look, band=False)
        series.append(common.drawn("coordination game", name, each))
    game.axhline(each["mean"][0], color=style.MUTED, linewidth=0.7, linestyle=(0, (2, 2)))
    game.set(xlabel="share of the way to the greedy policy", ylabel="J = Pr(same action)", ylim=(0, 1.02))
    _title(game, "b", "two agents, reward 1 for the same action")
    for axes, quantity, letter, text in (
        (greedy, "lowers_at_once", "c", "steps of all agents at once that lower J"),
        (ball, "kl_step_lowers", "d", "the same within a KL ball"),
    ):
        for agents, look in AGENTS.items():
            each = common.entry(statistics, quantity, agents)
            handles[agents] = common.line(axes, each, look)
            series.append(common.drawn(text, agents, each))
        axes.set_ylim(0, None)
        axes.set_ylabel("share of random games")
        _percent(axes.yaxis)
        _title(axes, letter, text)
    greedy.set_xlabel("share of the way to the greedy policy")
    ball.set(xlabel="largest KL of each agent's step", xscale="log")
    sheet.legend([handles[name] for name in (*AGENTS, "both at once", "one after the other")], texts)
    return sheet.figure, series


def theorem_3_2(statistics: dict):
    """How much of each bound random games use, and games sought for the purpose; what each step of the proof loses."""
    texts = [f"{agents}{text}" for agents in list(AGENTS)[:3] for text in (", near", ", far")]
    texts += ["largest found by hill climbing"]
    sheet = Sheet(statistics, 2, 2, 1.6, texts, titles=True, between=0.62)
    series, handles = [], {}
    panels = (
        ("lemma_3_1", "a", "lemma 3.1: |L_joint − L_i| / bound"),
        ("theorem_3_2", "b", "theorem 3.2: (mean L_i − change of J) / penalty"),
        ("without_root", "c", "ours: (sum of L_i − change of J) / bound without root"),
    )
    for axes, (name, letter, text) in zip(sheet.axes, panels, strict=False):
        for i, agents in enumerate(list(AGENTS)[:3]):
            for k, gamma in enumerate(SOUGHT):
                label = f"{agents}, γ = {gamma}"
                for near, place in (("near", -0.09), ("far", 0.0)):
                    if gamma in GAMMAS:
                        each = common.entry(statistics, f"{name}_ratio", f"{label}, {near}")
                        x = k + 0.28 * (i - 1) + place
                        hollow = near == "far"
                        handles[agents, near] = _spread(axes, x, each, AGENTS[agents], hollow, largest=True)
                        series.append(common.drawn(text, each["series"], each))
                each = common.entry(statistics, f"{name}_reached", label)
                x, y = k + 0.28 * (i - 1) + 0.09, each["maximum"][0]
                handles["sought"] = axes.plot(x, y, "x", color=AGENTS[agents].color, markersize=4.5)[0]
                series.append(common.drawn(f"{text}, sought", label, each))
        axes.axhline(1, color=style.INK, linewidth=0.8, linestyle=(0, (5, 2)))
        axes.set(ylim=(-0.1, 1.08), ylabel="share of the bound in use")
        _percent(axes.yaxis)
        axes.set_xticks(range(4), [f"γ = {gamma}" for gamma in SOUGHT])
        _title(axes, letter, text)
    series += _steps(statistics, sheet.axes[3])
    shown = [handles[agents, distance] for agents in list(AGENTS)[:3] for distance in ("near", "far")]
    sheet.legend([*shown, handles["sought"]], texts)
    return sheet.figure, series


def _steps(statistics: dict, axes) -> list[dict]:
    """Stacked shares of the difference of the two sides of equation 12, by the step of the proof that loses them."""
    series = []
    for row, distance in enumerate(("far", "near")):
        left = 0.0
        for name, text, color in STEPS:
            each = common.entry(statistics, "step_share", f"{name}, {distance}")
            share = each["mean"][0]
            axes.barh(row, share, left=left, height=0.5, color=color, label=text if row == 0 else None)
            if share > 0.03:
                axes.text(left + share / 2, row, f"{share:.0%}", ha="center", va="center", fontsize=5.5, color="white")
            left += share
            series.append(common.drawn("loss by step", each["series"], each))
    axes.set_yticks((0, 1), ("far\npolicies", "near\npolicies"))
    axes.set(xlim=(0, 1.03), ylim=(-0.5, 2.6), xlabel="share of the loss from J to equation 16")
    axes.grid(False, axis="y")
    _percent(axes.xaxis)
    axes.legend(loc="upper left", ncols=2, fontsize=5.5, borderpad=0.1, labelspacing=0.3, handlelength=1.2)
    _title(axes, "d", "theorem 3.2: what each step of the proof loses")
    return series


def theorem_3_3(statistics: dict):
    """Penalty over gain, and the kappa at which the first agent moves, over games."""
    texts = [f"N = {n}, γ = {gamma}" for n in (2, 3, 4) for gamma in GAMMAS]
    sheet = Sheet(statistics, 1, 2, 2.0, texts, titles=True, between=0.62)
    ratio, kappa = sheet.axes
    series, handles = [], []
    for n in (2, 3, 4):
        color = AGENTS[f"N = {n}"].color
        for gamma, dashes in zip(GAMMAS, style.DASHES, strict=False):
            for axes, quantity in ((ratio, "ratio_over_bound"), (kappa, "start_kappa")):
                each = common.entry(statistics, quantity, f"N = {n}, γ = {gamma}")
                handle = common.distribution(axes, each, style.Line(color, dashes, ""))
                series.append(common.drawn(quantity.replace("_", " "), each["series"], each))
            handles.append(handle)
        kappa.axvline(1 / np.sqrt(2 * n * (n - 1)), color=color, linewidth=0.9, linestyle=(0, (1, 1.5)))
        one = common.entry(statistics, "ratio_over_bound", f"N = {n}, one-shot")
        ratio.plot(one["mean"], [0.04 * (n - 1)], marker="*", color=color, markersize=7, linestyle="none", zorder=3)
        series.append(common.drawn("ratio over bound", one["series"], one))
    ratio.axvline(1, color=style.INK, linewidth=0.8, linestyle=(0, (5, 2)))
    ratio.annotate("one-shot\ngame (stars)\nattains it", (0.92, 0.14), fontsize=6, ha="right", va="center")
    ratio.set(xscale="log", xlim=(0.2, None), ylim=(0, 1.02), ylabel="games at or below")
    ratio.set_xlabel("smallest penalty / gain, over sqrt(2N(N − 1))")
    kappa.set(xscale="log", ylim=(0, 1.02), ylabel="games at or below", xlim=(None, 1.3))
    kappa.axvline(1, color=style.INK, linewidth=0.8, linestyle=(0, (5, 2)))
    kappa.annotate("theorem", (0.92, 0.5), rotation=90, ha="right", va="center", fontsize=6)
    kappa.set_xlabel("κ below which an agent moves")
    for axes in sheet.axes:
        _percent(axes.yaxis)
    _title(ratio, "a", "penalty / gain: never below its bound")
    _title(kappa, "b", "both constants times κ; dotted: necessary")
    sheet.legend(handles, texts)
    return sheet.figure, series


def scaled_constants(statistics: dict):
    """Updates that lower J, games where one does, and the way made to the optimum, against kappa and by N."""
    texts = [*RULE_TEXTS, *GREEDY_TEXTS]
    sheet = Sheet(statistics, 3, 3, 1.15, texts, titles=True, between=0.36)
    series, handles = [], {}
    rows = (
        ("share_lowered", "updates that lower J", 0.5),
        ("ever_lowered", "games where one does", 1.0),
        ("progress", "way to the optimum made", 1.0),
    )
    for place, axes in enumerate(sheet.axes):
        quantity, text, top = rows[place // 3]
        agents = f"N = {place % 3 + 2}"
        for rule, look in RULES.items():
            each = common.entry(statistics, quantity, f"{rule}, {agents}")
            handles[rule] = common.line(axes, each, look, markers=20)
            series.append(common.drawn(text, each["series"], each))
        left = each["x"][0] / 6
        for rule, (color, marker) in GREEDY.items():
            free = common.entry(statistics, quantity, f"{rule}, {agents}")
            axes.vlines(left, free["low"], free["high"], color=color, linewidth=1.3, alpha=0.6)
            edge = {"markerfacecolor": "white", "markeredgewidth": 1.0}
            drawn = axes.plot(left, free["mean"], linestyle="none", marker=marker, color=color, markersize=4.5, **edge)
            handles[rule] = drawn[0]
            series.append(common.drawn(text, free["series"], free))
        axes.set_xscale("log")
        axes.set_xlim(left / 2, 2)
        _still(axes, common.entry(statistics, "moved", f"DPO, {agents}"))
        axes.set_ylim(-0.03 * top, 1.06 * top)
        _percent(axes.yaxis)
        axes.set_xlabel("κ")
        _title(axes, "abcdefghi"[place], f"{agents}: {text}" if place % 3 == 0 else agents)
    sheet.legend(list(handles.values()), texts)
    return sheet.figure, series


def _still(axes, moved: dict) -> None:
    """Hatch where equation 18 moves in no game."""
    x, mean = common.array(moved, "x"), common.array(moved, "mean")
    start = x[mean > 0].max() if (mean > 0).any() else x[0]
    first = x[x > start].min() if (x > start).any() else None
    if first is not None:
        axes.axvspan(first, 2, facecolor="none", edgecolor=style.GRID, hatch="////", linewidth=0, zorder=0.5)
