"""What the pictures of every kind share: the sheet with its title, and the return so far."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from reprise.analysis import style

if TYPE_CHECKING:
    from reprise.experiments.replay import Replay

AFTER, BEFORE = style.PALETTE[0], style.MUTED
DASHED = (0, (4, 1.6))
MARGIN, GAP = 0.08, 0.2  # inches from the sheet's edges, and least between the title and the stamp beside it
LABEL = (0.2, 0.1)  # width and height of a level's name, as shares of the axes
NAMES = {"nash": "Nash level"}


class Sheet:
    """An empty sheet with title, stamp and footer; ``axes(left, top, width, height)`` places axes in inches."""

    def __init__(self, replay: Replay, width: float, height: float):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(self.figure)
        name = self._line(0.07, title(replay), size=8, weight="bold")
        if replay.stamp:
            look = {"size": 6, "color": style.MUTED, "style": "italic"}
            beside = name + GAP + _inches(replay.stamp, 6) <= width - 2 * MARGIN
            self._line(0.07 if beside else 0.21, replay.stamp, right=True, **look)  # else a line of its own
        self._line(height - 0.15, footer(replay), size=5.2, color=style.MUTED)

    def _line(self, top: float, words: str, size: float, right: bool = False, **font) -> float:
        """Words from the left edge, or up to the right one, smaller where they would leave the sheet. Their width."""
        width, room = _inches(words, size, font.get("weight")), self.width - 2 * MARGIN
        size *= min(1.0, room / width)
        place = {"ha": "right"} if right else {}
        self.text(self.width - MARGIN if right else MARGIN, top, words, size=size, **place, **font)
        return min(width, room)

    def text(self, left: float, top: float, words: str, **font) -> None:
        """Words whose upper left corner lies ``left`` and ``top`` inches from the sheet's."""
        self.figure.text(left / self.width, 1 - top / self.height, words, **{"va": "top", "ha": "left", **font})

    def axes(self, left: float, top: float, width: float, height: float):
        """Axes of that size whose upper left corner lies there, all in inches."""
        bottom = self.height - top - height
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))


def _inches(words: str, size: float, weight: str | None = None) -> float:
    """How wide words are at most: by the outlines of the letters, and what hinting may add at some resolution."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    return 1.04 * TextPath((0, 0), words, size=size, prop=FontProperties(weight=weight)).get_extents().width / 72


def title(replay: Replay) -> str:
    """Task, algorithm, tier, seed and return."""
    return f"{replay.task} · {replay.cell} · tier {replay.tier} · seed {replay.seed} · return {sum_of(replay.after)}"


def footer(replay: Replay) -> str:
    """What was played, what is to be expected of the policies where that is known, and the config's hash."""
    words = [f"greedy policy, episode {replay.number}, same start and same random numbers before and after training"]
    if not math.isnan(replay.after.expected):
        words.append(
            f"exact expectation {signed(replay.before.expected)} before, {signed(replay.after.expected)} after"
        )
    return " · ".join([*words, f"config {replay.hash[:12]}"])


def levels(references: dict[str, float]) -> dict[str, float]:
    """The reference returns that are shown: all but the ends of a range."""
    return {name: level for name, level in references.items() if not name.endswith(("_low", "_high"))}


def sum_of(episode) -> str:
    """The episode's return, to a tenth from 100 on and to a hundredth below; with a minus sign, not a hyphen."""
    return signed(float(episode.rewards.sum()))


def signed(value: float) -> str:
    """ "481.2", "−5.93" """
    return f"{value:.{1 if abs(value) >= 100 else 2}f}".replace("-", "−")


def headings(replay: Replay) -> tuple[str, str]:
    """What stands over the episodes before and after training."""
    return "before training", f"after {style.si(replay.env_steps)} env steps"


class SoFar:
    """A number of the episodes before (dashed, grey) and after training, against the step.

    Args:
        before, after: it after 0 to L steps, [L + 1] each.
        levels: further values that the axes must hold. width: of the lines, in points.
    """

    def __init__(self, axes, title: str, before, after, levels=(), width: float = 1.3):
        self.axes = axes
        steps = max(len(before), len(after)) - 1
        values = [*before, *after, *levels]
        margin = 0.06 * (max(values) - min(values) or 1.0)
        axes.set(xlim=(0, steps * 1.01), ylim=(min(values) - margin, max(values) + margin))
        axes.set_xlabel("step", labelpad=1)
        axes.set_title(title, loc="left", pad=3)
        self.lines = [
            (axes.plot([], [], color=BEFORE, linewidth=width, linestyle=DASHED, label="before")[0], before),
            (axes.plot([], [], color=AFTER, linewidth=width, label="after")[0], after),
        ]
        self.dots = [axes.plot([], [], "o", color=line.get_color(), markersize=3.5)[0] for line, _ in self.lines]

    def show(self, step: int) -> None:
        """The lines up to ``step``, where each ends in a dot."""
        for (line, values), dot in zip(self.lines, self.dots, strict=True):
            last = min(step, len(values) - 1)
            line.set_data(range(last + 1), values[: last + 1])
            dot.set_data([last], [values[last]])


class ReturnSoFar(SoFar):
    """The return so far, and the levels it may reach."""

    def __init__(self, axes, replay: Replay):
        known = levels(replay.references)
        super().__init__(axes, "return so far", replay.before.so_far, replay.after.so_far, known.values())
        for name, level in known.items():
            self._level(NAMES.get(name, name), level, level == max(known.values()) or not self._room_below(level))
        above = {"loc": "lower right", "bbox_to_anchor": (1.0, 1.0), "ncols": 2, "borderaxespad": 0.1, "borderpad": 0.1}
        axes.legend(fontsize=6, handlelength=2.0, columnspacing=1.0, **above)

    def _room_below(self, level: float) -> bool:
        """Whether a level's name fits between its line and the step's axis."""
        low, high = self.axes.get_ylim()
        inches = self.axes.get_position().height * self.axes.figure.get_figheight()
        return (level - low) / (high - low) * inches > 9 / 72

    def _level(self, name: str, level: float, above: bool) -> None:
        """A line across, named at its left end, or at the right one where the curves leave more room."""
        from matplotlib.patheffects import withStroke

        low, high = self.axes.get_ylim()
        bottom, top = sorted((level, level + LABEL[1] * (high - low) * (1 if above else -1)))
        crossed = [0, 0]
        for _, values in self.lines:
            wide = 1 + round(LABEL[0] * len(values))
            for x, part in enumerate((values[:wide], values[-wide:])):
                crossed[x] += int(((part >= bottom) & (part <= top)).sum())
        x = int(crossed[1] < crossed[0])
        self.axes.axhline(level, color=style.INK, linewidth=0.7, linestyle=DASHED, zorder=1.5)
        self.axes.annotate(
            f"{name} {signed(level)}",
            (x, level),
            xycoords=("axes fraction", "data"),
            xytext=(-3 if x else 3, 1.5 if above else -1.5),
            textcoords="offset points",
            ha="right" if x else "left",
            va="bottom" if above else "top",
            fontsize=6,
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )
