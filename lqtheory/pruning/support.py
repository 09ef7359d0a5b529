r"""Choose the support for the re-fit: the sparse linear approximation of a whole layer, support and coefficients.

Magnitude says which weights are large before anything is removed; what counts is which weights the least-squares
answer needs once the others are gone.
"""

import numpy as np
from jaxtyping import Bool, Float64

from .refit import RIDGE, Fitted, Mask, Regression, Weights, least_squares

STEPS, GROWTH, START = 60, 1.1, 0.1


def support_search(w: Weights, mask: Mask, data: Regression, ridge: float = RIDGE) -> Fitted:
    r"""The re-fit on the support that alternating directions find from `mask`, with as many weights.

    Splits $\min E\|Vh + b - z\|^2$ over V with k non-zeros into V = D: V is the ridge answer drawn to D, D the k
    largest entries of V + U, U what V and D disagree on so far, and the pull grows by `GROWTH` in each of `STEPS` steps
    from `START` [Boyd et al. 2011, section 9.1; of one layer of a network, Meng et al. 2024, ALPS; the constants are
    ours]. Inputs are scaled to variance 1. Every neuron keeps a weight where k allows. Of the answers on the first and
    on the last support the one with the smaller error is taken.
    """
    if mask.all() or not mask.any():
        return least_squares(w, mask, data, ridge)
    c, k = data.normal(w, ridge)
    scale = 1 / np.sqrt(np.diagonal(c))
    values, basis = np.linalg.eigh(c * np.outer(scale, scale))
    target, kept = (k * scale) @ basis, int(mask.sum())
    pull, found, split, dual = START, mask, np.where(mask, w / scale, 0.0), np.zeros_like(w)
    for _ in range(STEPS):
        v = ((target + (pull * (split - dual)) @ basis) / (values + pull)) @ basis.T
        found = _largest(np.abs(v + dual), kept)
        split = np.where(found, v + dual, 0.0)
        dual = (dual + v - split) / GROWTH  # scaled by the pull, which grows
        pull *= GROWTH
    answers = [least_squares(w, support, data, ridge) for support in (mask, found)]
    return min(answers, key=lambda answer: float(np.sum((answer[0] @ c - 2 * k) * answer[0])))


def _largest(sizes: Float64[np.ndarray, " out d"], kept: int) -> Bool[np.ndarray, " out d"]:
    """The `kept` largest entries, after the largest of each row where there is room."""
    ranked = sizes.copy()
    if kept >= len(sizes):
        ranked[np.arange(len(sizes)), sizes.argmax(axis=1)] = np.inf
    chosen = np.zeros(sizes.size, dtype=bool)
    chosen[np.argsort(-ranked, axis=None, kind="stable")[:kept]] = True
    return chosen.reshape(sizes.shape)
