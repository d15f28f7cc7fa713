"""A board: the states of a game as squares, coloured by the reward that the joint action earns there.

A random game has no geography, so the squares stand in the order of the states' indices. What learning changes is
their colour: the joint action that a state is answered with, and what it earns.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from reprise.analysis import style
from reprise.analysis.replay.films import Film
from reprise.analysis.replay.parts import AFTER, BEFORE, ReturnSoFar, Sheet, headings, sum_of

if TYPE_CHECKING:
    from reprise.experiments.replay import Episode, Replay

UNSEEN = "#f1f1f1"
TRAIL = 6  # steps of the path that a film shows
WIDTH = style.PAGE
DIGIT_POINTS = 4.0  # a column of joint actions at least this wide has its digits written in


def still(replay: Replay):
    """The whole episode: both boards, the return so far, and every step's reward and joint action."""
    sheet = _sheet(replay, film=False)
    for part in sheet.parts:
        part.show(max(replay.before.steps, replay.after.steps))
    return sheet.figure


def film(replay: Replay) -> Film:
    """The same, step by step."""
    sheet = _sheet(replay, film=True)

    def show(step: int) -> None:
        for part in sheet.parts:
            part.show(step)

    return Film(sheet.figure, show, max(replay.before.steps, replay.after.steps), seconds=0.1)


def _sheet(replay: Replay, film: bool) -> Sheet:
    agents = replay.after.actions.shape[1]
    rows = 0.085 * agents + 0.06
    sheet = Sheet(replay, WIDTH, 4.02 + rows)
    limit = float(np.abs(np.concatenate([replay.before.rewards, replay.after.rewards])).max()) or 1.0
    scale = _scale(limit)
    boards = [
        Board(sheet.axes(0.1 + i * 2.02, 0.5, 1.88, 1.88), episode, scale, f"{heading}: {sum_of(episode)}", film)
        for i, (episode, heading) in enumerate(zip((replay.before, replay.after), headings(replay), strict=True))
    ]
    _colour_bar(sheet.axes(0.14, 2.49, 3.84, 0.06), scale)
    back = ReturnSoFar(sheet.axes(4.52, 0.5, 2.36, 1.88), replay)
    rewards = Rewards(sheet.axes(0.46, 2.98, 6.42, 0.52), replay, limit)
    actions = Actions(sheet.axes(0.46, 3.55, 6.42, rows), replay.after, digits=not film)
    sheet.parts = [*boards, back, rewards, actions]
    return sheet


def _scale(limit: float):
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(-limit, limit), "RdBu")


def _colour_bar(axes, scale) -> None:
    axes.figure.colorbar(scale, cax=axes, orientation="horizontal")
    axes.tick_params(labelsize=6, pad=1)
    axes.grid(visible=False)
    axes.set_xlabel(
        "reward earned in the state (grey: not visited; white dot: start, black dot: end)", fontsize=6, labelpad=1
    )


