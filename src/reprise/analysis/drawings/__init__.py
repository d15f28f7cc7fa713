"""The pictures of exact studies: a module per paper, a function per figure.

Each takes a figure's statistics and returns the matplotlib figure and the series drawn, as in ``panels.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec

from reprise.errors import RepriseError, unknown


def find(paper: str, name: str) -> Callable:
    """The function that ``drawing: name`` means for a figure of ``paper``: `function` or `module.function`.

    RepriseError when there is no such module or function.
    """
    module, _, function = name.rpartition(".")
    module = f"{__name__}.{module or paper}"
    if find_spec(module) is None:
        raise RepriseError(f"config/papers/{paper}.yaml: drawing: '{name}': no module {module}")
    known = import_module(module)
    if not callable(getattr(known, function, None)):
        raise unknown("drawing", function, [key for key in vars(known) if not key.startswith("_")], module)
    return getattr(known, function)
