"""A repository in miniature: the real tiny game, IPPO with small networks, budgets of a second."""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from reprise import repository
from reprise.experiments import config, grid

TASK = "stochastic_game/s5n2a3"
SMALL = {"hidden": 8, "epochs": 2, "copies": 2, "actor_lr": 0.01, "critic_lr": 0.01}
UPDATES = 16
BUDGET = {"updates": UPDATES, "seeds": "0-1", "evaluations": 8, "evaluation_episodes": 3}
PAPER = {
    "paper": "small",
    "title": "Small",
    "reference": "none",
    "figures": {
        "fig01": {
            "title": "t",
            "caption": "c",
            "kind": "curves",
            "tasks": [TASK],
            "curves": [{"algorithm": "ippo"}, {"algorithm": "ippo@clips"}],
            "metric": "expected_return",
        }
    },
}


def write(root: Path, **hyperparameters) -> Path:
    """The configuration below ``root``; ``hyperparameters`` replace IPPO's values. Returns ``root``."""
    real = repository.root(Path(__file__).parent) / "config"
    algorithm = yaml.safe_load((real / "algorithms" / "ippo.yaml").read_text())
    algorithm.pop("variants", None)
    algorithm.pop("environments", None)  # values for the real games
    for key, value in {**SMALL, **hyperparameters}.items():
        algorithm["hyperparameters"][key]["value"] = value
    algorithm["sweeps"] = {"clips": _sweep("clip", 0.01, 0.3), "entropies": _sweep("entropy", 0.5, 1e38)}
    environment = yaml.safe_load((real / "environments" / "stochastic_game.yaml").read_text())
    files = {
        "config.yaml": {"tier": "smoke", "papers": ["small"], "device": "cpu"},
        "environments/stochastic_game.yaml": environment,
        "algorithms/ippo.yaml": algorithm,
        "papers/small.yaml": PAPER,
    }
    for tier in ("smoke", "quick", "paper"):
        budgets = {"stochastic_game": BUDGET}
        files[f"tiers/{tier}.yaml"] = {"tier": tier, "stamp": None, "batches": None, "environments": budgets}
    for name, content in files.items():
        path = root / "config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))  # JSON is YAML
    return root


def _sweep(key: str, *values: float) -> dict:
    settings = {
        f"{key}{value:g}": {"label": f"{value:g}", "set": {key: {"value": value, "source": "ours: a test"}}}
        for value in values
    }
    return {"label": key, "settings": settings}


def results(folder: Path) -> dict[str, bytes]:
    """The files that every resume must reproduce, byte for byte."""
    return {
        name: (folder / name).read_bytes() for name in ("evaluations.parquet", "training.parquet", "policy.safetensors")
    }


def cohort(root: Path, name: str = "ippo", seeds: tuple[int, ...] = (0, 1)):
    """(project, the cohort of ``name``)."""
    project = config.load(root)
    (found,) = grid.cohort(project, "smoke", TASK, name, seeds)
    return project, found
