"""Pictures of robots: the poses that were played, a camera that follows, and one line where nothing can be drawn."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys

import mujoco_worlds
import numpy as np
import pytest
import torch
from PIL import Image

from reprise.analysis import replay as pictures
from reprise.analysis import style
from reprise.analysis.replay import films, offscreen, robot
from reprise.errors import RepriseError
from reprise.experiments import replay

OF = {"seed": 0, "number": 0, "env_steps": 1000, "hash": "0" * 64, "stamp": None, "references": {"idle": 1.0}}
SLED = """
<mujoco model="sled">
  <asset>
    <texture name="checks" type="2d" builtin="checker" rgb1="0 0 0" rgb2="0.8 0.8 0.8" width="10" height="10"/>
    <material name="floor" texture="checks" texrepeat="60 60"/>
  </asset>
  <worldbody>
    <light directional="true" pos="0 0 1.3" dir="0 0 -1"/>
    <geom type="plane" size="5 5 1" material="floor"/>
    <body name="sled" pos="0 0 0.3">
      <camera name="track" mode="trackcom" pos="0 -3 0" xyaxes="1 0 0 0 0 1"/>
      <joint type="slide" axis="1 0 0"/>
      <geom type="sphere" size="0.3" rgba="1 0 0 1"/>
    </body>
  </worldbody>
