"""How every picture looks: sizes, fonts, one colour per algorithm, lines that also differ in grey.

Sizes are print sizes in inches (a column is 3.5 wide, a page 7.0), fonts in points. Colours come from the
algorithms' YAML files by way of the statistics; the palette meant there is Okabe and Ito's, safe for colour-blind
readers. Dash patterns and markers repeat the distinction, so that a picture survives a black-and-white printer.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import dataclass

COLUMN, PAGE = 3.5, 7.0
TITLE = 8  # points, over a panel
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
INK, MUTED, GRID = "#222222", "#6b6b6b", "#e4e4e4"
DASHES = (
    "-",
    (0, (5, 1.6)),
    (0, (5, 1.4, 1.2, 1.4)),
    (0, (1.4, 1.2)),
    (0, (8, 2)),
    (0, (3, 1, 1, 1, 1, 1)),
    (0, (2, 2)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

_RC = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.linewidth": 0.6,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "lines.linewidth": 1.3,
    "lines.markersize": 3.2,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "savefig.dpi": 220,
    "pdf.fonttype": 42,
    # Ids inside an svg are salted hashes; a fixed salt makes them the same at each redrawing.
    "svg.hashsalt": "reprise",
    "svg.fonttype": "path",
}

# What savefig would otherwise stamp with the time or the library's version.
METADATA = {
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
    "pdf": {"CreationDate": None, "ModDate": None, "Creator": None, "Producer": None},
}


@contextmanager
def house():
    """matplotlib under this package's settings alone: the user's matplotlibrc and environment do not show."""
    import matplotlib

    previous = os.environ.pop("SOURCE_DATE_EPOCH", None)
    try:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            matplotlib.rcParams.update(_RC)
            yield
    finally:
        if previous is not None:
            os.environ["SOURCE_DATE_EPOCH"] = previous


@dataclass(frozen=True)
class Line:
    """How one curve is drawn; ``dashes`` is a matplotlib line style."""

    color: str
    dashes: object
    marker: str


def mix(color: str, other: str, share: float) -> str:
    """``color`` moved by ``share`` (0..1) towards ``other``, both "#rrggbb"."""
    pair = [[int(c.lstrip("#")[i : i + 2], 16) for i in (0, 2, 4)] for c in (color, other)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*pair, strict=True))


def lines(curves: list[dict]) -> dict[str, Line]:
    """A `Line` for every label among ``curves`` (dicts with ``label``, ``algorithm``, ``color``).

    An algorithm keeps its colour in every figure; variants without a colour of their own darken and lighten it.
    Three or more curves of one algorithm and colour are a sweep: a sequential ramp (viridis without its yellow end)
    in the order of the config.
    """
    unique = list({curve["label"]: curve for curve in curves}.values())
    families: dict[str, list[str]] = {}
    for curve in unique:
        families.setdefault(curve["algorithm"], []).append(curve["label"])
    own = {curve.get("color") for curve in unique}
    if len(families) == 1 and len(own) == 1 and len(unique) >= 3:
        colors = dict(zip(families[unique[0]["algorithm"]], ramp(len(unique)), strict=True))
    else:
        colors = {}
        used: dict[str, int] = {}
        for curve in unique:
            base = curve.get("color") or PALETTE[list(families).index(curve["algorithm"]) % len(PALETTE)]
            again = used[base] = used.get(base, -1) + 1
            shades = (base, mix(base, "#000000", 0.45), mix(base, "#ffffff", 0.42), mix(base, "#000000", 0.7))
            colors[curve["label"]] = shades[again % len(shades)]
    return {
        curve["label"]: Line(colors[curve["label"]], DASHES[i % len(DASHES)], MARKERS[i % len(MARKERS)])
        for i, curve in enumerate(unique)
    }


def ramp(count: int) -> list[str]:
    """``count`` colours from dark to light, even steps in lightness."""
    import matplotlib
    from matplotlib.colors import to_hex

    scale = matplotlib.colormaps["viridis"]
    return [to_hex(scale(0.85 * i / max(count - 1, 1))) for i in range(count)]


def si(value: float, _position: int | None = None) -> str:
    """A step count with an SI suffix: 0, 500, 20k, 1.5M."""
    for unit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g}{suffix}"
    return f"{value:.4g}"
