"""The exact maximiser of algorithm 1's objective for one agent, over all tabular policies that are eta-soft.

The problem, per game, in the agent's policy pi [S, A]:

    maximise  sum_s rho_s <pi_s, w_s> - C max_s KL(old_s || pi_s)   subject to  pi >= eta, rows sum to one.

For a level d of the largest KL the states separate: the best pi_s with KL(old_s || pi_s) <= d is

    pi_a = max(eta, lambda_s old_a / (nu_s - w_a)),

lambda_s(d) being the price of KL at that state, the slope of <pi_s, w_s> in d. A state reaches its greedy eta-soft
policy at a finite KL and stops there: its price falls from some value to 0. The objective is concave in d, with slope
sum_s rho_s lambda_s(d) - C. So its maximum is either where a state stops, when the summed price passes C by that fall,
or between two such levels, where Newton's method in log d finds it. nu_s for a given level is found by Newton's method
in log(nu_s - max w), where log KL is nearly straight and concave. Everything is batched over games and states.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_TOLERANCE = 1e-10  # of log KL and of the logarithm of the summed prices
_ROUNDS = 100  # of either search
_FAR = 12.0  # log(nu - max w), in units of w's range, from where log KL is straight to 1e-5
_NO_KL = 1e-15  # a state whose greedy policy is nearer than this does not move


def penalised_step(
    old: np.ndarray, weights: np.ndarray, visitation: np.ndarray, penalty: np.ndarray, floor: float
) -> np.ndarray:
    """argmax over pi of sum_s rho_s <pi_s, w_s> - C max_s KL(old_s || pi_s), pi >= floor: [G, S, A].

    old [G, S, A] >= floor; weights w [G, S, A]; visitation rho [G, S]; penalty C [G] >= 0 (0: every state's
    greedy policy); floor eta > 0.
    """
    states = _States.of(old, weights, visitation, floor)
    with np.errstate(divide="ignore"):
        target = np.log(penalty)
        stops = np.log(np.where(states.widest > _NO_KL, states.widest, 0.0))
        low, high = _segment(states, stops, target)
        level = _second_order_level(states, penalty)
    found = low == high  # at a stop, or nothing moves: both are -inf
    level = np.where(found, high, _inside(level, low, high))
    for _ in range(_ROUNDS):
        policy, prices, slopes = states.at_level(level)
        total = prices.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.log(total) - target
            proposal = level - error * total / (prices * slopes).sum(axis=1)
            low, high = np.where(error > 0, level, low), np.where(error > 0, high, level)
            proposal = _inside(proposal, low, high)
            found |= (np.abs(error) < _TOLERANCE) | (np.abs(proposal - level) < _TOLERANCE)
        if found.all():
            break
        level = np.where(found, level, proposal)
    return policy


def greedy_step(old: np.ndarray, weights: np.ndarray, floor: float) -> np.ndarray:
    """The same without a penalty: every action at the floor but the best one; ``old`` where all are equally good."""
    policy = np.full(old.shape, floor)
    best = weights.argmax(axis=2)[..., None]
    np.put_along_axis(policy, best, 1 - floor * (old.shape[2] - 1), axis=2)
    indifferent = weights.max(axis=2) == weights.min(axis=2)
    return np.where(indifferent[..., None], old, policy)


def x_minus_log1p(x: np.ndarray) -> np.ndarray:
    """x - log(1 + x), to full relative precision for small x; KL(p || q) is its mean under p at x = q / p - 1."""
    series = x * x * (1 / 2 - x * (1 / 3 - x * (1 / 4 - x * (1 / 5 - x / 6))))
    return np.where(np.abs(x) < 1e-3, series, x - np.log1p(x))


@dataclass(frozen=True)
class _States:
    """The states' own problems. ``gap`` [G, S, A] is (max w - w) over w's range, ``scale`` [G, S] is rho times that
    range: prices are in units of w's range inside and become rho_s lambda_s by it."""

    old: np.ndarray
    gap: np.ndarray
    scale: np.ndarray
    floor: float
    greedy: np.ndarray  # [G, S, A]
    widest: np.ndarray  # [G, S], KL(old || greedy)
    last_price: np.ndarray  # [G, S], rho_s lambda_s as the state reaches its greedy policy

    @classmethod
    def of(cls, old: np.ndarray, weights: np.ndarray, visitation: np.ndarray, floor: float) -> _States:
        gap = weights.max(axis=2, keepdims=True) - weights
        reach = gap.max(axis=2)
        gap = gap / np.where(reach > 0, reach, 1.0)[..., None]
        greedy = greedy_step(old, weights, floor)
        widest = (old * x_minus_log1p(greedy / old - 1)).sum(axis=2)
        # An action a stays on the floor while lambda old_a / (nu - w_a) <= floor, with nu - max w = lambda old_b / top.
        best = weights.argmax(axis=2)[..., None]
        excess = old - floor * np.take_along_axis(old, best, axis=2) / (1 - floor * (old.shape[2] - 1))
        others = np.arange(old.shape[2]) != best
        with np.errstate(divide="ignore", invalid="ignore"):
            prices = np.where(others & (excess > 0), floor * gap / excess, np.inf).min(axis=2)
            last = np.where(reach > 0, visitation * reach * prices, 0.0)
        return cls(old, gap, visitation * reach, floor, greedy, widest, last)

    def at_level(self, level: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """At log d = ``level`` [G]: the best policies [G, S, A], the prices rho_s lambda_s [G, S] (0 where a state has
        stopped), and the slopes of the log prices in log d [G, S]."""
        moving = self.widest > np.maximum(np.exp(level) * (1 + 1e-12), _NO_KL)[:, None]
        slack = self._first_guess(level)
        low, high, found = np.full(slack.shape, -80.0), np.full(slack.shape, 80.0), ~moving
        for _ in range(_ROUNDS):
            policy, log_kl, kl_slope, price, price_slope = self._at(slack)
            with np.errstate(invalid="ignore"):  # level -inf where nothing moves
                error = log_kl - level[:, None]
            low, high = np.where(error > 0, slack, low), np.where(error > 0, high, slack)
            proposal = _inside(slack - error / kl_slope, low, high)
            found |= (np.abs(error) < _TOLERANCE) | (np.abs(proposal - slack) < _TOLERANCE)
            if found.all():
                break
            slack = np.where(found, slack, proposal)
        policy = np.where(moving[..., None], policy, self.greedy)
        return policy, np.where(moving, self.scale * price, 0.0), np.where(moving, price_slope / kl_slope, 0.0)

    def _first_guess(self, level: np.ndarray) -> np.ndarray:
        """log(nu - max w) to second order: KL is Var_old(w) / (2 nu^2) far out."""
        mean = (self.old * self.gap).sum(axis=2, keepdims=True)
        variance = (self.old * (self.gap - mean) ** 2).sum(axis=2)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.clip((np.log(variance / 2) - level[:, None]) / 2, -20.0, 40.0)

    def _at(self, slack: np.ndarray) -> tuple[np.ndarray, ...]:
        """At log(nu - max w) = ``slack`` [G, S]: policy, log KL and its slope, price and the slope of its logarithm."""
        distance = np.exp(slack)[..., None] + self.gap
        ratio = self.old / distance
        free = np.ones(ratio.shape, dtype=bool)
        while True:
            total = np.where(free, ratio, 0.0).sum(axis=2)
            price = (1 - self.floor * (~free).sum(axis=2)) / total
            policy = price[..., None] * ratio
            bound = free & (policy < self.floor)
            if not bound.any():
                break
            free &= ~bound
        policy = np.where(free, policy, self.floor)
        divergence = (self.old * x_minus_log1p(policy / self.old - 1)).sum(axis=2)
        steepness = np.where(free, ratio / distance, 0.0).sum(axis=2) / total
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = np.exp(slack) * (total - np.where(free, self.old, 0.0).sum(axis=2) * steepness) / divergence
            log_kl = np.log(divergence)
        # The slope lies between -2 and 0; far out it is -2 and the expression above loses its digits.
        slope = np.where(slack > _FAR, -2.0, np.clip(np.nan_to_num(slope, nan=-1.0), -2.0, -1e-6))
        return policy, log_kl, slope, price, np.exp(slack) * steepness


def _segment(states: _States, stops: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The levels log d [G] between which the best one lies, equal where it is a level at which a state stops.

    ``stops`` [G, S] are these levels, -inf for states that do not move. The summed price falls with the level: the
    first stop after whose fall it is at most C ends the segment, the stop before begins it.
    """
    order = np.argsort(stops, axis=1)
    low = np.full(len(stops), -np.inf)
    high, decided = low.copy(), np.zeros(len(stops), dtype=bool)
    for place in range(stops.shape[1]):
        stop = np.take_along_axis(stops, order[:, [place]], axis=1)
        level = np.where(np.isfinite(stop[:, 0]), stop[:, 0], 0.0)
        _, prices, _ = states.at_level(level)
        here = np.where(stops == stop, states.last_price, 0.0).sum(axis=1)
        after = np.log(prices.sum(axis=1))
        before = np.log(prices.sum(axis=1) + here)
        ends = ~decided & np.isfinite(stop[:, 0]) & (after <= target)
        high = np.where(ends, level, high)
        low = np.where(ends & (before >= target), level, low)
        decided |= ends
        if decided.all():
            break
        low = np.where(~decided & np.isfinite(stop[:, 0]), level, low)
    return low, high


def _second_order_level(states: _States, penalty: np.ndarray) -> np.ndarray:
    """log d of a small step: the prices are std_s / sqrt(2 d), so that d = (sum_s rho_s std_s(w))^2 / (2 C^2)."""
    mean = (states.old * states.gap).sum(axis=2, keepdims=True)
    deviation = np.sqrt((states.old * (states.gap - mean) ** 2).sum(axis=2))
    return 2 * np.log((states.scale * deviation).sum(axis=1) / penalty) - np.log(2)


def _inside(proposal: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """``proposal`` where it lies inside the bracket, else the bracket's middle (also for NaN; an end where one is
    infinite, a step of 10 beyond the other)."""
    with np.errstate(invalid="ignore"):
        middle = np.where(np.isinf(low), high - 10.0, (low + high) / 2)
    return np.where((proposal > low) & (proposal < high), proposal, middle)
