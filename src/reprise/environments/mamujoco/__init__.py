"""Multi-agent MuJoCo: robots whose joints are dealt to agents (docs/environments/mamujoco.md)."""

from importlib.util import find_spec

from reprise.errors import RepriseError

if find_spec("mujoco") is None:
    raise RepriseError("multi-agent MuJoCo needs the package mujoco: pip install mujoco gymnasium")
