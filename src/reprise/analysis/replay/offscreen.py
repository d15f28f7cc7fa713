"""MuJoCo's renderer without a window or a display: by EGL where the machine has it, else by OSMesa.

Which one MuJoCo itself would take is decided when it is first imported, by the variable MUJOCO_GL; without it, it wants
a display. Here the choice is made when a picture is wanted, and MUJOCO_GL goes first.
"""

from __future__ import annotations

import ctypes
import os
import sys
from importlib import import_module

import mujoco
import numpy as np

from reprise.errors import RepriseError

# What each needs, by the names that MuJoCo's bindings (PyOpenGL) load: one of each group.
LIBRARIES = {"egl": (("libEGL.so.1",), ("libOpenGL.so.0", "libGL.so.1")), "osmesa": (("libOSMesa.so.8",),)}
INSTALL = "install Debian's libosmesa6 (apt-get install libosmesa6)"


def backend() -> str:
    """What draws on this machine: ``native`` (MuJoCo's own choice), ``egl`` or ``osmesa``. RepriseError for none."""
    if os.environ.get("MUJOCO_GL") or sys.platform != "linux":
        return "native"
    for name, groups in LIBRARIES.items():
        if all(any(_loads(library) for library in group) for group in groups):
            return name
    raise RepriseError(f"robots are drawn by EGL or OSMesa, and neither is here; {INSTALL}", exit_code=1)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _context(chosen: str, width: int, height: int):
    """A place to draw on, current from now on. Its faults: ImportError, AttributeError, RuntimeError."""
    home = mujoco if chosen == "native" else import_module(f"mujoco.{chosen}")
    from OpenGL.error import Error  # after MuJoCo told PyOpenGL by which library to draw

    try:
        context = home.GLContext(width, height)
        context.make_current()
    except Error as error:
        raise RuntimeError(str(error)) from error
    return context


class Renderer:
    """Pictures of a model, ``width`` by ``height`` pixels. Use it in a ``with`` block, or ``close`` it.

    Raises:
        RepriseError: this machine cannot draw; how to change that.
    """

    def __init__(self, model: mujoco.MjModel, width: int, height: int):
        self.model, self.camera, self.options = model, mujoco.MjvCamera(), mujoco.MjvOption()
        self._size = mujoco.MjrRect(0, 0, width, height)
        model.vis.global_.offwidth, model.vis.global_.offheight = width, height
        chosen = backend()
        try:
            self._context = _context(chosen, width, height)
            self._resources = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        except (ImportError, AttributeError, RuntimeError, mujoco.FatalError) as error:
            shown = os.environ.get("MUJOCO_GL") or chosen
            reason = str(error).strip().partition("\n")[0]
            raise RepriseError(
                f"robots are drawn by EGL or OSMesa, and {shown} does not start here ({reason}); "
                f"{INSTALL} and set MUJOCO_GL=osmesa",
                exit_code=1,
            ) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._resources)
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 100)
        self._flags = {mujoco.mjtRndFlag.mjRND_REFLECTION: False, mujoco.mjtRndFlag.mjRND_HAZE: False}

    def picture(self, data: mujoco.MjData, camera: str) -> np.ndarray:
        """What ``camera`` of the model sees of ``data``, whose positions are up to date: uint8 [height, width, 3]."""
        self._context.make_current()
        self.camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self.camera.fixedcamid = self.model.camera(camera).id
        # First the camera: a plane without end is laid out around where it stands.
        mujoco.mjv_updateCamera(self.model, data, self.camera, self._scene)
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self.model, data, self.options, None, self.camera, everything, self._scene)
        for flag, value in self._flags.items():
            self._scene.flags[flag] = value
        mujoco.mjr_render(self._size, self._scene, self._resources)
        pixels = np.empty((self._size.height, self._size.width, 3), np.uint8)
        mujoco.mjr_readPixels(pixels, None, self._size, self._resources)
        return pixels[::-1]

    def close(self) -> None:
        """Free what the drawing library holds; no picture after that."""
        self._context.make_current()
        self._resources.free()
        self._context.free()

    def __enter__(self) -> Renderer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
