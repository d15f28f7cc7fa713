"""Every fault in a config file is one line that names the file, the key and what would be right."""

from __future__ import annotations

import config_tree
import pytest

from reprise.errors import RepriseError
from reprise.experiments import config, kinds, seeds

ALPHA, BETA, QUICK, DEMO = "algorithms/alpha.yaml", "algorithms/beta.yaml", "tiers/quick.yaml", "papers/demo.yaml"
WORLD = "environments/grid_world.yaml"
FAULTS = {  # id: (file, old, new, what the message says)
    "unknown top key": (ALPHA, "version: 1", "versoin: 1", "unknown key 'versoin'; nearest: 'version'"),
    "unknown nested key": (
        ALPHA,
        "kind: switch",
        "kindd: switch",
        "hyperparameters.root: unknown key 'kindd'; nearest: 'kind'",
    ),
    "missing key": (ALPHA, "title: Alpha\n", "", "config/algorithms/alpha.yaml: the key 'title' is missing"),
    "missing source": (BETA, ", source: paper", "", "hyperparameters.clip: the key 'source' is missing"),
    "wrong type": (ALPHA, "epochs: {value: 15", "epochs: {value: many", "hyperparameters.epochs: a whole number >= 1"),
    "out of range": (BETA, "value: 0.2", "value: 1.5", "hyperparameters.clip: a number from 0 to 1 expected, got 1.5"),
    "not a choice": (ALPHA, "value: exact", "value: exat", "one of exact, sampled expected, got 'exat'"),
    "unknown kind": (
        ALPHA,
        "kind: count",
        "kind: cuont",
        "hyperparameters.epochs.kind: 'cuont' is not valid; nearest: 'count'",
    ),
    "file and name differ": (BETA, "algorithm: beta", "algorithm: bet", "'bet' must be the file's name, 'beta'"),
    "unknown environment": (
        ALPHA,
        "  grid_world: {target",
        "  grid_word: {target",
        "environments: unknown environment 'grid_word'; nearest: 'grid_world'",
    ),
    "unknown task": (
        ALPHA,
        "grid_world/large",
        "grid_world/larg",
        "tasks: unknown task 'grid_world/larg'; nearest: 'grid_world/large'",
    ),
    "undeclared override": (
        ALPHA,
        "set: {root:",
        "set: {rot:",
        "variants.no_root.set: unknown hyperparameter 'rot'; nearest: 'root'",
    ),
    "override of wrong type": (
        ALPHA,
        "{value: false",
        "{value: 3",
        "variants.no_root.set.root: true or false expected, got 3",
    ),
    "undeclared parameter": (
        WORLD,
        "parameters: {states: {value: 4",
        "parameters: {sates: {value: 4",
        "tasks.small.parameters: unknown parameter 'sates'; nearest: 'states'",
    ),
    "undeclared sweepable": (
        ALPHA,
        "sweepable: [target, speed]",
        "sweepable: [targe]",
        "sweepable: unknown hyperparameter 'targe'; nearest: 'target'",
    ),
    "setting of a fixed key": (
        ALPHA,
        "set: {target: {value: 1, source: ours}}",
        "set: {epochs: {value: 1, source: ours}}",
        "settings.target1.set: 'epochs' differs between the settings and is not sweepable; sweepable: speed, target",
    ),
    "variant and setting clash": (ALPHA, "target1:", "slow:", "'slow' and 'slow' clash"),
    "names that differ in case": (ALPHA, "target1:", "Slow:", "'slow' and 'Slow' clash"),
    "alias to nothing": (
        BETA,
        "alpha@no_root",
        "alpha@no_rot",
        "variants.kl.alias: unknown variant, sweep or setting of alpha 'no_rot'; nearest: 'no_root'",
    ),
    "alias to itself": (BETA, "alpha@no_root", "beta@kl", "the aliases beta@kl -> beta@kl run in a circle"),
    "alias to a sweep": (BETA, "alpha@no_root", "alpha@targets", "is an alias of the sweep 'alpha@targets'"),
    "unknown parameter of a variant": (
        ALPHA,
        "set: {root: {value: false, source: ours}}",
        "set: {}, parameters: {grid_world: {slipp: {value: 0.5, source: o}}}",
        "variants.no_root.parameters.grid_world: unknown parameter 'slipp'; nearest: 'slip'",
    ),
    "alias with parameters": (
        BETA,
        "alias: alpha@no_root",
        "alias: alpha@no_root, parameters: {grid_world: {slip: {value: 0.1, source: o}}}",
        "variants.kl: an alias takes everything from its target",
    ),
    "alias with values": (
        BETA,
        "alias: alpha@no_root",
        "alias: alpha@no_root, set: {clip: {value: 0.1, source: o}}",
        "variants.kl: an alias takes everything from its target",
    ),
    "negative budget": (
        QUICK,
        "env_steps: 1000",
        "env_steps: -5",
        "environments.grid_world.env_steps: input should be greater than or equal to 1, got -5",
    ),
    "no evaluations": (
        QUICK,
        "evaluations: 5",
        "evaluations: 0",
        "environments.grid_world.evaluations: input should be greater",
    ),
    "two budgets": (QUICK, "env_steps: 1000", "env_steps: 1000, updates: 2", "either 'env_steps' or 'updates'"),
    "seed twice": (QUICK, '"0,3"', '"0,0"', "tasks.grid_world/large.seeds: seed 0 stands twice in '0,0'"),
    "seeds backwards": (QUICK, "seeds: 0-2", "seeds: 2-0", "the range '2-0' runs backwards"),
    "tier of unknown figure": (
        QUICK,
        "demo/fig02",
        "demo/fig2",
        "figures: unknown figure 'demo/fig2'; nearest: 'demo/fig02'",
    ),
    "figure of unknown task": (
        DEMO,
        "[grid_world/small, grid",
        "[grid_world/smal, grid",
        "figures.fig01.tasks: unknown task 'grid_world/smal'",
    ),
    "figure of unknown algorithm": (
        DEMO,
        "algorithm: beta}",
        "algorithm: betta}",
        "figures.fig01.curves: unknown algorithm 'betta'; nearest: 'beta'",
    ),
    "figure of unable algorithm": (
        DEMO,
        "algorithm: beta}",
        "algorithm: glide}",
        "config/papers/demo.yaml: figures.fig01.curves: glide has continuous actions only",
    ),
    "figure of unknown kind": (
        DEMO,
        "kind: curves",
        "kind: curve",
        "figures.fig01.kind: 'curve' is not valid; nearest: 'curves'",
    ),
    "figure tier": (
        DEMO,
        "{smoke: {tasks:",
        "{smoke: {task:",
        "figures.fig01.tiers.smoke: unknown key 'task'; nearest: 'tasks'",
    ),
    "unknown default paper": (
        "config.yaml",
        "[demo]",
        "[dem]",
        "config/config.yaml: papers: unknown paper 'dem'; nearest: 'demo'",
    ),
    "unknown default key": (
        "config.yaml",
        "tier:",
        "tiers:",
        "config/config.yaml: unknown key 'tiers'; nearest: 'tier'",
    ),
    "duplicate key": (
        BETA,
        "title: Beta",
        "title: Beta\ntitle: Other",
        "config/algorithms/beta.yaml: line 6: the key 'title' stands twice",
    ),
    "tab": (BETA, "title: Beta", "title:\tBeta\n\tcolor: x", "config/algorithms/beta.yaml: line "),
    "not a mapping": ("config.yaml", "tier: quick\npapers: [demo]\ndevice: auto\n", "- quick\n", "a mapping of keys"),
    "broken brackets": (BETA, "actions: [discrete]", "actions: [discrete", "config/algorithms/beta.yaml: line "),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_fault(tmp_path, fault):
    name, old, new, message = FAULTS[fault]
    root = config_tree.write(tmp_path)
    config.load(root)  # sound before
    config_tree.edit(root, name, old, new)
    with pytest.raises(RepriseError) as error:
        config.load(root)
    text = str(error.value)
    assert message in text
    assert text.startswith(f"config/{name}")
    assert "\n" not in text
    if fault == "tab":
        assert "a tab" in text


def test_unreadable_bytes(tmp_path):
    root = config_tree.write(tmp_path)
    (root / "config" / BETA).write_bytes(b"title: \xff\xfe")
    with pytest.raises(RepriseError, match=r"config/algorithms/beta\.yaml: not UTF-8 text"):
        config.load(root)


@pytest.mark.parametrize(
    ("text", "expected"), [("0", (0,)), (3, (3,)), ("0-4", (0, 1, 2, 3, 4)), ("0,3", (0, 3)), ("5, 0-2", (0, 1, 2, 5))]
)
def test_seeds(text, expected):
    assert seeds.parse(text) == expected
    assert seeds.parse(seeds.text(expected)) == expected


@pytest.mark.parametrize(
    "text", ["", "a", "-1", "0--4", "1-", "0,", "0,0", "0-3,2", "4-0", "0-99999999", "3000000000", 1.5]
)
def test_faulty_seeds(text):
    with pytest.raises(RepriseError, match="--seeds"):
        seeds.parse(text)


def test_segments():
    assert seeds.segments([7, 0, 1, 3, 2]) == [(0, 1, 2, 3), (7,)]
    assert seeds.text([7, 0, 1, 3, 2]) == "0-3,7"


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        ("float", [-1, 0, 2.5], [float("inf"), float("nan"), "1", True, None]),
        ("positive", [1e-9, 3], [0, -1]),
        ("nonnegative", [0, 0.5], [-1e-9]),
        ("fraction", [0, 1, 0.3], [1.01, -0.1]),
        ("integer", [-3, 0], [1.0, "1", True]),
        ("count", [1, 9], [0, -1, 1.5]),
        ("natural", [0, 4], [-1]),
        ("switch", [True, False], [0, 1, "true"]),
        ("text", ["a", '{"N": 3}'], ["", "  ", 3, None, {"N": 3}]),
        ("optional_count", [None, 1], [0, 0.5]),
        ("floats", [[-1.0, 0.5]], [[], 1.0, [1.0, "2"]]),
        ("positives", [[0.1, 3.0]], [[0.1, 0.0]]),
        ("nonnegatives", [[0.0, 3.0]], [[-0.1]]),
        ("counts", [[1, 9]], [[1.5], [0], 3]),
    ],
)
def test_kinds(kind, good, bad):
    for value in good:
        assert kinds.check(kind, value) == value
    for value in bad:
        with pytest.raises(ValueError, match="expected, got"):
            kinds.check(kind, value)


def test_every_kind_is_checked():
    covered = {
        "float",
        "positive",
        "nonnegative",
        "fraction",
        "integer",
        "count",
        "natural",
        "switch",
        "text",
        "optional_count",
        "floats",
        "positives",
        "nonnegatives",
        "counts",
    }
    assert covered | {"choice"} == set(kinds.KINDS)
