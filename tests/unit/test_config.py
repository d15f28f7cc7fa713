"""Configuration: merge order, provenance, hashes, names, and one line for every fault."""

from __future__ import annotations

import json
import subprocess
import sys

import config_tree
import pytest

from reprise.errors import RepriseError
from reprise.experiments import config, resolution

SMALL, LARGE = "grid_world/small", "grid_world/large"


@pytest.fixture
def root(tmp_path):
    return config_tree.write(tmp_path)


def hyper(project, name, task=SMALL):
    return config.resolve(project, task, name, "quick").config["algorithm"]["hyperparameters"]


def test_merge_order(root):
    # target: the algorithm's 0.1 < the environment's 0.2 < the task's 0.3 < the setting's 1
    project = config.load(root)
    assert hyper(project, "alpha")["target"] == 0.2
    assert hyper(project, "alpha", LARGE)["target"] == 0.3
    assert hyper(project, "alpha@target1", LARGE)["target"] == 1.0
    # speed: 1 < the variant's `set` 0.5 < the variant's `environments` 0.25
    assert hyper(project, "alpha")["speed"] == 1.0
    assert hyper(project, "alpha@slow")["speed"] == 0.25


def test_a_variant_may_change_what_the_environment_shows(root):
    """Where an algorithm's authors ran it on other observations than its rivals."""
    slow = "environments: {grid_world: {speed: {value: 0.25, source: ours}}}\n"
    other = "    parameters: {grid_world: {slip: {value: 0.5, source: issue 15}}}\n"
    config_tree.edit(root, "algorithms/alpha.yaml", slow, slow + other)
    project = config.load(root)
    plain, changed = (config.resolve(project, SMALL, name, "quick") for name in ("alpha", "alpha@slow"))
    assert plain.config["environment"]["parameters"] == {"states": 4, "slip": 0.0}
    assert changed.config["environment"]["parameters"] == {"states": 4, "slip": 0.5}
    assert changed.provenance["parameters"]["slip"] == "issue 15"
    assert changed.config["environment"]["task"] == "small"


def test_sweep_set_lies_below_setting_set(root):
    config_tree.edit(
        root,
        "algorithms/alpha.yaml",
        "label: target\n",
        "label: target\n    set: {target: {value: 9, source: ours}, speed: {value: 7, source: ours}}\n",
    )
    found = hyper(config.load(root), "alpha@target1")
    assert (found["target"], found["speed"]) == (1.0, 7.0)


def test_parameters_and_provenance(root):
    cell = config.resolve(config.load(root), SMALL, "alpha", "quick")
    assert cell.config["environment"] == {
        "name": "grid_world",
        "version": 1,
        "module": "reprise.environments.grid_world.GridWorld",
        "task": "small",
        "parameters": {"states": 4, "slip": 0.0},
    }
    assert cell.config["algorithm"]["module"] == "reprise.algorithms.alpha.Alpha"
    assert cell.provenance["hyperparameters"]["epochs"] == "paper, table 1"
    assert cell.provenance["hyperparameters"]["target"] == "ours"
    assert "source" not in json.dumps(cell.config)


def test_budget_merges_environment_and_task(root):
    config_tree.edit(root, "tiers/quick.yaml", "{env_steps: 5000, seeds", "{updates: 7, seeds")
    project = config.load(root)
    assert config.resolve(project, SMALL, "alpha", "quick").config["budget"] == {
        "env_steps": 1000,
        "evaluations": 5,
        "evaluation_episodes": 2,
    }
    assert config.resolve(project, LARGE, "alpha", "quick").config["budget"] == {
        "updates": 7,
        "evaluations": 5,
        "evaluation_episodes": 2,
    }


def test_hash_ignores_how_a_number_is_written_and_sees_every_value(root):
    before = config.resolve(config.load(root), SMALL, "alpha", "quick").hash
    config_tree.edit(root, "algorithms/alpha.yaml", "speed: {value: 1,", "speed: {value: 1.0e+0,")
    config_tree.edit(root, "algorithms/alpha.yaml", 'source: "paper, table 1"', "source: elsewhere")
    config_tree.edit(root, "algorithms/alpha.yaml", "title: Alpha", "title: Other")
    assert config.resolve(config.load(root), SMALL, "alpha", "quick").hash == before
    config_tree.edit(root, "algorithms/alpha.yaml", "version: 1", "version: 2")
    assert config.resolve(config.load(root), SMALL, "alpha", "quick").hash != before


def test_equal_configs_are_one_cell(root):
    project = config.load(root)
    alias = config.resolve(project, SMALL, "beta@kl", "quick")
    assert (alias.algorithm, alias.name) == ("alpha", "alpha@no_root")
    assert config.label(project, "beta@kl") == "Beta-KL"
    assert resolution.color(project, "beta@kl") == "#00ff00"
    # On grid_world the environment sets target 0.2, which is one of the settings.
    cells = config.expand(project, SMALL, "alpha@targets", "quick")
    assert [cell.name for cell in cells] == ["alpha@target0.1", "alpha", "alpha@target1"]
    assert [cell.cohort for cell in cells] == ["alpha@targets", "alpha", "alpha@targets"]


