r"""How far the output of a pruned network can be from the dense one's: the recursion and its tiers A, B, C.

Each tier supplies one number per layer, a bound on its local error $\|(W_l-\hat W_l)h_{l-1}+b_l-\hat b_l\|$ over the
inputs, and Theorem 13 carries these to the output. Rounding is a local error too: both networks are taken as float64
evaluates them, in whatever order their sums are added.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .bound import Bound
from .layers import Linear
from .moments import Moments, input_radius as input_radius, rms_response, second_moments as second_moments
from .rounding import EPS, TINY, exp_up, norm_up, up
from .vector import constant_error, log_worst_case_constant

Q_GRID = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0)


@dataclass(frozen=True)
class NetworkBound(Bound):
    r"""A bound on $\|f-\hat f\|_{L_2}$ with the local error of every layer and its gain to the output."""

    local: tuple[float, ...]
    gains: tuple[float, ...]

    @property
    def contributions(self) -> tuple[float, ...]:
        """Local error times gain; they add up to the bound, but for rounding."""
        return tuple(error * gain for error, gain in zip(self.local, self.gains, strict=True))

    @property
    def shares(self) -> tuple[float, ...]:
        """Which part of the bound each layer is to blame for; they add up to 1, and are all 0 for a bound of 0."""
        total = sum(self.contributions)
        return tuple(part / total if total else 0.0 for part in self.contributions)


def tier_a(
    dense: Sequence[Linear], pruned: Sequence[Linear], radius: float, qs: Iterable[float] = Q_GRID
) -> NetworkBound:
    r"""Theorem 14: of the dropped weights only $(\|w_i\|_q, s_i, d)$ of each neuron is used, with its best q.

    Magnitude pruning only: each neuron keeps its largest weights, unchanged; raises ValueError otherwise.
    """
    check_pair(dense, pruned)
    radii = dense_radii(dense, radius)
    qs = tuple(qs)
    local = [
        up(envelope(layer, hat, qs) * size + bias_change(layer, hat), 4)
        for layer, hat, size in zip(dense, pruned, radii, strict=True)
    ]
    return recursion(dense, pruned, local, radii, "Theorem 14", f"E||x||^2 <= radius^2; magnitude pruning; {FLOAT64}")


def tier_b(dense: Sequence[Linear], pruned: Sequence[Linear], radius: float) -> NetworkBound:
    r"""Theorem 15: weights only, the local error of a layer being $\|W-\hat W\|_2 R + \|b-\hat b\|$."""
    check_pair(dense, pruned)
    radii = dense_radii(dense, radius)
    local = [worst_local(layer, hat, size) for layer, hat, size in zip(dense, pruned, radii, strict=True)]
    return recursion(dense, pruned, local, radii, "Theorem 15", f"E||x||^2 <= radius^2; {FLOAT64}")


def tier_c(dense: Sequence[Linear], pruned: Sequence[Linear], moments: Sequence[Moments]) -> NetworkBound:
    r"""Theorem 16: activation aware, local errors $\sqrt{\mathrm{tr}\,\Delta W G \Delta W^\top}$ from second moments.

    About the sample the moments come from. Never above `tier_b` with the radius of that sample.
    """
    check_pair(dense, pruned)
    radii, drifts = observed_radii(dense, moments)
    local = [
        min(exact_local(layer, hat, part, drift), worst_local(layer, hat, size))
        for layer, hat, part, size, drift in zip(dense, pruned, moments, radii, drifts, strict=True)
    ]
    return recursion(dense, pruned, local, radii, "Theorem 16", f"about the calibration sample; {FLOAT64}")


FLOAT64 = "both networks evaluated in float64 or exactly"


def recursion(
    dense: Sequence[Linear],
    pruned: Sequence[Linear],
    local: Sequence[float],
    radii: Sequence[float],
    source: str,
    assumptions: str,
) -> NetworkBound:
    r"""$\|\delta_l\| \le \rho_l(\mathrm{local}_l + \|\hat W_l\|\,\|\delta_{l-1}\|)$ from the input on, Theorem 13."""
    delta, errors = 0.0, []
    for layer, hat, own, size in zip(dense, pruned, local, radii, strict=True):
        error = up(hat.activation.lipschitz * own + evaluation(layer, size) + evaluation(hat, up(size + delta)), 8)
        errors.append(error)
        # the first layer has no error to carry, and its norm is the dearest
        delta = up(error + hat.activation.lipschitz * hat.norm * delta, 4) if delta else error
    gains = [1.0]
    for hat in reversed(pruned[1:]):
        gains.append(up(gains[-1] * hat.activation.lipschitz * hat.norm, 2))
    return NetworkBound(delta, "upper", source, assumptions, tuple(errors), tuple(reversed(gains)))


def evaluation(layer: Linear, size: float) -> float:
    r"""How far float64, in any order, may be from the layer's exact output on its own input of norm `size`.

    $\gamma\,[\rho(\|W\|_F\|h\|+\|b\|)+|\mathrm{act}(0)|\sqrt{n}]$ with $\gamma = (d+16)\varepsilon$: d products
    and sums, the bias, and 8 units in the last place for the activation.
    """
    width = len(layer.weight)
    scale = layer.activation.lipschitz * (layer.frobenius * size + layer.bias_norm)
    scale += layer.activation.at_zero * width**0.5
    underflow = 4 * layer.fan_in * width * TINY
    return up((layer.fan_in + 16) * EPS * scale + underflow, 8)


def dense_radii(dense: Sequence[Linear], radius: float) -> list[float]:
    r"""$R_l = \rho_l(\|W_l\|R_{l-1}+\|b_l\|)+|\mathrm{act}_l(0)|\sqrt{n_l}$ from $R_0$ = radius: all layers' inputs."""
    if not 0 <= radius < np.inf:
        raise ValueError(f"radius must be finite and not negative, got radius={radius:g}.")
    radii = [float(radius)]
    for layer in dense[:-1]:
        size = layer.activation.lipschitz * (layer.norm * radii[-1] + layer.bias_norm)
        size += layer.activation.at_zero * len(layer.weight) ** 0.5
        radii.append(up(size + evaluation(layer, radii[-1]), 8))
    return radii


