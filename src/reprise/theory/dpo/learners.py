"""The practical objectives of DPO, IPPO and IPPO-KL for tabular softmax policies, with exact gradients.

Nothing is sampled: states are weighted by the normalised discounted visitation d(s), actions by pi_old_i, and the
advantages are given (exact, or exact plus noise). Everything else is as in ``reprise.algorithms``: advantages
normalised for each agent, the same number of epochs of gradient ascent from pi_old, coefficients after equation 20.

Shapes: B rows (games times noise); policies and advantages [B, N, S, A]; weights d [B, S]; coefficients [B, N].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce

import numpy as np

from reprise.environments.markov_games import MarkovGames
from reprise.theory import tabular
from reprise.theory.dpo.hinge import clip_slope, own_advantages

BETA_RANGE = (1e-6, 1e6)  # as hyper-parameters beta_min and beta_max of the algorithm: keeps a float a float
MOMENTS, ADAM_EPS = (0.9, 0.999), 1e-5  # Kingma and Ba 2015; adam_eps of the algorithms


@dataclass(frozen=True)
class Learner:
    """One algorithm and its knobs. ``knob`` is the clip of the clipping kinds, d_target of the penalty kinds.

    kinds: ``dpo`` (equation 19), ``ippo_kl`` (beta_1 = 0), ``ippo`` (own ratio clipped), ``sign`` (IPPO's hinge form
    with weights 1 in place of |A|: advantages enter by their signs alone).
    """

    kind: str
    knob: float
    step: float
    updates: int
    epochs: int
    beta: float
    delta: float
    omega: float
    sqrt_eps: float

    @property
    def clips(self) -> bool:
        return self.kind in ("ippo", "sign")


@dataclass(frozen=True)
class History:
    """returns [K + 1, B] before and after each update; kl [K, B] mean over agents of D_i; flipped [K, B] share of the
    advantages' signs that the noise flipped, weighted by d and pi_old."""

    returns: np.ndarray
    kl: np.ndarray
    flipped: np.ndarray


def normalised(advantages: np.ndarray, policies: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 for each agent under d and pi_old, as over a batch of its own samples."""
    law = weights[:, None, :, None] * policies
    centred = advantages - (law * advantages).sum(axis=(2, 3), keepdims=True)
    return centred / np.sqrt((law * centred**2).sum(axis=(2, 3), keepdims=True))


def divergence(old: np.ndarray, log_old: np.ndarray, log_new: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """D_i of equation 19, the mean of KL(pi_old_i || pi_i) over states: [B, N]."""
    return np.maximum(np.einsum("bs,bnsa,bnsa->bn", weights, old, log_old - log_new), 0.0)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-probabilities [..., A]. Sums and maxima as written: numpy's own are slow over so short an axis."""
    shifted = logits - reduce(np.maximum, np.moveaxis(logits, -1, 0))[..., None]
    return shifted - np.log(np.einsum("...a->...", np.exp(shifted)))[..., None]


def gradient(learner: Learner, log_new, old, log_old, advantages, weights, beta) -> np.ndarray:
    """The gradient of agent i's objective by its logits, [B, N, S, A]."""
    new = np.exp(log_new)
    slope = advantages
    if learner.clips:
        slope = clip_slope(new / old, advantages, learner.knob)
    state = weights[:, None, :, None]
    ascent = new * (slope - np.einsum("...a,...a->...", new, slope)[..., None])
    if learner.clips:
        return state * ascent
    penalty = beta  # beta_1 and beta_2 start equal and move together (equation 20), so that one number is both
    if learner.kind == "dpo":
        root = np.sqrt(divergence(old, log_old, log_new, weights) + learner.sqrt_eps)
        penalty = beta + beta / (2 * root)
    # The gradient of -D_i by the logits is d(s) (pi_old_i - pi_i).
    return state * (ascent / old.shape[1] + penalty[..., None, None] * (old - new))


def adapt(beta: np.ndarray, kl: np.ndarray, learner: Learner) -> np.ndarray:
    """Equation 20."""
    beta = np.where(kl > learner.knob * learner.delta, beta * learner.omega, beta)
    beta = np.where(kl < learner.knob / learner.delta, beta / learner.omega, beta)
    return np.clip(beta, *BETA_RANGE)


class Adam:
    """Kingma and Ba 2015, upwards; its state is kept between updates, as in the algorithms."""

    def __init__(self, step: float):
        self.size, self.count = step, 0
        self.mean, self.square = 0.0, 0.0

    def step(self, gradient: np.ndarray) -> np.ndarray:
        self.count += 1
        first, second = MOMENTS
        self.mean = first * self.mean + (1 - first) * gradient
        self.square = second * self.square + (1 - second) * gradient**2
        root = np.sqrt(self.square / (1 - second**self.count))
        return self.size * self.mean / (1 - first**self.count) / (root + ADAM_EPS)


def learn(games: MarkovGames, learner: Learner, noise: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> History:
    """``learner.updates`` updates of all agents at once, from the uniform policy.

    ``noise(advantages, deviation)`` returns what the agents see in place of the exact A_i; the deviation
    [B, N, 1, 1] is that of each agent's own advantages under d and pi_old.
    """
    log = np.full((games.count, games.agents, games.states, games.actions), -np.log(games.actions))
    beta = np.full((games.count, games.agents), learner.beta)
    adam = Adam(learner.step)
    returns, kls, flips = [], [], []
    for _ in range(learner.updates):
        old, log_old = np.exp(log), log
        found = tabular.evaluate(games, tabular.product(old))
        weights = found.visitation * (1 - games.gamma)
        exact = own_advantages(found, old)
        law = weights[:, None, :, None] * old
        deviation = np.sqrt((law * exact**2).sum(axis=(2, 3), keepdims=True))
        seen = noise(exact, deviation)
        flips.append((law * (np.sign(seen) != np.sign(exact))).sum(axis=(2, 3)).mean(axis=1))
        seen = normalised(seen, old, weights)
        if learner.kind == "sign":
            seen = np.sign(seen)
        for _ in range(learner.epochs):
            by_logits = gradient(learner, log, old, log_old, seen, weights, beta)
            log = log_softmax(log + adam.step(by_logits))
        kl = divergence(old, log_old, log, weights)
        beta = adapt(beta, kl, learner)
        returns.append(found.returns)
        kls.append(kl.mean(axis=1))
    returns.append(tabular.evaluate(games, tabular.product(np.exp(log))).returns)
    return History(np.array(returns), np.array(kls), np.array(flips))