</mujoco>
"""


@pytest.fixture(autouse=True)
def draws():
    try:
        offscreen.backend()
    except RepriseError as error:
        pytest.skip(str(error))


def slide(steps: int = 4, speed: float = 2.0, seconds: float = 0.5, short: int = 0) -> replay.Replay:
    """A sled that learned to slide by ``speed`` m/s; before training it stood, for ``short`` steps less."""

    def episode(speed, steps):
        positions = speed * seconds * np.arange(steps + 1.0)[:, None]
        kind, model = (np.broadcast_to(np.asarray(word), steps + 1) for word in ("robot", SLED))
        frames = {"kind": kind, "model": model, "positions": positions, "seconds": np.full(steps + 1, seconds)}
        return replay.Episode(frames, np.zeros((steps, 1, 1)), np.full(steps, speed), float("nan"))

    return replay.Replay(
        "robot", "world/sled", "x", "quick", before=episode(0, steps - short), after=episode(speed, steps), **OF
    )


def red(picture: np.ndarray) -> np.ndarray:
    """Where the sled is, bool [height, width]."""
    return (picture[..., 0] > 90) & (picture[..., 1] < 0.5 * picture[..., 0])


def test_the_camera_follows_and_the_ground_never_ends():
    body = robot.Body(slide(steps=200))  # 200 m; the plane of the model is 10 m long
    places = []
    with offscreen.Renderer(body.model, 120, 120) as renderer:
        for step in (0, 3, 200):
            body.pose(body.episodes[1].frames["positions"][step])
            picture = renderer.picture(body.data, "track").astype(int)
            places.append(np.argwhere(red(picture)).mean(axis=0))
            ground = picture[60:, :, 1]
            ground = ground[ground > 60]  # neither the sled nor its shadow; where nothing is, it is black
            assert ground.size > 500
            assert ground.std() > 10, "one colour: no squares"
    assert np.abs(np.array(places) - 59.5).max() < 3
    assert body.ways[1][:, 0].tolist() == pytest.approx(np.arange(201.0))
    assert body.ways[0][:, 1].tolist() == pytest.approx([0.3] * 201)


def test_a_square_of_the_ground_is_a_metre():
    """Along a line of the ground, light and dark change every metre."""
    body = robot.Body(slide())
    found = body.model.camera("track").id
    with offscreen.Renderer(body.model, 400, 400) as renderer:
        body.pose(np.array([0.5]))
        body.data.cam_xpos[found], body.data.cam_xmat[found] = [0.5, 0.5, 20.0], np.eye(3).ravel()  # from above
        line = renderer.picture(body.data, "track")[150].astype(int).sum(axis=1)
    metres = 2 * 20.0 * np.tan(np.radians(body.model.cam_fovy[found] / 2))
    changes = int((np.diff(line > (line.min() + line.max()) / 2) != 0).sum())
    assert changes == pytest.approx(metres, abs=1.5)


@pytest.mark.parametrize("task", ["Hopper-3x1", "HumanoidStandup-17x1", "ManyAgentSwimmer-10x2"])
def test_every_robot_is_in_the_picture(task):
    class Idle:
        initial_memory = staticmethod(lambda rows: None)

        def greedy(self, observations, available, memory):
            return torch.zeros(2, *observations.shape[1:2], environment.spec.actions.size), memory

    environment = mujoco_worlds.make(task, episode_steps=30)
    episode = replay.Episode(*replay._record(environment, Idle(), 2, 1), float("nan"))
    assert episode.frames["model"].strides == (0,)  # the text is kept once
    body = robot.Body(replay.Replay("robot", task, "x", "quick", before=episode, after=episode, **OF))
    own = body.model.body_rootid[body.model.geom_bodyid] == body.root
    body.model.geom_rgba[own], body.model.geom_matid[own] = (1, 0, 0, 1), -1
    with offscreen.Renderer(body.model, 200, 200) as renderer:
        for step in (0, episode.steps):
            body.pose(episode.frames["positions"][step])
            places = np.argwhere(red(renderer.picture(body.data, "track").astype(int)))
            assert places.min() >= 2, step
            assert places.max() <= 197, step
            assert np.ptp(places, axis=0).max() > 100, "too small"


def test_a_strip_repeats_byte_for_byte_in_another_process(tmp_path):
    script = "import sys\nsys.path[:0] = {path!r}\nimport test_replay_robot as it\n"
    script += "it.pictures.save(it.slide(), it.pictures.Path({place!r}), 'png')"
    for name in ("a", "b"):
        text = script.format(path=[os.path.dirname(__file__)], place=str(tmp_path / f"{name}.png"))
        subprocess.run([sys.executable, "-c", text], check=True, timeout=60, cwd=tmp_path)
    pictures.save(slide(), tmp_path / "c.png", "png")
    pictures.save(slide(speed=2.1), tmp_path / "d.png", "png")
    first, *others = ((tmp_path / f"{name}.png").read_bytes() for name in "abcd")
    assert [first == other for other in others] == [True, True, False]
    numbers = json.loads((tmp_path / "c.json").read_text())["after"]
    assert numbers["frames"]["positions"] == [[0.0], [1.0], [2.0], [3.0], [4.0]]
    assert (numbers["return"], "model" in numbers["frames"]) == (8.0, False)
    assert sorted(each.suffix for each in tmp_path.iterdir()) == [".json"] * 4 + [".png"] * 4  # and no MUJOCO_LOG.TXT


def test_a_strip_shows_each_row_from_its_start_to_its_end():
    with style.house():
        figure = robot.still(slide(steps=8, short=6))
    rows = [axes for axes in figure.axes if axes.images]
    assert [axes.get_ylabel() for axes in rows if axes.get_ylabel()] == [
        "before training\nreturn 0.00",
        "after 1k env steps\nreturn 16.00",
    ]
    moments = [f"{t:.2f} s, 0.00 m" for t in (0, 0.5, 1)] + [f"{t:.2f} s, {2 * t:.2f} m" for t in (0, 1, 2, 3, 4)]
    assert [axes.get_title() for axes in rows] == moments
    assert all(axes.images[0].get_array().shape == (282, 282, 3) for axes in rows)


def test_a_film_runs_in_real_time_and_says_what_it_leaves_out(tmp_path):
    pictures.save(slide(steps=10, seconds=0.015, short=5), tmp_path / "a.gif", "gif")
    with Image.open(tmp_path / "a.gif") as film:
        durations = []
        for index in range(film.n_frames):
            film.seek(index)
            durations.append(film.info["duration"])
    assert durations == [40, 50, 50, 40, 2000]  # every third step, 45 ms; a gif counts in 10 ms
    long = robot.film(slide(steps=100))
    try:
        assert (long.steps, long.seconds) == (30, 0.5)
        assert "the first 15 of 50 s" in [each.get_text() for each in long.figure.texts]
    finally:
        long.close()


def test_a_film_shows_where_the_robot_is(tmp_path):
    with style.house():
        film = robot.film(slide(short=2))
        words = [each for axes in film.figure.axes for each in axes.texts if each.get_path_effects()][:2]
        try:
            for step, shown in (
                (4, ["1.00 s, 0.00 m, ended", "2.00 s, 4.00 m"]),
                (1, ["0.50 s, 0.00 m", "0.50 s, 1.00 m"]),
            ):
                (picture,) = films.images(film, [step])
                assert [each.get_text() for each in words] == shown
            left, right = np.array_split(picture[50:365].astype(int), 2, axis=1)
        finally:
            film.close()
    assert red(left).sum() > 1000 < red(right).sum()
    assert (left != right).any()


@pytest.mark.parametrize(
    "stamp", [None, "IQL: a learner step of 8 episodes every 8 episodes; PyMARL's schedule at tier paper"]
)
@pytest.mark.parametrize("made", ["still", "film"])
def test_no_words_leave_the_sheet_or_touch_each_other(made, stamp):
    played = dataclasses.replace(slide(steps=100), cell="happo@the_order_of_the_updates_fixed", seed=123, stamp=stamp)
    with style.house():
        if made == "still":
            figure, dpi = robot.still(played), 220
        else:
            film = robot.film(played)
            figure, dpi = film.figure, films.DPI
            film.show(4)
            film.close()
        figure.set_dpi(dpi)
        figure.canvas.draw()
    words = [
        *figure.texts,
        *(each for axes in figure.axes for each in (axes.title, axes._left_title, axes.xaxis.label)),
    ]
    boxes = [each.get_window_extent() for each in words if each.get_text()]
    boxes += [axes.get_legend().get_window_extent() for axes in figure.axes if axes.get_legend()]
    assert all(box.x0 >= 0 and box.x1 <= figure.get_figwidth() * dpi for box in boxes)
    assert not any(one.overlaps(other) for i, one in enumerate(boxes) for other in boxes[:i])


def test_an_unstable_simulation_is_one_line():
    played = slide()
    played.after.frames["positions"][3:] = np.nan
    with pytest.raises(RepriseError, match="world/sled: episode 0 became unstable"):
        robot.still(played)


def test_without_a_renderer_the_package_is_named(monkeypatch, tmp_path):
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(offscreen, "LIBRARIES", {"egl": (("libnone.so.1",),), "osmesa": (("libnone.so.8",),)})
    for suffix in ("png", "gif"):
        with pytest.raises(RepriseError) as error:
            pictures.save(slide(), tmp_path / f"a.{suffix}", suffix)
        words = "robots are drawn by EGL or OSMesa, and neither is here; install Debian's libosmesa6"
        assert str(error.value).startswith(words)
        assert error.value.exit_code == 1
    assert not list(tmp_path.iterdir())


def test_a_renderer_that_does_not_start_is_one_line(monkeypatch):
    def fails(width, height):
        raise ImportError("Cannot initialize a EGL device display.\nThis likely means more.")

    monkeypatch.setenv("MUJOCO_GL", "egl")
    monkeypatch.setattr("mujoco.GLContext", fails)
    with pytest.raises(RepriseError, match=r"and egl does not start here \(Cannot .* display\.\); install Debian's"):
        robot.film(slide())


@pytest.mark.parametrize("name", list(offscreen.LIBRARIES))
def test_each_backend_draws_without_torch(name, tmp_path):
    if not all(any(offscreen._loads(each) for each in group) for group in offscreen.LIBRARIES[name]):
        pytest.skip(f"no {name} here")
    script = f"""
import sys
import mujoco
from reprise.analysis.replay import offscreen
offscreen.LIBRARIES = {{{name!r}: offscreen.LIBRARIES[{name!r}]}}
from reprise.analysis.replay import robot
model = mujoco.MjModel.from_xml_string({SLED!r})
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
for size in (50, 60):
    with offscreen.Renderer(model, size, size) as renderer:
        picture = renderer.picture(data, "track")
assert picture.shape == (60, 60, 3) and picture[30, 30, 0] > 2 * picture[30, 30, 1], picture[30, 30]
assert "torch" not in sys.modules
"""
    environment = {key: value for key, value in os.environ.items() if key not in ("MUJOCO_GL", "PYOPENGL_PLATFORM")}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
