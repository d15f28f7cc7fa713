"""Pictures of a replay: a strip of moments (png), or a film (gif, mp4); beside each a json with the numbers drawn.

How a replay is drawn depends on the kind of frame that its environment gives (``protocol.Environment.frame``), never
on a task's name. Each kind is a module with ``still(replay)``, a matplotlib figure, and ``film(replay)``, the figure
and a function that shows a step, with the number of steps and the seconds that each of them stays.
"""

from __future__ import annotations

import io
import json
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from reprise.analysis import style
from reprise.errors import RepriseError, unknown

if TYPE_CHECKING:
    from reprise.experiments.replay import Episode, Replay

FORMATS = ("gif", "mp4", "png")
KINDS = ("board", "particles", "robot")  # of frames; each is a module of this package
WORDS = ("kind", "model")  # of a frame, and no numbers


def form(wanted: str | None, output: Path | None) -> str:
    """The format meant: ``wanted``, or else the suffix of ``output``, or else gif.

    RepriseError when they disagree, and for an output that is a folder or has no suffix.
    """
    suffix = output.suffix.lstrip(".") if output else ""
    if output and (not suffix or output.is_dir()):
        raise RepriseError(f"--output {output}: names no picture; write {output / 'replay'}.{wanted or 'gif'}, say")
    chosen = wanted or suffix or "gif"
    if chosen not in FORMATS:
        raise unknown("format", chosen, FORMATS, "--format" if wanted else str(output))
    if suffix and suffix != chosen:
        raise RepriseError(f"--output {output}: its suffix is not '{chosen}'")
    return chosen


def save(replay: Replay, path: Path, suffix: str) -> None:
    """Write ``path`` in format ``suffix`` and, under the same name, a json. Equal replays give equal bytes.

    Raises:
        RepriseError: a kind of frame that nothing here draws, mp4 without imageio-ffmpeg, or a place that cannot be
            written to.
    """
    from reprise.experiments.runs import write_bytes

    if replay.kind not in KINDS:
        raise unknown("kind of frame", replay.kind, KINDS, replay.task)
    drawing = import_module(f"{__name__}.{replay.kind}")
    with style.house():
        picture = _png(drawing.still(replay)) if suffix == "png" else _film(drawing.film(replay), suffix)
    try:
        write_bytes(path, picture)
        write_bytes(path.with_suffix(".json"), (json.dumps(record(replay), sort_keys=True) + "\n").encode())
    except OSError as error:
        raise RepriseError(f"{path}: cannot be written ({error.strerror or error})", exit_code=1) from error


def record(replay: Replay) -> dict:
    """What the json holds: whose episode it is, and every number of the picture, rounded to six decimals."""
    from reprise.analysis.figures import clean

    names = ("kind", "task", "cell", "tier", "seed", "number", "env_steps", "hash", "stamp", "references")
    shown = {name: getattr(replay, name) for name in names}
    return clean(shown | {"before": _numbers(replay.before), "after": _numbers(replay.after)})


def _numbers(episode: Episode) -> dict:
    frames = {name: _rounded(values) for name, values in episode.frames.items() if name not in WORDS}
    rewards, actions = _rounded(episode.rewards), _rounded(episode.actions)
    outcome = {"return": round(float(episode.rewards.sum()), 6), "expected_return": episode.expected}
    return {"frames": frames, "rewards": rewards, "actions": actions, **outcome}


def _rounded(values) -> list:
    return (values.astype(float).round(6) if values.dtype.kind == "f" else values).tolist()


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata=style.METADATA["png"], facecolor="white")
    return buffer.getvalue()


def _film(film, suffix: str) -> bytes:
    from reprise.analysis.replay import films

    return films.encode(film, suffix)
