"""Heterogeneous-agent PPO (HAPPO; HATRPO paper, section 4.2, equation 11): PPO's clip, agent after agent.

In a random order i_1, ..., i_N agent i_m maximises

    E[ min( u M A, clip(u, 1 - eps, 1 + eps) M A ) ],   u = pi_m(a_m|s) / pi_m,old(a_m|s),
    M = prod_{j < m} pi_j,new(a_j|s) / pi_j,old(a_j|s),

where A is the joint advantage of one critic V(s) and u the product over all numbers of an action. The ``code`` variant
is what the released program runs (TRPO-in-MARL, algorithms/happo_trainer.py, runners/separated/base_runner.py).
"""

from __future__ import annotations

import torch

from reprise.blocks.optimiser import Adam
from reprise.blocks.proximal import ProximalActorCritic
from reprise.blocks.sequential import SequentialActorCritic
from reprise.blocks.team_batch import Samples

Tensors = dict[str, torch.Tensor]


class HAPPO(SequentialActorCritic, ProximalActorCritic):
    """R teams that follow the clipped objective, agent after agent. No hyperparameters beside its blocks'."""

    def improve_agent(self, parameters: Tensors, samples: Samples, runs: slice, networks, turn: int) -> Tensors:
        """All epochs of one agent per run, with its own moments of Adam."""
        everyone = self.actor_optimiser
        own = Adam(parameters, everyone.lr, everyone.eps)
        place = torch.arange(self.runs, device=self.device)[runs]
        moments = ((own.first, everyone.first), (own.second, everyone.second))
        for mine, held in moments:
            for k in mine:
                mine[k] = held[k][place, networks].unsqueeze(1)
        turns = self.updates * self.agents + turn
        call = self.updates if self.networks == self.agents else turns  # every turn takes a shared network further
        metrics = self.follow(parameters, own, samples, runs, slice(None), call, turns)
        for mine, held in moments:
            for k in mine:
                held[k][place, networks] = mine[k].squeeze(1)
        return metrics
