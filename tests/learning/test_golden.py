"""The numbers of every algorithm after three updates: when they move, its `version` must move too.

The config hash of a run holds the versions of its algorithm and environment, so old results are told from new ones
only if a change that moves numbers bumps one. To record anew after such a bump: python tests/learning/test_golden.py
"""

import json
from pathlib import Path

import pytest
from play import Play, project
from reach import OFF_POLICY, ReachPlay

from reprise.algorithms.dpo import DPO
from reprise.algorithms.happo import HAPPO
from reprise.algorithms.hatrpo import HATRPO
from reprise.algorithms.iddpg import IDDPG
from reprise.algorithms.ippo import IPPO
from reprise.algorithms.maddpg_individual import IndividualMADDPG
from reprise.algorithms.mappo import MAPPO

GOLDEN = Path(__file__).with_name("golden.json")
# Relative tolerance: other processors round differently, and the released code's root of each sample's KL, with 1e-12
# under it, magnifies rounding where the KL is near 0, which is where every update starts.
CELLS = {
    "dpo": 1e-2,
    "dpo@no_sqrt": 1e-2,
    "dpo@code": 5e-2,
    "dpo@code_shuffled": 5e-2,
    "ippo": 1e-2,
    "ippo@joint_ratio": 1e-2,
    "iql": 1e-2,
    "iql@rnn": 1e-2,
    # Observations that are vectors; the recurrent IQL.
    "mpe/circle_control-n4 dpo": 1e-2,
    "mpe/circle_control-n4 dpo@code_shuffled": 5e-2,
    "mpe/circle_control-n4 ippo": 1e-2,
    "mpe/circle_control-n4 iql": 1e-2,
    # Weights as actions.
    "mpe/cooperative_navigation-n3 maddpg": 1e-2,
    "mpe/cooperative_navigation-n3 maddpg@mf_a": 1e-2,
    "mpe/cooperative_navigation-n3 maddpg@pic": 1e-2,
    "mpe/cooperative_navigation-n3 mfppo": 1e-2,
    "happo": 1e-2,
    "happo@code": 5e-2,
    "hatrpo": 1e-2,
    "hatrpo@code": 5e-2,
    "mappo": 1e-2,
    "mappo@separate": 1e-2,
    # Vectors for actions, on the test's own task.
    "reach dpo": 1e-2,
    "reach ippo": 1e-2,
    "reach happo": 1e-2,
    "reach hatrpo": 1e-2,
    "reach mappo@own_critic": 1e-2,
    "reach iddpg": 1e-2,
    "reach maddpg_individual": 1e-2,
}
REACH = {
    "dpo": DPO, "ippo": IPPO, "happo": HAPPO, "hatrpo": HATRPO, "mappo": MAPPO, "iddpg": IDDPG,
    "maddpg_individual": IndividualMADDPG,
}  # fmt: skip
REPLAYED = OFF_POLICY | {"like": "mamujoco/HalfCheetah-3x2", "warmup": 240, "n_step": 3, "width": 16}
TEAM = {"critic_parameters": 0, "width": 16, "actor_width": 16}
WEIGHTS = {"maddpg": TEAM | {"batch": 64, "lr_decay": False}, "mfppo": TEAM | {"copies": 4}}
TINY = "stochastic_game/s5n2a3"  # the task of a name without one


def measure(name: str, cache: Path) -> dict:
    """Versions, and what three updates give two runs of ``name``, "task algorithm" or an algorithm on the tiny game."""
    task, _, algorithm = name.rpartition(" ")
    small = {"batch_episodes": 2} if algorithm.startswith("iql") else {}
    small = {"rollout_length": 40} if algorithm.startswith(("ha", "mappo")) else small
    if task == "reach":
        small = REPLAYED if algorithm in ("iddpg", "maddpg_individual") else {"hidden": 16}
        play = ReachPlay(REACH[algorithm.partition("@")[0]], algorithm, [0, 1], **small)
        metrics = play.train(3 * play.steps_per_update)
        versions = [project().algorithms[algorithm.partition("@")[0]].version]
    else:
        small = WEIGHTS.get(algorithm.partition("@")[0], {"hidden": 16} | small)
        play = Play(task or TINY, algorithm, [0, 1], cache, **small)
        metrics = [play.update() for _ in range(3)][-1]
        versions = [play.cell.config[part]["version"] for part in ("algorithm", "environment")]
    return {
        "versions": versions,
        "metrics": {k: [float(x) for x in v] for k, v in sorted(metrics.items())},
        "parameters": {k: float(p.abs().sum()) for k, p in sorted(play.algorithm.policy_state().items())},
    }


@pytest.mark.parametrize("name", CELLS)
def test_numbers_move_only_with_the_version(name, tmp_path):
    expected, found = json.loads(GOLDEN.read_text())[name], measure(name, tmp_path)
    assert found["versions"] == expected["versions"], "version bumped: record the golden numbers anew (see above)"
    for part in ("metrics", "parameters"):
        assert found[part].keys() == expected[part].keys()
        for key, value in expected[part].items():
            moved = f"{name}: {key} moved: bump the version"
            assert found[part][key] == pytest.approx(value, rel=CELLS[name], abs=1e-5), moved


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        numbers = {name: measure(name, Path(folder)) for name in CELLS}
    GOLDEN.write_text(json.dumps(numbers, indent=1) + "\n")
