"""Robots of MuJoCo: moments of both episodes as its renderer shows them, the distance travelled and the return.

Bodies, colours, lights and sky are the model's own. The ground is drawn without end, in squares of 1 m, since a robot
that learned to run leaves the one of the model's file; and the camera named track comes as near as the robot, however
it moves, fits into the picture.
"""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING

import mujoco
import numpy as np

from reprise.analysis import style
from reprise.analysis.replay.films import DPI, Film
from reprise.analysis.replay.offscreen import Renderer
from reprise.analysis.replay.parts import ReturnSoFar, Sheet, SoFar, headings, signed, sum_of
from reprise.errors import RepriseError

if TYPE_CHECKING:
    from reprise.experiments.replay import Episode, Replay

LOG = logging.getLogger(__name__)
MOMENTS = 5  # pictures of an episode on a strip
CAMERA = "track"
GROUND = (0.8, 0.9, 0.8, 1.0)  # its colour in gymnasium's models
SUN = 10.0  # metres from the robot
RISE = 12  # degrees: the camera looks down at least so much, so that the ground is seen
ROOM = 1.1  # a picture is that much wider than the robot ever was
POSES = 100  # of an episode, at most, that the camera's distance is chosen by
RATE = 25  # pictures per second of a film, at most
THIN = 0.8  # points: a gait's ups and downs lie close to each other
LONGEST = 15.0  # seconds of an episode that a film shows, so that a gif stays small enough to be shown


def still(replay: Replay):
    """A row of moments after training, a row before it, and what they came to."""
    import matplotlib

    size, gap, left = 1.28, 0.06, 0.3
    sheet = Sheet(replay, style.PAGE, 4.84)
    body = Body(replay)
    shown = body.episodes, headings(replay), body.ways
    pixels = round(size * matplotlib.rcParams["savefig.dpi"])
    with Renderer(body.model, pixels, pixels) as renderer:
        for row, (episode, heading, way) in enumerate(zip(*shown, strict=True)):
            top = 0.5 + row * (size + 0.22)
            for column, step in enumerate(np.unique(np.linspace(0, episode.steps, MOMENTS).round().astype(int))):
                axes = sheet.axes(left + column * (size + gap), top, size, size)
                view = View(axes, body, renderer, episode, way)
                view.show(int(step))
                axes.set_title(view.caption(int(step)), fontsize=6.5, pad=2)
                if column == 0:
                    axes.set_ylabel(f"{heading}\nreturn {sum_of(episode)}", fontsize=7, labelpad=3)
    for course in _courses(sheet, replay, body, top=3.62, height=0.74):
        course.show(max(replay.before.steps, replay.after.steps))
    return sheet.figure


def film(replay: Replay) -> Film:
    """Both episodes side by side in real time, with what they come to under them."""
    sheet = Sheet(replay, 6.6, 5.1)
    body = Body(replay)
    shown = body.episodes, headings(replay), body.ways
    size = 3.15
    renderer = Renderer(body.model, round(size * DPI), round(size * DPI))
    views = []
    for i, (episode, heading, way) in enumerate(zip(*shown, strict=True)):
        axes = sheet.axes(0.1 + i * 3.25, 0.5, size, size)
        axes.set_title(f"{heading}: return {sum_of(episode)}", loc="left", pad=3)
        views.append(View(axes, body, renderer, episode, way))
    courses = _courses(sheet, replay, body, top=4.0, height=0.6)
    most = max(replay.before.steps, replay.after.steps)
    stride = max(1, math.ceil(1 / (RATE * body.seconds) - 1e-9))
    last = min(most, round(LONGEST / body.seconds))
    if last < most:
        words = f"the first {last * body.seconds:.0f} of {most * body.seconds:.0f} s"
        sheet.text(sheet.width - 0.1, 3.7, words, ha="right", size=6, color=style.MUTED)

    def show(picture: int) -> None:
        step = min(picture * stride, last)
        for view in views:
            view.show(step)
            view.words.set_text(view.caption(step))
        for course in courses:
            course.show(step)

    return Film(sheet.figure, show, math.ceil(last / stride), stride * body.seconds, renderer.close)


def _courses(sheet: Sheet, replay: Replay, body: Body, top: float, height: float) -> list[SoFar]:
    """Return so far, and way ahead and height of the centre of mass, against the step, side by side."""
    left, gap = 0.5, 0.5
    room = sheet.width - left - 2 * gap - 0.12
    axes = []
    for share in (0.36, 0.32, 0.32):  # the first has a legend
        axes.append(sheet.axes(left, top, share * room, height))
        left += share * room + gap
    back = ReturnSoFar(axes[0], replay)
    low, high = axes[0].get_ylim()
    axes[0].set_ylim(low, high + 0.12 * (high - low))  # the name of the highest level stays below the legend
    return [
        back,
        SoFar(axes[1], "distance (m)", *(way[:, 0] for way in body.ways), width=THIN),
        SoFar(axes[2], "height (m)", *(way[:, 1] for way in body.ways), width=THIN),
    ]


