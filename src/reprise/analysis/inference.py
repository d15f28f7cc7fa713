"""Statistical tests of the claims, for samples of a few independent seeds (or games).

Every public function takes one-dimensional samples, one number per seed, and returns a ``Test``. Intervals are
two-sided 95 % and p-values two-sided unless a docstring says otherwise, so a one-directional verdict at ``p <= 0.05``
errs in at most 2.5 % of null experiments. tests/unit/test_inference.py measures sizes, powers and coverages.
scipy is imported inside the functions: it costs most of a second and many commands never test anything.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Test:
    """One comparison: an estimate, its interval and the p-value against "no effect".

    ``low``, ``high`` and ``p`` are None where the sample is too small or too degenerate to say (one seed, no spread).
    ``n`` is the number of independent units in the smallest sample.
    """

    __test__ = False  # not a test case, whatever pytest thinks of the name

    name: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    p: float | None


def mean_interval(values: Sequence[float], level: float = LEVEL) -> tuple[float, float | None, float | None]:
    """(mean, low, high): Student t interval of the mean; bounds are None below two values.

    >>> mean_interval([1.0, 2.0, 3.0])[0]
    2.0
    """
    x = np.asarray(values, dtype=float)
    if x.size == 0:
        raise ValueError("the mean of no values")
    mean = float(x.mean())
    if x.size < 2:
        return mean, None, None
    half = t_quantile(x.size - 1, level) * float(x.std(ddof=1)) / math.sqrt(x.size)
    return mean, mean - half, mean + half


def t_quantile(freedom: float, level: float = LEVEL) -> float:
    """Half-width factor of a two-sided Student t interval with ``freedom`` degrees of freedom."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + level / 2))


def _two_sided(t: float, freedom: float) -> float:
    from scipy.special import stdtr

    return float(2 * stdtr(freedom, -abs(t)))


def _from_error(name: str, value: float, error: float, freedom: float, n: int, level: float = LEVEL) -> Test:
    """Test of value = 0 for an estimate with a Student t distributed error."""
    if error == 0:
        return Test(name, value, value, value, n, 1.0 if value == 0 else 0.0)
    half = t_quantile(freedom, level) * error
    return Test(name, value, value - half, value + half, n, _two_sided(value / error, freedom))


