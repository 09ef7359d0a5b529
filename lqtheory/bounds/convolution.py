r"""Certified upper bounds of the norms of convolutions and pooling, for inputs of any size.

A convolution with zero padding is a compression of one over all of $\mathbb Z^k$, whose norm is the largest spectral
norm of its symbol $K(\theta)=\sum_t K_t e^{i t\cdot\theta}$ over all frequencies.
"""

from itertools import product
from math import ceil, cos, gcd, pi, prod

import numpy as np
from jaxtyping import Complex128, Float64
from numpy.typing import ArrayLike

from .._checks import check_count, check_finite
from .operators import largest_eigenvalue
from .rounding import EPS, up

CHUNK = 2**15  # entries of the symbol at a time: what stays near the processor
FREQUENCIES = 32  # per axis: with a kernel of 3 the factor of Theorem 11 is 1.0048 per axis


def convolution_norm(
    kernel: ArrayLike,
    stride: int | tuple[int, ...] = 1,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
    frequencies: int = FREQUENCIES,
) -> float:
    r"""Norm of the convolution with `kernel` [out, in / groups, *size], rounded up, Theorem 11.

    For zero padding of any width and inputs of any size, in 1, 2 or 3 dimensions. A stride turns the s positions of a
    period into channels; dilation with stride 1 permutes frequencies; groups are blocks. Circular padding is covered
    as well; reflecting or repeating the border is not.

    >>> bool(1.0 <= convolution_norm(np.ones((1, 1, 3)) / 3) < 1.01)  # the moving average of a constant
    True
    """
    weights = check_finite(kernel, "kernel")
    axes = weights.ndim - 2
    if axes < 1:
        raise ValueError(f"kernel must have shape [out, in, size, ...], got shape {weights.shape}.")
    if len(weights) % check_count(groups, "groups", 1, len(weights)):
        raise ValueError(f"groups must divide the {len(weights)} output channels, got groups={groups}.")
    check_count(frequencies, "frequencies", 1, 2**16)
    step, spread = per_axis(stride, axes, "stride"), per_axis(dilation, axes, "dilation")
    blocks = np.split(weights, groups)
    return max(_block_norm(_polyphase(block, step, spread), frequencies) for block in blocks)


def max_pool_lipschitz(
    size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    dilation: int | tuple[int, ...] = 1,
    axes: int = 2,
) -> float:
    r"""$\sqrt{\text{the most windows that one input is in}}$: 1 without overlap, Theorem 12.

    >>> max_pool_lipschitz(2), round(max_pool_lipschitz(3, stride=2) ** 2, 9)
    (1.0, 4.0)
    """
    window = per_axis(size, axes, "size")
    step = window if stride is None else per_axis(stride, axes, "stride")
    spread = per_axis(dilation, axes, "dilation")
    most = prod(ceil(k * gcd(s, e) / s) for k, s, e in zip(window, step, spread, strict=True))
    return 1.0 if most == 1 else up(most**0.5)


def average_pool_norm(size: int | tuple[int, ...], stride: int | tuple[int, ...] | None = None, axes: int = 2) -> float:
    r"""$\sqrt{\text{windows one input is in}/n}$, at least the norm of averages over n cells, Theorem 12.

    Padding counts as cells of value 0 (`count_include_pad`, the default of torch), or there is none.

    >>> round(average_pool_norm(2), 12), round(average_pool_norm(3, stride=1), 12)
    (0.5, 1.0)
    """
    window = per_axis(size, axes, "size")
    step = window if stride is None else per_axis(stride, axes, "stride")
    overlap = prod(ceil(k / s) for k, s in zip(window, step, strict=True))
    return up((overlap / prod(window)) ** 0.5, 4)


