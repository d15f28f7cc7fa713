"""Picture of offline multi-agent PPO with pessimistic evaluation and without; the experiment is ours."""

from __future__ import annotations

from reprise.analysis import style
from reprise.analysis.drawings import common
from reprise.analysis.sheet import Sheet

BLUE, RED, GREEN, PINK, AMBER, SKY, BLACK = style.PALETTE
DOTTED = (0, (1.4, 1.2))
WIDE, NARROW = (3e-4, 8), (0.1, 8)  # axes of gaps
EVALUATIONS = {
    "count bound": ("pessimistic: count bound", style.Line(BLUE, "-", "o")),
    "Bellman-consistent": ("pessimistic: Bellman-consistent", style.Line(GREEN, (0, (5, 1.4, 1.2, 1.4)), "^")),
    "plain": ("plain, neutral prior", style.Line(RED, (0, (5, 1.6)), "s")),
    "plain, ridge to zero": ("plain, ridge to zero", style.Line(AMBER, DOTTED, "D")),
    "optimistic": ("planted: optimistic", style.Line(BLACK, (0, (3, 1, 1, 1, 1, 1)), "v")),
}
COVERAGES = {
    "partial": "(a) partial coverage",
    "full": "(b) full coverage",
    "removed": "(c) optimum never shown",
    "partial_misspecified": "(d) partial, misspecified",
    "full_misspecified": "(e) full, misspecified",
}
PRIORS = {"zero": (AMBER, DOTTED, "D"), "middle": (PINK, "-", "P"), "neutral": (RED, (0, (5, 1.6)), "s")}


def pessimism(statistics: dict):
    """Gap against data size for every coverage; paired differences; violations of the bound; sensitivities."""
    texts = [label for label, _ in EVALUATIONS.values()]
    sheet = Sheet(statistics, 3, 3, 1.5, texts, titles=True, between=0.5)
    handles, series = {}, []
    for i, (axes, (ending, title)) in enumerate(zip(sheet.axes, COVERAGES.items(), strict=False)):
        for name, (label, look) in EVALUATIONS.items():
            each = common.entry(statistics, f"gap_{ending}", name)
            handles[label] = common.line(axes, _above(each), look)
            series.append(common.drawn(ending, label, each))
        _sizes(axes, title, "gap J* − J(π)" if i % 3 == 0 else None)
        _gaps(axes, WIDE if ending in ("partial", "full") else NARROW)
    series += _differences(sheet.axes[5], statistics)
    series += _violations(sheet.axes[6], statistics)
    series += _penalties(sheet.axes[7], statistics) + _weights(sheet.axes[8], statistics)
    sheet.legend([handles[text] for text in texts], texts)
    return sheet.figure, series


def _differences(axes, statistics: dict) -> list[dict]:
    """(f) Gap of plain evaluation minus gap of the pessimistic one, paired by game, partial coverage."""
    series = []
    for name in ("count bound", "Bellman-consistent"):
        for other, dashes in (("plain", "-"), ("plain, ridge to zero", DOTTED)):
            _, look = EVALUATIONS[name]
            each = common.entry(statistics, "advantage_partial", f"{name} over {other}")
            common.line(axes, each, style.Line(look.color, dashes, look.marker))
            series.append(common.drawn("difference", f"{name} over {other}", each))
    axes.axhline(0, color=style.INK, linewidth=0.6)
    _sizes(axes, "(f) partial: plain − pessimistic", None)
    _note(axes, "lines: neutral prior; dotted: ridge to zero")
    return series


def _violations(axes, statistics: dict) -> list[dict]:
    """(g) How often the estimate exceeds the truth, under partial coverage."""
    series = []
    for ending, dashes in (("partial", "-"), ("partial_misspecified", DOTTED)):
        for name in ("count bound", "Bellman-consistent", "plain"):
            label, look = EVALUATIONS[name]
            each = common.entry(statistics, f"violations_{ending}", name)
            common.line(axes, each, style.Line(look.color, dashes, look.marker))
            series.append(common.drawn("violations", f"{label}, {ending}", each))
    _sizes(axes, "(g) partial: Q above truth", "share of pairs (s, a)")
    axes.set(ylim=(-0.03, 1.18))
    _note(axes, "lines: one-hot; dotted: misspecified")
    return series


def _penalties(axes, statistics: dict) -> list[dict]:
    """(h) Gap against c for each prior; c = 0 is drawn at the left edge."""
    series = []
    for prior, (color, dashes, marker) in PRIORS.items():
        each = common.entry(statistics, "gap_by_penalty", prior)
        shown = _above(each) | {"x": [max(x, 0.03) for x in each["x"]]}
        common.line(axes, shown, style.Line(color, dashes, marker), label=f"prior: {prior}")
        series.append(common.drawn("penalty", prior, each))
    axes.set(xscale="log", xlabel="c, in reward standard deviations")
    axes.set_xticks([0.03, 0.1, 1, 10], ["0", "0.1", "1", "10"])
    _gaps(axes, WIDE)
    axes.set_title("(h) count bound: gap against c", loc="left", pad=4)
    axes.legend(fontsize=5.5, loc="lower left", handlelength=2.4, borderaxespad=0.1, labelspacing=0.3)
    return series


def _weights(axes, statistics: dict) -> list[dict]:
    """(i) Gap against lambda of the Bellman-consistent form."""
    _, look = EVALUATIONS["Bellman-consistent"]
    each = common.entry(statistics, "gap_by_weight", "Bellman-consistent")
    common.line(axes, each, look)
    axes.set(xscale="log", xlabel="λ / √n")
    axes.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    _gaps(axes, NARROW)
    axes.set_title("(i) Bellman-consistent: gap", loc="left", pad=4)
    return [common.drawn("weight", "Bellman-consistent", each)]


def _above(each: dict) -> dict:
    """What a logarithmic axis can show: nothing below its lower end."""
    return each | {key: [value and max(value, WIDE[0] / 3) for value in each[key]] for key in ("mean", "low")}


def _gaps(axes, limits: tuple[float, float]) -> None:
    axes.set(yscale="log", ylim=limits)
    ticks = [tick for tick in (0.001, 0.01, 0.1, 0.3, 1, 3) if tick >= limits[0]]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _sizes(axes, title: str, label: str | None) -> None:
    """The axis of data sizes, which all panels but the sensitivities have."""
    axes.set(xscale="log", xlabel="transitions n", ylabel=label)
    axes.set_xticks([200, 1000, 8000], ["200", "1k", "8k"])
    axes.minorticks_off()
    axes.set_title(title, loc="left", pad=4)


def _note(axes, text: str) -> None:
    axes.text(0.03, 0.97, text, transform=axes.transAxes, va="top", fontsize=5.5, color=style.MUTED)
