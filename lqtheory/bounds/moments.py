r"""Second moments of the inputs of a layer: what the activation-aware bounds read of the data."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike
from scipy.linalg.blas import dsyrk

from .._checks import check_finite
from .layers import Linear, check_inputs
from .operators import largest_eigenvalue
from .rounding import EPS, TINY, norm_up, up, up_each


@dataclass(frozen=True, eq=False)
class Moments:
    r"""$E[(h,1)(h,1)^\top]$ of an input h in $\mathbb R^d$ over `count` samples, and $\sqrt{E\|h\|^2}$ rounded up.

    `rows` are the samples themselves, kept where they are so few that they are the quicker way to a response.

    >>> moments = Moments.of(np.array([[1.0, 2.0], [3.0, 2.0]]))
    >>> moments.G, moments.mean
    (array([[5., 4.], [4., 4.]]), array([2., 2.]))
    """

    second: Float64[np.ndarray, "d+1 d+1"]
    radius: float
    count: int
    rows: Float64[np.ndarray, "n d"] | None = None

    @classmethod
    def of(cls, h: ArrayLike) -> "Moments":
        """The moments of the rows of `h` [n, d]."""
        rows = check_finite(h, "h")
        if rows.ndim != 2:
            raise ValueError(f"h must have shape [n, d], got shape {rows.shape}.")
        return _moments(rows)

    @property
    def d(self) -> int:
        """How many inputs."""
        return len(self.second) - 1

    @property
    def G(self) -> Float64[np.ndarray, "d d"]:
        r"""$E[hh^\top]$."""
        return self.second[:-1, :-1]

    @property
    def mean(self) -> Float64[np.ndarray, " d"]:
        r"""$\mu = E[h]$."""
        return self.second[:-1, -1]

    @property
    def norms(self) -> Float64[np.ndarray, " d"]:
        r"""$m_j = \|h_j\|_{L_2} = \sqrt{G_{jj}}$, rounded up."""
        return np.minimum(up_each(np.sqrt(np.diagonal(self.G) + 4 * self.count * TINY), self.count + 8), self.radius)

    @property
    def spectral(self) -> float:
        r"""$\sqrt{\lambda_{\max}(G)}$, rounded up: at most the radius."""
        square = self.radius * self.radius
        hidden = (self.count + 4) * EPS * square + 4 * self.count * self.d * TINY
        return min(self.radius, up(up(largest_eigenvalue(self.G) + hidden, 4) ** 0.5, 4))


def _moments(rows: Float64[np.ndarray, "n d"]) -> Moments:
    second = np.empty((rows.shape[1] + 1, rows.shape[1] + 1))
    with np.errstate(over="ignore"):
        second[:-1, :-1] = rows.T @ rows
        second[-1, :-1] = second[:-1, -1] = rows.sum(axis=0)
    second[-1, -1] = len(rows)
    return Moments(second / len(rows), _radius(rows), len(rows), rows.copy() if 2 * len(rows) < rows.shape[1] else None)


def input_radius(x: ArrayLike) -> float:
    r"""$\sqrt{\frac1n\sum\|x_i\|^2}$ over the rows of `x`, rounded up: how large the inputs are in L2.

    >>> round(input_radius([[3.0, 4.0], [0.0, 0.0]]) ** 2, 9)
    12.5
    """
    return _radius(np.atleast_2d(check_finite(x, "x")))


def _radius(rows: Float64[np.ndarray, "n d"]) -> float:
    return up(norm_up(rows) / len(rows) ** 0.5, 4)


def second_moments(layers: Sequence[Linear], x: ArrayLike, device: str | None = None) -> list[Moments]:
    """The moments of every layer's input: one pass of the dense network, enough for any number of pruned ones.

    By numpy, or on a `device` by torch; from there on the bounds need only these moments and the weights.
    """
    if device is not None:
        from .device import device_moments  # torch is not for everyone who wants bounds

        return device_moments(layers, x, device)
    h = check_inputs(layers, x)
    moments = [_moments(h)]
    for layer in layers[:-1]:
        h = layer(h)
        moments.append(Moments.of(h))
    return moments


def rms_response(
    change: Float64[np.ndarray, "out d"], moments: Moments, shift: Float64[np.ndarray, " out"] | None = None
) -> float:
    r"""$\sqrt{E\|Dh + c\|^2} = \sqrt{\mathrm{tr}\,[D,c]\,E[(h,1)(h,1)^\top]\,[D,c]^\top}$, rounded up.

    >>> round(rms_response(np.array([[1.0, -1.0]]), Moments.of([[3.0, 1.0], [1.0, 1.0]])) ** 2, 12)
    2.0
    """
    square = moments.radius * moments.radius
    if shift is not None and np.any(shift):
        change, square = np.column_stack([change, shift]), square + 1
    scale = float(np.max(np.abs(change), initial=0.0))
    if scale == 0:
        return 0.0
    rows, columns = change.shape
    change = change / scale
    with np.errstate(over="ignore", invalid="ignore"):
        trace = max(_trace(change, moments), 0.0)
        # the moments and both products are rounded, in a quadratic form of size ||D||^2 E||(h,1)||^2
        terms = moments.count + rows + columns + 16
        underflow = 4 * (moments.count + columns) * rows * columns**2 * TINY
        hidden = terms * EPS * square * norm_up(change) ** 2 + underflow
        return up(scale * up((trace + hidden) ** 0.5, 8), 4)


def _trace(change: Float64[np.ndarray, "out columns"], moments: Moments) -> float:
    r"""$\mathrm{tr}\,DMD^\top$, nearly, of a change with d columns or, last, one more for the shift."""
    d, shifted = moments.d, change.shape[1] > moments.d
    if moments.rows is not None:
        response = moments.rows @ change[:, :d].T + (change[:, d] if shifted else 0.0)
        return float(np.sum(np.einsum("ij,ij->i", response, response))) / moments.count
    half = dsyrk(1.0, change.T)  # one triangle of the Gram matrix of the columns, zeros in the other
    half[np.diag_indices(change.shape[1])] *= 0.5
    return 2 * fsum(np.einsum("ij,ij->i", moments.second if shifted else moments.G, half.T).tolist())
