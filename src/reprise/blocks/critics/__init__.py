"""Critics of a team: one interface, five networks (MF-PPO, Li et al. 2021, section 5)."""

from __future__ import annotations

from reprise.blocks.critics.base import Sizes, TeamCritic
from reprise.blocks.critics.gcn import GraphCritic
from reprise.blocks.critics.mf import MeanFieldCritic
from reprise.blocks.critics.mf_a import MeanActionCritic
from reprise.blocks.critics.mlp import JointCritic
from reprise.blocks.critics.vdn import ValueDecomposition
from reprise.blocks.streams import Streams
from reprise.errors import unknown

KINDS: dict[str, type[TeamCritic]] = {
    "mf": MeanFieldCritic,
    "mlp": JointCritic,
    "gcn": GraphCritic,
    "mf_a": MeanActionCritic,
    "vdn": ValueDecomposition,
}


def make_critic(
    kind: str,
    streams: Streams,
    name: str,
    agents: int,
    observation_size: int,
    action_size: int,
    width: int,
    varying: bool = False,
) -> TeamCritic:
    """A critic of ``kind`` (a key of ``KINDS``) with hidden layers of ``width``, for every run of ``streams``.

    Args:
        name: prefix of the random streams of its initial weights.
        agents: N.
        observation_size: O, of one agent.
        action_size: A, of one agent; 0 makes a value of observations alone.
        varying: see ``TeamCritic``.

    Raises:
        RepriseError: no such kind.
    """
    return _critic_class(kind)(streams, name, Sizes(agents, observation_size, action_size, width), varying)


def width_for(kind: str, agents: int, observation_size: int, action_size: int, budget: int) -> int:
    """The hidden width whose parameter count is nearest to ``budget``, at least 1 (of two as near, the smaller).

    Raises:
        RepriseError: no such kind.
    """
    critic = _critic_class(kind)

    def count(width: int) -> int:
        return critic.size(Sizes(agents, observation_size, action_size, width))

    low, high = 0, 1  # count grows with the width: find low < high = low + 1 with count(low) < budget <= count(high)
    while count(high) < budget:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < budget else (low, middle)
    return low if low and budget - count(low) <= count(high) - budget else high


def _critic_class(kind: str) -> type[TeamCritic]:
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS, "critic")
    return KINDS[kind]
