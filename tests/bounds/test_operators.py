"""Theorem 10: a spectral norm that is an upper bound at 50 digits, and close."""

from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, strategies as st
from scipy.linalg import hadamard, hilbert

from lqtheory.bounds import operators, spectral_norm

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


HADAMARD = hadamard(32).astype(float)  # 32 equal singular values, sqrt(32)
SMALL = {
    "Hilbert, ill-conditioned": hilbert(5),
    "rank 1": np.outer([3.0, -1.0, 2.0, 5.0], [1.0, 4.0, -7.0, 2.0]),
    "repeated singular values": np.kron(np.eye(2), [[2.0, 1.0], [-1.0, 2.0]]),
    "two that are nearly equal": np.diag([1.0, 1.0 + 2.0**-50, 0.5, 0.0]),
    "one far above the others": np.diag([1e150, 1.0, 1e-150, 1.0]),
    "denormal": np.array([[5e-324, 1e-320, 0.0, 0.0], [3e-322, -5e-324, 2e-321, 0.0]] * 2),
    "huge": 1e300 * np.array([[3.0, 1.0, -2.0, 4.0], [1.0, 0.5, 6.0, -1.0]] * 2),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("factor", [np.ones((1, 1)), HADAMARD], ids=["small", "large"])
def test_hard_matrices_at_50_digits(name, factor, tolerance):
    """Each by itself, and times a Hadamard matrix: signs only, so that the product is exact and its norm known."""
    core = SMALL[name]
    norm = mpmath.svd_r(mpmath.matrix(core.tolist()), compute_uv=False)[0] * mpmath.sqrt(len(factor))
    found = spectral_norm(np.kron(core, factor))
    assert found >= norm
    assert found <= norm * (1 + mpmath.mpf(tolerance["inequality"])) or name == "denormal"
    assert found <= np.linalg.norm(np.kron(core / core.max(), factor)) * core.max() * (1 + 1e-9)


@pytest.mark.parametrize("short", [0.0, 0.5, 0.999, 1 - 1e-7, 1 - 1e-9])
def test_an_estimate_that_is_too_small_is_refused(short, monkeypatch, tolerance):
    factor = np.random.default_rng(0).standard_normal((150, 200))
    top = np.linalg.norm(factor, 2)
    monkeypatch.setattr(operators, "_lanczos", lambda gram: short * top**2)
    assert top <= spectral_norm(factor) <= top * (1 + tolerance["inequality"])
    monkeypatch.setattr(operators, "_eigenvalues", lambda gram: short * top**2)
    assert top <= spectral_norm(factor) <= np.linalg.norm(factor) * (1 + tolerance["inequality"])


@pytest.mark.parametrize("size", [2, 30, 150])
def test_no_level_below_the_largest_eigenvalue_dominates(size):
    """By far less than the bound's own margin it may; by more never."""
    factor = np.random.default_rng(size).standard_normal((size, 2 * size))
    gram = factor @ factor.T
    top = np.linalg.eigvalsh(gram)[-1]
    for below in (0.5, 1e-3, 1e-9, 4 * size * (size + 8) * 2.0**-52):
        assert not operators.dominates(top * (1 - below), gram)
        assert operators.dominates(top * (1 + below), gram)


@pytest.mark.parametrize("shape", [(3,), (150,), (2, 3)])
def test_one_triangle_is_enough(shape):
    factor = np.random.default_rng(0).standard_normal((*shape, 200))
    gram = factor @ np.swapaxes(factor, -1, -2)
    assert operators.largest_eigenvalue(np.tril(gram)) == operators.largest_eigenvalue(gram)


def test_where_every_estimate_fails_the_bound_is_infinite_and_the_frobenius_norm_serves(monkeypatch):
    monkeypatch.setattr(operators, "dominates", lambda level, gram: False)
    assert operators.largest_eigenvalue(np.eye(3)) == np.inf
    assert 3**0.5 <= spectral_norm(np.eye(3)) <= 3**0.5 * (1 + 1e-12)


def test_what_is_known_already_is_returned_only_when_it_suffices(tolerance):
    gram = np.stack([np.diag([1.0, 3.0]), np.diag([2.0, 1.0])])
    assert operators.largest_eigenvalue(gram, 5.0) == 5.0
    assert 3 <= operators.largest_eigenvalue(gram, 2.999) <= 3 * (1 + tolerance["inequality"])
    assert operators.largest_eigenvalue(gram, 3.0) >= 3
    assert operators.largest_eigenvalue(0 * gram, 5.0) == 5.0


@pytest.mark.parametrize("value", [0.1, 1 / 3, 0.7])
def test_what_long_sums_lose_is_covered(value):
    """Two equal rows: the norm is known exactly, and a million products of one size round to one side."""
    n = 10**6
    assert Fraction(spectral_norm(np.full((2, n), value))) ** 2 >= 2 * n * Fraction(value) ** 2
