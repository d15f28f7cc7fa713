"""From a figure that shows one step after another to a gif or an mp4, as bytes that depend on the pictures alone."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from reprise.errors import RepriseError

DPI = 100
HOLD = 2.0  # seconds that the last step stays
COLOURS = 255  # of a gif; one more is kept by the format


@dataclass(frozen=True)
class Film:
    """``show(step)`` draws step 0 to ``steps`` into ``figure``; each stays for ``seconds``.

    ``close`` frees what showing needs; ``encode`` calls it.
    """

    figure: object
    show: Callable[[int], None]
    steps: int
    seconds: float
    close: Callable[[], None] = lambda: None


def encode(film: Film, suffix: str) -> bytes:
    """``film`` as gif or mp4. RepriseError for mp4 where imageio-ffmpeg is not installed."""
    try:
        return {"gif": _gif, "mp4": _mp4}[suffix](film)
    finally:
        film.close()


def images(film: Film, steps: Iterable[int] | None = None) -> Iterator[np.ndarray]:
    """The pictures of ``steps``, or else of 0 to ``film.steps``: uint8 [height, width, 3], height and width even."""
    film.figure.set_dpi(DPI)
    for step in range(film.steps + 1) if steps is None else steps:
        film.show(step)
        film.figure.canvas.draw()
        picture = np.asarray(film.figure.canvas.buffer_rgba())
        height, width = (size // 2 * 2 for size in picture.shape[:2])
        yield picture[:height, :width, :3].copy()


def _gif(film: Film) -> bytes:
    from PIL import Image

    palette = _palette(list(images(film, np.linspace(0, film.steps, 8).round().astype(int).tolist())))
    frames = [Image.fromarray(each).quantize(palette=palette, dither=Image.Dither.NONE) for each in images(film)]
    _whiten(frames)
    # A gif counts in hundredths of a second: rounding their sums keeps the film's time.
    ends = np.round(100 * film.seconds * np.arange(film.steps + 1))
    durations = [*(10 * np.diff(ends).astype(int)).tolist(), round(1000 * HOLD)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False)
    return buffer.getvalue()


def _palette(pictures: list[np.ndarray]):
    """One palette for all, so that nothing flickers; large areas count little more, so that thin lines keep theirs."""
    from PIL import Image

    red, green, blue = np.concatenate(pictures).reshape(-1, 3).astype(np.uint32).T
    packed, areas = np.unique(red << 16 | green << 8 | blue, return_counts=True)
    packed = np.repeat(packed, 1 + np.log2(areas).astype(int) ** 2)
    seen = np.stack([packed >> 16, packed >> 8 & 255, packed & 255], axis=1).astype(np.uint8)
    return Image.fromarray(seen[None]).quantize(COLOURS, method=Image.Quantize.MEDIANCUT)


def _whiten(frames: list) -> None:
    """The background's colour, an average of what is nearly white, made white; it is that of every corner."""
    colours, background = frames[0].getpalette(), frames[0].getpixel((0, 0))
    colours[3 * background : 3 * background + 3] = (255, 255, 255)
    for frame in frames:
        frame.putpalette(colours)


def _mp4(film: Film) -> bytes:
    try:
        import imageio_ffmpeg
    except ImportError:
        raise RepriseError("mp4 needs the package imageio-ffmpeg: pip install imageio-ffmpeg; or use gif") from None
    height, width = next(images(film, [0])).shape[:2]
    exact = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-threads", "1"]  # no date, the same bytes again
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        writer = imageio_ffmpeg.write_frames(
            str(path), (width, height), fps=1 / film.seconds, macro_block_size=2, quality=8, output_params=exact
        )
        writer.send(None)
        for picture in images(film):
            writer.send(picture)
        for _ in range(round(HOLD / film.seconds)):
            writer.send(picture)
        writer.close()
        return path.read_bytes()
