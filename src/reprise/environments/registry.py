"""From a resolved environment config to the environment: one import, no name known here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from reprise import repository
from reprise.environments.protocol import Environment
from reprise.errors import RepriseError, unknown


def make(
    environment: Mapping[str, Any],
    seeds: Sequence[int],
    copies: int,
    device: torch.device | str = "cpu",
    cache: Path | None = None,
    stream: str = "environment",
) -> Environment:
    """Build the environment of a cohort.

    Args:
        environment: resolved config: ``name``, ``task``, ``module`` (dotted path of the class), ``parameters``.
        seeds: one run seed per run (R; equal seeds are allowed, as in a sweep).
        copies: parallel copies per run, C.
        device: where every tensor lives.
        cache: folder for built tables; default ``results/cache`` of the repository.
        stream: name of the random stream; an evaluation takes another name than training, so that it does not
            replay training's draws.

    Raises:
        RepriseError: ``module`` cannot be imported, or its parameters make no sense.
    """
    place = f"environment '{environment['name']}'"
    path = str(environment["module"])
    module_name, _, class_name = path.rpartition(".")
    try:
        module = import_module(module_name)
    except (ImportError, ValueError) as error:
        raise RepriseError(f"{place}: module '{path}' cannot be imported: {error}") from error
    if not hasattr(module, class_name):
        classes = [name for name, value in vars(module).items() if isinstance(value, type)]
        raise unknown("class", class_name, classes, f"{place}: module '{module_name}'")
    return getattr(module, class_name)(
        environment["parameters"],
        task=f"{environment['name']}/{environment['task']}",
        seeds=seeds,
        copies=copies,
        device=torch.device(device),
        cache=cache if cache is not None else repository.root() / "results" / "cache",
        stream=stream,
    )
