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


def pytest_collection_modifyitems(items):
    """Deal files to xdist's workers; skip tests marked `cuda`, with the reason, where there is no CUDA device.

    The workflow tests share one smoke run, so they stay together, and start first, since they take longest.
    """
    for item in items:
        folder = item.path.parent.name
        item.add_marker(pytest.mark.xdist_group("workflow" if folder == "workflow" else str(item.path)))
    items.sort(key=lambda item: item.path.parent.name != "workflow")
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        reason = f"no CUDA device is visible to torch {torch.__version__}"
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))
