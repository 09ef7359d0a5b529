"""The weights that neurons need, found by selection, against sorting."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from lqtheory import Profile, analyze, indices
from lqtheory.measure import ERRORS
from lqtheory.selection import weights_needed

magnitudes = st.one_of(st.integers(-4, 4).map(float), st.floats(-1e3, 1e3), st.sampled_from([1e-300, 1e-9, 1e150]))


@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=magnitudes), st.floats(0.001, 0.9))
def test_no_fewer_weights_would_do(tolerance, rows, eps):
    slack = tolerance["tight"]
    for row, (needed,) in zip(rows, weights_needed(rows, (eps,)), strict=True):
        unit = np.max(np.abs(row)) or 1.0
        squares = np.sort((row / unit) ** 2)
        limit = eps**2 * squares.sum()
        assert squares[: row.size - needed].sum() <= limit * (1 + slack)
        assert needed == 0 or squares[: row.size - needed + 1].sum() > limit * (1 - slack)


@pytest.mark.parametrize("tails", [1, 3, 8])
def test_neurons_of_every_kind_need_what_their_profiles_say(tails):
    rng = np.random.default_rng(tails)
    rows = rng.standard_normal((30, 500)) ** tails * np.exp(rng.uniform(-300, 300, (30, 1)))
    rows[rng.random(rows.shape) < 0.3] = 0
    rows[3] = 0
    expected = [[indices.weights_needed(Profile.of(row), eps) for eps in ERRORS] for row in rows]
    assert weights_needed(rows, ERRORS).tolist() == expected


def test_an_analysis_has_them_on_request():
    rows = np.random.default_rng(0).standard_normal((6, 50))
    found = analyze({"w": rows}, index=["neuron_weights_needed"]).tensors[0].measure.indices["neuron_weights_needed"]
    for k, eps in enumerate(ERRORS):
        assert found[f"{eps:g}"]["max"] == weights_needed(rows, ERRORS)[:, k].max()
