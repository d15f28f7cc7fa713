"""What all tests share: one thread per process, the repository's root, and CUDA tests skipped where there is none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch; two threads on two busy cores are slower than one


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The root of the repository whose tests these are."""
    return Path(__file__).resolve().parents[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Deal whole files to the workers, and the workflow tests to one of them: they share one smoke run.

    (`--dist loadgroup` does nothing with pytest 9.2: xdist 3.8 marks groups in a name that pytest no longer reads.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.partition("::")[0]
            return "workflow" if Path(file).parent.name == "workflow" else file

    return Scheduling(config, log)


def pytest_collection_modifyitems(items):
    """Start with the workflow tests, which take longest; without a CUDA device skip those marked `cuda`, saying so."""
    items.sort(key=lambda item: item.path.parent.name != "workflow")
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        reason = f"no CUDA device is visible to torch {torch.__version__}"
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
