"""The searches return a step at which the guarantee was seen; k* is the definition."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lqtheory.bounds.inverse import kept_at_error, last_safe


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_last_safe_step_of_a_guarantee_that_only_ends(last, end):
    assert last_safe(lambda step: step <= end, last) == min(last, end)


@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_the_step_returned_is_always_safe_and_the_next_is_not(answers):
    step = last_safe(lambda k: answers[k - 1], len(answers))
    assert step == 0 or answers[step - 1]
    assert step == len(answers) or not answers[step]


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_kept_weights_meet_the_error_and_one_fewer_would_not(seed, eps):
    rng = np.random.default_rng(seed)
    rows = rng.standard_t(2, size=(5, 12)) * 10.0 ** rng.integers(-150, 150)
    for row, kept in zip(np.abs(rows), kept_at_error(rows, eps), strict=True):
        row = np.sort(row / row.max())[::-1]
        norm = np.linalg.norm(row)
        assert np.linalg.norm(row[kept:]) <= eps * norm
        assert kept == 0 or np.linalg.norm(row[kept - 1 :]) > eps * norm * (1 - 1e-12)


def test_a_row_of_zeros_needs_nothing_and_no_error_keeps_every_other_weight():
    assert kept_at_error(np.array([[0.0, 0.0], [0.0, 2.0], [1.0, 2.0]]), 0.0).tolist() == [0, 1, 2]


@pytest.mark.parametrize("eps", [-0.1, 1.1, np.nan])
def test_a_relative_error_is_a_fraction(eps):
    with pytest.raises(ValueError, match=r"eps must lie in \[0, 1\]"):
        kept_at_error(np.ones((1, 2)), eps)
