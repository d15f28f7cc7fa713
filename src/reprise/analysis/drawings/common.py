"""What the drawings of exact studies share: looking up series, lines with bands, distributions, the json's entries."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from reprise.analysis import style
from reprise.errors import RepriseError, unknown


def names(statistics: dict, quantity: str) -> list[str]:
    """The series of ``quantity``, in the order they were recorded."""
    return list(dict.fromkeys(each["series"] for each in statistics["series"] if each["quantity"] == quantity))


def entry(statistics: dict, quantity: str, series: str) -> dict:
    """The one series of that quantity and name; RepriseError naming the nearest when there is none."""
    place = f"{statistics['paper']}/{statistics['figure']}"
    found = [each for each in statistics["series"] if each["quantity"] == quantity and each["series"] == series]
    if not found and quantity not in {each["quantity"] for each in statistics["series"]}:
        raise unknown("quantity", quantity, {each["quantity"] for each in statistics["series"]}, place)
    if not found:
        raise unknown("series", series, names(statistics, quantity), f"{place}: {quantity}")
    if len(found) > 1:
        raise RepriseError(f"{place}: two studies record '{series}' of '{quantity}'")
    return found[0]


def array(each: dict, key: str) -> np.ndarray:
    """A list of a series as float64, None as NaN."""
    return np.array([np.nan if value is None else value for value in each[key]], dtype=float)


def looks(labels: Iterable[str]) -> dict[str, style.Line]:
    """A colour, dash and marker for each label, in the palette's order."""
    distinct = list(dict.fromkeys(labels))
    kinds = (style.PALETTE, style.DASHES, style.MARKERS)
    picked = [[options[i % len(options)] for options in kinds] for i in range(len(distinct))]
    return {label: style.Line(*each) for label, each in zip(distinct, picked, strict=True)}


def line(axes, each: dict, look: style.Line, *, band: bool = True, markers: int = 7, **options):
    """Mean over units against x with its 95 % band; returns the handle."""
    x, mean, low, high = (array(each, key) for key in ("x", "mean", "low", "high"))
    if band and not np.isnan(low).all():
        axes.fill_between(x, low, high, color=look.color, alpha=0.16, linewidth=0)
    every = max(1, len(x) // markers) if markers else None
    drawn = {"color": look.color, "linestyle": look.dashes, "marker": look.marker if markers else None}
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.4, "markevery": every}
    return axes.plot(x, mean, **(drawn | edge | options))[0]


def distribution(axes, each: dict, look: style.Line, **options):
    """The share of units at or below each value, from the quantiles of a series with one x; returns the handle."""
    drawn = {"color": look.color, "linestyle": look.dashes}
    return axes.plot(array(each, "quantiles"), np.linspace(0, 1, 101), **(drawn | options))[0]


def drawn(panel: str, label: str, each: dict) -> dict:
    """A series as the json beside a picture holds it."""
    return {"panel": panel, "label": label, "n": each["n"]} | {key: each[key] for key in ("x", "mean", "low", "high")}
