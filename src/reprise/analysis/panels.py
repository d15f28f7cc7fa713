"""What is drawn inside the axes, one function per kind of figure: `sensitivity` and `games` here, `curves` in
learning.py, `parameters` and `cost` in critics.py.

Each takes a figure's statistics and returns the matplotlib figure and the series drawn: a list of
{panel, label, n, x, mean, low, high}, which becomes the json beside the picture.
"""

from __future__ import annotations

import math

import numpy as np

from reprise.analysis import critics, drawings, style
from reprise.analysis.factors import common_name, factors, paired_games
from reprise.analysis.figures import legend_text, spec
from reprise.analysis.learning import curves, label, short
from reprise.analysis.sheet import Sheet
from reprise.errors import unknown

SHARE = "return, 0 uniform to 1 optimum"


def compose(statistics: dict):
    """The figure and its series, by the kind its config declares (`curves` when it declares none)."""
    kind = spec(statistics).get("kind") or "curves"
    if kind == "study":
        return drawings.find(statistics["paper"], spec(statistics)["drawing"])(statistics)
    if kind not in KINDS:
        raise unknown("kind of figure", kind, KINDS, f"{statistics['paper']}/{statistics['figure']}")
    return KINDS[kind](statistics)


def sensitivity(statistics: dict):
    """A panel per task and value of the second factor: one dot with interval per algorithm at each value of the first.

    The leading algorithm is named above each place, in brackets when its interval meets the next one's.
    """
    found = factors(statistics)
    first, others = found.order[0], found.order[1:]
    cells = [(task, rest) for task in found.tasks for rest in found.levels(others)]
    columns = max(1, len(found.levels(others)))
    names = list(found.series)
    looks = style.lines([{**found.series[name][0], "label": name} for name in names])
    texts = [legend_text(name, found.series[name]) for name in names]
    rows = math.ceil(len(cells) / columns)
    sheet = Sheet(
        statistics, rows, columns, 1.9 if columns == 1 else 1.7, texts, titles=bool(others) or len(found.tasks) > 1
    )
    series, handles = [], {}
    places = [level[0] for level in found.levels([first])]
    shared = [math.inf, -math.inf]
    for i, (axes, (task, rest)) in enumerate(zip(sheet.axes, cells, strict=True)):
        points = [found.points(task, name, first, places, others, rest) for name in names]
        for j, (name, drawn) in enumerate(zip(names, points, strict=True)):
            offset = (j - (len(names) - 1) / 2) * 0.5 / max(len(names), 1)
            handles.setdefault(name, _intervals(axes, np.arange(len(places)) + offset, drawn, looks[name]))
            panel = ", ".join([task, *(f"{key} = {value}" for key, value in zip(others, rest, strict=True))])
            series.append({"panel": panel, "label": name, "x": places, **drawn})
            shared = [min([shared[0], *_finite(drawn["low"])]), max([shared[1], *_finite(drawn["high"])])]
        _leaders(axes, names, points, looks)
        axes.set_xticks(range(len(places)), [_value(v) for v in places])
        axes.set_xlim(-0.5, len(places) - 0.5)
        axes.grid(False, axis="x")
        axes.set_xlabel(common_name(first))
        title = [short(task)] if len(found.tasks) > 1 else []
        title += [f"{common_name(key)} = {_value(value)}" for key, value in zip(others, rest, strict=True)]
        label(axes, statistics, first=i % columns == 0, title=", ".join(title) or None)
    if shared[0] < shared[1]:
        room = shared[1] - shared[0]
        for axes in sheet.axes:
            axes.set_ylim(shared[0] - 0.06 * room, shared[1] + 0.16 * room)
    sheet.legend([handles[name] for name in names], texts)
    return sheet.figure, series


def _finite(values) -> list[float]:
    return [v for v in values if v is not None and math.isfinite(v)]


def _value(value) -> str:
    return style.si(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)


