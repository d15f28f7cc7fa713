"""Do the algorithms learn? On a game small enough to be solved, against its best-response Nash value."""

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
