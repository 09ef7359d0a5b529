r"""Tier C in norms that are chosen: a weight for every hidden unit, to make the bound as small as it gets.

A unit whose error is amplified by the layers behind it should count more, one with a large error of its own less. No
weights can break the bound (Theorem 30), so they are looked for without care and used with care.
"""

from collections.abc import Sequence

import numpy as np
import scipy.sparse.linalg
from jaxtyping import Float64

from .layers import Linear
from .moments import Moments, rms_response
from .network import FLOAT64, NetworkBound, evaluation, observed_radii, tier_c
from .operators import spectral_norm
from .rounding import EPS, norm_up, up

Weights = list[Float64[np.ndarray, " width"]]
ROUNDS, STEP = 30, 0.1
SMALL = 200  # from here on the largest singular value alone is faster than all


def tier_c_weighted(dense: Sequence[Linear], pruned: Sequence[Linear], moments: Sequence[Moments]) -> NetworkBound:
    r"""Theorem 30: tier C in the norms $\|S_l\,\cdot\|_2$ of hidden layers, the best of those tried; never above it."""
    bound = tier_c(dense, pruned, moments)
    weights = balanced_weights(dense, pruned, moments)
    weighted = in_weighted_norms(dense, pruned, moments, weights)
    value = weighted if weighted.value < bound.value else bound
    return NetworkBound(value.value, "upper", "Theorem 30", value.assumptions, value.local, value.gains)


def in_weighted_norms(
    dense: Sequence[Linear], pruned: Sequence[Linear], moments: Sequence[Moments], weights: Weights
) -> NetworkBound:
    r"""$\|S_l\delta_l\|\le\rho_l(\|S_l(\Delta W_lh+\Delta b_l)\|+\|S_l\hat W_lS_{l-1}^{-1}\|\|S_{l-1}\delta_{l-1}\|)$.

    `weights` are the positive diagonals of the hidden layers; input and output are not weighted.
    """
    radii, drifts = observed_radii(dense, moments)
    before, delta, plain = np.ones(dense[0].fan_in), 0.0, 0.0
    errors, gains = [], []
    ends = [*weights, np.ones(len(dense[-1].weight))]
    for layer, hat, part, size, drift, after in zip(dense, pruned, moments, radii, drifts, ends, strict=True):
        slope, most = hat.activation.lipschitz, float(np.max(after))
        change = after[:, None] * (layer.weight - hat.weight)
        own = rms_response(change, part, after * (layer.offset - hat.offset)) + up(norm_up(change), 4) * drift
        scaled = after[:, None] * hat.weight / before
        norm = up(spectral_norm(scaled) + 4 * EPS * norm_up(scaled), 4)
        rounding = most * (evaluation(layer, size) + evaluation(hat, up(size + plain)))
        error = up(slope * own + rounding, 16)
        errors.append(error)
        gains = [*(up(gain * slope * norm, 2) for gain in gains), 1.0]
        delta = up(error + slope * norm * delta, 4)
        plain = up(delta / float(np.min(after)), 4)
        before = after
    about = f"about the calibration sample; {FLOAT64}"
    return NetworkBound(delta, "upper", "Theorem 30", about, tuple(errors), tuple(gains))


def balanced_weights(dense: Sequence[Linear], pruned: Sequence[Linear], moments: Sequence[Moments]) -> Weights:
    """Weights that make the bound small: descent on their logarithms (Adam), the best round kept."""
    own = [_row_errors(*layers) for layers in zip(dense, pruned, moments, strict=True)]
    logs = [np.zeros(len(layer.weight)) for layer in dense[:-1]]
    first, second = [np.zeros_like(z) for z in logs], [np.zeros_like(z) for z in logs]
    best, best_value = logs, np.inf
    for t in range(1, ROUNDS + 1):
        value, slopes = _value_and_slopes(pruned, own, [np.exp(z) for z in logs])
        if value < best_value:
            best, best_value = logs, value
        first = [0.9 * m + 0.1 * g for m, g in zip(first, slopes, strict=True)]
        second = [0.99 * v + 0.01 * g**2 for v, g in zip(second, slopes, strict=True)]
        steps = [m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.99**t)) + 1e-12) for m, v in zip(first, second, strict=True)]
        logs = [z - STEP * step for z, step in zip(logs, steps, strict=True)]
    return [np.exp(z) for z in best]


def _row_errors(layer: Linear, hat: Linear, moments: Moments) -> Float64[np.ndarray, " out"]:
    """Mean squares of every unit's own error, only nearly."""
    change = layer.weight - hat.weight
    return np.maximum(np.einsum("ij,ij->i", change @ moments.G, change), 0.0)


def _value_and_slopes(
    pruned: Sequence[Linear], own: Sequence[Float64[np.ndarray, " out"]], weights: Weights
) -> tuple[float, Weights]:
    """The bound, nearly, and the slope of its logarithm in the logarithm of every weight."""
    ends = [np.ones(pruned[0].fan_in), *weights, np.ones(len(pruned[-1].weight))]
    delta, kept, rises, falls = 0.0, [], [], []
    for hat, before, after, squares in zip(pruned, ends[:-1], ends[1:], own, strict=True):
        left, norm, right = _top(after[:, None] * hat.weight / before)
        parts = after**2 * squares
        error, carried = float(np.sum(parts)) ** 0.5, norm * delta
        delta = hat.activation.lipschitz * (error + carried)
        kept.append(carried / (error + carried) if carried else 0.0)
        rises.append((1 - kept[-1]) * parts / (error**2 or 1.0) + kept[-1] * left**2)
        falls.append(right**2)
    slopes, through = [], 1.0
    for level in reversed(range(len(weights))):
        through *= kept[level + 1]  # the part of the bound that passes this layer
        slopes.insert(0, through * (rises[level] - falls[level + 1]))
    return delta, slopes


def _top(matrix: Float64[np.ndarray, "out in_"]) -> tuple[np.ndarray, float, np.ndarray]:
    """The largest singular value with its vectors, only nearly."""
    if min(matrix.shape) < SMALL or not np.any(matrix):
        left, values, right = np.linalg.svd(matrix, full_matrices=False)
        return left[:, 0], float(values[0]), right[0]
    start = np.random.default_rng(0).standard_normal(min(matrix.shape))
    left, values, right = scipy.sparse.linalg.svds(matrix, k=1, v0=start, tol=1e-3)
    return left[:, 0], float(values[0]), right[0]
