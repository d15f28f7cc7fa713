"""Particles in the plane: agents, objects and landmarks as discs of their size, trails, targets and who is matched."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from reprise.analysis import style
from reprise.analysis.replay.films import Film
from reprise.analysis.replay.parts import ReturnSoFar, Sheet, headings, signed, sum_of

if TYPE_CHECKING:
    from reprise.experiments.replay import Episode, Replay

MOMENTS = 5  # pictures of an episode on a strip
LEAST_RADIUS = 0.018  # a disc is drawn at least this large, as a share of the view's width
WIDEST = 1.8  # the view shows at most so many times the arena; who is beyond stands at its edge
LANDMARK, TARGET = "#8c8c8c", style.INK
DOTTED = (0, (2, 1.5))


def still(replay: Replay):
    """A row of moments before training, a row after it, and the return so far."""
    most = max(replay.before.steps, replay.after.steps)
    moments = np.unique(np.linspace(0, most, MOMENTS).round().astype(int))
    size, gap, left = 1.28, 0.06, 0.3
    sheet = Sheet(replay, style.PAGE, 4.75)
    view = _view(replay)
    for row, (episode, heading) in enumerate(zip((replay.before, replay.after), headings(replay), strict=True)):
        top = 0.48 + row * (size + gap)
        for column, step in enumerate(moments):
            axes = sheet.axes(left + column * (size + gap), top, size, size)
            arena = Arena(axes, episode, view)
            arena.show(int(step))
            if row == 0:
                axes.set_title(f"step {step}", pad=3)
            if column == 0:
                axes.set_ylabel(heading, labelpad=3)
    back = ReturnSoFar(sheet.axes(0.62, 3.42, 4.3, 0.82), replay)
    back.show(most)
    for step in moments:
        back.axes.axvline(step, color=style.GRID, linewidth=3, zorder=0)
    _legend(sheet, replay, left=5.2, top=3.42)
    return sheet.figure


def film(replay: Replay) -> Film:
    """Both episodes side by side, step by step, with the return so far under them."""
    sheet = Sheet(replay, 6.6, 5.1)
    view = _view(replay)
    arenas = []
    for i, (episode, heading) in enumerate(zip((replay.before, replay.after), headings(replay), strict=True)):
        axes = sheet.axes(0.1 + i * 3.25, 0.5, 3.15, 3.15)
        axes.set_title(f"{heading}: {sum_of(episode)}", loc="left", pad=3)
        arenas.append(Arena(axes, episode, view))
    back = ReturnSoFar(sheet.axes(0.6, 3.92, 4.2, 0.66), replay)
    _legend(sheet, replay, left=5.0, top=3.9)

    def show(step: int) -> None:
        for part in (*arenas, back):
            part.show(step)

    return Film(sheet.figure, show, max(replay.before.steps, replay.after.steps), seconds=0.12)


def _view(replay: Replay) -> float:
    """Half the width of what is shown: the arena, and where the trained agents go, up to ``WIDEST`` arenas."""
    extent = float(replay.after.frames["extent"][0])
    reached = float(np.abs(replay.after.frames["positions"]).max())
    return 1.06 * min(max(extent, reached), WIDEST * extent)


def colours(roles: np.ndarray) -> list[str]:
    """A colour per entity: the palette's for the agents in turn, grey for what stands around."""
    return [style.PALETTE[i % 6] if role == "agent" else LANDMARK for i, role in enumerate(roles)]


