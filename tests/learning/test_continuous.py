"""Do the algorithms learn with vectors for actions? Two agents move to a target that only one of them sees.

Those with a critic of the global state learn with discrete actions, too.
"""

import pytest
from play import Play
from reach import ReachPlay

from reprise.algorithms.dpo import DPO
from reprise.algorithms.happo import HAPPO
from reprise.algorithms.hatrpo import HATRPO
from reprise.algorithms.ippo import IPPO
from reprise.algorithms.mappo import MAPPO

SEEDS, STEPS = [0, 1], 29_000
STILL = -12.1  # return of agents that stay where they are, as untrained means do
LEARNED = -9.5


@pytest.mark.parametrize(
    ("cls", "name", "changes"),
    [
        (DPO, "dpo", {}),
        (IPPO, "ippo", {}),
        (HAPPO, "happo", {}),
        (HAPPO, "happo", {"order": "fixed", "critic": "agent", "value_norm": False}),
        (HATRPO, "hatrpo", {}),
        (MAPPO, "mappo", {}),
        (MAPPO, "mappo@separate", {}),
        (MAPPO, "mappo@own_critic", {}),
    ],
)
def test_learns_to_reach_the_target(cls, name, changes):
    play = ReachPlay(cls, name, SEEDS, **changes)
    before = play.returns()
    assert bool(((before - STILL).abs() < 1.0).all())
    play.train(STEPS)
    assert bool((play.returns() > LEARNED).all())


@pytest.mark.parametrize(
    ("cls", "name", "changes"),
    [
        (DPO, "dpo", {"actor_lr": 1e-12}),
        (HAPPO, "happo", {"actor_lr": 1e-12}),
        (HATRPO, "hatrpo", {"kl_threshold": 1e-9}),
        (MAPPO, "mappo", {"actor_lr": 1e-12}),
    ],
)
def test_a_frozen_policy_does_not(cls, name, changes):
    play = ReachPlay(cls, name, SEEDS, **changes)
    play.train(3 * play.steps_per_update)
    assert bool((play.returns() < LEARNED).all())


@pytest.mark.parametrize("name", ["happo", "hatrpo", "mappo@separate"])
def test_joint_critics_reach_the_nash_value_of_a_game(name, tmp_path):
    changes = {"copies": 4, "rollout_length": 50, "hidden": 64, "gamma": 0.9, "gae_lambda": 0.8}
    play = Play("stochastic_game/s10n3a3", name, [0, 1, 2], tmp_path, **changes)
    while play.algorithm.updates * play.steps_per_update < 12_000:
        play.update()
    assert float(play.returns().mean()) >= 0.9 * play.environment.references(0)["nash"]
