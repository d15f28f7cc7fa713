"""Heterogeneous-agent TRPO (HATRPO; its paper's section 4.1, equations 7 to 10): trust regions, agent after agent.

In a random order i_1, ..., i_N agent i_m takes the step of ``blocks/trust_region.py`` on

    max E[ u M A ]   subject to   E_s KL(pi_m,old(.|s) || pi_m(.|s)) <= delta,   u = pi_m(a_m|s) / pi_m,old(a_m|s),
    M = prod_{j < m} pi_j,new(a_j|s) / pi_j,old(a_j|s),

where A is the joint advantage of one critic V(s). The ``code`` variant is what the released program runs (TRPO-in-MARL,
algorithms/hatrpo_trainer.py): a sum over all actions for the KL of discrete policies, and a line search that adds up
the ratios of an action's numbers.
"""

from __future__ import annotations

import torch

from reprise.blocks.sequential import SequentialActorCritic
from reprise.blocks.team_batch import Samples
from reprise.blocks.trust_region import Settings, trust_region_step

Tensors = dict[str, torch.Tensor]


class HATRPO(SequentialActorCritic):
    """R teams that take trust-region steps, agent after agent.

    Hyperparameters read here: kl_threshold, minibatches (a step each), cg_iterations, cg_tolerance, damping,
    line_search_steps, backtrack, accept_ratio, kl_of, line_search_ratio.
    """

    def settings(self, runs: slice) -> Settings:
        """The step's hyperparameters, for the chunk ``runs``."""
        hyper = self.hyper
        return Settings(
            delta=hyper.per_run("kl_threshold")[runs],
            iterations=hyper.cg_iterations,
            tolerance=hyper.cg_tolerance,
            damping=hyper.damping,
            steps=hyper.line_search_steps,
            backtrack=hyper.backtrack,
            accept=hyper.accept_ratio,
            unweighted_kl=hyper.kl_of == "unweighted",
            ratio_per_number=hyper.line_search_ratio == "per_number",
        )

    def improve_agent(self, parameters: Tensors, samples: Samples, runs: slice, networks, turn: int) -> Tensors:
        """One step per minibatch; metrics [R', 1] are means over the minibatches."""
        settings, count = self.settings(runs), samples.weights.shape[-1]
        found = []
        for rows in self.minibatches("actor", self.updates * self.agents + turn, count, self.hyper.minibatches, runs):
            part = samples if rows is None else samples.rows(rows)
            found.append(trust_region_step(self.actor, parameters, part, settings))
        means = {k: torch.stack([metrics[k] for metrics in found]).mean(0) for k in found[0]}
        means["step_kl"] = means.pop("kl")
        return means
