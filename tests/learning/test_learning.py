"""Do the algorithms learn? On a game small enough to be solved, against its best-response Nash value, and on MPE.

On MPE the levels are uniformly random actions and a hand-written policy, which heads for the targets.
"""

import pytest
from play import Play

SEEDS = [0, 1, 2, 3, 4]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.parametrize("algorithm", ["dpo", "ippo", "dpo@no_sqrt", "dpo@no_kl"])
def test_reaches_90_percent_of_the_nash_value(algorithm, cache):
    play = Play("stochastic_game/s10n3a3", algorithm, SEEDS, cache)
    references = play.environment.references(0)
    while play.algorithm.updates * play.steps_per_update < 12_000:
        play.update()
    assert float(play.returns().mean()) >= 0.9 * references["nash"]


def test_a_frozen_policy_does_not(cache):
    play = Play("stochastic_game/s10n3a3", "dpo", SEEDS, cache, actor_lr=1e-12)
    references = play.environment.references(0)
    while play.algorithm.updates * play.steps_per_update < 12_000:
        play.update()
    assert float(play.returns().mean()) < 0.9 * references["nash"]


def test_iql_improves_on_the_uniform_policy(cache):
    play = Play("stochastic_game/s10n3a3", "iql", SEEDS, cache, epsilon_decay=4000, learner_steps=4)
    references = play.environment.references(0)
    while play.algorithm.env_steps < 8_000:
        play.update()
    halfway = references["uniform"] + 0.5 * (references["nash"] - references["uniform"])
    assert float(play.returns().mean()) >= halfway


@pytest.mark.parametrize(
    ("algorithm", "steps", "changes"),
    [
        ("dpo", 10_000, {"copies": 8, "gamma": 0.9, "gae_lambda": 0.8}),
        ("ippo", 10_000, {"copies": 8, "gamma": 0.9, "gae_lambda": 0.8}),
        ("iql", 24_000, {"epsilon_decay": 8000, "gamma": 0.99, "target_interval": 200}),
    ],
)
def test_learns_a_particle_task(algorithm, steps, changes, cache):
    play = Play("mpe/circle_control-n4", algorithm, SEEDS[:2], cache, episodes=64, **changes)
    references = play.environment.references(0)
    while play.algorithm.updates * play.steps_per_update < steps:
        play.update()
    level = references["uniform"] + 0.2 * (references["scripted"] - references["uniform"])
    assert float(play.sampled_returns().mean()) >= level


def test_an_untrained_policy_does_not_do_the_particle_task(cache):
    play = Play("mpe/circle_control-n4", "ippo", SEEDS[:2], cache, episodes=64)
    assert float(play.sampled_returns().mean()) < play.environment.references(0)["uniform"]
