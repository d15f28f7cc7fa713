"""ONE smoke run, in a copy of the repository, that all workflow tests share."""

from __future__ import annotations

import pytest
from checkout import MINUTES, Checkout, copy_repository


@pytest.fixture(scope="session")
def untrained(tmp_path_factory, repository_root) -> Checkout:
    """A copy in which nothing is ever trained; tests may dry-run there."""
    return copy_repository(repository_root, tmp_path_factory.mktemp("untrained") / "reprise")


@pytest.fixture(scope="session")
def smoke(tmp_path_factory, repository_root) -> Checkout:
    """A copy in which `snakemake --config tier=smoke` has run. Leave it as you found it."""
    checkout = copy_repository(repository_root, tmp_path_factory.mktemp("smoke") / "reprise")
    checkout.first = checkout.ok("snakemake", "--cores", "all", "--config", "tier=smoke", timeout=10 * MINUTES)
    return checkout
