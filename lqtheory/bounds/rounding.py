r"""How every bound survives float64: the one place where values are rounded outwards.

A quantity computed with relative error at most $n\,\varepsilon$, $\varepsilon = 2^{-52}$ (twice the unit roundoff, so
that second-order terms and the multiplication below are covered), is multiplied by $1 + (n + 4)\varepsilon$ and moved
one float further. A sum of n non-negative terms, in whatever order it is added, has n - 1 roundings. A logarithm with
absolute error a is moved by a before the exponential. What overflows or is undefined becomes the true and useless
bound: infinity above, 0 below.
"""

from math import fsum, inf, isnan, nextafter

import numpy as np
from jaxtyping import Float64

EPS = 2.0**-52
TINY = 2.0**-1074  # the smallest subnormal: what one underflow may lose
LOW, HIGH = 2.0**-400, 2.0**400  # norms in between have sums of squares that no underflow or overflow can hurt


def up(x: float, roundings: float = 1) -> float:
    """An upper end for the real number that `x` >= 0 approximates after so many roundings.

    >>> up(1.0) > 1.0, up(float("nan"))
    (True, inf)
    """
    raised = nextafter(float(x) * (1 + (roundings + 4) * EPS), inf)
    return inf if isnan(raised) else raised


def up_each(x: Float64[np.ndarray, "*shape"], roundings: float = 1) -> Float64[np.ndarray, "*shape"]:
    """`up` of every entry."""
    with np.errstate(over="ignore", invalid="ignore"):
        raised = np.nextafter(x * (1 + (roundings + 4) * EPS), np.inf)
    return np.where(np.isnan(raised), np.inf, raised)


def exp_up(
    log_x: Float64[np.ndarray, "*shape"], error: float | Float64[np.ndarray, "..."]
) -> Float64[np.ndarray, "*shape"]:
    """An upper end of exp(log_x) when `log_x` has the absolute error `error`; exp(-inf) stays exactly 0."""
    with np.errstate(over="ignore", invalid="ignore"):
        value = up_each(np.exp(log_x + error + 4 * EPS * np.abs(log_x)), 4)
    return np.where(np.isneginf(log_x), 0.0, value)


def exp_down(log_x: float, error: float) -> float:
    """A lower end of exp(log_x) when `log_x` has the absolute error `error`; 0 where numerics give out."""
    with np.errstate(over="ignore", invalid="ignore"):
        value = np.exp(log_x - error - 4 * EPS * abs(log_x)) * (1 - 8 * EPS)
    return max(0.0, float(np.nextafter(value, 0.0))) if np.isfinite(value) else 0.0


def norm_up(x: Float64[np.ndarray, "*shape"]) -> float:
    r"""$\sqrt{\sum x_i^2}$ over all entries, rounded up; scaled, so that no square leaves float64.

    >>> 5.0 < norm_up(np.array([3.0, -4.0])) < 5.00000000001
    True
    """
    if x.size == 0:
        return 0.0
    rows = x.reshape(-1, x.shape[-1])
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", rows, rows)
    if np.max(squares) > LOW**2 and np.sum(squares) < HIGH**2:
        return up(fsum(squares.tolist()) ** 0.5, x.shape[-1] + 8)
    scale = float(np.max(np.abs(x)))
    if scale == 0 or not np.isfinite(scale):
        return scale if scale == 0 else np.inf
    rows = rows / scale
    # fsum over rows: only the row length counts
    return up(scale * up(sum_of_squares(rows) ** 0.5, x.shape[-1] + 8))


def row_norms_up(rows: Float64[np.ndarray, "n d"]) -> Float64[np.ndarray, " n"]:
    """Euclidean norm of every row, rounded up; scaled, so that no square leaves float64."""
    scale = np.max(np.abs(rows), axis=1, initial=0.0)
    shares = rows / np.where((scale > 0) & np.isfinite(scale), scale, 1.0)[:, None]
    with np.errstate(over="ignore"):
        return up_each(scale * np.sqrt(np.einsum("ij,ij->i", shares, shares)), rows.shape[1] + 8)


def sum_of_squares(rows: Float64[np.ndarray, "n d"]) -> float:
    """Sum of squares, added exactly over the rows."""
    return fsum(np.einsum("ij,ij->i", rows, rows).tolist())