class Board:
    """One episode's board: a square has the mean reward earned there so far, the white dot is the start, the black
    one where it is.

    A film also shows the last steps of the path, later ones darker.
    """

    def __init__(self, axes, episode: Episode, scale, title: str, film: bool):
        from matplotlib.collections import LineCollection
        from matplotlib.patheffects import withStroke

        self.episode, self.scale, self.film = episode, scale, film
        self.states = episode.frames["state"].astype(int)
        count = int(episode.frames["states"][0])
        self.columns = math.ceil(math.sqrt(count))
        lines = math.ceil(count / self.columns)
        axes.set_title(title, loc="left", pad=3)
        axes.set(xlim=(-0.5, self.columns - 0.5), ylim=(lines - 0.5, -0.5), xticks=[], yticks=[], aspect="equal")
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
        self.axes = axes
        self.squares = self._squares(count)
        self.path = axes.add_collection(
            LineCollection([], linewidths=1.1, zorder=3, path_effects=[withStroke(linewidth=2.2, foreground="white")])
        )
        start = self._place(int(self.states[0]))
        axes.plot(*zip(start, strict=True), "o", color="white", markeredgecolor=style.INK, markersize=5, zorder=4)
        (self.here,) = axes.plot([], [], "o", color=style.INK, markeredgecolor="white", markersize=5, zorder=5)

    def _squares(self, count: int):
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Rectangle

        at = [self._place(state) for state in range(count)]
        patches = [Rectangle((x - 0.46, y - 0.46), 0.92, 0.92) for x, y in at]
        return self.axes.add_collection(PatchCollection(patches, linewidth=0))

    def _place(self, state: int) -> tuple[int, int]:
        return state % self.columns, state // self.columns

    def show(self, step: int) -> None:
        """Colour what was earned before ``step``, and mark the path that led to it."""
        step = min(step, self.episode.steps)
        earned: dict[int, list[float]] = {}
        for state, reward in zip(self.states[:step], self.episode.rewards[:step], strict=True):
            earned.setdefault(int(state), []).append(float(reward))
        count = int(self.episode.frames["states"][0])
        colours = [self.scale.to_rgba(np.mean(earned[s])) if s in earned else UNSEEN for s in range(count)]
        self.squares.set_facecolor(colours)
        first = max(0, step - TRAIL)
        places = [self._place(int(state)) for state in self.states[first : step + 1]]
        self.here.set_data(*zip(places[-1], strict=True))
        if self.film:
            self.path.set_segments(list(pairwise(places)))
            self.path.set_color([style.mix("#ffffff", style.INK, (i + 1) / TRAIL) for i in range(len(places) - 1)])


class Rewards:
    """The reward of each step: bars after training, a stepped line before."""

    def __init__(self, axes, replay: Replay, limit: float):
        self.before, self.after = replay.before.rewards, replay.after.rewards
        steps = max(len(self.before), len(self.after))
        axes.set(xlim=(-0.5, steps - 0.5), ylim=(-1.05 * limit, 1.05 * limit))
        axes.set_ylabel("reward", labelpad=1)
        axes.tick_params(labelbottom=False, labelsize=6)
        axes.axhline(0, color=style.INK, linewidth=0.5)
        self.bars = axes.bar(range(len(self.after)), np.zeros(len(self.after)), width=0.8, color=AFTER)
        (self.line,) = axes.plot([], [], color=BEFORE, linewidth=0.8, drawstyle="steps-mid")

    def show(self, step: int) -> None:
        """The rewards of the first ``step`` steps."""
        for i, (bar, reward) in enumerate(zip(self.bars, self.after, strict=True)):
            bar.set_height(reward if i < step else 0.0)
        last = min(step, len(self.before))
        self.line.set_data(range(last), self.before[:last])


class Actions:
    """The joint action of each step: a line of squares per agent, shaded by action and, where they fit, numbered."""

    def __init__(self, axes, episode: Episode, digits: bool):
        from matplotlib.colors import ListedColormap

        self.actions = episode.actions.T.astype(float)  # [N, L]
        agents, steps = self.actions.shape
        most = int(self.actions.max()) + 1
        tints = [style.mix("#ffffff", style.PALETTE[2], share) for share in np.linspace(0.1, 0.75, most)]
        shades = ListedColormap(tints)
        empty = np.full_like(self.actions, np.nan)
        self.image = axes.imshow(empty, cmap=shades, vmin=-0.5, vmax=most - 0.5, aspect="auto", interpolation="nearest")
        axes.set(yticks=range(agents), yticklabels=[f"{i + 1}" for i in range(agents)])
        axes.tick_params(labelsize=5, length=0, pad=2)
        axes.tick_params(axis="x", labelsize=6, length=2)
        axes.grid(visible=False)
        axes.set_ylabel("agent", labelpad=1)
        axes.set_xlabel(
            "step: reward (bars: after training, line: before) and each agent's action after training",
            fontsize=7,
            labelpad=2,
        )
        points = axes.get_window_extent().width / axes.figure.dpi * 72 / steps
        if digits and points >= DIGIT_POINTS:
            for agent in range(agents):
                for step in range(steps):
                    action = f"{int(self.actions[agent, step])}"
                    axes.text(step, agent + 0.05, action, ha="center", va="center", fontsize=min(5.0, points))

    def show(self, step: int) -> None:
        """The actions of the first ``step`` steps."""
        shown = self.actions.copy()
        shown[:, step:] = np.nan
        self.image.set_data(shown)
