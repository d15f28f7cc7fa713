"""Appendix D: the clipped objective of IPPO as a hinge loss, its printed form, and what is continuous in the advantage.

For each agent alone, u = pi_i / pi_old_i, y = sign(A_i), eps the clip, l(y, x, eps) = max(0, eps - y x):

    min(u A, clip(u, 1 - eps, 1 + eps) A) = (1 + eps y) A - |A| l(y, u - 1, eps)

so that IPPO's objective is a constant minus the hinge loss with the weights pi_old_i |A|. The appendix prints the
weights pi_i |A| and no minus sign.

Shapes: policies, old and advantages [G, N, S, A]; rho [G, S]. Slopes are derivatives by the probabilities pi_i(a|s),
divided by rho(s).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from reprise.environments import markov_games
from reprise.theory import tabular
from reprise.theory.study import Parameters, Records, generator


def clip_term(ratio: np.ndarray, advantages: np.ndarray, clip: float) -> np.ndarray:
    """min(u A, clip(u, 1 - eps, 1 + eps) A): Schulman et al. 2017, equation 7."""
    return np.minimum(ratio * advantages, np.clip(ratio, 1 - clip, 1 + clip) * advantages)


def clip_slope(ratio: np.ndarray, advantages: np.ndarray, clip: float) -> np.ndarray:
    """Its derivative by u: A where the unclipped branch is the minimum, else 0; the two meet at the kink."""
    clipped = np.clip(ratio, 1 - clip, 1 + clip)
    return np.where(ratio * advantages <= clipped * advantages, advantages, 0.0)


def hinge(sign: np.ndarray, distance: np.ndarray, clip: float) -> np.ndarray:
    """l(y, x, eps) = max(0, eps - y x): appendix D."""
    return np.maximum(0.0, clip - sign * distance)


def hinge_objective(policies, old, advantages, rho, clip: float) -> np.ndarray:
    """Minus the hinge loss with weights pi_old_i |A|: [G, N]."""
    loss = np.abs(advantages) * hinge(np.sign(advantages), policies / old - 1, clip)
    return -np.einsum("gs,gnsa->gn", rho, old * loss)


def hinge_slope(policies, old, advantages, clip: float) -> np.ndarray:
    sign = np.sign(advantages)
    return np.abs(advantages) * sign * (hinge(sign, policies / old - 1, clip) > 0)


def printed_objective(policies, old, advantages, rho, clip: float) -> np.ndarray:
    """The formula as printed in appendix D: weights pi_i, no minus sign; [G, N]."""
    loss = np.abs(advantages) * hinge(np.sign(advantages), policies / old - 1, clip)
    return np.einsum("gs,gnsa->gn", rho, policies * loss)


def printed_slope(policies, old, advantages, clip: float) -> np.ndarray:
    sign, ratio = np.sign(advantages), policies / old
    loss = hinge(sign, ratio - 1, clip)
    return np.abs(advantages) * (loss - ratio * sign * (loss > 0))


def clip_objective(policies, old, advantages, rho, clip: float) -> np.ndarray:
    """IPPO's objective for each agent, exact: sum_s rho(s) sum_a pi_old_i(a|s) min(...), [G, N]."""
    return np.einsum("gs,gnsa->gn", rho, old * clip_term(policies / old, advantages, clip))


def constant(old, advantages, rho, clip: float) -> np.ndarray:
    """Clipped objective plus hinge loss: E_old[A + eps |A|], [G, N], where E_old[A] = 0 for exact advantages."""
    return np.einsum("gs,gnsa->gn", rho, old * (advantages + clip * np.abs(advantages)))


def in_logits(policies: np.ndarray, slope: np.ndarray, rho: np.ndarray) -> np.ndarray:
    """The gradient by the logits of a tabular softmax policy, from the slope by its probabilities (over rho)."""
    centred = slope - (policies * slope).sum(axis=-1, keepdims=True)
    return rho[:, None, :, None] * policies * centred


def own_advantages(found: tabular.Evaluation, policies: np.ndarray) -> np.ndarray:
    """A_i(s, a_i) of every agent (equation 6): [G, N, S, A]."""
    agents = range(policies.shape[1])
    return np.stack([tabular.own(found.advantage, policies, agent) for agent in agents], axis=1)


def _relative(difference: np.ndarray, of: np.ndarray) -> np.ndarray:
    """Length of ``difference`` over that of ``of``, over all agents, states and actions: [G]."""
    axes = tuple(range(1, of.ndim))
    return np.sqrt((difference**2).sum(axis=axes) / (of**2).sum(axis=axes))