def fold_batch_norm(
    weight: ArrayLike, bias: ArrayLike, gamma: ArrayLike, beta: ArrayLike, mean: ArrayLike, var: ArrayLike, eps: float
) -> tuple[Float64[np.ndarray, " out *rest"], Float64[np.ndarray, " out"]]:
    r"""Weight and bias of $\gamma(Wx+b-\mu)/\sqrt{\sigma^2+\epsilon}+\beta$: a layer with the batch norm after it.

    >>> fold_batch_norm([[2.0]], [1.0], gamma=[3.0], beta=[5.0], mean=[1.0], var=[4.0], eps=0.0)
    (array([[3.]]), array([5.]))
    """
    w, b = check_finite(weight, "weight"), check_finite(bias, "bias")
    scale = check_finite(gamma, "gamma") / np.sqrt(check_finite(var, "var") + eps)
    folded = w * scale.reshape(-1, *[1] * (w.ndim - 1))
    return folded, (b - check_finite(mean, "mean")) * scale + check_finite(beta, "beta")


def per_axis(value: int | tuple[int, ...], axes: int, name: str) -> tuple[int, ...]:
    """`value` once per axis, each a positive whole number."""
    values = (value,) * axes if isinstance(value, int) else tuple(value)
    if len(values) != axes:
        raise ValueError(f"{name} must be one number or one per axis, got {values} for {axes} axes.")
    return tuple(check_count(v, name, 1, 2**31) for v in values)


def _polyphase(
    block: Float64[np.ndarray, "out in_ *size"], stride: tuple[int, ...], dilation: tuple[int, ...]
) -> Float64[np.ndarray, "out many *size"]:
    """The kernel of stride 1 that does the same to the input's interleaved parts: tap a of part b is tap s a + b."""
    out, channels, *size = block.shape
    # without a stride, a spread kernel has the same symbol at other frequencies
    spread = tuple(1 if s == 1 else e for s, e in zip(stride, dilation, strict=True))
    reach = [ceil(((k - 1) * e + 1) / s) for k, e, s in zip(size, spread, stride, strict=True)]
    phased = np.zeros((out, *stride, channels, *reach))
    for tap in product(*map(range, size)):
        place = [divmod(t * e, s) for t, e, s in zip(tap, spread, stride, strict=True)]
        phased[(slice(None), *(b for _, b in place), slice(None), *(a for a, _ in place))] = block[(..., *tap)]
    return phased.reshape(out, -1, *reach)


def _block_norm(kernel: Float64[np.ndarray, "out in_ *size"], frequencies: int) -> float:
    """Theorem 11 for stride 1 and one group."""
    scale = float(np.max(np.abs(kernel)))
    if scale == 0:
        return 0.0
    kernel = kernel / scale
    size = kernel.shape[2:]
    counts = [1 if k == 1 else max(frequencies, 2 * k) for k in size]
    waves, taps = _waves(counts, size), kernel.reshape(-1, prod(size)).T.astype(np.complex128)
    top = 0.0
    for part in np.array_split(waves, ceil(len(waves) * len(kernel) * kernel.shape[1] / CHUNK)):
        symbol = (part @ taps).reshape(-1, *kernel.shape[:2])
        adjoint = np.conj(np.swapaxes(symbol, 1, 2))
        top = largest_eigenvalue(symbol @ adjoint if len(kernel) <= kernel.shape[1] else adjoint @ symbol, top)
    # what the symbol (its taps, sines and cosines) and the product have lost
    mass = float(np.sum(np.sqrt(np.sum(np.square(kernel), axis=(0, 1)))))
    mass = up(mass, kernel.size + 8)
    hidden = (8 * max(kernel.shape[:2]) + 4 * prod(size) + 32 * sum(size) + 64) * EPS * mass * mass
    factor = prod(cos(pi * (k - 1) / (2 * n)) for k, n in zip(size, counts, strict=True))
    spectral = up(scale * up(up(top + hidden, 4) ** 0.5 / factor, 4 * len(size) + 8), 2)
    return min(spectral, up(scale * mass, 2))


def _waves(counts: list[int], size: tuple[int, ...]) -> Complex128[np.ndarray, "f taps"]:
    r"""$e^{it\cdot\theta}$ on a grid of frequencies, for every tap; half of the last axis: the rest is conjugate."""
    halves, found = [*counts[:-1], counts[-1] // 2 + 1], np.ones((1, 1), dtype=np.complex128)
    for k, n, rows in zip(size, counts, halves, strict=True):
        found = np.kron(found, np.exp(2j * pi * np.outer(np.arange(rows), np.arange(k)) / n))
    return found
