"""The tests behind the verdicts: against scipy where it has them, and their size, power and coverage by simulation."""

import numpy as np
import pytest
from scipy import stats

from reprise.analysis import inference

REPETITIONS = 2000
SAMPLES = {
    "normal": lambda rng, n: rng.normal(size=n),
    "uniform": lambda rng, n: rng.random(n),
    "laplace": lambda rng, n: rng.laplace(size=n),
    "exponential": lambda rng, n: rng.exponential(size=n),
}


def share(trial, repetitions=REPETITIONS, seed=0):
    rng = np.random.default_rng(seed)
    return sum(trial(rng) for _ in range(repetitions)) / repetitions


def reproduced(test, size=0.0):
    return test.p <= 0.05 and test.value > 0 and test.value >= size


@pytest.mark.parametrize("n", [3, 5, 10])
def test_mean_interval_covers(n):
    def trial(rng):
        _, low, high = inference.mean_interval(rng.normal(3, 2, n))
        return low <= 3 <= high

    assert 0.93 <= share(trial, 4000) <= 0.97


@pytest.mark.parametrize("n", [3, 5, 10])
def test_paired_interval_covers(n):
    def trial(rng):
        common = rng.normal(0, 50, n)
        test = inference.paired(common + rng.normal(1, 2, n), common + rng.normal(0, 2, n))
        return test.low <= 1 <= test.high

    assert 0.93 <= share(trial, 4000) <= 0.97


@pytest.mark.parametrize("n", [3, 5, 10])
def test_welch_interval_covers(n):
    def trial(rng):
        test = inference.welch(rng.normal(1, 2, n), rng.normal(0, 1, n))
        return test.low <= 1 <= test.high

    assert 0.93 <= share(trial, 4000) <= 0.97


def test_welch_agrees_with_scipy():
    a, b = [1.0, 2.0, 4.0, 8.0], [0.5, 0.6, 0.9]
    ours, theirs = inference.welch(a, b), stats.ttest_ind(a, b, equal_var=False)
    interval = theirs.confidence_interval(0.95)
    assert (ours.p, ours.low, ours.high) == pytest.approx((theirs.pvalue, interval.low, interval.high))
    assert inference.paired(a[:3], b).p == pytest.approx(stats.ttest_rel(a[:3], b).pvalue)


def test_a_contrast_of_two_means_is_their_difference():
    rng = np.random.default_rng(1)
    a, b, other = rng.normal(1, 3, 5), rng.normal(0, 1, 7), rng.normal(9, 9, 4)
    found, known = inference.contrast([a, b, other], [1.0, -1.0, 0.0], "lead"), inference.welch(a, b)
    assert (found.name, found.n) == ("lead", 5)
    assert (found.value, found.low, found.high, found.p) == pytest.approx((known.value, known.low, known.high, known.p))


def test_a_contrast_keeps_its_size_and_says_when_it_cannot_tell():
    weights = [-0.5, 0.0, 0.5, 0.5, 0.0, -0.5]

    def trial(rng):
        return inference.contrast([rng.normal(0, s, 5) for s in (1, 2, 3, 1, 1, 4)], weights, "slope").p <= 0.05

    assert share(trial) == pytest.approx(0.05, abs=0.015)
    assert inference.contrast([[1.0], [2.0, 3.0]], [1.0, 1.0], "x").p is None
    assert inference.contrast([[1.0, 1.0], [2.0, 2.0]], [1.0, 1.0], "x").p == 0.0


def test_null_passes_rarely_and_the_stated_effect_often():
    """At five seeds the stated effect is 2.25 standard deviations."""
    null = share(lambda rng: reproduced(inference.welch(rng.normal(size=5), rng.normal(size=5))))
    power = share(lambda rng: reproduced(inference.welch(rng.normal(2.25, 1, 5), rng.normal(size=5))))
    assert null <= 0.05
    assert power >= 0.80


