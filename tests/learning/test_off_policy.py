"""Do IDDPG and MADDPG learn with vectors for actions? Two agents move to a target that only one of them sees.

The settings are those of the test alone, the first that were tried (reach.py). MADDPG's states must be as they are:
where a place is, is lost in a state that is standardised by itself.
"""

import pytest
from reach import OFF_POLICY, ReachPlay
from test_continuous import LEARNED, STILL

from reprise.algorithms.iddpg import IDDPG
from reprise.algorithms.maddpg_individual import IndividualMADDPG

SEEDS, STEPS = [0, 1], 14_400
CASES = [(IDDPG, "iddpg", {}), (IndividualMADDPG, "maddpg_individual", {"standardise_state": False})]


def make(cls, name, **changes) -> ReachPlay:
    return ReachPlay(cls, name, SEEDS, like="mamujoco/HalfCheetah-3x2", **OFF_POLICY | changes)


@pytest.mark.parametrize(("cls", "name", "changes"), CASES)
def test_learns_to_reach_the_target(cls, name, changes):
    play = make(cls, name, **changes)
    assert bool((play.returns() < STILL + 0.5).all())
    play.train(STEPS)
    assert bool((play.returns() > LEARNED).all())


@pytest.mark.parametrize(("cls", "name", "changes"), CASES)
def test_a_frozen_policy_does_not(cls, name, changes):
    play = make(cls, name, **changes, lr=1e-12)
    play.train(3 * play.steps_per_update)
    assert bool((play.returns() < LEARNED).all())


def test_a_critic_of_the_joint_action_leads_further_than_independent_ones():
    """Agent 1 sees the target through what agent 0 does: alone, each takes the other's learning for noise."""
    alone, together = (make(cls, name, **changes) for cls, name, changes in CASES)
    for play in (alone, together):
        play.train(STEPS)
    assert float(together.returns().min()) > float(alone.returns().max())