def _welch_terms(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Standard error of the difference of two means and its Welch-Satterthwaite degrees of freedom."""
    va, vb = a.var(ddof=1) / a.size, b.var(ddof=1) / b.size
    total = va + vb
    if total == 0:
        return 0.0, float(a.size + b.size - 2)
    return math.sqrt(total), float(total**2 / (va**2 / (a.size - 1) + vb**2 / (b.size - 1)))


def welch(a: Sequence[float], b: Sequence[float], level: float = LEVEL) -> Test:
    """Difference of means a - b without assuming equal variances (Welch 1947); ``level`` is that of the interval."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    n, value = min(a.size, b.size), float(a.mean() - b.mean())
    if n < 2:
        return Test("difference of means", value, None, None, n, None)
    return _from_error("difference of means", value, *_welch_terms(a, b), n, level)


def contrast(groups: Sequence[Sequence[float]], weights: Sequence[float], name: str) -> Test:
    """Weighted sum of the means of independent groups, without assuming equal variances (Welch-Satterthwaite).

    Groups with weight 0 do not count.
    """
    used = [(np.asarray(g, dtype=float), w) for g, w in zip(groups, weights, strict=True) if w]
    n, value = min(g.size for g, _ in used), float(sum(w * g.mean() for g, w in used))
    if n < 2:
        return Test(name, value, None, None, n, None)
    terms = np.array([w**2 * g.var(ddof=1) / g.size for g, w in used])
    total = float(terms.sum())
    if total == 0:
        return _from_error(name, value, 0.0, 1.0, n)
    freedom = total**2 / float(sum(t**2 / (g.size - 1) for t, (g, _) in zip(terms, used, strict=True)))
    return _from_error(name, value, math.sqrt(total), freedom, n)


def one_sample(a: Sequence[float], reference: float, name: str = "mean minus reference") -> Test:
    """Mean of a minus a known number (Student t)."""
    a = np.asarray(a, dtype=float)
    value = float(a.mean() - reference)
    if a.size < 2:
        return Test(name, value, None, None, a.size, None)
    return _from_error(name, value, float(a.std(ddof=1)) / math.sqrt(a.size), a.size - 1, a.size)


def paired(a: Sequence[float], b: Sequence[float]) -> Test:
    """Mean of the pairwise differences a[i] - b[i]: pairs are games, or first and final of one seed."""
    if len(a) != len(b):
        raise ValueError(f"pairs need equal lengths, got {len(a)} and {len(b)}")
    return one_sample(np.asarray(a, dtype=float) - np.asarray(b, dtype=float), 0.0, "mean paired difference")


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjustment: adjusted[i] <= 0.05 keeps the family-wise error at 5 %."""
    order = np.argsort(p_values, kind="stable")
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * float(p_values[i])))
        adjusted[i] = running
    return adjusted


def equivalence(a: Sequence[float], b: Sequence[float], margin: float, pair: bool = False) -> Test:
    """Two one-sided tests of ``|mean a - mean b| < margin`` (Schuirmann 1987), with Welch errors or of pairs.

    A small p says equivalent. The interval is the 90 % one: it lies inside the margin exactly when p < 0.05.
    """
    if margin <= 0:
        raise ValueError(f"an equivalence margin must be positive, got {margin}")
    from scipy.special import stdtr

    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    n, value = min(a.size, b.size), float(a.mean() - b.mean())
    if n < 2:
        return Test("difference of means, 90 %", value, None, None, n, None)
    if pair:
        error, freedom = float((a - b).std(ddof=1)) / math.sqrt(n), n - 1
    else:
        error, freedom = _welch_terms(a, b)
    if error == 0:
        return Test("difference of means, 90 %", value, value, value, n, 0.0 if abs(value) < margin else 1.0)
    half = t_quantile(freedom, 0.90) * error
    p = float(stdtr(freedom, (abs(value) - margin) / error))
    return Test("difference of means, 90 %", value, value - half, value + half, n, p)


def probability_of_improvement(a: Sequence[float], b: Sequence[float]) -> Test:
    """P(a > b) + P(a = b) / 2 for one new run of each, with Newcombe's score interval.

    The interval (Newcombe 2006, method 5) stays inside [0, 1] and keeps a width at complete separation, where
    resampling five seeds gives none. p is the exact or tie-corrected Mann-Whitney one.
    """
    from scipy.optimize import brentq
    from scipy.stats import mannwhitneyu

    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    difference = np.sign(a[:, None] - b[None, :])
    value = float((difference.mean() + 1) / 2)
    z, star = 1.959963984540054, (a.size + b.size) / 2 - 1

    def excess(theta: float) -> float:
        spread = theta * (1 - theta) * (1 + star * ((1 - theta) / (2 - theta) + theta / (1 + theta)))
        return (theta - value) ** 2 - z**2 * spread / (a.size * b.size)

    # A step aside of the estimate: at complete separation it is a root itself, and not the bound.
    low = 0.0 if value == 0 else brentq(excess, 0.0, value - 1e-9)
    high = 1.0 if value == 1 else brentq(excess, value + 1e-9, 1.0)
    p = float(mannwhitneyu(a, b).pvalue)
    return Test("probability of improvement", value, float(low), float(high), min(a.size, b.size), p)


def variance_ratio(a: Sequence[float], b: Sequence[float]) -> Test:
    """Ratio of standard deviations sd(a) / sd(b) by Miller's jackknife of the log variance (Miller 1968).

    Of the tests tried at n = 5 (F, Brown-Forsythe, permutation of absolute deviations, jackknife) it has the most power
    among those that keep their size on normal, t4, uniform, Laplace and exponential samples, and it gives an interval.
    Undefined (None) when a sample, or a sample less one value, has no spread.
    """
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    n = min(a.size, b.size)
    name = "ratio of standard deviations"
    if n < 3:
        return Test(name, None, None, None, n, None)
    pa, pb = _pseudo_values(a), _pseudo_values(b)
    if not (np.isfinite(pa).all() and np.isfinite(pb).all()):
        return Test(name, None, None, None, n, None)
    log = welch(pa, pb)
    # Half of the log variance ratio is the log ratio of the standard deviations.
    return Test(name, math.exp(log.value / 2), math.exp(log.low / 2), math.exp(log.high / 2), n, log.p)


def _pseudo_values(x: np.ndarray) -> np.ndarray:
    """Jackknife pseudo-values of log var(x); not finite when a subsample has no spread."""
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.log(x.var(ddof=1))
        without = np.log([np.delete(x, i).var(ddof=1) for i in range(x.size)])
        return x.size * whole - (x.size - 1) * without


def log_ratio(a: Sequence[float], b: Sequence[float]) -> Test:
    """Ratio of geometric means of two positive samples (Welch on logs); undefined when a value is not positive."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    n, name = min(a.size, b.size), "ratio of geometric means"
    if n < 2 or (a <= 0).any() or (b <= 0).any():
        return Test(name, None, None, None, n, None)
    log = welch(np.log(a), np.log(b))
    return Test(name, math.exp(log.value), math.exp(log.low), math.exp(log.high), n, log.p)


def trend(groups: Sequence[Sequence[float]]) -> Test:
    """Kendall's tau-b between the order of the groups (doses) and the values: a Jonckheere-Terpstra test with ties.

    +1: every later group lies above every earlier one. No interval: none is valid for a handful of seeds.
    """
    from scipy.stats import kendalltau

    doses = np.concatenate([np.full(len(g), i) for i, g in enumerate(groups)])
    values = np.concatenate([np.asarray(g, dtype=float) for g in groups])
    n = min(len(g) for g in groups)
    if np.ptp(values) == 0:
        return Test("Kendall tau", 0.0, None, None, n, 1.0)
    result = kendalltau(doses, values, method="asymptotic")
    return Test("Kendall tau", float(result.statistic), None, None, n, float(result.pvalue))
