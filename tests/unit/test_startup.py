"""What each path imports: a process must not spend seconds on packages that it does not use.

torch takes about 2 s to import, torch._dynamo (which the first torch.optim step imports) 1.5 s, scipy.stats 0.8 s,
matplotlib 0.5 s, pandas 0.4 s. Each script below runs in a process of its own and prints which of them it loaded.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

HEAVY = ("torch", "numpy", "pandas", "pyarrow", "matplotlib", "scipy", "tensorboard")
# Training needs torch, numpy and pyarrow, and none of these. sympy is what torch._dynamo brings along.
UNUSED_BY_TRAINING = ("torch._dynamo", "torch._inductor", "sympy", "scipy", "matplotlib", "pandas", "tensorboard")
TASK = "stochastic_game/s5n2a3"
ALGORITHMS = ("dpo", "ippo", "iql")

GRID = """
from pathlib import Path
from reprise import repository
from reprise.experiments import config, grid, plan, throughput
project = config.load(repository.root(Path({root!r})))
for tier in project.tiers:
    made = grid.build(project, tier)
    assert made.cohorts
"""


def loaded(script: str, names: tuple[str, ...], folder: Path) -> list[str]:
    """Those of ``names`` that a fresh process has loaded after running ``script`` in ``folder``."""
    script += f"\nimport sys\nprint('\\n' + ' '.join(name for name in {names!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()


@pytest.fixture(scope="module")
def tiny_root(repository_root: Path, tmp_path_factory) -> Path:
    """The real configuration, with small networks for ``ALGORITHMS``, in a folder of its own."""
    root = tmp_path_factory.mktemp("repository")
    for path in (repository_root / "config").rglob("*.yaml"):
        content = yaml.safe_load(path.read_text())
        if path.parent.name == "algorithms" and path.stem in ALGORITHMS:
            content["hyperparameters"]["hidden"]["value"] = 8
            if path.stem == "iql":
                content["hyperparameters"]["batch_episodes"]["value"] = 1  # so that it learns within two updates
        target = root / path.relative_to(repository_root)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content))  # JSON is YAML
    return root


def test_the_command_line_imports_nothing_heavy(repository_root):
    assert loaded("import reprise.cli", HEAVY, repository_root) == []


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["plan", "--tier", "paper", "--brief"]])
def test_commands_that_only_read_the_config_import_nothing_heavy(arguments, repository_root):
    script = f"import reprise.cli\nassert reprise.cli.main({arguments!r}) == 0"
    assert loaded(script, HEAVY, repository_root) == []


def test_the_grids_of_all_tiers_import_nothing_heavy(repository_root):
    assert loaded(GRID.format(root=str(repository_root)), HEAVY, repository_root) == []


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_training_imports_only_what_it_uses(algorithm, tiny_root):
    arguments = ["train", "--task", TASK, "--algorithm", algorithm, "--seeds", "0-1", "--tier", "smoke"]
    script = f"import reprise.cli\nassert reprise.cli.main({[*arguments, '--device', 'cpu']!r}) == 0"
    assert loaded(script, ("torch", *UNUSED_BY_TRAINING), tiny_root) == ["torch"]
    run = tiny_root / "results/smoke/runs" / TASK / algorithm / "seeds-0-1"
    assert (run / "manifest.json").is_file(), "the command trained nothing: the test says nothing"


def test_analysis_imports_no_torch(repository_root):
    package = repository_root / "src" / "reprise" / "analysis"
    modules = sorted(f"reprise.analysis.{path.stem}" for path in package.glob("*.py") if path.stem != "__init__")
    script = "\n".join(f"import {module}" for module in modules)
    assert loaded(script, ("torch",), repository_root) == []
