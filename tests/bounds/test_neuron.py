"""Theorems 7 to 9: exact where they claim it, in order, and never below the measured error."""

from math import fsum

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lqtheory.bounds import (
    Moments,
    bias_moved,
    refitted,
    truncation,
    truncation_by_norms,
    truncation_by_spectrum,
    truncation_envelope,
)
from lqtheory.profile import Profile


def draw(seed):
    generator = np.random.default_rng(seed)
    n, d = generator.integers(1, 30), generator.integers(1, 12)
    h = generator.normal(size=(n, d)) @ generator.normal(size=(d, d)) + generator.integers(3)
    h = np.maximum(h, 0) if seed % 2 else h
    w = generator.standard_t(1.5, d)
    kept = np.argsort(np.argsort(-np.abs(w))) < generator.integers(0, d + 1)
    return h, w, kept


def rms(values):
    return (fsum(v * v for v in values) / len(values)) ** 0.5


@given(st.integers(0, 10**6))
def test_all_hold_and_the_exact_error_is_the_least(seed):
    h, w, kept = draw(seed)
    moments, observed = Moments.of(h), rms(h @ np.where(kept, 0.0, w))
    exact = truncation(w, kept, moments)
    coarse = [truncation_by_norms(w, kept, moments), truncation_by_spectrum(w, kept, moments)]
    coarse += [truncation_envelope(Profile.of(w), int(kept.sum()), q, moments) for q in (0.2, 0.5, 1.0)]
    size = np.linalg.norm(w) * moments.radius
    for bound in (exact, *coarse):
        assert not bound.violated(observed)
        assert exact.value <= bound.value * (1 + 1e-9) + 1e-6 * size
    assert exact.value <= observed + 1e-6 * size


@given(st.integers(0, 10**6))
def test_moving_the_bias_and_refitting_only_help(seed):
    h, w, kept = draw(seed)
    moments, size = Moments.of(h), np.linalg.norm(w) * Moments.of(h).radius
    exact = truncation(w, kept, moments).value
    shift, moved = bias_moved(w, kept, moments)
    assert not moved.violated(rms(h @ np.where(kept, 0.0, w) - shift))
    assert moved.value <= exact + 1e-6 * (size + abs(shift))
    weights, fitted = refitted(w, kept, moments)
    assert not np.any(weights[~kept])
    assert not fitted.violated(rms(h @ (w - weights)))
    assert fitted.value <= exact + 1e-6 * size


@pytest.mark.parametrize("seed", range(20))
def test_refitting_is_least_squares_on_the_data(seed):
    h, w, kept = draw(seed)
    weights, bound = refitted(w, kept, Moments.of(h))
    best = np.linalg.lstsq(h[:, kept], h @ w, rcond=None)[0] if kept.any() else np.zeros(0)
    residual = rms(h @ w - h[:, kept] @ best)
    assert bound.value == pytest.approx(residual, abs=1e-5 * np.linalg.norm(w) * Moments.of(h).radius)
    assert residual <= rms(h @ (w - weights)) + 1e-6


def test_moving_the_bias_is_the_best_constant():
    h, w, kept = draw(8)
    shift, bound = bias_moved(w, kept, Moments.of(h))
    dropped = h @ np.where(kept, 0.0, w)
    assert shift == pytest.approx(dropped.mean())
    assert bound.value == pytest.approx(dropped.std(), rel=1e-6)


def test_the_coarse_bounds_are_attained():
    """One shared direction makes the sum exact, one singular direction the spectrum."""
    w, kept = np.array([1.0, 1.0, 1.0, 1.0]), np.array([True, True, False, False])
    same = Moments.of(np.array([[1.0] * 4, [-1.0] * 4]))
    assert truncation_by_norms(w, kept, same).tightness(2.0) < 1 + 1e-9
    along = Moments.of(np.array([[0.0, 0.0, 1.0, 1.0]]))
    assert truncation_by_spectrum(w, kept, along).tightness(2.0) < 1 + 1e-9
    assert truncation_envelope(Profile.of(w), 2, 1.0, along).tightness(2.0) < 1 + 1e-9


def test_a_ridge_shrinks_the_change_and_keeps_the_bound_honest():
    h, w, kept = draw(8)
    moments = Moments.of(h)
    free, held = refitted(w, kept, moments)[0], refitted(w, kept, moments, ridge=10.0)[0]
    start = np.where(kept, w, 0.0)
    assert np.linalg.norm(held - start) < np.linalg.norm(free - start)
    assert not refitted(w, kept, moments, ridge=10.0)[1].violated(rms(h @ (w - held)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: truncation([1.0], [True], m), "one weight per input"),
        (lambda m: truncation([1.0, 2.0], [1, 0], m), "booleans"),
        (lambda m: refitted([1.0, 2.0], [True, False], m, ridge=-1.0), "ridge must be"),
        (lambda m: Moments.of([1.0, 2.0]), r"shape \[n, d\]"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(Moments.of([[1.0, 2.0]]))
