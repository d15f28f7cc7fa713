"""The multi-agent performance-difference lemma of Zhao et al. (section 4) over random games, and what follows from it.

J(pi') - J(pi) = sum_m E_{s ~ d', a^{1:m-1} ~ pi'} < Q^{1:m}(s, a^{1:m-1}, .), pi'^m - pi^m >,

with d' the visitation of the *new* policy (improper, sum 1 / (1 - gamma)), the earlier agents' actions from the *new*
policies, and Q^{1:m} of the *old* one. Its consequence: pi'^m proportional to pi^m exp(Q^{1:m} / beta) makes every
inner product beta (KL(pi' || pi) + KL(pi || pi')) >= 0, so that this step of all agents at once never lowers J,
whatever its size. That step is natural policy gradient on the class of conditional policies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records, generator
from reprise.theory.zhao import conditional, rate
from reprise.theory.zhao.conditional import PerAgent
from reprise.theory.zhao.games import draw


def differences(
    visitation: np.ndarray, weights: PerAgent, new: PerAgent, old: PerAgent, values: PerAgent
) -> np.ndarray:
    """The lemma's terms [G, N]: E over ``visitation`` [G, S] and ``weights`` (the earlier agents' probabilities,
    [G, S, A^m]) of < values, new - old >."""
    terms = []
    for weight, after, before, value in zip(weights, new, old, values, strict=False):
        inner = (value * (after - before)).sum(axis=-1)
        terms.append((visitation[..., None] * weight * inner).sum(axis=(1, 2)))
    return np.stack(terms, axis=1)


def logit_gradient(found: tabular.Evaluation, policies: PerAgent) -> PerAgent:
    """dJ / d theta^m of the conditional softmax, from dJ / d pi(a | s) = d(s) Q(s, a) and the chain rule."""
    flow = found.visitation[..., None] * conditional.joint(policies) * found.q
    gradients = []
    for own in policies:
        mine = flow.reshape(*own.shape, -1).sum(axis=-1)
        gradients.append(mine - own * mine.sum(axis=-1, keepdims=True))
    return gradients


def fisher_product(found: tabular.Evaluation, policies: PerAgent, direction: PerAgent) -> PerAgent:
    """The Fisher matrix of the conditional softmax, states weighted by the visitation, times ``direction``.

    It has a block per state and earlier actions, singular for constants alone: whatever solves F v = dJ / d theta is
    the natural gradient up to a constant per row, which changes no policy.
    """
    weights = conditional.earlier(policies)
    products = []
    for weight, own, move in zip(weights, policies, direction, strict=False):
        centred = move - (own * move).sum(axis=-1, keepdims=True)
        products.append((found.visitation[..., None] * weight)[..., None] * own * centred)
    return products


def natural_gradient_error(found: tabular.Evaluation, policies: PerAgent, values: PerAgent) -> np.ndarray:
    """max |F values - dJ / d theta| per game [G]: 0 where ``values`` are the natural gradient."""
    pairs = zip(fisher_product(found, policies, values), logit_gradient(found, policies), strict=True)
    return np.max([np.abs(product - slope).max(axis=(1, 2, 3)) for product, slope in pairs], axis=0)


def reversed_weights(policies: PerAgent) -> PerAgent:
    """Planted error: the earlier agents' probabilities with their actions read in reversed order."""
    turned = []
    for m, weight in enumerate(conditional.earlier(policies)[:-1]):
        actions = policies[0].shape[-1]
        axes = weight.reshape(*weight.shape[:2], *[actions] * m)
        turned.append(axes.transpose(0, 1, *range(m + 1, 1, -1)).reshape(weight.shape))
    return turned


def from_product(policies: np.ndarray) -> PerAgent:
    """Independent agents' policies [G, N, S, A] as conditional ones that do not look at the earlier actions."""
    count, agents, states, actions = policies.shape
    return [
        np.broadcast_to(policies[:, m, :, None, :], (count, states, actions**m, actions)).copy() for m in range(agents)
    ]


def stepped(q: np.ndarray, policies: PerAgent, step: float) -> np.ndarray:
    """The joint policy after one mirror step of every agent along its localised action values, step = 1 / beta."""
    logits = [np.log(own) for own in policies]
    moved = conditional.mirror_step(logits, conditional.localised(q, policies), 1 / step)
    return conditional.joint(conditional.softmax(moved))


def stepped_product(q: np.ndarray, policies: np.ndarray, step: float) -> np.ndarray:
    """The same for independent agents, each along its own marginal action values."""
    values = np.stack([tabular.own(q, policies, agent) for agent in range(policies.shape[1])], axis=1)
    return tabular.product(
        np.stack(conditional.softmax(list((np.log(policies) + step * values).swapaxes(0, 1))), axis=1)
    )


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    for seed in seeds:
        for agents in parameters.agents:
            random = generator(seed, f"performance_difference {agents}")
            games = draw(random, parameters, agents)
            _lemma(records, seed, games, random)
            _ascent(records, seed, games, random, parameters.steps)


def _lemma(records: Records, seed: int, games: MarkovGames, random: np.random.Generator) -> None:
    old, new = (conditional.random_policies(random, games) for _ in range(2))
    before, after = (tabular.evaluate(games, conditional.joint(policies)) for policies in (old, new))
    change = after.returns - before.returns
    values = conditional.localised(before.q, old)
    weights = conditional.earlier(new)
    later = conditional.localised(before.q, new)
    turned = rate.reversed_order(before.q, old)
    sides = {
        "lemma_error": differences(after.visitation, weights, new, old, values),
        "old_visitation_error": differences(before.visitation, weights, new, old, values),
        "old_prefix_error": differences(after.visitation, conditional.earlier(old), new, old, values),
        "reversed_prefix_error": differences(after.visitation, reversed_weights(new), new, old, values),
        "later_agents_new_error": differences(after.visitation, weights, new, old, later),
    }
    rows = {"game": np.arange(games.count), "seed": seed}
    for quantity, terms in sides.items():
        records.add(quantity, f"N = {games.agents}", np.abs(terms.sum(axis=1) - change), **rows)
    for quantity, given in (("natural_gradient_error", values), ("natural_gradient_reversed_error", turned)):
        records.add(quantity, f"N = {games.agents}", natural_gradient_error(before, old, given), **rows)


def _ascent(
    records: Records, seed: int, games: MarkovGames, random: np.random.Generator, steps: Sequence[float]
) -> None:
    free = conditional.random_policies(random, games)
    alone = tabular.random_policies(random, games)
    bound = from_product(alone)
    starts = [tabular.evaluate(games, joint) for joint in (conditional.joint(free), tabular.product(alone))]
    name = f"N = {games.agents}"
    for step in steps:
        joints = {
            "localised": (starts[0], stepped(starts[0].q, free, step)),
            "localised from product policies": (starts[1], stepped(starts[1].q, bound, step)),
            "product": (starts[1], stepped_product(starts[1].q, alone, step)),
        }
        for label, (start, joint) in joints.items():
            change = tabular.evaluate(games, joint).returns - start.returns
            rows = {"game": np.arange(games.count), "seed": seed, "x": step}
            quantity = "product_change" if label == "product" else "localised_change"
            records.add(quantity, f"{label}, {name}", change, **rows)
            if label == "product":
                records.add("product_lowered", name, change < -1e-10, **rows)