def _intervals(axes, x, drawn: dict, look: style.Line):
    low, high = (np.array(drawn[key], dtype=float) for key in ("low", "high"))
    axes.vlines(x, low, high, color=look.color, linewidth=1.4, alpha=0.55)
    return _dots(axes, x, np.array(drawn["mean"], dtype=float), look, size=5)


def _dots(axes, x, y, look: style.Line, size: float):
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    return axes.plot(x, y, linestyle="none", marker=look.marker, markersize=size, color=look.color, **edge)[0]


def _leaders(axes, names: list[str], points: list[dict], looks: dict) -> None:
    for place in range(len(points[0]["mean"])):
        here = [
            (p["mean"][place], p["low"][place], p["high"][place], name) for p, name in zip(points, names, strict=True)
        ]
        here = sorted((h for h in here if h[0] is not None), key=lambda h: -h[0])
        if len(here) < 2:
            continue
        _, low, _, leader = here[0]
        clear = low is not None and all(high is not None and low > high for _, _, high, _ in here[1:])
        axes.annotate(
            leader if clear else f"({leader})",
            (place, 1),
            xycoords=("data", "axes fraction"),
            xytext=(0, -1),
            textcoords="offset points",
            ha="center",
            va="top",
            fontsize=6.5,
            color=looks[leader].color,
            weight="bold" if clear else "normal",
        )


def games(statistics: dict):
    """Many game draws, finals between uniform (0) and optimum (1): the first algorithm against each other, and all.

    A dot above the diagonal is a game that the first algorithm won.
    """
    from matplotlib.ticker import MaxNLocator

    found, names, scores = paired_games(statistics)
    looks = style.lines(found)
    texts = [legend_text(curve["label"], [curve]) for curve in found]
    sheet = Sheet(statistics, 1, 2, 2.3, texts, titles=True, between=0.62)
    scatter, strip = sheet.axes
    values = [value for row in scores for value in row] or [0.0, 1.0]
    room = 0.05 * (max(values) - min(values) or 1.0)
    limits = (min(values) - room, max(values) + room)
    scatter.plot(limits, limits, color=style.MUTED, linewidth=0.8, linestyle=(0, (4, 2)))
    wins = []
    for curve, rival in zip(found[1:], scores[1:], strict=True):
        _dots(scatter, rival, scores[0], looks[curve["label"]], size=4.2)
        wins.append(f"{sum(a > b for a, b in zip(scores[0], rival, strict=True))} over {curve['label']}")
    leader = found[0]["label"]
    scatter.set(xlim=limits, ylim=limits, xlabel=f"the other: {SHARE}", ylabel=f"{leader}: {SHARE}")
    scatter.xaxis.set_major_locator(MaxNLocator(6))
    scatter.set_title(f"{leader} wins of {len(names)} games: {', '.join(wins)}", loc="left", pad=4)
    places = np.arange(1, len(names) + 1)
    shifts = [(i - (len(found) - 1) / 2) * 0.24 for i in range(len(found))]
    ends = (places + shifts[0], places + shifts[1])
    strip.plot(ends, (scores[0], scores[1]), color=style.MUTED, linewidth=0.7, alpha=0.6)
    shown = zip(found, scores, shifts, strict=True)
    handles = [_dots(strip, places + shift, row, looks[curve["label"]], size=4.2) for curve, row, shift in shown]
    strip.set_title(f"every game, sorted by {leader} minus {found[1]['label']}", loc="left", pad=4)
    strip.set(xlabel="rank of the game", ylabel=SHARE, ylim=limits)
    strip.xaxis.set_major_locator(MaxNLocator(integer=True))
    strip.grid(False, axis="x")
    sheet.legend(handles, texts)
    series = []
    for curve, row in zip(found, scores, strict=True):
        # One run per game: a point has no interval of its own.
        bounds = {"low": [None] * len(row), "high": [None] * len(row)}
        series.append({"panel": "games", "label": curve["label"], "n": len(row), "x": names, "mean": row, **bounds})
    return sheet.figure, series


KINDS = {
    "curves": curves,
    "sensitivity": sensitivity,
    "games": games,
    "parameters": critics.parameters,
    "cost": critics.cost,
}
