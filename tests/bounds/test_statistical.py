"""Theorems 28, 29, 34 and 35: exact against 50 digits and scipy; coverage by enumeration and by simulation."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from scipy.stats import binomtest, multinomial

from lqtheory.bounds import certified_sparsity, certified_sparsity_by_drop, harm, harm_rate, net_drop
from lqtheory.bounds.statistical import SPENT, _drop_tail

mpmath.mp.dps = 50


@given(st.integers(1, 3000), st.data())
def test_the_limit_is_exact_and_on_the_safe_side(n, data):
    count = data.draw(st.integers(0, n))
    confidence = data.draw(st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.999]))
    value = mpmath.mpf(harm_rate(count, n, confidence).value)
    if count == n:
        assert value == 1
        return

    def tail(p):
        return mpmath.betainc(n - count, count + 1, 0, 1 - p, regularized=True)

    delta = 1 - mpmath.mpf(confidence)
    assert tail(value) <= delta
    assert tail(value * (1 - mpmath.mpf("1e-8"))) > delta


def test_equal_to_the_interval_of_scipy():
    for count, n in [(0, 20), (3, 50), (40, 10_000), (9_999, 10_000)]:
        reference = binomtest(count, n).proportion_ci(0.90, method="exact").high
        assert harm_rate(count, n, 0.95).value == pytest.approx(reference, rel=1e-9)


@pytest.mark.parametrize("rate", [0.003, 0.02, 0.3])
def test_coverage_of_the_limit(rate):
    """The limit misses the true rate no more often than it says."""
    generator, n, runs = np.random.default_rng(5), 400, 4000
    limits = {count: harm_rate(count, n, 0.9).value for count in range(n + 1)}
    missed = sum(limits[count] < rate for count in generator.binomial(n, rate, runs).tolist())
    assert binomtest(missed, runs, 0.1, alternative="greater").pvalue > 1e-4


def test_coverage_of_the_whole_path():
    """A path whose harm crosses the limit: how often any sparsity above the limit is certified."""
    generator, n, runs, limit = np.random.default_rng(6), 500, 3000, 0.02
    sparsities, rates = [0.1, 0.3, 0.5, 0.7, 0.9], np.array([0.0, 0.005, 0.0201, 0.021, 0.3])
    wrong = 0
    for _ in range(runs):
        level = generator.random(n)  # one draw per sample: harm grows along the path, as when it is nested
        counts = [int(np.count_nonzero(level < rate)) for rate in rates]
        wrong += certified_sparsity(sparsities, counts, n, limit, 0.9).value >= 0.5
    assert binomtest(wrong, runs, 0.1, alternative="greater").pvalue > 1e-4
    assert wrong > 0.05 * runs  # and the test is not idle


def drop_tail(difference, n, discordant, drop):
    """P(B - C <= difference) by the definition, over all pairs of counts."""
    b_rate, c_rate = (mpmath.mpf(discordant) + drop) / 2, (mpmath.mpf(discordant) - drop) / 2
    total = mpmath.mpf(0)
    for b in range(n + 1):
        for c in range(max(0, b - difference), n - b + 1):
            ways = mpmath.binomial(n, b) * mpmath.binomial(n - b, c)
            total += ways * b_rate**b * c_rate**c * (1 - b_rate - c_rate) ** (n - b - c)
    return total


@given(st.integers(2, 25), st.data())
@settings(max_examples=60, deadline=None)
def test_the_tail_of_the_drop_is_exact_and_on_the_safe_side(n, data):
    difference = data.draw(st.integers(-n, n))
    discordant = data.draw(st.floats(1e-6, 0.5))
    drop = discordant * data.draw(st.floats(-1, 1))
    truth = drop_tail(difference, n, discordant, drop)
    found = mpmath.mpf(_drop_tail(difference, n, discordant, drop))
    assert truth * (1 - mpmath.mpf(2) ** -34) <= found <= truth * (1 + mpmath.mpf(2) ** -34) + mpmath.mpf("1e-39")


@given(st.integers(2, 40), st.data())
@settings(max_examples=15, deadline=None)
def test_the_limit_of_the_drop_is_the_root_of_its_tail(n, data):
    harmed = data.draw(st.integers(0, n // 3))
    gained = data.draw(st.integers(0, n // 4))
    value, delta = net_drop(harmed, gained, n, 0.9).value, 0.1
    most = harm_rate(harmed + gained, n, 1 - SPENT * delta).value
    assert value >= (harmed - gained) / n
    if value < most:
        level = (1 - SPENT) * delta
        assert drop_tail(harmed - gained, n, most, value) <= level
        at_end = value - 1e-6 < (harmed - gained + 1) / (n - 1)
        assert at_end or drop_tail(harmed - gained, n, most, value - 1e-6) > level


@pytest.mark.parametrize(("n", "confidence"), [(12, 0.5), (20, 0.8), (40, 0.9)])
def test_exact_coverage_of_the_drop_over_all_counts(n, confidence):
    """The probability of every pair of counts at every pair of rates: what a confidence of the limit means."""
    pairs = [(b, c) for b in range(n + 1) for c in range(n - b + 1)]
    limits = np.array([net_drop(b, c, n, confidence).value for b, c in pairs])
    assert limits.max() == 1
    b, c = np.array(pairs).T
    least = 1.0
    for b_rate in np.linspace(0, 1, 41):
        for c_rate in np.linspace(0, 1 - b_rate, 21):
            chance = multinomial.pmf(np.stack([b, c, n - b - c], axis=1), n, [b_rate, c_rate, 1 - b_rate - c_rate])
            least = min(least, float(chance[limits >= b_rate - c_rate - 1e-12].sum()))
    assert least >= confidence - 1e-9
    assert n < 40 or least <= confidence + 0.05  # and it is no idle limit where few are discordant


@pytest.mark.parametrize(("b_rate", "c_rate"), [(0.01, 0.008), (0.004, 0.0), (0.001, 0.001)])
def test_coverage_of_the_drop_by_simulation(b_rate, c_rate):
    generator, n, runs = np.random.default_rng(7), 1000, 600
    counts = generator.multinomial(n, [b_rate, c_rate, 1 - b_rate - c_rate], runs)
    limits = {(b, c): net_drop(b, c, n, 0.9).value for b, c in {(b, c) for b, c, _ in counts.tolist()}}
    found = [limits[b, c] for b, c, _ in counts.tolist()]
    missed = sum(limit < b_rate - c_rate for limit in found)
    assert binomtest(missed, runs, 0.1, alternative="greater").pvalue > 1e-4
    # and it is not idle: on average within 2.2 standard deviations of the truth, where 1.3 would be the least
    deviation = ((b_rate + c_rate - (b_rate - c_rate) ** 2) / n) ** 0.5
    assert np.mean(found) - (b_rate - c_rate) < 2.2 * deviation + 3 / n


def test_what_is_gained_is_set_off():
    """Never above the limit of harm by much, below it by far when as much is gained, below 0 when more is."""
    assert net_drop(60, 0, 10_000).value < 1.02 * harm_rate(60, 10_000).value
    assert net_drop(60, 60, 10_000).value < 0.3 * harm_rate(60, 10_000).value
    assert net_drop(10, 90, 10_000).value < 0
    assert net_drop(40, 40, 100).value == harm_rate(80, 100, 1 - SPENT * 0.05).value  # more than half are discordant


def test_coverage_of_the_whole_path_by_drop():
    generator, n, runs, limit = np.random.default_rng(8), 300, 400, 0.02
    sparsities, harms, gains = [0.1, 0.5, 0.9], np.array([0.01, 0.0501, 0.06]), np.array([0.01, 0.03, 0.03])
    limits, wrong = {}, 0
    for _ in range(runs):
        level = generator.random(n)
        counts = [(int((level < b).sum()), int((level > 1 - c).sum())) for b, c in zip(harms, gains, strict=True)]
        key = tuple(counts)
        if key not in limits:
            limits[key] = certified_sparsity_by_drop(sparsities, *zip(*counts, strict=True), n, limit, 0.9).value
        wrong += limits[key] >= 0.5
    assert binomtest(wrong, runs, 0.1, alternative="greater").pvalue > 1e-4
    assert wrong > 0.02 * runs


def test_the_path_ends_at_the_first_failure():
    assert certified_sparsity([0.2, 0.4, 0.6], [0, 500, 0], 1000, 0.01).value == 0.2
    assert certified_sparsity([0.2, 0.4, 0.6], [500, 0, 0], 1000, 0.01).value == 0.0
    assert certified_sparsity([0.2, 0.4, 0.6], [0, 0, 0], 1000, 0.01).value == 0.6


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: harm([True], [True, False]), "booleans of one shape"),
        (lambda: harm([1], [0]), "booleans of one shape"),
        (lambda: harm_rate(5, 4), "count must be"),
        (lambda: harm_rate(0, 0), "n must be"),
        (lambda: harm_rate(0, 4, 1.0), "confidence must lie"),
        (lambda: net_drop(3, 2, 4), "gained must be"),
        (lambda: net_drop(0, 0, 1), "n must be"),
        (lambda: net_drop(0, 0, 9, 0.0), "confidence must lie"),
        (lambda: certified_sparsity_by_drop([0.5, 0.4], [0, 0], [0, 0], 10, 0.1), "must rise"),
        (lambda: certified_sparsity([0.5, 0.4], [0, 0], 10, 0.1), "must rise"),
        (lambda: certified_sparsity([0.5], [0, 0], 10, 0.1), "must rise"),
        (lambda: certified_sparsity([0.5], [0], 10, 1.0), "limit must lie"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