def test_a_sweep_is_no_cell(root):
    with pytest.raises(RepriseError, match=r"'alpha@targets' is a sweep; name one of its settings: target0.1,"):
        config.resolve(config.load(root), SMALL, "alpha@targets", "quick")


def test_an_algorithm_must_fit_the_action_space(root):
    project = config.load(root)
    with pytest.raises(RepriseError, match="glide has continuous actions only, and grid_world/small is discrete"):
        config.resolve(project, SMALL, "glide", "quick")
    with pytest.raises(RepriseError, match="beta has discrete actions only, and arm/reach is continuous"):
        config.resolve(project, "arm/reach", "beta", "quick")
    with pytest.raises(RepriseError, match="no budget for 'arm'"):
        config.resolve(project, "arm/reach", "glide", "quick")


def test_numbers_as_people_write_them(root):
    config_tree.edit(root, "algorithms/alpha.yaml", "target: {value: 0.1,", "target: {value: 5e-4,")
    config_tree.edit(
        root, "algorithms/alpha.yaml", "environments:\n  grid_world: {target: {value: 0.2, source: ours}}", ""
    )
    assert hyper(config.load(root), "alpha")["target"] == 0.0005


def test_merge_keys(root):
    config_tree.edit(
        root,
        "algorithms/alpha.yaml",
        "sweeps:",
        """  base: {label: B, description: d, set: &base {speed: {value: 3, source: o}, target: {value: 4, source: o}}}
  more: {label: M, description: d, set: &more {<<: *base, target: {value: 5, source: o}}}
  most: {label: N, description: d, set: {<<: *more, root: {value: false, source: o}}}
sweeps:""",
    )
    found = hyper(config.load(root), "alpha@most")
    assert (found["speed"], found["target"], found["root"]) == (3.0, 5.0, False)


@pytest.mark.parametrize(
    ("name", "task", "message"),
    [
        ("alpah", SMALL, "unknown algorithm 'alpah'; nearest: 'alpha'"),
        ("alpha@no_roots", SMALL, "unknown variant, sweep or setting of alpha 'no_roots'; nearest: 'no_root'"),
        ("alpha", "grid_world/smal", "unknown task 'grid_world/smal'; nearest: 'grid_world/small'"),
    ],
)
def test_unknown_names(root, name, task, message):
    with pytest.raises(RepriseError) as error:
        config.resolve(config.load(root), task, name, "quick")
    assert message in str(error.value)


def test_settings(root):
    project = config.load(root)
    assert config.settings(project, {}) == ("quick", ("demo",), "auto")
    assert config.settings(project, {"tier": "smoke", "papers": "demo", "device": "cpu"}) == ("smoke", ("demo",), "cpu")
    assert config.settings(project, {"papers": ["demo"]}).papers == ("demo",)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"tire": "quick"}, "unknown key 'tire'; nearest: 'tier'"),
        ({"papper": "demo"}, "unknown key 'papper'; nearest: 'papers'"),
        ({"tier": "quik"}, "unknown tier 'quik'; nearest: 'quick'"),
        ({"tier": 1}, "unknown tier '1'"),
        ({"papers": "demmo"}, "unknown paper 'demmo'; nearest: 'demo'"),
        ({"papers": 3}, "comma-separated"),
        ({"device": "cdua"}, "unknown device 'cdua'; nearest: 'cuda'"),
    ],
)
def test_faulty_settings(root, overrides, message):
    with pytest.raises(RepriseError) as error:
        config.settings(config.load(root), overrides)
    assert message in str(error.value)


def test_loading_and_resolving_import_nothing_heavy(root):
    code = (
        "import sys, pathlib; from reprise.experiments import config, grid; import reprise.cli;"
        f"p = config.load(pathlib.Path({str(root)!r})); grid.build(p, 'quick');"
        "print([m for m in ('torch', 'pandas', 'scipy', 'matplotlib', 'numpy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_weights_of_choices_are_not_vectors(repository_root):
    """Teams on particles act by weights, robots by vectors: neither is offered the other's algorithms."""
    real = config.load(repository_root)
    for task, algorithm, able in (
        ("mamujoco/HalfCheetah-3x2", "maddpg", "maddpg_individual"),
        ("mpe/cooperative_navigation-n15", "maddpg_individual", "maddpg, mfppo"),
    ):
        with pytest.raises(RepriseError, match=f"algorithms for it: .*{able}") as error:
            config.resolve(real, task=task, algorithm=algorithm, tier="smoke")
        assert algorithm not in str(error.value).partition("algorithms for it: ")[2].split(", ")
