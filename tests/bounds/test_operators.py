"""Theorem 10: a spectral norm that is an upper bound at 50 digits, and close."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lqtheory.bounds import spectral_norm

mpmath.mp.dps = 50


@st.composite
def matrices(draw):
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    matrix = generator.standard_t(draw(st.sampled_from([1, 3, 30])), (rows, columns))
    matrix *= generator.random((rows, columns)) < draw(st.sampled_from([0.3, 1.0]))
    if draw(st.booleans()):
        matrix = np.outer(matrix[:, 0], matrix[0])
    return matrix * 10.0 ** draw(st.sampled_from([0, -150, -300, -320, 150]))


@given(matrices())
def test_spectral_norm_is_above_the_norm_at_50_digits(matrix):
    singular = mpmath.svd_r(mpmath.matrix(matrix.tolist()), compute_uv=False)
    assert spectral_norm(matrix) >= singular[0]


@pytest.mark.parametrize("shape", [(3, 5), (120, 80), (300, 784)])
def test_spectral_norm_is_tight(shape, tolerance):
    matrix = np.random.default_rng(1).normal(size=shape)
    assert spectral_norm(matrix) == pytest.approx(np.linalg.norm(matrix, 2), rel=tolerance["inequality"])
    assert spectral_norm(matrix) >= np.linalg.norm(matrix, 2)


def test_orthogonal_and_rank_one_matrices():
    q, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(64, 64)))
    assert 1 - 1e-14 <= spectral_norm(q) <= 1 + 1e-9
    one = np.outer(np.arange(1.0, 5.0), np.ones(7))
    assert spectral_norm(one) == pytest.approx((30 * 7) ** 0.5, rel=1e-13)
    assert spectral_norm(np.zeros((3, 4))) == 0
