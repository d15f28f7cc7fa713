"""From a figure's statistics to its picture: svg, png, pdf, and the numbers drawn as json.

Nothing but the statistics file is read, so a clone with pulled tables redraws without a run folder, and redrawing
gives the same bytes (fixed hash salt, no dates, fonts that ship with matplotlib).
"""

from __future__ import annotations

import io
import json
import math
from pathlib import Path

from reprise.analysis import style
from reprise.errors import RepriseError

FORMATS = ("svg", "png", "pdf")
_LEGEND_ROW, _FOOTER_ROW, _TITLE_ROW = 0.155, 0.095, 0.15  # inches


def statistics_file(root: Path, tier: str, figure_key: str) -> Path:
    """Where the statistics of ``figure_key`` ("dpo/fig01a") lie."""
    return Path(root) / "results" / tier / "statistics" / f"{figure_key}.json"


def read_statistics(root: Path, tier: str, figure_key: str) -> dict:
    """The statistics of one figure as a dict; RepriseError when absent or damaged, naming the command that makes it."""
    path = statistics_file(root, tier, figure_key)
    again = f"run: reprise statistics {figure_key} --tier {tier}"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RepriseError(f"{path}: no such file; {again}") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as fault:
        raise RepriseError(f"{path}: damaged ({fault}); {again}") from None
    missing = [key for key in ("paper", "figure", "tier", "metric", "panels") if key not in found]
    if missing:
        raise RepriseError(f"{path}: no key '{missing[0]}'; {again}")
    return found


def draw(project, tier: str, figure_key: str) -> list[Path]:
    """Draw ``figure_key`` ("dpo/fig01a") at ``tier`` from its statistics; returns the four files written."""
    statistics = read_statistics(project.root, tier, figure_key)
    return save(statistics, Path(project.root) / "figures" / tier / figure_key)


def save(statistics: dict, stem: Path) -> list[Path]:
    """Write ``stem``.svg, .png, .pdf and .json for ``statistics``, each atomically; returns the paths."""
    from reprise.experiments.runs import write_bytes

    contents, series = render(statistics)
    contents["json"] = (json.dumps(record(statistics, series), indent=1, sort_keys=True) + "\n").encode()
    written = []
    for suffix, data in contents.items():
        path = stem.with_name(f"{stem.name}.{suffix}")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
        written.append(path)
    return written


def record(statistics: dict, series: list[dict]) -> dict:
    """What the json beside a picture holds: the series as drawn, the reference lines, and where they come from."""
    return clean(
        {
            "paper": statistics["paper"],
            "figure": statistics["figure"],
            "tier": statistics["tier"],
            "metric": statistics["metric"],
            "interval": statistics.get("interval"),
            "stamp": statistics.get("stamp"),
            "footer": footer(statistics),
            "references": {panel["task"]: panel.get("references") or {} for panel in statistics["panels"]},
            "series": series,
            # The checks of exact studies: violations in how many games, slopes with intervals, controls.
            **({"studies": statistics["studies"]} if "studies" in statistics else {}),
        }
    )


def clean(value):
    """``value`` with every NaN and infinity replaced by None: json has no word for them."""
    if isinstance(value, dict):
        return {str(key): clean(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [clean(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def spec(statistics: dict) -> dict:
    """The figure's entry in its paper's config (title, kind, columns, ...), as collect carried it along."""
    return (statistics.get("coverage") or {}).get("spec") or {}


def footer(statistics: dict) -> str:
    """Tier, steps, seeds, interval kind, backend and commits in one line."""
    text = statistics.get("footer") or f"tier {statistics['tier']}"
    return text if isinstance(text, str) else " · ".join(str(part) for part in text)


def render(statistics: dict) -> tuple[dict[str, bytes], list[dict]]:
    """The picture in each of `FORMATS` and the series drawn; writes nothing."""
    from reprise.analysis import panels

    with style.house():
        figure, series = panels.compose(statistics)
        contents = {}
        for suffix in FORMATS:
            buffer = io.BytesIO()
            figure.savefig(buffer, format=suffix, metadata=style.METADATA[suffix], facecolor="white")
            contents[suffix] = _quantised(buffer) if suffix == "png" else buffer.getvalue()
    return contents, series


def _quantised(png: io.BytesIO) -> bytes:
    """The picture in 256 colours, a third of the bytes: what is published of every figure is downloaded by everyone."""
    from PIL import Image

    buffer = io.BytesIO()
    picture = Image.open(png).convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    picture.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def legend_text(label: str, curves: list[dict]) -> str:
    """``label`` with its number of runs; a missing or diverged run is said: "DPO (n = 4 of 5, 1 diverged)".

    ``curves`` are the entries of this label, one per panel; panels that differ are given as a range.
    """
    counts = sorted({int(curve.get("n") or 0) for curve in curves})
    # Panels may expect different numbers of runs; "of" is said only where one lacks some.
    short = [int(curve["n_expected"]) for curve in curves if int(curve.get("n_expected") or 0) > int(curve["n"] or 0)]
    n = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]}–{counts[-1]}"
    text = f"n = {n}"
    diverged = max(how_many(curve.get("diverged")) for curve in curves)
    if short:
        text += f" of {max(short)}"
    if diverged:
        text += f", {diverged} diverged"
    return f"{label} ({text})"


def legend_name(curve: dict) -> str:
    """What a legend calls a curve: its label, less the name of the group it is drawn in, which titles the panel."""
    return curve["label"].removesuffix(f", {curve['group']}") if curve.get("group") else curve["label"]


def how_many(value) -> int:
    """Number of runs in ``value``: a count, or a list or dict of seeds, or None."""
    return value if isinstance(value, int) else len(value or ())
