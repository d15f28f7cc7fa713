"""Pictures of MF-PPO's neural studies: the two phases of lemmas 4.1 and 4.2, and lemma 4.3 with errors."""

from __future__ import annotations

from reprise.analysis import style
from reprise.analysis.drawings import common
from reprise.analysis.sheet import Sheet

BLUE, RED, GREEN, PINK, AMBER, SKY, BLACK = style.PALETTE
TITLE = {"loc": "left", "fontsize": 7}
EXACT = style.Line(BLACK, (0, (1.4, 1.2)), "")


def two_phases(statistics: dict):
    """Errors against T, N and m; gaps of algorithm 1 against T and K."""
    agents, steps = _by_number(statistics, "critic_error"), _by_number(statistics, "critic_error_by_agents")
    widths, several = _by_number(statistics, "critic_error_by_width"), _by_number(statistics, "budget_gap")
    most = agents[-1]
    sheet = Sheet(statistics, 2, 3, 1.75, [], titles=True, between=0.52)
    time, number, width, actor, budget, rate = sheet.axes
    looks = _ramp(agents)
    last = style.Line(RED, (0, (5, 1.6)), "s")
    shown = list(dict.fromkeys([*agents[::2], most]))
    series = _panel(time, statistics, "a", "critic_error", [(name, name, looks[name]) for name in shown])
    series += _panel(time, statistics, "a", "critic_error_last", [(most, f"{most}, last θ(T)", last)])
    series += _panel(number, statistics, "b", "critic_error_by_agents", _rows(steps))
    series += _panel(number, statistics, "b", "critic_limit", [("T = infinity", "T → ∞, exact", EXACT)], markers=0)
    series += _panel(width, statistics, "c", "critic_error_by_width", _rows(widths))
    ends = {name: looks[name] for name in (agents[0], most)}
    series += _panel(actor, statistics, "d", "actor_error", [(name, name, look) for name, look in ends.items()])
    dashed = {name: style.Line(look.color, (0, (5, 1.6)), "s") for name, look in ends.items()}
    rows = [(name, f"critic, {name}", look) for name, look in dashed.items()]
    series += _panel(actor, statistics, "d", "critic_error", rows)
    series += _panel(budget, statistics, "e", "budget_gap", _rows(several))
    series += _rates(rate, statistics, several)
    error = "mean square error"
    labels = (
        ("(a) critic, against steps", "TD steps T", error),
        ("(b) critic, against agents", "sampled agents N", error),
        (f"(c) critic, against width, {most}", "neurons m", error),
        ("(d) actor, against steps", "SGD steps T", error),
        ("(e) algorithm 1, against steps", "steps T of each network", "final gap"),
        ("(f) algorithm 1, against K", "iterations K (dotted: T → ∞)", "average gap"),
    )
    for axes, (title, x, y) in zip(sheet.axes, labels, strict=True):
        axes.set(xscale="log", yscale="log", xlabel=x)
        axes.set_ylabel(y, labelpad=2)
        axes.set_title(title, **TITLE)
        axes.legend(fontsize=5.4, loc="lower left", handlelength=2.2, labelspacing=0.25, borderaxespad=0.2)
    runs = common.entry(statistics, "average_gap", several[0])["x"]
    unlimited = common.entry(statistics, "limit_average_gap", "crowding, exact")["x"]
    gaps = [0.05, 0.1, 0.2, 0.4]
    _plain(budget, gaps, common.entry(statistics, "budget_gap", several[0])["x"])
    _plain(rate, gaps, sorted({*runs, *unlimited}))
    return sheet.figure, series


def _rates(axes, statistics: dict, names: list[str]) -> list[dict]:
    """(f) The average gap with T steps, and where T -> infinity leads with the same numbers of agents."""
    looks, unlimited = _ramp(names), common.names(statistics, "limit_average_gap")
    series = _panel(axes, statistics, "f", "average_gap", [(name, name, looks[name]) for name in names])
    rows = [
        (f"crowding, {name}", None, style.Line(look.color, EXACT.dashes, ""))
        for name, look in looks.items()
        if f"crowding, {name}" in unlimited
    ]
    exact = ("crowding, exact", "exact values", EXACT)
    return series + _panel(axes, statistics, "f", "limit_average_gap", [*rows, exact], markers=0)


