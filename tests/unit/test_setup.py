"""The set-up: one lock for pip and conda, and make, CI and the package agreeing with it."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement


def requirements(path):
    lines = [line.strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line and not line.startswith(("#", "-"))]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def pins(repository_root):
    """The lock's lines that hold for this Python and platform, by name."""
    lines = requirements(repository_root / "constraints.txt")
    return {canonical(line.name): line for line in lines if line.marker is None or line.marker.evaluate()}


def test_environment_yml_installs_the_same_lock(repository_root):
    environment = yaml.safe_load((repository_root / "environment.yml").read_text())
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert pip == ["-c constraints.txt", "-r requirements.in"]
    assert "python=3.11" in environment["dependencies"]


def test_lock_is_exact(pins):
    loose = [str(line) for line in pins.values() if not re.fullmatch(r"==[^*,]+", str(line.specifier))]
    assert not loose


def test_installed_versions_are_the_locked_ones(repository_root, pins):
    for line in requirements(repository_root / "requirements.in"):
        name = canonical(line.name)
        assert name in pins, f"{name} is not locked"
        version = importlib.metadata.version(name)
        assert pins[name].specifier.contains(version), f"{name} {version} is installed, the lock says {pins[name]}"


def test_package_asks_only_for_what_the_lock_gives(repository_root, pins):
    project = tomllib.loads((repository_root / "pyproject.toml").read_text())["project"]
    wanted = {canonical(Requirement(line).name) for line in project["dependencies"]}
    given = {canonical(line.name) for line in requirements(repository_root / "requirements.in")}
    assert wanted <= given


def test_one_version_everywhere(repository_root):
    version = tomllib.loads((repository_root / "pyproject.toml").read_text())["project"]["version"]
    assert yaml.safe_load((repository_root / "CITATION.cff").read_text())["version"] == version
    assert re.search(rf"^## {re.escape(version)}\b", (repository_root / "CHANGELOG.md").read_text(), re.MULTILINE)


def test_make_installs_once_and_again_when_the_lock_changes(repository_root, tmp_path):
    for name in ("Makefile", "requirements.in", "constraints.txt", "pyproject.toml"):
        (tmp_path / name).write_bytes((repository_root / name).read_bytes())
        os.utime(tmp_path / name, (1e9, 1e9))
    stamp = tmp_path / ".venv" / ".installed"
    stamp.parent.mkdir()
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))}

    def planned(target):
        command = ["make", "--dry-run", target]
        return subprocess.run(command, cwd=tmp_path, env=clean, capture_output=True, text=True, check=True).stdout

    for target in ("setup", "figures", "test"):
        assert "pip install" in planned(target)
    stamp.touch()
    for target in ("setup", "figures", "test"):
        assert "pip install" not in planned(target)
    (tmp_path / "constraints.txt").touch()
    os.utime(stamp, (1.5e9, 1.5e9))
    assert "pip install" in planned("test")


def test_ci_runs_make_test(repository_root):
    script = repository_root / ".ci" / "run"
    assert os.access(script, os.X_OK)
    text = script.read_text()
    assert "set -euo pipefail" in text
    assert re.search(r"^exec make test\b", text, re.MULTILINE)
    subprocess.run(["bash", "-n", str(script)], check=True)