class Body:
    """The model that both episodes move, and where its poses put it.

    Attributes:
        model: what the renderer draws. data: the pose set last. seconds: how long a step takes.
        episodes: before and after training. ways: of each, [L + 1, 2], the distance travelled in the direction x and
            the height of the centre of mass, in metres.

    Raises:
        RepriseError: a simulation that became unstable.
    """

    def __init__(self, replay: Replay):
        self.episodes, frames = (replay.before, replay.after), replay.after.frames
        if not all(np.isfinite(episode.frames["positions"]).all() for episode in self.episodes):
            raise RepriseError(f"{replay.task}: episode {replay.number} became unstable; see --episode for another one")
        mujoco.set_mju_user_warning(LOG.debug)  # by default MuJoCo appends them to a file in the working directory
        self.model, self.seconds = mujoco.MjModel.from_xml_string(str(frames["model"][0])), float(frames["seconds"][0])
        self.data = mujoco.MjData(self.model)
        self.root = int(self.model.body_rootid[self.model.camera(CAMERA).bodyid[0]])
        self.suns = (self.model.light_type == mujoco.mjtLightType.mjLIGHT_DIRECTIONAL) & (self.model.light_bodyid == 0)
        self._ground()
        self._approach()
        self.ways = [self._way(episode) for episode in self.episodes]

    def pose(self, positions: np.ndarray) -> None:
        """Put the robot to ``positions`` (qpos), and the cameras and lights that follow it."""
        self.data.qpos[:] = positions
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_comPos(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        # A sun of the world's stays where it is: what is above it or metres away has no shadow.
        self.data.light_xpos[self.suns] = self.data.subtree_com[self.root] - SUN * self.data.light_xdir[self.suns]

    def _way(self, episode: Episode) -> np.ndarray:
        centres = []
        for positions in episode.frames["positions"]:
            self.pose(positions)
            centres.append(self.data.subtree_com[self.root, [0, 2]])
        return np.array(centres) - [centres[0][0], 0.0]

    def _ground(self) -> None:
        """Every plane without end, in pale squares of 1 m: on gymnasium's black ones no shadow or dark foot is seen."""
        model = self.model
        planes = model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE
        model.geom_size[planes, :2] = 0.0
        model.geom_rgba[planes] = GROUND
        for material in model.geom_matid[planes]:
            if material >= 0:
                model.mat_texuniform[material] = True
                model.mat_texrepeat[material] = 1.0  # a checker of 2 by 2 squares each 2 m, as MuJoCo counts
                for texture in model.mat_texid[material]:
                    if texture >= 0:
                        _pale(model, texture)

    def _approach(self) -> None:
        """Aim the camera at the centre of mass, from its own side, from as near as shows all of the robot."""
        model, data = self.model, self.data
        own = (model.body_rootid[model.geom_bodyid] == self.root) & (model.geom_type != mujoco.mjtGeom.mjGEOM_PLANE)
        radius = 0.0
        for episode in self.episodes:
            for positions in episode.frames["positions"][:: max(1, episode.steps // POSES)]:
                self.pose(positions)
                away = np.linalg.norm(data.geom_xpos[own] - data.subtree_com[self.root], axis=1)
                radius = max(radius, float((away + model.geom_rbound[own]).max()))
        model.vis.map.shadowclip = 1.5 * radius / model.stat.extent  # no farther: at its end lie specks of shadow
        camera = model.camera(CAMERA)
        x, y, z = model.cam_mat0[camera.id].reshape(3, 3)[:, 2]  # away from what it looks at
        rise = max(math.asin(z), math.radians(RISE))
        along = np.array([x, y]) / math.hypot(x, y)
        back = np.array([*(math.cos(rise) * along), math.sin(rise)])
        right = np.array([-along[1], along[0], 0.0])
        model.cam_mat0[camera.id] = np.stack([right, np.cross(back, right), back], axis=1).ravel()
        model.cam_poscom0[camera.id] = ROOM * radius / math.sin(math.radians(camera.fovy[0]) / 2) * back


def _pale(model: mujoco.MjModel, texture: int) -> None:
    """A third of the contrast, in light greys."""
    start = model.tex_adr[texture]
    size = model.tex_height[texture] * model.tex_width[texture] * model.tex_nchannel[texture]
    pixels = model.tex_data[start : start + size]
    pixels[:] = 150 + pixels // 3


class View:
    """One episode in axes of its own; ``show(step)`` draws the robot after ``step`` steps, or at the episode's end."""

    def __init__(self, axes, body: Body, renderer: Renderer, episode: Episode, way: np.ndarray):
        from matplotlib.patheffects import withStroke

        self.axes, self.body, self.renderer, self.episode = axes, body, renderer, episode
        self.distances = way[:, 0]
        axes.set(xticks=[], yticks=[])
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set(visible=True, color=style.GRID)
        self.image = None
        around = [withStroke(linewidth=2, foreground="white")]
        self.words = axes.text(0.02, 0.02, "", transform=axes.transAxes, fontsize=8, path_effects=around)

    def show(self, step: int) -> None:
        """The picture after ``step`` steps."""
        self.body.pose(self.episode.frames["positions"][min(step, self.episode.steps)])
        picture = self.renderer.picture(self.body.data, CAMERA)
        if self.image is None:
            self.image = self.axes.imshow(picture, interpolation="none")
        self.image.set_data(picture)

    def caption(self, step: int) -> str:
        """Time and distance, and whether the episode is over."""
        last = min(step, self.episode.steps)
        distance = signed(round(self.distances[last], 2) + 0.0)  # never minus nought
        return f"{last * self.body.seconds:.2f} s, {distance} m" + (", ended" if step > last else "")