def jump(form: Callable[[np.ndarray], np.ndarray], like: np.ndarray, size: float) -> np.ndarray:
    """|F(size) - F(-size)| of a function of the advantage: of the order of a small ``size`` if F is continuous."""
    return np.abs(form(np.full_like(like, size)) - form(np.full_like(like, -size)))


def signs_suffice(old: np.ndarray, advantages: np.ndarray, clip: float) -> np.ndarray:
    """[G, N, S]: whether some policy has no hinge loss at all, so that the maximisers depend on signs alone.

    It needs u >= 1 + eps on all good actions, hence (1 + eps) P(A > 0) <= 1; bad actions can always get rarer."""
    return (1 + clip) * np.where(advantages > 0, old, 0.0).sum(axis=-1) <= 1


def run(parameters: Parameters, seeds: Sequence[int], records: Records) -> None:
    """Identity, printed form and continuity over random games; pi near pi_old, so that some ratios leave the clip."""
    clip = parameters.clip
    for agents in parameters.agents:
        series = f"N = {agents}"
        draws = generator(seeds[0], f"hinge, N = {agents}")
        games = markov_games.draw(
            draws,
            parameters.games,
            states=parameters.states,
            agents=agents,
            actions=parameters.actions,
            gamma=parameters.gamma,
        )
        old = tabular.random_policies(draws, games, floor=parameters.floor)
        logits = np.log(old) + parameters.step * draws.standard_normal(old.shape)
        new = np.exp(logits)
        new /= new.sum(axis=-1, keepdims=True)
        found = tabular.evaluate(games, tabular.product(old))
        rho, advantages = found.visitation, own_advantages(found, old)
        ratio = new / old
        game = np.arange(games.count)

        clipped = in_logits(new, clip_slope(ratio, advantages, clip), rho)
        loss = in_logits(new, hinge_slope(new, old, advantages, clip), rho)
        scale = np.abs(advantages).max(axis=(1, 2, 3))
        records.add("gradient_error", series, np.abs(clipped - loss).max(axis=(1, 2, 3)) / scale, game=game)
        gap = clip_objective(new, old, advantages, rho, clip) - hinge_objective(new, old, advantages, rho, clip)
        wrong = gap - constant(old, advantages, rho, clip)
        records.add("value_error", series, np.abs(wrong).max(axis=1) / scale, game=game)

        # As printed: the sign alone mended, and both left; at pi and at pi_old, where each update starts.
        printed = in_logits(new, printed_slope(new, old, advantages, clip), rho)
        records.add("printed_error", series, _relative(printed - clipped, clipped), game=game)
        records.add("printed_minus_error", series, _relative(-printed - clipped, clipped), game=game)
        first = in_logits(old, advantages, rho)
        start = in_logits(old, printed_slope(old, old, advantages, clip), rho)
        records.add("printed_minus_error_at_old", series, _relative(-start - first, first), game=game)
        # The loss as printed falls when a good action below (1 + eps) / 2 of its old probability gets rarer still.
        slope, good = printed_slope(new, old, advantages, clip), advantages > 0
        against = (good & (slope > 0) & (ratio < 1 + clip)).sum(axis=(1, 2, 3))
        records.add("printed_pushes_good_down", series, against / good.sum(axis=(1, 2, 3)), game=game)

        # Share of the ratios beyond the clip, and the distance to the nearest kink, u = 1 + eps sign(A).
        active = clip_slope(ratio, advantages, clip) == 0
        records.add("clipped_share", series, active.mean(axis=(1, 2, 3)), game=game)
        kink = np.abs(ratio - 1 - clip * np.sign(advantages)).min(axis=(1, 2, 3))
        records.add("distance_to_kink", series, kink, game=game)

        # Is anything discontinuous where the advantage changes sign? With weights |A|, and with weights 1.
        forms = {
            "objective": lambda a, u=ratio: clip_term(u, a, clip),
            "slope": lambda a, u=ratio: clip_slope(u, a, clip),
            "sign_form": lambda a, u=ratio: -hinge(np.sign(a), u - 1, clip),
        }
        for name, form in forms.items():
            jumps = jump(form, ratio, parameters.flip).max(axis=(1, 2, 3))
            records.add(f"{name}_jump", series, jumps, game=game)
        records.add("signs_suffice", series, signs_suffice(old, advantages, clip).mean(axis=(1, 2)), game=game)
