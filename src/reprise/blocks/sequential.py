"""Agents that update one after the other, each knowing what its predecessors' updates did (HATRPO paper, section 4).

In the order i_1, ..., i_N agent i_m weights the joint advantage with the factor M = prod_{j < m} pi_new / pi_old of the
agents before it, so that its own ratio times M times A estimates its advantage given their new policies (prop. 2).
"""

from __future__ import annotations

import torch

from reprise.blocks.joint_actor_critic import JointActorCritic
from reprise.blocks.team_batch import Samples, TeamBatch

Tensors = dict[str, torch.Tensor]


class SequentialActorCritic(JointActorCritic):
    """A team that updates agent by agent, all runs at once, each in an order of its own.

    Subclasses define ``improve_agent``. Hyperparameter read here: order (random: drawn anew for each update; fixed).
    """

    def improve_agent(self, parameters: Tensors, samples: Samples, runs: slice, networks, turn: int) -> Tensors:
        """Change the ``parameters`` [R', 1, ...] (copies) of one agent per run, in place; metrics [R', 1].

        ``networks`` [R'] says whose they are; ``turn`` is the place in the order.
        """
        raise NotImplementedError

    def order(self, runs: slice) -> torch.Tensor:
        """The agents in the order in which they update: [R', N]."""
        if self.hyper.order == "fixed":
            return torch.arange(self.agents, device=self.device).expand(len(range(self.runs)[runs]), -1)
        return self.streams.permutations("order", self.updates, self.agents)[runs]

    def improve(self, batch: TeamBatch, runs: slice) -> Tensors:
        """One turn per agent; metrics [R', N] in the order of the turns, with ``factor``, the mean of |M - 1|."""
        order = self.order(runs)
        factor = torch.ones_like(batch.advantages[:, 0])
        place = torch.arange(self.runs, device=self.device)[runs]
        found: list[Tensors] = []
        for turn in range(self.agents):
            agents = order[:, turn]
            samples = batch.of_agents(agents, factor)
            networks = agents if self.networks == self.agents else torch.zeros_like(agents)
            parameters = {k: p[place, networks].unsqueeze(1) for k, p in self.actor.parameters.items()}
            before = samples.old_log_prob  # but a shared network has moved since the samples were drawn
            if self.networks != self.agents:
                before = self._log_prob(parameters, samples)
            metrics = self.improve_agent(parameters, samples, runs, networks, turn)
            for k, p in self.actor.parameters.items():
                p[place, networks] = parameters[k].squeeze(1)
            metrics["factor"] = (factor - 1.0).abs().mean(-1, keepdim=True)
            factor = factor * (self._log_prob(parameters, samples) - before).exp().squeeze(1)
            found.append(metrics)
        return {k: torch.cat([metrics[k] for metrics in found], 1) for k in found[0]}

    @torch.no_grad()
    def _log_prob(self, parameters: Tensors, samples: Samples) -> torch.Tensor:
        return self.actor.policy(parameters, samples.inputs, samples.available).log_prob(samples.actions)
