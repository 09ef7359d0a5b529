"""A bound has no tolerance of its own, and rounding goes outwards."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lqtheory.bounds import Bound
from lqtheory.bounds.rounding import exp_down, exp_up, norm_up, row_norms_up, up


def bound(value, side):
    return Bound(value, side, "Theorem 1", "none")


@pytest.mark.parametrize(("side", "wrong"), [("upper", np.inf), ("lower", -np.inf)])
def test_one_float_on_the_wrong_side_is_a_violation(side, wrong):
    assert not bound(0.3, side).violated(0.3)
    assert bound(0.3, side).violated(np.nextafter(0.3, wrong))
    assert not bound(0.3, side).violated(np.nextafter(0.3, -wrong))
    assert bound(0.3, side).violated(np.nan)
    assert bound(np.nan, side).violated(0.3)


def test_an_infinite_upper_bound_is_never_violated():
    assert not bound(np.inf, "upper").violated(np.inf)
    assert bound(np.inf, "upper").tightness(1.0) == np.inf


def test_tightness_is_at_least_1_when_the_bound_holds():
    assert bound(4.0, "upper").tightness(2.0) == 2
    assert bound(2.0, "lower").tightness(4.0) == 2
    assert bound(0.0, "upper").tightness(0.0) == 1
    assert bound(1.0, "upper").tightness(0.0) == np.inf
    assert bound(1.0, "upper").tightness(2.0) == 0.5


def test_vacuous_is_no_better_than_the_trivial_bound():
    assert bound(1.0, "upper").vacuous(1.0)
    assert not bound(0.99, "upper").vacuous(1.0)
    assert bound(0.0, "lower").vacuous(0.0)
    assert not bound(1.0, "lower").vacuous(0.0)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_a_norm_is_never_below_the_exact_one(values):
    exact = sum(Fraction(v) ** 2 for v in values)
    for result in (norm_up(np.array(values)), float(row_norms_up(np.array([values]))[0])):
        assert np.isinf(result) or Fraction(result) ** 2 >= exact


@given(st.floats(0, 1e308), st.integers(0, 1000))
def test_up_goes_up_by_the_roundings_it_is_told_and_little_more(x, roundings):
    assert Fraction(up(x, roundings)) >= Fraction(x) * (1 + Fraction(roundings, 2**52)) or np.isinf(up(x, roundings))
    assert up(x, roundings) <= x * (1 + (roundings + 8) * 2.0**-52) + 1e-320


@given(st.floats(-800, 800), st.floats(0, 1e-3))
def test_exponentials_enclose(log_x, error):
    low, high = exp_down(log_x, error), float(exp_up(np.float64(log_x), error))
    with np.errstate(over="ignore"):
        assert low <= np.exp(log_x) <= high
        assert high <= np.exp(log_x + error) * (1 + 1e-10) + 1e-320
    assert exp_down(-np.inf, error) == exp_up(np.float64(-np.inf), error) == 0
