"""One agent's exact trust-region step, batched: the best policy under a penalty on the largest KL over the states.

Maximises, over all policies pi(.|s) of the agent and separately in each of G games,

    sum_s rho(s) <pi(.|s) - old(.|s), w_s>  -  c1 sqrt(D)  -  c2 D,      D = max_s KL(old(.|s) || pi(.|s)).

With c1 = 0 this is the update of HATRPO's Algorithm 1, with both terms DPO's equation 17. The search is over the level
d = D alone: for a fixed d every state is a problem of its own, whose solution is pi_a = mu old_a / (nu - w_a), with nu
such that KL(old || pi) = d. The gain at level d is concave in d with slope sum_s rho(s) mu_s.

`hatrpo/penalised_step.py` does this for policies with a floor on every probability, and without the root. It is another
method: there the states stop at finite levels, where the slope falls, and the forms free of cancellation below do not
hold; here the root may leave several maxima. Tests hold the two against each other where the floor does not bind.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

GRID = 16  # levels of d at which the objective is compared first: with c1 > 0 it may have several maxima
HALVINGS = 20  # of the bracket around the best of them: log d to about 1e-6, the objective to about 1e-12
COARSE, FINE = 1e-2, 1e-6  # how well log KL is met on the grid and in the bisection; the step returned: 1e-11
ROUNDS = 500  # of the search at one level; bisection alone needs 50
LARGEST = 50.0  # no step has a KL beyond this: the lost actions are at e^-50 by then


class Step(NamedTuple):
    """policy [G, S, A]; level [G]: D of the step, 0 where the old policy is best; gain [G]: the first term at that
    policy; value [G]: the whole objective, >= 0 because staying is worth 0."""

    policy: np.ndarray
    level: np.ndarray
    gain: np.ndarray
    value: np.ndarray


class _Point(NamedTuple):
    policy: np.ndarray
    log_t: np.ndarray
    gain: np.ndarray
    slope: np.ndarray


class _Shape(NamedTuple):
    total: np.ndarray  # T
    q: np.ndarray  # 1 / (1 + z)
    v: np.ndarray
    kl: np.ndarray
    fall: np.ndarray  # - d KL / d log t


class _States:
    """The states' problems, each shifted and scaled so that the best action has x = 0 and the worst x = 1.

    With nu - w_a = span (t + x_a), T = t + mean x and z_a = (x_a - mean x) / T, all that is needed has a form free of
    cancellation (E is the mean under old): v = E[z^2 / (1 + z)], KL = E[log(1 + z) - z] + log(1 + v),
    mu = span T / (1 + v), gain = mu v. So a step with a KL of 1e-20 is still accurate.
    """

    def __init__(self, old: np.ndarray, weights: np.ndarray, visitation: np.ndarray):
        top = np.where(old > 0, weights, -np.inf).max(axis=2, keepdims=True)
        drop = np.where(old > 0, top - weights, 0.0)
        span = drop.max(axis=2)
        self.old = old
        self.x = drop / np.where(span > 0, span, 1.0)[..., None]
        self.mean = (old * self.x).sum(axis=2)
        # States with nothing to gain stay: every action is equally good, or the best one has all the mass.
        self.flat = (span <= 1e-14 * np.abs(weights).max(axis=2)) | (self.mean <= 1e-14)
        self.variance = np.where(self.flat, 1.0, (old * (self.x - self.mean[..., None]) ** 2).sum(axis=2))
        # An action is lost at e^-60 of its share: beyond, KL <= d holds with a gain that is the greedy one to rounding.
        best = np.where(drop <= 0, old, 0.0).sum(axis=2)
        self.floor = np.maximum(np.log(np.maximum(best, 1e-270)) - 60.0, -690.0)
        self.scale = np.where(self.flat, 0.0, visitation * span)
        self.most = (self.scale * self.mean).sum(axis=1)  # the gain of the greedy policy
        self.start = (self.scale * np.sqrt(2 * self.variance)).sum(axis=1)  # gain = start sqrt(d) for small d

    def at(self, log_d: np.ndarray, log_t: np.ndarray | None = None, tolerance: float = 1e-11) -> _Point:
        """Solve KL = d for every game and state; ``log_d`` [G], ``log_t`` [G, S] a guess; ``tolerance`` of log KL."""
        if log_t is None:
            log_t = 0.5 * (np.log(self.variance / 2) - log_d[:, None])
        log_t = self._solve(np.broadcast_to(log_d[:, None], self.flat.shape), np.maximum(log_t, self.floor), tolerance)
        shape = _shape(self.old, self.x, self.mean, log_t)
        policy = np.where(self.flat[..., None], self.old, self.old * shape.q / (1 + shape.v[..., None]))
        mu = self.scale * shape.total / (1 + shape.v)
        return _Point(policy, log_t, (mu * shape.v).sum(axis=1), mu.sum(axis=1))

    def _solve(self, wanted: np.ndarray, log_t: np.ndarray, tolerance: float) -> np.ndarray:
        log_t = np.where(self.flat, 0.0, log_t)
        open_ = np.nonzero(~self.flat)  # the states still searched for
        left, right = self.floor[open_] - 1.0, np.full(open_[0].size, 300.0)
        for turn in range(ROUNDS):
            if not open_[0].size:
                break
            here, floor = log_t[open_], self.floor[open_]
            shape = _shape(self.old[open_], self.x[open_], self.mean[open_], here)
            gap = np.log(shape.kl) - wanted[open_]
            left, right = np.where(gap > 0, here, left), np.where(gap < 0, here, right)
            # Newton on log KL, which falls in log t and is close to concave; bisection where it leaves the bracket, and
            # at every eighth turn, so that the bracket closes whatever Newton does.
            newton = np.maximum(here + gap * shape.kl / shape.fall, floor)
            inside = (newton > left) & (newton < right) & (turn % 8 != 7)
            going = ~((np.abs(gap) < tolerance) | (right - left < 1e-12) | ((here <= floor) & (gap < 0)))
            log_t[open_] = np.where(going, np.where(inside, newton, (left + right) / 2), here)
            open_, left, right = tuple(part[going] for part in open_), left[going], right[going]
        return log_t

    def chosen(self, which: np.ndarray) -> _States:
        other = object.__new__(_States)
        other.__dict__ = {name: values[which] for name, values in self.__dict__.items()}
        return other


def _shape(old: np.ndarray, x: np.ndarray, mean: np.ndarray, log_t: np.ndarray) -> _Shape:
    t = np.exp(log_t)
    total = t + mean
    ratio = (t[..., None] + x) / total[..., None]  # 1 + z
    z = (x - mean[..., None]) / total[..., None]
    q = 1 / ratio
    v = (old * z**2 * q).sum(axis=-1)
    kl = (old * _log_minus(z, ratio)).sum(axis=-1) + np.log1p(v)
    away = -(z + v[..., None] * ratio) * q / (1 + v[..., None])  # q / E[q] - 1, with E[q] = 1 + v
    fall = t * (1 + v) * (old * away * away).sum(axis=-1) / total
    return _Shape(total, q, v, np.maximum(kl, 1e-300), np.maximum(fall, 1e-300))


def _log_minus(z: np.ndarray, ratio: np.ndarray) -> np.ndarray:
    """log(1 + z) - z with ``ratio`` = 1 + z, accurate for small z (by its series) and for z near -1 (by the ratio)."""
    series = z * z * (-1 / 2 + z * (1 / 3 + z * (-1 / 4 + z * (1 / 5 + z * (-1 / 6 + z / 7)))))
    return np.where(np.abs(z) < 1e-3, series, np.log(ratio) - z)


def best_at(old: np.ndarray, weights: np.ndarray, visitation: np.ndarray, level: np.ndarray | float) -> Step:
    """The best policy with KL(old || pi) <= ``level`` in every state: a hard trust region (no penalty)."""
    states = _States(old, weights, visitation)
    levels = np.broadcast_to(np.asarray(level, dtype=float), old.shape[:1])
    found = states.at(np.log(levels))
    policy = np.where(states.flat[..., None], old, found.policy)
    return Step(policy, np.where(states.flat.all(axis=1), 0.0, levels), found.gain, found.gain)


def maximise(
    old: np.ndarray,
    weights: np.ndarray,
    visitation: np.ndarray,
    *,
    linear: np.ndarray | float,
    root: np.ndarray | float = 0.0,
) -> Step:
    """The exact maximiser of the penalised objective above.

    ``old`` [G, S, A], the agent's policy, a row per state; an action of probability 0 keeps it. ``weights`` [G, S, A]:
    w, the agent's advantage (adding a constant per state changes nothing). ``visitation`` [G, S]: rho, discounted and
    improper as in ``tabular.evaluate``. ``linear`` [G] or one number: c2 >= 0, the factor of D; ``root``: c1 >= 0, the
    factor of sqrt(D). Where nothing beats the old policy it is returned unchanged, with level 0.
    """
    games = old.shape[0]
    c1, c2 = (np.broadcast_to(np.asarray(c, dtype=float), games) for c in (root, linear))
    every = _States(old, weights, visitation)
    policy, level, gain, value = old.copy(), np.zeros(games), np.zeros(games), np.zeros(games)
    # Above `highest` the penalty alone exceeds the gain of the greedy policy, whatever the level.
    with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 where nothing can be gained
        highest = np.minimum.reduce([every.most / c2, (every.most / c1) ** 2, np.full(games, LARGEST)])
    live = np.flatnonzero(every.most > 0)
    if live.size:
        point, log_d, worth = _search(every.chosen(live), c1[live], c2[live], np.log(highest[live]))
        moves = worth > 0
        rows = live[moves]
        policy[rows] = np.where(every.flat[rows][..., None], old[rows], point.policy[moves])
        level[rows], gain[rows], value[rows] = np.exp(log_d[moves]), point.gain[moves], worth[moves]
    return Step(policy, level, gain, value)


def _search(states: _States, c1: np.ndarray, c2: np.ndarray, high: np.ndarray) -> tuple[_Point, np.ndarray, np.ndarray]:
    """The best level: a coarse grid in log d, then bisection on the slope around its best point."""
    # For small d the objective is (start - c1) sqrt(d) - c2 d, which is largest at this level.
    with np.errstate(divide="ignore"):
        early = np.where(states.start > c1, (np.abs(states.start - c1) / (2 * c2)) ** 2, np.inf)
    low = np.minimum(np.log(np.maximum(early, 1e-250)), high) - np.log(1e4)
    spacing = (high - low) / (GRID - 1)
    points, worths = [], []
    guess = None
    for k in range(GRID):
        log_d = low + k * spacing
        point = states.at(log_d, guess, COARSE)
        guess = point.log_t - spacing[:, None] / 2
        points.append(point.log_t)
        worths.append(point.gain - c1 * np.exp(log_d / 2) - c2 * np.exp(log_d))
    best = np.argmax(worths, axis=0)
    guess = np.array(points)[best, np.arange(best.size)]
    left, right = low + (best - 1) * spacing, np.minimum(low + (best + 1) * spacing, high)
    for _ in range(HALVINGS):
        middle = (left + right) / 2
        point = states.at(middle, guess, FINE)
        guess = point.log_t
        rising = point.slope > c1 / 2 * np.exp(-middle / 2) + c2
        left, right = np.where(rising, middle, left), np.where(rising, right, middle)
    log_d = (left + right) / 2
    point = states.at(log_d, guess)
    return point, log_d, point.gain - c1 * np.exp(log_d / 2) - c2 * np.exp(log_d)
