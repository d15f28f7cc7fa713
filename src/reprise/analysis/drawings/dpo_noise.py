"""Pictures of appendix D of the DPO paper: the hinge form, clipping the joint ratio, noise in the advantages."""

from __future__ import annotations

import numpy as np

from reprise.analysis import style
from reprise.analysis.drawings import common
from reprise.analysis.sheet import Sheet

BLUE, RED, GREEN, PINK, AMBER, SKY, BLACK = style.PALETTE
TITLE = {"loc": "left", "fontsize": 7}
AGENTS = "number of agents N"

# Appendix D. Update: colour, dashes, marker.
UPDATES = {
    "own ratio": style.Line(RED, style.DASHES[0], "o"),
    "own ratio, joint advantage": style.Line(AMBER, style.DASHES[1], "s"),
    "own ratio, box": style.Line(PINK, style.DASHES[2], "^"),
    "own ratio, shrunk clip": style.Line(SKY, style.DASHES[3], "D"),
    "joint ratio": style.Line(BLACK, style.DASHES[4], "v"),
}
FORMS = (  # quantity, what was compared with the gradient of the clipped objective, colour
    ("gradient_error", "weights π_old: 0", BLUE),
    ("printed_minus_error_at_old", "minus printed, at π_old", GREEN),
    ("printed_minus_error", "minus printed", AMBER),
    ("printed_error", "as printed", RED),
)

# Advantage noise, in the colours of config/algorithms.
LEARNERS = {
    "DPO": style.Line("#0072B2", style.DASHES[0], "o"),
    "IPPO": style.Line("#D55E00", style.DASHES[1], "s"),
    "IPPO-KL": style.Line("#009E73", style.DASHES[2], "^"),
    "IPPO, signs only": style.Line("#999933", style.DASHES[3], "D"),
}
WRONG = style.Line(style.MUTED, style.DASHES[5], "P")
CASES = (  # how the series of each comparison looks, from the beginning of its name
    ("N = 3", style.Line(BLACK, "-", "o")),
    ("N = 6", style.Line(SKY, (0, (1.4, 1.2)), "^")),
)
STEPS = (style.DASHES[1], style.DASHES[2], style.DASHES[3])  # the step sizes behind N = 3


def _ticks(axis, places: list[float], texts: list[str] | None = None) -> None:
    """A tick at each of ``places`` and nowhere else."""
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(places))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FixedFormatter(texts or [f"{place:g}" for place in places]))


def _percent(axis) -> None:
    from matplotlib.ticker import PercentFormatter

    axis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _title(axes, letter: str, text: str) -> None:
    axes.set_title(f"({letter}) {text}", **TITLE)


def appendix_d(statistics: dict):
    """The hinge form against the printed one; where the joint ratio goes; what one update does to the return."""
    sheet = Sheet(statistics, 2, 3, 1.45, list(UPDATES), titles=True, between=0.55)
    series = _hinge(statistics, sheet.axes[0])
    panels = (
        ("largest_ratio", "random", "b", "largest joint ratio, random"),
        ("outside", "crowding", "c", "outside the clip, crowding"),
        ("lowers", "crowding", "d", "updates that lower J, crowding"),
        ("gain", "crowding", "e", "gain of one update, crowding"),
        ("gain", "random", "f", "gain of one update, random"),
    )
    handles = {}
    for axes, (quantity, family, letter, title) in zip(sheet.axes[1:], panels, strict=True):
        for label, look in UPDATES.items():
            each = common.entry(statistics, quantity, f"{label}, {family}")
            handles[label] = common.line(axes, each, look)
            series.append(common.drawn(title, label, each))
        _title(axes, letter, title)
        axes.set_xlabel(AGENTS)
        _ticks(axes.xaxis, each["x"])
        if quantity != "largest_ratio":
            _percent(axes.yaxis)
    _powers(statistics, sheet.axes[1])
    sheet.axes[2].set_ylabel("share of joint actions")
    sheet.axes[3].set_ylabel("share of games")
    for axes in sheet.axes[4:]:
        axes.set_ylabel("share of the way")
        axes.axhline(0, color=style.INK, linewidth=0.6)
    sheet.legend(list(handles.values()), list(handles))
    return sheet.figure, series


def _hinge(statistics: dict, axes) -> list[dict]:
    """How far the gradient of each written form is from that of the clipped objective, over games with N = 3."""
    series = []
    for i, (quantity, label, color) in enumerate(FORMS):
        each = common.entry(statistics, quantity, "N = 3")
        common.distribution(axes, each, style.Line(color, style.DASHES[i], ""), label=label)
        series.append(common.drawn("gradient of the hinge form", label, each))
    axes.legend(fontsize=5, loc="lower right", handlelength=1.6, handletextpad=0.5, borderaxespad=0.1)
    axes.set_xlim(-0.1, 7)
    _percent(axes.yaxis)
    axes.set_xlabel("error of the gradient / its length")
    axes.set_ylabel("games at or below")
    _title(axes, "a", "gradient of the hinge form")
    return series


