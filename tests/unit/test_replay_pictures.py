"""Pictures of replays: what is drawn is what was played, equal replays are equal bytes, and no words are cut off."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reprise.analysis import replay as pictures
from reprise.analysis import style
from reprise.analysis.replay import board, films, particles
from reprise.errors import RepriseError
from reprise.experiments import replay

OF = {"seed": 0, "number": 0, "env_steps": 1000, "hash": "0" * 64, "stamp": None, "references": {}}


def game(states: int = 5, steps: int = 10, agents: int = 2) -> replay.Replay:
    """A made-up path through the states of a game; not all of them are visited."""
    generator = np.random.default_rng(0)

    def episode() -> replay.Episode:
        path = np.concatenate([[0], generator.integers(states - 1, size=steps)])
        frames = {"kind": np.array(["board"] * (steps + 1)), "state": path, "states": np.full(steps + 1, states)}
        rewards = generator.uniform(-5, 5, steps)
        return replay.Episode(frames, generator.integers(3, size=(steps, agents)), rewards, rewards.sum())

    made = replay.Replay("board", "game/s5", "dpo", "quick", before=episode(), after=episode(), **OF)
    return dataclasses.replace(made, references={"optimum": 50.0, "uniform": 0.0})


def colour(file: Path) -> np.ndarray:
    return np.asarray(Image.open(file).convert("RGB")).astype(int)


def test_the_strip_of_a_board_shows_the_rewards_and_repeats_byte_for_byte(tmp_path):
    played = game()
    for name in ("a", "b"):
        pictures.save(played, tmp_path / f"{name}.png", "png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    numbers = json.loads((tmp_path / "a.json").read_text())
    assert numbers["after"]["return"] == pytest.approx(played.after.rewards.sum(), abs=1e-5)
    assert numbers["after"]["frames"]["state"] == played.after.frames["state"].tolist()
    assert numbers["references"]["optimum"] > numbers["references"]["uniform"]
    assert colour(tmp_path / "a.png").shape[1] == 1540
    # Squares: each state's mean reward over the steps that start there, and grey where none did.
    sheet = board._sheet(played, film=False)
    for part, episode in zip(sheet.parts[:2], (played.before, played.after), strict=True):
        part.show(episode.steps)
        faces = part.squares.get_facecolor()
        for state in range(5):
            rewards = episode.rewards[episode.frames["state"][:-1] == state]
            expected = part.scale.to_rgba(rewards.mean()) if len(rewards) else (241 / 255,) * 3 + (1.0,)
            assert faces[state] == pytest.approx(expected, abs=1e-6), state


def film_of(file: Path) -> tuple[list[np.ndarray], list[int]]:
    picture, frames, durations = Image.open(file), [], []
    for index in range(picture.n_frames):
        picture.seek(index)
        frames.append(np.asarray(picture.convert("RGB")).astype(int))
        durations.append(picture.info["duration"])
    return frames, durations


def test_a_film_has_a_picture_per_step_and_repeats_byte_for_byte(tmp_path):
    played = game()
    for name in ("a", "b"):
        pictures.save(played, tmp_path / f"{name}.gif", "gif")
    assert (tmp_path / "a.gif").read_bytes() == (tmp_path / "b.gif").read_bytes()
    frames, durations = film_of(tmp_path / "a.gif")
    assert len(frames) == 11
    assert durations == [100] * 10 + [2000]
    assert (frames[0][0, 0] == 255).all()
    assert all((one != two).any() for one, two in pairwise(frames))


def scene(shift: float = 0.0, steps: int = 4) -> replay.Replay:
    """Two agents and a landmark; agent 0 walks to the right by 0.2 a step, agent 1 leaves the arena."""

    def episode(speed):
        way = np.arange(steps + 1)[:, None] * np.array([speed, 0.0])
        positions = np.stack([way - 0.5, 3 * way + [0.0, 0.5], np.full_like(way, shift)], axis=1)
        frames = {
            "kind": ["particles"],
            "positions": positions,
            "sizes": [0.05, 0.05, 0.1],
            "roles": ["agent", "agent", "landmark"],
            "extent": 1.0,
            "targets": positions[0, 2:],
            "links": [[0, 0]],
        }
        arrays = {
            name: np.asarray(value) if name == "positions" else np.stack([np.asarray(value)] * (steps + 1))
            for name, value in frames.items()
        }
        return replay.Episode(arrays, np.zeros((steps, 2), int), np.full(steps, -speed), float("nan"))

    return replay.Replay("particles", "world/a", "x", "quick", before=episode(0.5), after=episode(0.2), **OF)


def artists(arena: particles.Arena, name: str) -> list:
    return [each for each in arena.drawn if type(each).__name__ == name]


def test_particles_stand_where_they_stood_with_trails_targets_and_links(tmp_path):
    from matplotlib.figure import Figure

    played = scene()
    arena = particles.Arena(Figure().add_subplot(), played.after, 1.06)
    for step in (3, 1, 4):  # backwards too: nothing of an earlier picture stays
        arena.show(step)
        positions = played.after.frames["positions"][step]
        discs = artists(arena, "Circle")
        assert np.array_equal([disc.center for disc in discs], positions[[2, 0, 1]])
        assert [disc.radius for disc in discs] == pytest.approx([0.1, 0.05, 0.05])
        link, *trails = artists(arena, "LineCollection")
        assert link.get_segments()[0].tolist() == [positions[0].tolist(), [0.0, 0.0]]
        assert [len(trail.get_segments()) for trail in trails] == [step, step]
        for agent, trail in enumerate(trails):
            assert trail.get_segments()[-1][-1].tolist() == pytest.approx(positions[agent].tolist())
    assert "−0.80" in [each.get_text() for each in artists(arena, "Annotation")]
    assert len(artists(arena, "Line2D")) == 2  # the targets' crosses, and an arrowhead for the agent that left


def test_a_strip_and_a_film_of_particles(tmp_path):
    pictures.save(scene(), tmp_path / "a.png", "png")
    pictures.save(scene(shift=0.3), tmp_path / "b.png", "png")
    assert (colour(tmp_path / "a.png") != colour(tmp_path / "b.png")).any()
    pictures.save(scene(), tmp_path / "a.gif", "gif")
    frames, durations = film_of(tmp_path / "a.gif")
    assert (len(frames), durations[-1]) == (5, 2000)
    height, width = frames[0].shape[:2]
    assert height % 2 == width % 2 == 0


def test_mp4_has_every_picture_and_holds_the_last(tmp_path):
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    for name in ("a", "b"):
        pictures.save(scene(), tmp_path / f"{name}.mp4", "mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    count, _ = ffmpeg.count_frames_and_secs(str(tmp_path / "a.mp4"))
    assert count == 5 + round(films.HOLD / 0.12)


def test_a_kind_that_nothing_draws(tmp_path):
    with pytest.raises(RepriseError, match="world/a: unknown kind of frame 'partikles'; nearest: 'particles'"):
        pictures.save(dataclasses.replace(scene(), kind="partikles"), tmp_path / "a.png", "png")


LONG = {
    "names": {"cell": "dpo@without_the_square_root_of_the_divergence", "seed": 123, "number": 123, "tier": "overnight"},
    "stamp": {"stamp": "IQL: a learner step of 8 episodes every 8 episodes; PyMARL's schedule at tier paper"},
    "levels": {"hash": "f" * 64, "number": 123_456_789_012_345_678_901_234_567_890_123_456_789},
}


@pytest.mark.parametrize("words", LONG)
@pytest.mark.parametrize("dpi", [100, 220])  # of a film and of a strip
@pytest.mark.parametrize("kind", ["board", "particles"])
def test_no_words_leave_the_sheet_or_touch_each_other(kind, dpi, words):
    played = dataclasses.replace(game() if kind == "board" else scene(), **LONG["names"] | LONG[words])
    drawing = {"board": board, "particles": particles}[kind]
    with style.house():
        figure = drawing.still(played) if dpi == 220 else drawing.film(played).figure
        figure.set_dpi(dpi)
        figure.canvas.draw()
    width = figure.get_figwidth() * dpi
    boxes = [each.get_window_extent() for each in figure.texts]
    assert len(boxes) == 2 + (words == "stamp")
    assert all(box.x0 >= 0 and box.x1 <= width for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])
    titles = [axes.title for axes in figure.axes] + [axes._left_title for axes in figure.axes]
    shown = [each.get_window_extent() for each in titles if each.get_text()]
    assert not any(one.overlaps(other) for one in boxes for other in shown)


@pytest.mark.parametrize(
    ("wanted", "output", "message"),
    [
        (None, "strip", "--output strip: names no picture; write strip/replay.gif, say"),
        ("png", ".", "--output .: names no picture; write replay.png, say"),
        (None, "x.jpg", "x.jpg: unknown format 'jpg'; nearest: 'png'"),
        ("gif", "x.png", "--output x.png: its suffix is not 'gif'"),
    ],
)
def test_an_output_that_is_no_picture(wanted, output, message):
    with pytest.raises(RepriseError) as error:
        pictures.form(wanted, Path(output))
    assert str(error.value) == message


def test_a_place_that_cannot_be_written_to_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.png").mkdir()
    for place in (tmp_path / "file" / "x.png", tmp_path / "folder.png"):
        with pytest.raises(RepriseError, match=r"\.png: cannot be written \((Not|File|Is) "):
            pictures.save(scene(), place, "png")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file", "folder.png"]


def test_mp4_needs_its_package(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    with pytest.raises(RepriseError, match="mp4 needs the package imageio-ffmpeg"):
        pictures.save(scene(), tmp_path / "x.mp4", "mp4")
    assert not list(tmp_path.iterdir())


def test_the_gif_palette_keeps_white_white():
    pixels = np.full((10, 10, 3), 255, np.uint8)
    pixels[4:, :, :] = np.arange(180, dtype=np.uint8).reshape(6, 10, 3)
    frame = Image.fromarray(pixels).quantize(8)
    films._whiten([frame])
    buffer = io.BytesIO()
    frame.save(buffer, "GIF")
    assert np.asarray(Image.open(buffer).convert("RGB"))[0, 0].tolist() == [255, 255, 255]