def test_equivalence_of_different_is_rare_and_of_equal_is_frequent():
    """The margin is 2.5 standard deviations, at which five seeds suffice."""

    def passes(shift):
        return lambda rng: inference.equivalence(rng.normal(shift, 1, 5), rng.normal(size=5), 2.5).p <= 0.05

    assert share(passes(2.5)) <= 0.06  # 5 % plus Monte Carlo error, exactly on the margin
    assert share(passes(3.5)) <= 0.01
    assert share(passes(0.0)) >= 0.80


def test_equivalence_interval_and_p_agree():
    rng = np.random.default_rng(3)
    for pair in (False, True):
        for _ in range(200):
            test = inference.equivalence(rng.normal(size=5), rng.normal(0.5, 1, 5), 1.0, pair=pair)
            assert (test.p < 0.05) == (test.low > -1.0 and test.high < 1.0)


@pytest.mark.parametrize("name", SAMPLES)
def test_variance_ratio_keeps_its_size_at_five_seeds(name):
    draw = SAMPLES[name]

    def trial(rng):
        test = inference.variance_ratio(draw(rng, 5), draw(rng, 5))
        return test.p <= 0.05 and test.value > 1

    assert share(trial, 1500) <= 0.05


def test_variance_ratio_has_power_where_it_is_claimed():
    """Ten seeds find a fivefold standard deviation; five need one ten times as large."""

    def finds(n, ratio):
        def trial(rng):
            test = inference.variance_ratio(rng.normal(0, ratio, n), rng.normal(size=n))
            return test.p <= 0.05 and test.value > 1

        return trial

    assert share(finds(10, 5.0), 500) >= 0.80
    assert share(finds(5, 10.0), 500) >= 0.75


def test_log_ratio_and_trend_keep_their_size():
    def ratio(rng):
        test = inference.log_ratio(rng.lognormal(0, 0.5, 5), rng.lognormal(0, 0.5, 5))
        return test.p <= 0.05 and test.value > 1

    def rises(rng):
        test = inference.trend([rng.normal(size=5) for _ in range(4)])
        return test.p <= 0.05 and test.value > 0

    assert share(ratio, 1000) <= 0.05
    assert share(rises, 500) <= 0.05


def test_trend_sees_order():
    assert inference.trend([[1, 2], [3, 4], [5, 6]]).value == pytest.approx(12 / np.sqrt(12 * 15))
    assert inference.trend([[5, 6], [3, 4], [1, 2]]).value < 0
    assert inference.trend([[1, 1], [1, 1]]).p == 1.0


def test_probability_of_improvement_interval():
    test = inference.probability_of_improvement([4, 5, 6], [1, 2, 3])
    assert (test.value, test.high) == (1.0, 1.0)
    assert 0.3 < test.low < 0.9  # three seeds: separation is no proof
    assert inference.probability_of_improvement([1, 2], [1, 2]).value == 0.5

    def covers(rng):
        found = inference.probability_of_improvement(rng.normal(1, 1, 10), rng.normal(size=10))
        return found.low <= stats.norm.cdf(1 / np.sqrt(2)) <= found.high

    assert 0.92 <= share(covers, 1000) <= 0.98


def test_holm_by_hand():
    assert inference.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert inference.holm([0.5, 0.9]) == [1.0, 1.0]
    assert inference.holm([]) == []


def test_small_and_degenerate_samples_say_so_instead_of_failing():
    assert inference.mean_interval([2.0]) == (2.0, None, None)
    assert inference.welch([1.0], [2.0, 3.0]).p is None
    assert inference.welch([1.0, 1.0], [2.0, 2.0]).p == 0.0
    assert inference.welch([1.0, 1.0], [1.0, 1.0]).p == 1.0
    assert inference.variance_ratio([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]).p is None
    assert inference.log_ratio([0.0, 1.0], [1.0, 2.0]).p is None
    with pytest.raises(ValueError, match="equal lengths"):
        inference.paired([1.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="positive"):
        inference.equivalence([1.0, 2.0], [1.0, 2.0], 0.0)
