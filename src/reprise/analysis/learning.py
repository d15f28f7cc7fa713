"""Learning curves: a panel per task, and per group of curves where the figure's curves name groups."""

from __future__ import annotations

import math
import re

import numpy as np

from reprise.analysis import critics, style
from reprise.analysis.figures import legend_name, legend_text, spec
from reprise.analysis.sheet import Sheet

METRICS = {
    "expected_return": "exact expected return\n(greedy joint policy)",
    "return": "return",
    "success": "success rate",
}
REFERENCES = {
    "optimum": ("optimum", (0, (5, 2))),
    "nash": ("Nash level", (0, (1, 1.6))),
    "uniform": ("uniform", (0, (4, 1, 1, 1))),
    "scripted": ("scripted", (0, (5, 2))),
    "idle": ("idle", (0, (1, 1.6))),
}


def curves(statistics: dict):
    """A panel per task (and group of curves): mean over seeds with its 95 % band, the reference levels as horizontal
    lines, and under it the sizes of the critics where the runs tell them."""
    places = _places(statistics["panels"])
    columns = min(len(places), int(spec(statistics).get("columns") or min(3, len(places))))
    entries: dict[str, list[dict]] = {}
    for _, _, found in places:
        for curve in found:
            entries.setdefault(legend_name(curve), []).append(curve)
    # By name and not by label: what has one name in several groups looks the same in each of them.
    looks = style.lines([{**found[0], "label": each} for each, found in entries.items()])
    texts = [legend_text(each, found) for each, found in entries.items()]
    titles = len(places) > 1
    notes = [critics.sizes(statistics, panel["task"], found) for panel, _, found in places]
    rows = math.ceil(len(places) / columns)
    sheet = Sheet(statistics, rows, columns, 1.9 if columns == 1 else 1.55, texts, titles, notes=notes)
    series, handles = [], {}
    for i, (axes, (panel, group, found)) in enumerate(zip(sheet.axes, places, strict=False)):
        for j, curve in enumerate(found):
            handles.setdefault(legend_name(curve), _curve(axes, curve, looks[legend_name(curve)], j))
            series.append(_series(panel["task"], curve))
        _references(axes, panel.get("references"), spec(statistics).get("references"))
        _steps_axis(axes, empty=not any(curve.get("x") for curve in found))
        _returns_axis(axes)
        title = _title(panel["task"], group) if titles else ""
        label(axes, statistics, first=i % columns == 0, title=title, size=sheet.title_size(title))
    for task in {panel["task"] for panel, group, _ in places if group}:
        # The groups of a task are there to be compared.
        beside = [axes for axes, (panel, _, _) in zip(sheet.axes, places, strict=False) if panel["task"] == task]
        low, high = zip(*(axes.get_ylim() for axes in beside), strict=True)
        for axes in beside:
            axes.set_ylim(min(low), max(high))
    sheet.hide_from(len(places))
    sheet.legend([handles[each] for each in entries], texts)
    return sheet.figure, series


def _places(panels: list[dict]) -> list[tuple[dict, str | None, list[dict]]]:
    """(panel, group, its curves): a panel for each group of a task; a curve without a group is in all of them."""
    places = []
    for panel in panels:
        groups = list(dict.fromkeys(group for curve in panel["curves"] if (group := curve.get("group"))))
        for group in groups or [None]:
            places.append((panel, group, [c for c in panel["curves"] if c.get("group") in (group, None)]))
    return places


def _title(task: str, group: str | None) -> str:
    """Over a panel: the task, and where there are groups its number of agents for short ("N = 15, central actor")."""
    if not group:
        return short(task)
    agents = re.search(r"-n(\d+)$", task)
    return f"{f'N = {agents[1]}' if agents else short(task)}, {group}"


def _series(task: str, curve: dict) -> dict:
    drawn = {key: curve.get(key) or [] for key in ("x", "mean", "low", "high")}
    return {"panel": task, "label": curve["label"], "n": int(curve.get("n") or 0), **drawn}


def _curve(axes, curve: dict, look: style.Line, place: int):
    x, mean, low, high = (np.array(curve.get(key) or [], dtype=float) for key in ("x", "mean", "low", "high"))
    if len(low) == len(x) > 0:
        axes.fill_between(x, low, high, color=look.color, alpha=0.16, linewidth=0)
    every = max(1, len(x) // 7)
    (line,) = axes.plot(
        x,
        mean,
        color=look.color,
        linestyle=look.dashes,
        marker=look.marker,
        # Markers of different curves fall on different points, so that curves lying on each other stay countable.
        markevery=(min(place * every // 4, max(len(x) - 1, 0)), every),
        markeredgecolor="white",
        markeredgewidth=0.4,
    )
    return line


def _references(axes, references: dict | None, wanted: list[str] | None) -> None:
    """Horizontal lines named at their left end, where learning curves are still low: the upper one above its line."""
    from matplotlib.patheffects import withStroke

    found = {}
    for name, level in (references or {}).items():
        value = level.get("mean") if isinstance(level, dict) else level
        if value is not None and name in REFERENCES and (name in wanted if wanted is not None else name != "uniform"):
            found[name] = float(value)
    lowest, highest = min(found.values(), default=0.0), max(found.values(), default=0.0)
    for name, value in found.items():
        text, dashes = REFERENCES[name]
        above = value == highest
        axes.axhline(value, color=style.INK, linewidth=0.8, linestyle=dashes, zorder=1.5)
        axes.annotate(
            f"{text} {value:,.0f}" if abs(value) >= 1000 else f"{text} {value:.1f}",
            (0, value),
            xycoords=("axes fraction", "data"),
            xytext=(3, 1.5 if above else -1.5),
            textcoords="offset points",
            ha="left",
            va="bottom" if above else "top",
            fontsize=6,
            color=style.INK,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )
    if found:
        low, high = axes.get_ylim()
        if len(found) > 1:  # the name under the lowest line needs room, too
            low = min(low, lowest - 0.1 * (max(high, highest) - lowest))
        axes.set_ylim(low, max(high, highest + 0.07 * (highest - low)))


def _steps_axis(axes, empty: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(FuncFormatter(style.si))
    axes.set_xlabel("environment steps")
    axes.set_xlim(left=0)
    if empty:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no complete run", transform=axes.transAxes, ha="center", va="center", color=style.MUTED)


def _returns_axis(axes) -> None:
    """Five digits and more take the room of a panel's neighbour: "150k"."""
    from matplotlib.ticker import FuncFormatter

    if max(map(abs, axes.get_ylim())) >= 10_000:
        axes.yaxis.set_major_formatter(FuncFormatter(style.si))


def label(axes, statistics: dict, first: bool, title: str | None, size: float = style.TITLE) -> None:
    if first:
        axes.set_ylabel(METRICS.get(statistics["metric"], statistics["metric"].replace("_", " ")))
    if title:
        axes.set_title(title, loc="left", pad=4, fontsize=size)


def short(task: str) -> str:
    """The task's name without its environment."""
    return task.rsplit("/", 1)[-1]
