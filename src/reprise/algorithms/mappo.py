"""MAPPO (Yu et al. 2022): PPO for a team, with one policy that all agents share and one critic of the global state.

The policy maximises   E[ min( u A, clip(u, 1 - eps, 1 + eps) A ) ],   u = pi(a_i|o_i) / pi_old(a_i|o_i),
over the samples of all agents, with the joint advantage A(s, a) of the critic V(s).

``separate`` gives every agent a policy of its own, all updated at once (HARL, algorithms/actors/mappo.py, share_param
false). With ``critic: agent`` and shared parameters it is IPPO as the HATRPO paper ran it: V_i sees agent i's
observation.
"""

from __future__ import annotations

import torch

from reprise.blocks.proximal import ProximalActorCritic
from reprise.blocks.team_batch import TeamBatch


class MAPPO(ProximalActorCritic):
    """R teams that follow the clipped objective, all agents at once. No hyperparameters beside its blocks'."""

    def improve(self, batch: TeamBatch, runs: slice) -> dict[str, torch.Tensor]:
        """All epochs of the chunk ``runs``."""
        parameters = {k: p[runs] for k, p in self.actor.parameters.items()}
        samples = batch.samples().each(self.by_network)
        return self.follow(parameters, self.actor_optimiser, samples, runs, runs, self.updates, self.updates)