def _powers(statistics: dict, axes) -> None:
    """(1 + eps)^N, which own ratios inside the clip can reach, and 1 + eps; the ratios on a logarithmic axis."""
    for label, above, dashes in (("(1 + ε)ᴺ", 1.05, (0, (2, 2))), ("1 + ε", 1.03, "-")):
        each = common.entry(statistics, "ratio_bound", label)
        common.line(axes, each, style.Line(style.MUTED, dashes, ""), markers=0, linewidth=0.8)
        axes.text(each["x"][-1], each["mean"][-1] * above, label, color=style.MUTED, fontsize=6, ha="right")
    axes.set_yscale("log")
    axes.set_ylim(1.1, 10)
    _ticks(axes.yaxis, [1.2, 2, 4, 8])
    axes.set_ylabel("mean over games")


def advantage_noise(statistics: dict):
    """Return, updates that lower it, and IPPO's loss minus DPO's, against the size of the noise; a row per form."""
    wrong_text, looks = "signs wrong at the first update", _comparisons(statistics)
    texts = [*LEARNERS, wrong_text, *(f"IPPO - DPO, {case}" for case in looks)]
    sheet = Sheet(statistics, 2, 3, 1.45, texts, titles=True, between=0.55)
    series, handles = [], {}
    rows = (
        ("gaussian", "Gaussian noise", "σ / deviation of the advantages", "abc"),
        ("flips", "wrong signs", "probability that a sign is wrong", "def"),
    )
    for row, (form, name, xlabel, letters) in enumerate(rows):
        panels = share, lowers, excess = sheet.axes[3 * row : 3 * row + 3]
        for label, look in LEARNERS.items():
            for axes, quantity, title in ((share, "share", "return"), (lowers, "lowers", "updates that lower J")):
                each = common.entry(statistics, f"{quantity}_{form}", label)
                handles[label] = common.line(axes, each, look)
                series.append(common.drawn(f"{name}: {title}", label, each))
        wrong = common.entry(statistics, f"flipped_first_{form}", "DPO")
        handles[wrong_text] = common.line(lowers, wrong, WRONG)
        series.append(common.drawn(f"{name}: signs", wrong_text, wrong))
        for case, look in looks.items():
            each = common.entry(statistics, f"excess_{form}", case)
            thin = {"linewidth": 0.8, "band": False, "markers": 0} if "step" in case else {}
            handles[f"IPPO - DPO, {case}"] = common.line(excess, each, look, **thin)
            series.append(common.drawn(f"{name}: loss of IPPO - loss of DPO", case, each))
        titles = (f"return, {name}", "updates that lower J", "loss of IPPO minus DPO's")
        for axes, letter, title in zip(panels, letters, titles, strict=True):
            _title(axes, letter, title)
            axes.set_xlabel(xlabel)
            _percent(axes.yaxis)
            _levels(axes, wrong["x"], spread=form == "gaussian")
        share.set_ylabel("share of the way")
        lowers.set_ylabel("share of updates, of signs")
        excess.set_ylabel("share of the way")
        _sides(excess)
    sheet.legend([handles[text] for text in texts], texts)
    return sheet.figure, series


def _comparisons(statistics: dict) -> dict[str, style.Line]:
    """The means over step sizes, and for N = 3 the step sizes alone."""
    names = common.names(statistics, "excess_gaussian")
    alone = [name for name in names if name.startswith("N = 3, step")]
    return dict(CASES) | {name: style.Line(style.MUTED, STEPS[i % 3], "") for i, name in enumerate(alone)}


def _sides(axes) -> None:
    """The line of no difference, and what lies on either side of it."""
    axes.axhline(0, color=style.INK, linewidth=0.6)
    low, high = axes.get_ylim()
    room = 0.13 * (high - low)
    axes.set_ylim(min(low, -room), max(high, room))
    for text, y, side in (("noise hurts IPPO more", 0.97, "top"), ("noise hurts DPO more", 0.03, "bottom")):
        axes.text(0.04, y, text, transform=axes.transAxes, fontsize=5.5, color=style.MUTED, va=side)


def _levels(axes, levels: list[float], spread: bool) -> None:
    """A tick at each level; ``spread`` draws them on an axis of log(1 + 4 x), since they double."""
    if spread:
        axes.set_xscale("function", functions=(lambda x: np.log1p(4 * np.maximum(x, -0.2)), lambda y: np.expm1(y) / 4))
    _ticks(axes.xaxis, levels)