def worst_local(layer: Linear, hat: Linear, size: float) -> float:
    """Local error on the worst input of L2 norm `size`."""
    return up(layer.distance(hat) * size + bias_change(layer, hat), 4)


def observed_radii(dense: Sequence[Linear], moments: Sequence[Moments]) -> tuple[list[float], list[float]]:
    """Radii of the inputs of all layers as observed, and how far another order of summation may put these inputs."""
    known = dense_radii(dense, moments[0].radius)
    radii, drifts = [moments[0].radius], [0.0]
    for layer, most, part in zip(dense[:-1], known[1:], moments[1:], strict=True):
        drifts.append(up(layer.activation.lipschitz * layer.norm * drifts[-1] + 2 * evaluation(layer, radii[-1]), 4))
        radii.append(min(most, up(part.radius + drifts[-1])))
    return radii, drifts


def exact_local(layer: Linear, hat: Linear, moments: Moments, drift: float = 0.0) -> float:
    r"""$\sqrt{E\|\Delta W h + \Delta b\|^2}$ from the second moments of the layer's input, known up to `drift`."""
    change = layer.weight - hat.weight
    moved = norm_up(change) * drift if drift else 0.0
    return up(rms_response(change, moments, layer.offset - hat.offset) + moved, 4)


def envelope(layer: Linear, hat: Linear, qs: tuple[float, ...]) -> float:
    r"""$(\sum_i \min_q \sigma^2)^{1/2}$, $\sigma = \|w_i\|_q \max_k (k-s_i)^{1/2}k^{-1/q}$: Theorem 2 per neuron."""
    kept, place = np.unique(kept_largest(layer, hat), return_inverse=True)
    d = layer.fan_in
    constant = log_worst_case_constant(kept, d, np.array(qs)[:, None], 2.0)[:, place]  # each count of weights once
    error = [[EPS * (4 * (d + 16) * max(1.0, 1 / q) + 16 * 1500) + constant_error(d, q)] for q in qs]
    return norm_up(np.min(exp_up(constant + layer.log_norms(qs), np.array(error)), axis=0)[:, None])


def kept_largest(layer: Linear, hat: Linear) -> np.ndarray:
    """How many weights each neuron keeps, when they are its largest and unchanged."""
    before, after = layer.weight, hat.weight
    kept = after != 0
    if np.any((after != before) & kept):
        raise ValueError("tier A is about truncation: the kept weights must be unchanged, got weights that differ.")
    most_dropped = np.max(np.abs(before - after), axis=1, keepdims=True)
    worse = np.flatnonzero(np.any((np.abs(after) < most_dropped) & kept, axis=1))
    if worse.size:
        row = worse[0]
        raise ValueError(
            f"tier A is about magnitude pruning: a neuron must keep its largest weights, got neuron {row} "
            f"that drops {most_dropped[row, 0]:g} and keeps {np.min(np.abs(after[row][kept[row]])):g}."
        )
    return kept.sum(axis=1)


def bias_change(layer: Linear, hat: Linear) -> float:
    r"""$\|b-\hat b\|$, rounded up."""
    return norm_up(layer.offset - hat.offset)


def check_pair(dense: Sequence[Linear], pruned: Sequence[Linear]) -> None:
    """Refuse networks that are not one and the same stack with other weights."""
    if not dense:
        raise ValueError("a network must have at least one layer, got none.")
    shapes = [[(layer.weight.shape, layer.activation.name) for layer in network] for network in (dense, pruned)]
    if shapes[0] != shapes[1]:
        raise ValueError(f"both networks must have the same layers, got {list(dense)} and {list(pruned)}.")
    for before, after in itertools.pairwise(dense):
        if after.fan_in != len(before.weight):
            raise ValueError(f"each layer must take what the one before it gives, got {before!r} then {after!r}.")
