r"""Certified upper bounds of operator norms: never power iteration, which approaches a norm from below."""

import numpy as np
from jaxtyping import Float64, Inexact
from scipy.linalg.blas import dsymv, dsyrk
from scipy.linalg.lapack import dpotrf, zpotrf
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from .rounding import EPS, HIGH, LOW, norm_up, up


def spectral_norm(matrix: Float64[np.ndarray, "out in_"]) -> float:
    r"""$\|W\|_2$ rounded up: the estimate of an eigensolver, made a certificate by a Cholesky factor, Theorem 10.

    Let G be the computed $WW^\top$ (or $W^\top W$, the smaller), m x m with sums of d terms. If floating-point Cholesky
    of $\tau I - G$ runs to its end, $\|W\|_2^2 \le \tau + (m+2)\varepsilon\,m\tau + (d+2)\varepsilon\|W\|_F^2$.
    The Frobenius norm is an upper bound too and the smaller one is returned (for one row they coincide).

    >>> 3.0 <= spectral_norm(np.diag([1.0, 3.0])) < 3.0 + 1e-9
    True
    """
    frobenius = norm_up(matrix)
    if frobenius == 0 or not np.isfinite(frobenius) or min(matrix.shape) == 1:
        return frobenius
    scale = 1.0 if LOW < frobenius < HIGH else float(np.max(np.abs(matrix)))
    scaled, (rows, columns) = matrix if scale == 1 else matrix / scale, matrix.shape
    # what the product, the scaling and the underflow of tiny squares may have hidden
    hidden = (max(rows, columns) + 6) * EPS * up(frobenius / scale, 4) ** 2
    top = largest_eigenvalue(dsyrk(1.0, scaled.T, trans=rows <= columns, lower=1))
    return min(frobenius, up(scale * up((top + hidden) ** 0.5, 8), 2))


def largest_eigenvalue(gram: Inexact[np.ndarray, "*batch m m"], known: float = 0.0) -> float:
    r"""The largest $\lambda_{\max}$ of positive semi-definite Hermitian matrices, rounded up, Theorem 10.

    Only their lower triangles are read.

    `known` itself where that can be seen to be no less: the largest of many batches then costs little more than their
    factors.

    >>> 3.0 <= largest_eigenvalue(np.diag([1.0, 3.0])) < 3.0 + 1e-9
    True
    """
    size, scale = gram.shape[-1], float(np.max(np.abs(gram)))
    if scale == 0 or not np.isfinite(scale):
        return known if scale == 0 else np.inf
    if LOW < scale < HIGH:
        scale = 1.0
    else:
        gram = gram / scale
    rounding = (4 if np.iscomplexobj(gram) else 1) * size * (size + 8) * EPS
    if known and dominates(known / scale / (1 + 2 * rounding), gram):
        return known
    for estimate in (_lanczos, _eigenvalues, _trace):
        level = estimate(gram) * (1 + 2 * rounding)
        if dominates(level, gram):
            # backward error at most gamma_(m+1) times the trace, which is at most m levels; entries were rounded twice
            return up(scale * up(level * (1 + rounding), 4), 2)
    return float(np.inf)


def dominates(level: float, gram: Inexact[np.ndarray, "*batch m m"]) -> bool:
    r"""Whether floating-point Cholesky of $\tau I-G$ runs to its end, for every G of the batch.

    >>> dominates(3.1, np.diag([1.0, 3.0])), dominates(2.9, np.diag([1.0, 3.0]))
    (True, False)
    """
    shifted, diagonal = np.negative(gram), np.arange(gram.shape[-1])
    shifted[..., diagonal, diagonal] += level
    if gram.ndim == 2:  # several times faster than numpy, which is the faster for many small ones
        factor = zpotrf if np.iscomplexobj(shifted) else dpotrf
        return factor(shifted, lower=1, clean=0, overwrite_a=1)[1] == 0
    try:
        np.linalg.cholesky(shifted)
    except np.linalg.LinAlgError:
        return False
    return True


def _lanczos(gram: Inexact[np.ndarray, "*batch m m"]) -> float:
    """The largest eigenvalue, most often; what is too low is refused by the factor."""
    if gram.ndim > 2 or len(gram) < 100 or np.iscomplexobj(gram):
        return _eigenvalues(gram)
    start = np.random.default_rng(0).standard_normal(len(gram))
    triangle = np.asfortranarray(gram)
    times = LinearOperator(gram.shape, lambda v: dsymv(1.0, triangle, v, lower=1), dtype=gram.dtype)
    try:
        return float(eigsh(times, k=1, v0=start, return_eigenvectors=False, tol=1e-7)[0])
    except ArpackError:
        return 0.0


def _eigenvalues(gram: Inexact[np.ndarray, "*batch m m"]) -> float:
    """The largest of all eigenvalues."""
    return float(np.max(np.linalg.eigvalsh(gram)))


def _trace(gram: Inexact[np.ndarray, "*batch m m"]) -> float:
    """The largest sum of all eigenvalues."""
    return float(np.max(np.trace(gram, axis1=-2, axis2=-1).real))
