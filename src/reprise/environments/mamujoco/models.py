"""The robots' models: gymnasium's xml files, and the many-segment swimmer, which is written here.

gymnasium is looked up, not imported: only the files of its folder are wanted.
"""

from __future__ import annotations

import logging
from importlib.util import find_spec
from pathlib import Path

import mujoco

from reprise.errors import RepriseError

LOG = logging.getLogger(__name__)


def xml(name: str) -> str:
    """The text of one of gymnasium's MuJoCo models, such as ``half_cheetah.xml``.

    Raises RepriseError when gymnasium is not installed or has no such model.
    """
    found = find_spec("gymnasium")
    if found is None or not found.submodule_search_locations:
        raise RepriseError("multi-agent MuJoCo takes the robots' models from gymnasium: pip install gymnasium")
    path = Path(found.submodule_search_locations[0]) / "envs" / "mujoco" / "assets" / name
    if not path.is_file():
        raise RepriseError(f"{path}: no such model; gymnasium 1.0 or later has it: pip install -U gymnasium")
    return path.read_text(encoding="utf-8")


def compile_model(text: str) -> mujoco.MjModel:
    """The compiled model of an xml text.

    A simulation that becomes unstable then stays so, where MuJoCo by default would put the robot back to its first
    pose in mid-episode; and MuJoCo's warnings go to Python's logging, level debug, where it by default would append
    them to MUJOCO_LOG.TXT in the working directory (the unstable rows are reported by ``Engine.step``).
    """
    mujoco.set_mju_user_warning(LOG.debug)
    model = mujoco.MjModel.from_xml_string(text)
    model.opt.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
    return model


def swimmer_xml(joints: int, timestep: float) -> str:
    """A chain of ``joints`` + 1 rods in a viscous fluid, moving in the plane; a motor at each joint.

    The facts are those of manyagent_swimmer of FACMAC (de Witt et al. 2020), as the released code of HATRPO has it
    (manyagent_swimmer.py and manyagent_swimmer.xml.template): rods of length 1, radius 0.1 and density 1000, turned by
    motors of gear 150 through +-100 degrees, of which every other one from the third on turns the other way round;
    fluid of density 4000 and viscosity 0.1; fourth-order Runge-Kutta. Nothing collides.

    Args:
        joints: motors, at least 2.
        timestep: seconds; 0.005 in the released code, 0.01 in gymnasium-robotics.
    """
    rod = '<geom type="capsule" fromto="0 0 0 -1 0 0" size="0.1" density="1000"/>'
    opened = []
    for i in range(joints):
        turned = -1 if i % 2 == 0 and 0 < i < joints - 1 else 1
        opened.append(
            f'<body name="rod{i}" pos="{0.5 if i == 0 else -1} 0 0">{rod}'
            f'<joint name="rot{i}" type="hinge" axis="0 0 {turned}" limited="true" range="-100 100"/>'
        )
    motors = "".join(f'<motor joint="rot{i}" gear="150" ctrllimited="true" ctrlrange="-1 1"/>' for i in range(joints))
    return f"""
<mujoco model="swimmer">
  <compiler angle="degree" inertiafromgeom="true"/>
  <option density="4000" viscosity="0.1" integrator="RK4" timestep="{timestep!r}"/>
  <default>
    <geom contype="0" conaffinity="0" condim="1" rgba="0.8 0.6 0.4 1"/>
    <joint armature="0.1"/>
  </default>
  <asset>
    <texture name="sky" type="skybox" builtin="gradient" rgb1="1 1 1" rgb2="0.6 0.7 0.8" width="100" height="100"/>
    <texture name="checks" type="2d" builtin="checker" rgb1="0.4 0.5 0.6" rgb2="0.5 0.6 0.7" width="100" height="100"/>
    <material name="floor" texture="checks" texrepeat="30 30"/>
  </asset>
  <worldbody>
    <light directional="true" pos="0 0 10" dir="0 0 -1"/>
    <geom name="floor" type="plane" pos="0 0 -0.1" size="40 40 0.1" condim="3" material="floor"/>
    <body name="torso" pos="0 0 0">
      <camera name="track" mode="trackcom" pos="0 -3 3" xyaxes="1 0 0 0 1 1"/>
      <geom type="capsule" fromto="1.5 0 0 0.5 0 0" size="0.1" density="1000"/>
      <joint name="slider1" type="slide" axis="1 0 0"/>
      <joint name="slider2" type="slide" axis="0 1 0"/>
      <joint name="rot" type="hinge" axis="0 0 1"/>
      {"".join(opened)}{"</body>" * joints}
    </body>
  </worldbody>
  <actuator>{motors}</actuator>
</mujoco>
"""
