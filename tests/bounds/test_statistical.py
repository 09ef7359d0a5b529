"""Theorems 28 and 29: exact against 50 digits and scipy, and their coverage by simulation."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.stats import binomtest

from lqtheory.bounds import certified_sparsity, harm, harm_rate

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
        (lambda: certified_sparsity([0.5, 0.4], [0, 0], 10, 0.1), "must rise"),
        (lambda: certified_sparsity([0.5], [0, 0], 10, 0.1), "must rise"),
        (lambda: certified_sparsity([0.5], [0], 10, 1.0), "limit must lie"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
