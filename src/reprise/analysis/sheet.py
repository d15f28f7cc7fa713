"""The sheet a picture is drawn on: title, stamp, a grid of axes, legend and footer, placed in inches.

Places are computed rather than searched for, so that every figure of a paper has the same margins and no legend ever
covers a curve.
"""

from __future__ import annotations

import math
import textwrap

from reprise.analysis import style
from reprise.analysis.figures import footer, spec

_ROW = {"title": 0.15, "legend": 0.134, "footer": 0.092, "stamp": 0.13}  # inches per line of text
_LEFT, _RIGHT = 0.7, 0.12
_XLABEL, _PANEL_TITLE = 0.42, 0.2


class Sheet:
    """``rows`` x ``columns`` axes of ``height`` inches on a sheet one column or one page wide.

    ``legend`` is the list of its texts, known beforehand because their number decides the sheet's height; ``titles``
    leaves room for a title over each panel; ``between`` is the gap between columns in inches; ``notes`` are texts
    under the axes, one per panel.
    """

    def __init__(
        self,
        statistics: dict,
        rows: int,
        columns: int,
        height: float,
        legend: list[str],
        titles: bool,
        between: float = 0.42,
        notes: list[str] | None = None,
    ):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.width = style.COLUMN if columns == 1 else style.PAGE
        self.legend_columns = self._columns(legend)
        title = textwrap.wrap(spec(statistics).get("title") or "", self._fits(8))
        foot = textwrap.wrap(footer(statistics), self._fits(5.2))
        wide = self._wide = (self.width - _LEFT - _RIGHT - (columns - 1) * between) / columns
        under = [textwrap.wrap(note, self._fits(5.2, wide + 0.3)) for note in notes or ()]
        stamp = textwrap.wrap(statistics.get("stamp") or "", self._fits(6))
        bottom = (
            0.06 + len(foot) * _ROW["footer"] + math.ceil(len(legend) / self.legend_columns) * _ROW["legend"] + 0.04
        )
        top = 0.05 + len(stamp) * _ROW["stamp"] + len(title) * _ROW["title"] + 0.06
        room = _XLABEL + max((len(lines) for lines in under), default=0) * _ROW["footer"]
        row = height + room + (_PANEL_TITLE if titles else 0)
        self.height = bottom + rows * row + top
        self.figure = Figure(figsize=(self.width, self.height))
        FigureCanvasAgg(self.figure)
        self._write(stamp, 0.05, _ROW["stamp"], size=6, color=style.MUTED, style="italic", side="right")
        self._write(title, 0.05 + len(stamp) * _ROW["stamp"], _ROW["title"], size=8, weight="bold")
        self._write(foot, self.height - 0.06 - len(foot) * _ROW["footer"], _ROW["footer"], size=5.2, color=style.MUTED)
        self._legend_top = bottom - 0.02
        self.axes = self._grid(rows, columns, height, row, bottom + room, wide + between, wide)
        for axes, lines in zip(self.axes, under, strict=False):
            for i, line in enumerate(lines):
                down = 72 * (_XLABEL - 0.03 + i * _ROW["footer"])
                axes.annotate(line, (0, 0), xycoords="axes fraction", xytext=(-20, -down), textcoords="offset points",
                              va="top", fontsize=5.2, color=style.MUTED)  # fmt: skip

    def _fits(self, size: float, width: float | None = None) -> int:
        """Characters of ``size`` points that fit on a line of ``width`` inches, None: the sheet's (DejaVu's mean
        advance is about 0.57 em)."""
        return int(((width or self.width) - 0.16) * 72 / (0.57 * size))

    def title_size(self, title: str) -> float:
        """The size in points at which a panel's title ends before the next panel and the sheet's edge."""
        return min(style.TITLE, (self._wide + _RIGHT - 0.05) * 72 / (0.57 * max(len(title), 1)))

    def _columns(self, legend: list[str]) -> int:
        longest = max((len(text) for text in legend), default=1)
        return max(1, min(len(legend) or 1, int((self.width - 0.1) / (0.45 + 0.05 * longest))))

    def _write(self, rows: list[str], top: float, step: float, side: str = "left", **font) -> None:
        """Lines of text from ``top`` inches below the upper edge downwards."""
        x = 0.08 if side == "left" else self.width - 0.08
        for i, text in enumerate(rows):
            y = self.height - top - i * step
            self.figure.text(x / self.width, y / self.height, text, ha=side, va="top", **font)

    def _grid(self, rows: int, columns: int, height: float, row: float, bottom: float, step: float, wide: float):
        axes = []
        for i in range(rows * columns):
            left = _LEFT + (i % columns) * step
            low = bottom + (rows - 1 - i // columns) * row
            axes.append(
                self.figure.add_axes((left / self.width, low / self.height, wide / self.width, height / self.height))
            )
        return axes

    def legend(self, handles: list, texts: list[str]) -> None:
        """The legend under the axes, across the sheet."""
        if handles:
            self.figure.legend(
                handles,
                texts,
                loc="upper center",
                bbox_to_anchor=(0.5, self._legend_top / self.height),
                ncols=self.legend_columns,
                columnspacing=1.0,
                handletextpad=0.6,
                labelspacing=0.35,
                borderaxespad=0,
                borderpad=0,
            )

    def hide_from(self, used: int) -> None:
        """Remove the axes that no panel fills."""
        for axes in self.axes[used:]:
            axes.remove()
