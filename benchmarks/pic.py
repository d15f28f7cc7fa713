"""The environments of PIC's released code (Liu et al. 2019), from a clone of it, for `mpe_stepping.py teams`.

PIC needs old versions of gym, numba and the package bridson, of which stepping uses next to nothing: names of spaces, a
decorator, and a sampler for the landmarks' places. Stand-ins of these are put into ``sys.modules``.
"""

from __future__ import annotations

import importlib
import importlib.util
import random
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any


class _Space:
    """Any space: it keeps what it was made with."""

    def __init__(self, n: int | None = None, **values: Any):
        self.n = n
        self.__dict__.update(values)


class _Type:
    """Any type of numba: it can be indexed and defined."""

    def __getitem__(self, _: Any) -> _Type:
        return self

    def define(self, _: Any) -> None:
        """Nothing: nothing is compiled."""


def _darts(width: float, height: float, r: float, random=random.random) -> list[tuple[float, float]]:
    """Places at least ``r`` apart, thrown until 1,000 darts in a row find no room."""
    places: list[tuple[float, float]] = []
    missed = 0
    while missed < 1000:
        x, y = random() * width, random() * height
        free = all((x - a) ** 2 + (y - b) ** 2 >= r * r for a, b in places)
        places += [(x, y)] if free else []
        missed = 0 if free else missed + 1
    return places


def _module(name: str, **contents: Any) -> ModuleType:
    module = ModuleType(name)
    module.__dict__.update(contents)
    sys.modules[name] = module
    return module


def _stand_ins(folder: Path) -> None:
    spaces = _module("gym.spaces", Discrete=_Space, Box=_Space, Tuple=type("Tuple", (_Space,), {}))
    _module("gym.envs.registration", EnvSpec=object)
    _module("gym.envs", registration=sys.modules["gym.envs.registration"])
    _module("gym", Env=object, Space=_Space, spaces=spaces, envs=sys.modules["gym.envs"])
    kinds = {name: _Type() for name in ("int32", "float32", "float64", "boolean")}

    def jitclass(*_: Any) -> Any:
        return lambda kind: SimpleNamespace(class_type=SimpleNamespace(instance_type=kind))

    _module("numba", jit=lambda **_: lambda f: f, jitclass=jitclass, deferred_type=_Type, **kinds)
    _module("bridson", poisson_disc_samples=_darts)
    _module("multiagent", __path__=[str(folder)])
    _module("multiagent.multi_discrete", MultiDiscrete=type("MultiDiscrete", (_Space,), {}))


def environment(clone: Path, scenario: str) -> Any:
    """PIC's environment ``scenario`` (such as ``simple_spread_n15``), reset. ``clone``: a checkout of IouJenLiu/PIC."""
    folder = clone / "multiagent-particle-envs" / "multiagent"
    if "multiagent" not in sys.modules:
        _stand_ins(folder)
    place = importlib.util.spec_from_file_location(scenario, folder / "scenarios" / f"{scenario}.py")
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    task = module.Scenario()
    world = task.make_world()
    # The n6 of cooperative navigation is written for the older world, which takes a list of actions.
    module = importlib.import_module(f"multiagent.environment{'_vec' if world.__module__.endswith('vec') else ''}")
    built = module.MultiAgentEnv(world, task.reset_world, task.reward, task.observation)
    built.reset()
    return built
