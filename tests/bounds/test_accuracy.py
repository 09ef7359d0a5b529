"""Theorems 23 to 27: a certified prediction does not change, and the shares hold and nest."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lqtheory.bounds import (
    accuracy_drop,
    changed_predictions,
    changed_predictions_on_sample,
    margins,
    regression_risk,
    unchanged,
    unchanged_by_pairs,
)


def logits_and_error(seed):
    generator = np.random.default_rng(seed)
    n, k = generator.integers(1, 40), generator.integers(2, 6)
    f = generator.normal(size=(n, k)) * 3
    if seed % 5 == 0:
        f = np.round(f)  # ties
    delta = generator.normal(size=(n, k)) * generator.choice([0, 0.1, 1, 5]) * generator.random((n, 1)) ** 4
    return f, delta


@given(st.integers(0, 10**6))
def test_shares_hold_and_nest(seed):
    f, delta = logits_and_error(seed)
    changed = np.mean((f + delta).argmax(1) != f.argmax(1))
    error, g = np.sqrt(np.mean(np.sum(delta**2, axis=1))) * (1 + 1e-14), margins(f)
    markov, exact = changed_predictions(g, error), changed_predictions_on_sample(g, error)
    assert not markov.violated(changed)
    assert not exact.violated(changed)
    assert exact.value <= markov.value <= 1
    levels = np.linspace(1e-3, 30, 500)
    on_grid = [np.mean(g <= np.sqrt(2) * t) + error**2 / t**2 for t in levels]
    assert markov.value <= min(1.0, *on_grid) * (1 + 1e-9) + 1e-300


@given(st.integers(0, 10**6))
def test_accuracy_does_not_drop_more(seed):
    f, delta = logits_and_error(seed)
    y = np.random.default_rng(seed).integers(0, f.shape[1], len(f))
    right, still = f.argmax(1) == y, (f + delta).argmax(1) == y
    error = np.sqrt(np.mean(np.sum(delta**2, axis=1))) * (1 + 1e-14)
    bound = accuracy_drop(margins(f), right, error)
    assert not bound.violated(np.mean(right & ~still))
    assert not bound.violated(right.mean() - still.mean())
    assert bound.value <= right.mean()


def test_the_share_on_the_sample_is_attained():
    """The adversary lowers y and raises the runner-up by g/2 each for the two smallest margins."""
    f = np.array([[1.0, 0.0], [2.0, 0.0], [9.0, 0.0]])
    delta = np.array([[-0.5, 0.5], [-1.0, 1.0], [0.0, 0.0]]) * (1 + 1e-9)
    error = np.sqrt(np.mean(np.sum(delta**2, axis=1)))
    assert np.mean((f + delta).argmax(1) != f.argmax(1)) == 2 / 3
    assert changed_predictions_on_sample(margins(f), error).value == 2 / 3
    assert changed_predictions_on_sample(margins(f), error * (1 - 1e-6)).value == 1 / 3


@given(st.integers(0, 10**6))
def test_certified_predictions_do_not_change(seed):
    f, delta = logits_and_error(seed)
    same = (f + delta).argmax(1) == f.argmax(1)
    assert same[unchanged(margins(f), np.linalg.norm(delta, axis=1) * (1 + 1e-14))].all()
    pairs = np.abs(delta - delta[np.arange(len(f)), f.argmax(1)][:, None]) * (1 + 1e-14)
    certified = unchanged_by_pairs(f, pairs)
    assert same[certified].all()
    assert certified[unchanged(margins(f), np.linalg.norm(delta, axis=1) * (1 + 1e-12))].all()


def test_a_margin_of_exactly_sqrt_2_times_the_error_is_not_certified():
    assert not unchanged([np.sqrt(2)], [1.0]).any()
    assert unchanged([np.sqrt(2) * (1 + 1e-12)], [1.0]).all()
    assert not unchanged_by_pairs([[1.0, 0.0]], [[0.0, 1.0]]).any()
    assert unchanged_by_pairs([[1.0, 0.0]], [[0.0, 1.0 - 1e-12]]).all()


def test_useless_errors_give_the_useless_bound():
    assert changed_predictions([1.0, 2.0], np.inf).value == 1
    assert changed_predictions_on_sample([1.0, 2.0], np.inf).value == 1
    assert accuracy_drop([1.0, 2.0], np.array([True, False]), np.inf).value == 0.5
    assert changed_predictions([0.0, 2.0], 1e-9).value == pytest.approx(0.5)


@given(st.integers(0, 10**6))
def test_regression_risk(seed):
    generator = np.random.default_rng(seed)
    y, f, delta = generator.normal(size=(3, 20, 2)) * [[[1]], [[3]], [[generator.random()]]]
    error = np.sqrt(np.mean(np.sum(delta**2, axis=1))) * (1 + 1e-14)
    risk = np.mean(np.sum((f - y) ** 2, axis=1)) * (1 + 1e-14)
    assert not regression_risk(risk, error).violated(np.mean(np.sum((f + delta - y) ** 2, axis=1)))
    aligned = f + (f - y)
    assert regression_risk(risk, np.sqrt(risk)).tightness(np.mean(np.sum((aligned - y) ** 2, axis=1))) < 1 + 1e-12


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: margins([[1.0], [2.0]]), "at least 2 classes"),
        (lambda: margins([[1.0, np.nan]]), "logits must be finite"),
        (lambda: changed_predictions([-1.0], 1.0), "without negative entries"),
        (lambda: changed_predictions([1.0], -1.0), "rms_error must not be negative"),
        (lambda: accuracy_drop([1.0], [1], 1.0), "booleans"),
        (lambda: unchanged([1.0], [np.nan]), "negative or NaN"),
        (lambda: unchanged_by_pairs([[1.0, 2.0]], [[1.0]]), "shape of the logits"),
        (lambda: regression_risk(-1.0, 1.0), "risk must be"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