class Arena:
    """One episode in axes of its own; ``show(step)`` draws where everything is, and the agents' way there."""

    def __init__(self, axes, episode: Episode, view: float):
        self.axes, self.episode, self.view = axes, episode, view
        self.roles = episode.frames["roles"][0]
        self.agents = int((self.roles == "agent").sum())
        self.colours = colours(self.roles)
        axes.set(xlim=(-view, view), ylim=(-view, view), xticks=[], yticks=[], aspect="equal")
        axes.grid(visible=False)
        extent = float(episode.frames["extent"][0])
        edge = extent * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]])
        axes.plot(*edge.T, color=style.GRID, linewidth=0.7, zorder=0)
        for spine in axes.spines.values():
            spine.set(visible=True, color=style.GRID)
        self.corner = _corner(episode.frames["positions"], view)
        self.drawn: list = []

    def show(self, step: int) -> None:
        """The world after ``step`` steps, or at its end if the episode was shorter."""
        for artist in self.drawn:
            artist.remove()
        step = min(step, self.episode.steps)
        frame = {name: values[step] for name, values in self.episode.frames.items()}
        self.drawn = [
            *self._discs(frame, [i for i, role in enumerate(self.roles) if role != "agent"], zorder=1),
            *self._targets(frame),
            *self._trails(step),
            *self._discs(frame, range(self.agents), zorder=5),
            *self._outside(frame["positions"]),
            self.axes.annotate(signed(self.episode.so_far[step]), **self.corner),
        ]

    def _discs(self, frame: dict, which, zorder: float) -> list:
        from matplotlib.patches import Circle

        least = LEAST_RADIUS * 2 * self.view
        discs = []
        for i in which:
            radius = max(float(frame["sizes"][i]), least)
            look = {"facecolor": self.colours[i], "edgecolor": "white", "linewidth": 0.4, "zorder": zorder}
            discs.append(self.axes.add_patch(Circle(frame["positions"][i], radius, **look)))
        return discs

    def _targets(self, frame: dict) -> list:
        """A cross per target, and a thin line from it to the agent whose distance the reward counts."""
        from matplotlib.collections import LineCollection

        if "targets" not in frame:
            return []
        targets = frame["targets"]
        size = 90 * LEAST_RADIUS * self.axes.bbox.width / self.axes.figure.dpi
        drawn = self.axes.plot(*targets.T, "+", color=TARGET, markersize=2.2 + size, markeredgewidth=0.8, zorder=4)
        if "links" in frame:
            ends = [(frame["positions"][agent], targets[target]) for agent, target in frame["links"]]
            look = {"colors": style.INK, "linewidths": 0.6, "linestyles": [DOTTED], "zorder": 3}
            drawn.append(self.axes.add_collection(LineCollection(ends, **look)))
        return drawn

    def _trails(self, step: int) -> list:
        """The agents' ways so far, older parts fainter."""
        from matplotlib.collections import LineCollection

        if step == 0:
            return []
        ways = self.episode.frames["positions"][: step + 1, : self.agents]
        faint = np.linspace(0.12, 0.85, step)
        return [
            self.axes.add_collection(
                LineCollection(
                    np.stack([ways[:-1, i], ways[1:, i]], axis=1),
                    colors=self.colours[i],
                    alpha=faint,
                    linewidths=1.3,
                    zorder=2,
                )
            )
            for i in range(self.agents)
        ]

    def _outside(self, positions: np.ndarray) -> list:
        """An arrowhead at the edge for each agent that has left the view."""
        drawn = []
        for i, (x, y) in enumerate(positions[: self.agents]):
            if max(abs(x), abs(y)) > self.view:
                edge = np.clip([x, y], -0.94 * self.view, 0.94 * self.view)
                head = (3, 0, float(np.degrees(np.arctan2(y, x))) - 90)
                look = {"marker": head, "markersize": 5, "color": self.colours[i], "zorder": 6}
                drawn += self.axes.plot(*edge, **look)
        return drawn


def _corner(positions: np.ndarray, view: float) -> dict:
    """Where the return so far is written: in the corner that the entities stay farthest from, all the episode long."""
    corners = np.array([[-1, -1], [1, -1], [-1, 1], [1, 1]])
    away = np.abs(positions.reshape(-1, 1, 2) - view * corners).max(axis=2).min(axis=0)
    x, y = corners[away.argmax()]
    return {
        "xy": ((x + 1) / 2, (y + 1) / 2),
        "xycoords": "axes fraction",
        "xytext": (-3 * x, -3 * y),
        "textcoords": "offset points",
        "ha": "left" if x < 0 else "right",
        "va": "bottom" if y < 0 else "top",
        "fontsize": 7,
        "zorder": 7,
    }


def _legend(sheet: Sheet, replay: Replay, left: float, top: float) -> None:
    """What the marks mean, those that occur; its upper left corner lies there, in inches."""
    from matplotlib.lines import Line2D

    frames = replay.after.frames
    dot = {"color": LANDMARK, "linestyle": "none", "marker": "o", "markeredgecolor": "white", "markersize": 5}
    marks = [(Line2D([], [], color=style.PALETTE[0], linewidth=1.3, marker="o", markersize=5), "agent and its trail")]
    marks += [(Line2D([], [], **dot), role) for role in ("object", "landmark") if role in frames["roles"][0]]
    if "targets" in frames:
        marks.append((Line2D([], [], color=TARGET, linestyle="none", marker="+", markersize=6), "target"))
    if "links" in frames:
        marks.append((Line2D([], [], color=style.INK, linewidth=0.7, linestyle=DOTTED), "counted by the reward"))
    handles, words = zip(*marks, strict=True)
    corner = (left / sheet.width, 1 - top / sheet.height)
    look = {"fontsize": 6.5, "borderaxespad": 0, "labelspacing": 0.35}
    sheet.figure.legend(handles, words, loc="upper left", bbox_to_anchor=corner, **look)
