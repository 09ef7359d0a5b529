"""Column by column with second-order corrections: one Cholesky factor for all neurons, cheap for large layers."""

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float64

from .refit import Fitted, Mask, Regression, Weights

BLOCK = 128
DAMPING = 1e-2


def block_surgeon(w: Weights, mask: Mask, data: Regression, damping: float = DAMPING, block: int = BLOCK) -> Fitted:
    r"""SparseGPT [Frantar, Alistarh, ICML 2023, Algorithm 1], with as many weights as `mask` has; no intercept.

    Columns are visited once, in blocks. With $H = G + \lambda I$ (their damping: $\lambda$ = 0.01 of the mean of
    $G_{jj}$) and $U$ the upper Cholesky factor of $H^{-1}$, each block keeps its largest $w_{ij}^2/U_{jj}^2$, in
    proportion to its size, and what column j loses is made good in the columns after it:
    $w_{i,j:} \leftarrow w_{i,j:} - (w_{ij}/U_{jj})\,U_{j,j:}$. The wanted output is that of the dense weights on the
    inputs at hand. Shares of blocks are rounded from the left, ours.
    """
    out, d = w.shape
    g = data.second[:-1, :-1]
    penalty = max(damping * float(np.trace(g)) / d, float(np.finfo(np.float64).tiny))
    inverse = np.linalg.inv(g + penalty * np.eye(d))
    u = scipy.linalg.cholesky((inverse + inverse.T) / 2)
    v, kept = w.copy(), np.zeros(mask.shape, dtype=bool)
    for columns, count in zip(_blocks(d, block), _shares(int(mask.sum()), out, d, block), strict=True):
        saliency = (v[:, columns] / np.diagonal(u)[columns]) ** 2
        kept[:, columns] = _largest(saliency, count)
        lost = np.zeros((out, len(columns)))
        for k, j in enumerate(columns):
            lost[:, k] = np.where(kept[:, j], 0.0, v[:, j]) / u[j, j]
            v[:, columns[k:]] -= np.outer(lost[:, k], u[j, columns[k:]])
        v[:, columns[-1] + 1 :] -= lost @ u[columns, columns[-1] + 1 :]
    return np.where(kept, v, 0.0), np.zeros(out)


def _blocks(d: int, block: int) -> list[np.ndarray]:
    return [np.arange(start, min(start + block, d)) for start in range(0, d, block)]


def _shares(total: int, out: int, d: int, block: int) -> list[int]:
    """How many weights each block keeps: its share of the total, rounded so that they add up."""
    sizes = [len(columns) * out for columns in _blocks(d, block)]
    edges = [total * end // (out * d) for end in np.cumsum(sizes).tolist()]
    return [end - start for start, end in zip([0, *edges], edges, strict=False)]


def _largest(saliency: Float64[np.ndarray, " out b"], count: int) -> Bool[np.ndarray, " out b"]:
    chosen = np.zeros(saliency.size, dtype=bool)
    chosen[np.argsort(-saliency, axis=None, kind="stable")[:count]] = True
    return chosen.reshape(saliency.shape)