def _plain(axes, gaps: list[float], places: list[float]) -> None:
    """Few ticks in plain numbers, for axes that span little more than a decade."""
    from matplotlib.ticker import NullFormatter

    axes.set_yticks(gaps, [f"{gap:g}" for gap in gaps])
    axes.set_xticks(places, [f"{place:g}" for place in places])
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_minor_formatter(NullFormatter())


def _panel(axes, statistics: dict, panel: str, quantity: str, rows: list[tuple], markers: int = 7) -> list[dict]:
    """Lines of ``rows`` (series, label or None, look); returns them as the json holds them.

    An interval of a mean may reach below zero, which a logarithmic axis cannot show: bands end at the smallest value.
    """
    drawn = []
    for name, label, look in rows:
        each = common.entry(statistics, quantity, name)
        floor = [
            None if low is None else max(low, least) for low, least in zip(each["low"], each["minimum"], strict=True)
        ]
        common.line(axes, each | {"low": floor}, look, markers=markers, **({"label": label} if label else {}))
        drawn.append(common.drawn(panel, f"{quantity}: {name}", each))
    return drawn


def _by_number(statistics: dict, quantity: str) -> list[str]:
    """The series "N = 2" or "T = 64" of ``quantity`` in the order of their numbers; others are left out."""
    names = [name for name in common.names(statistics, quantity) if name.rpartition(" = ")[2].isdigit()]
    return sorted(names, key=lambda name: int(name.rpartition(" = ")[2]))


def _rows(names: list[str]) -> list[tuple[str, str, style.Line]]:
    return [(name, name, look) for name, look in _ramp(names).items()]


def _ramp(names: list[str]) -> dict[str, style.Line]:
    """Solid lines from dark to light."""
    looks = common.looks(names)
    colors = style.ramp(len(names))
    return {name: style.Line(color, "-", looks[name].marker) for name, color in zip(names, colors, strict=True)}


READINGS = {
    "printed": ("as printed (mean squares)", style.Line(RED, "-", "")),
    "root": ("roots of the errors", style.Line(AMBER, "-", "")),
    "derived": ("as the proof gives it", style.Line(BLUE, (0, (4, 1.6)), "")),
}
EVERY, IMPROVEMENT = r"effect of all errors / $\varepsilon_k$", r"effect of the actor's error / $\varepsilon'_k$"
RATIOS = (  # quantity, kind of errors, what it is
    ("propagation_ratio", "random errors", EVERY),
    ("propagation_ratio", "aligned errors", EVERY),
    ("regression_ratio", "random errors", IMPROVEMENT),
)


def lemma_4_3_errors(statistics: dict):
    """Left over right side of the proof's two steps, over random games: right of 1 the bound is violated."""
    texts = [label for label, _ in READINGS.values()]
    sheet = Sheet(statistics, 1, 3, 1.8, texts, titles=True)
    series, handles = [], {}
    for axes, letter, (quantity, kind, meaning) in zip(sheet.axes, "abc", RATIOS, strict=True):
        axes.axvline(1, color=style.INK, linewidth=0.7)
        for reading, (label, look) in READINGS.items():
            each = common.entry(statistics, quantity, f"{reading}, {kind}")
            handles[label] = common.distribution(axes, each, look)
            series.append(common.drawn(letter, f"{quantity}: {each['series']}", each))
        axes.set(xscale="log", ylim=(0, 1), xlim=(1e-3, 1e4), xlabel=meaning)
        axes.set_title(f"({letter}) {kind}", **TITLE)
    sheet.axes[0].set_ylabel("share of games")
    sheet.legend([handles[text] for text in texts], texts)
    return sheet.figure, series
