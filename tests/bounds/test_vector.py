"""Theorems 1 to 6: never violated against 50 digits, nested, and attained on their extremal vectors."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from lqtheory.bounds import bracket, maurey, maurey_split, retention, stechkin, worst_case
from lqtheory.bounds.vector import log_worst_case_constant
from lqtheory.profile import Profile

mpmath.mp.dps = 50

magnitudes = st.one_of(
    st.floats(0, 10),
    st.floats(-1e300, 1e300),
    st.floats(0, 1e-300),
    st.sampled_from([0.0, 1.0, 5e-324, 1e-310, 1.7e308]),
    st.floats(-300, 300).map(lambda e: 10.0**e),
)
vectors = st.one_of(
    st.lists(magnitudes, min_size=1, max_size=12),
    st.builds(lambda a, k, d: [a] * k + [0.0] * d, magnitudes, st.integers(1, 12), st.integers(0, 6)),
    st.builds(lambda seed, d: np.random.default_rng(seed).standard_cauchy(d).tolist(), st.integers(0, 99), st.just(30)),
)
exponents = st.one_of(st.floats(0.05, 3.0), st.sampled_from([0.1, 0.5, 1.0, 2.0]))


def power_sum(values, p):
    return mpmath.fsum(mpmath.mpf(v) ** mpmath.mpf(p) for v in values if v)


def tail(w, s, p):
    """Definition 3, word for word."""
    rest = sorted(map(abs, w))[: len(w) - s]
    if np.isinf(p):
        return mpmath.mpf(max(rest, default=0))
    return power_sum(rest, p) ** (1 / mpmath.mpf(p))


def draw_pair(data, lowest=0.05):
    p = data.draw(st.one_of(st.just(2.0), exponents.filter(lambda p: p > lowest * 1.05), st.just(np.inf)))
    return data.draw(st.floats(lowest, min(p, 3.0) * 0.999)), p


@given(vectors, st.data())
def test_truth_below_worst_case_below_stechkin(w, data):
    s = data.draw(st.integers(0, len(w)))
    q, p = draw_pair(data)
    profile, truth = Profile.of(w), tail(w, s, p)
    exact = worst_case(profile, s, q, p)
    assert not exact.violated(truth)
    if s:
        classical = stechkin(profile, s, q, p)
        assert not classical.violated(truth)
        assert exact.value <= classical.value * (1 + 1e-9)


@given(st.integers(1, 40), st.data())
def test_worst_case_constant_is_the_maximum_over_all_lengths(d, data):
    q, p = draw_pair(data)
    s = np.arange(d)
    by_definition = [max(np.log(k - i) / p - np.log(k) / q for k in range(i + 1, d + 1)) for i in s]
    np.testing.assert_allclose(log_worst_case_constant(s, d, q, p), by_definition, rtol=1e-12, atol=1e-12)
    assert np.isneginf(log_worst_case_constant(d, d, q, p))


@pytest.mark.parametrize("q", [0.1, 0.5, 0.9, 1.0, 1.5])
@pytest.mark.parametrize("p", [1.6, 2.0, np.inf])
@pytest.mark.parametrize("d", [1, 7, 30])
def test_worst_case_is_attained_by_a_flat_vector(q, p, d, tolerance):
    for s in range(d):
        k = max(range(s + 1, d + 1), key=lambda k: np.log(k - s) / p - np.log(k) / q)
        w = [0.3] * k + [0.0] * (d - k)
        assert worst_case(Profile.of(w), s, q, p).tightness(float(tail(w, s, p))) < 1 + tolerance["tight"]


@pytest.mark.parametrize("q", [0.5, 1.0, 1.5])
def test_stechkin_is_attained_where_s_over_k_is_1_minus_q_over_2(q, tolerance):
    k = 8
    s = round(k * (1 - q / 2))
    assert stechkin(Profile.of(np.full(k, 7.0)), s, q).tightness(7 * (k - s) ** 0.5) < 1 + tolerance["tight"]


@pytest.mark.parametrize("seed", range(300))
def test_rounding_never_lifts_the_truth_above_a_bound_that_is_attained(seed, tolerance):
    generator = np.random.default_rng(seed)
    q, p = sorted(generator.uniform(0.05, 2, 2))
    d = int(generator.integers(2, 40))
    s = int(generator.integers(1, d))
    k = max(range(s + 1, d + 1), key=lambda k: np.log(k - s) / p - np.log(k) / q)
    flat = [generator.random() * 10.0 ** generator.integers(-300, 300)] * k
    profile = Profile.of(flat + [0.0] * (d - k))
    assert worst_case(profile, s, q, p).value >= tail(flat, s, p)
    assert retention(profile, 0.0, q, p).value <= k


def test_worst_case_falls_as_more_is_kept():
    w = Profile.of(np.random.default_rng(0).standard_t(2, 500))
    values = [worst_case(w, s, 0.7).value for s in range(501)]
    assert all(a >= b for a, b in pairwise(values))
    assert values[-1] == 0.0


def test_constants_for_every_s_of_a_million_weights_at_once(tolerance):
    s = np.arange(10**6 + 1)
    log_constants = log_worst_case_constant(s, 10**6, 0.5, 2.0)
    some = log_constants[[1, 1000, 999_999]]
    np.testing.assert_allclose(some, [log_worst_case_constant(i, 10**6, 0.5, 2.0) for i in (1, 1000, 999_999)])


@given(vectors, st.data())
@example([0.0] * 11 + [1.0], None)
def test_retention_never_exceeds_the_number_kept(w, data):
    p, q = (0.11, 0.9) if data is None else draw_pair(data)
    s = 1 if data is None else data.draw(st.integers(0, len(w)))
    kept, rest = power_sum(sorted(map(abs, w))[len(w) - s :], p), power_sum(sorted(map(abs, w))[: len(w) - s], p)
    if kept == 0:
        return
    # the least eta for which the condition holds, rounded up
    eta = float(rest / kept) * (1 + 2**-50) if rest / kept < 1e300 else np.inf
    assert not retention(Profile.of(w), eta, p, q).violated(s)


@pytest.mark.parametrize(("p", "q"), [(0.5, 1.0), (1.0, 2.0), (0.9, np.inf)])
def test_retention_is_attained_by_flat_vectors(p, q, tolerance):
    profile = Profile.of([3.0] * 9 + [0.0] * 4)
    assert retention(profile, 0.0, p, q).tightness(9) < 1 + tolerance["tight"]
    assert retention(profile, 2.0, p, np.inf).tightness(3) < 1 + tolerance["tight"]


@given(vectors, st.floats(0, 0.99), st.data())
def test_bracket_holds_the_exact_number_of_weights_needed(w, eps, data):
    p, r = draw_pair(data, lowest=0.3)
    q = data.draw(st.floats(0.1, p * 0.99))
    whole = power_sum(map(abs, w), p)
    needed = next(
        s for s in range(len(w) + 1) if tail(w, s, p) ** mpmath.mpf(p) <= mpmath.mpf(eps) ** mpmath.mpf(p) * whole
    )
    lower, upper = bracket(Profile.of(w), eps, p, q, r)
    assert not lower.violated(needed)
    assert not upper.violated(needed)
    assert upper.value <= len(w)


def test_bracket_closes_on_a_flat_vector():
    lower, upper = bracket(Profile.of(np.ones(1000)), 0.55, p=2.0, q=1.0)  # 697.5 <= k* = 698
    assert lower.value == pytest.approx(697.5)
    assert upper.value == 698


@given(vectors, st.data())
def test_maurey_with_the_best_split_is_never_above_truncation_to_k(w, data):
    k = data.draw(st.integers(1, len(w)))
    assert maurey_split(Profile.of(w), k).value <= float(tail(w, k, 1.0)) * (1 + 1e-9) + 1e-320


@pytest.mark.parametrize("q", [0.3, 0.5, 1.0])
def test_a_random_draw_keeps_the_promise_of_maurey(q):
    """The proof of Theorem 6 run: keep s, draw k - s, average; the best of a few draws is within both bounds."""
    generator = np.random.default_rng(3)
    h = generator.normal(size=(400, 60))
    h /= np.sqrt(np.mean(h**2, axis=0))
    w = generator.standard_t(1.5, 60)
    profile, order = Profile.of(w), np.argsort(-np.abs(w))
    for k in (2, 10, 30):
        errors = []
        for s in range(k):
            rest = order[s:]
            share = np.abs(w[rest]) / np.abs(w[rest]).sum()
            for _ in range(5):
                drawn = np.zeros(60)
                drawn[order[:s]] = w[order[:s]]
                picks = generator.choice(rest, k - s, p=share)
                np.add.at(drawn, picks, np.sign(w[picks]) * np.abs(w[rest]).sum() / (k - s))
                assert np.count_nonzero(drawn) <= k
                errors.append(np.sqrt(np.mean((h @ (w - drawn)) ** 2)))
        assert not maurey_split(profile, k).violated(min(errors))
        assert not maurey(profile, k, q).violated(min(errors))


def test_maurey_is_its_formula(tolerance):
    value = maurey(Profile.of([1.0, 4.0]), 2, 0.5, feature_norm=3.0).value
    assert value == pytest.approx(3 * 2**1.5 * 2**-1.5 * 9, rel=tolerance["tight"])


def test_zero_weights_promise_no_error_and_nothing_kept():
    zero = Profile.of(np.zeros(5))
    assert worst_case(zero, 0, 0.5).value == stechkin(zero, 1, 0.5).value == maurey_split(zero, 1).value == 0
    assert retention(zero, 0.0, 0.5, 1.0).value == 0
    assert [end.value for end in bracket(zero, 0.1, 2.0, 1.0)] == [0, 0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda w: stechkin(w, 0, 0.5), "s must be a whole number in"),
        (lambda w: stechkin(w, 1, 2.0), "0 < p < q"),
        (lambda w: worst_case(w, 4, 0.5), "s must be a whole number in"),
        (lambda w: worst_case(w, 1, 3.0), "q must lie in"),
        (lambda w: retention(w, -1.0, 0.5, 1.0), "eta must not be negative"),
        (lambda w: bracket(w, 1.0, 2.0, 1.0), "eps must lie in"),
        (lambda w: maurey(w, 1, 1.5), "q must lie in"),
        (lambda w: maurey(w, 1, 1.0, feature_norm=-1.0), "feature_norm must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Profile.of([1.0, 2.0, 3.0]))
