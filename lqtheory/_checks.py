"""Argument checks that return their argument; each error is one sentence: the rule, then what came."""

import math

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike


def check_exponent(
    q: float, name: str = "q", lower: float = 0.0, upper: float = math.inf, include_ends: bool = False
) -> float:
    """Return `q` when it lies in (lower, upper], or in [lower, upper] with `include_ends`."""
    inside = lower <= q <= upper if include_ends else lower < q <= upper
    if not inside:
        left = "[" if include_ends else "("
        raise ValueError(f"{name} must lie in {left}{lower:g}, {upper:g}], got {name}={q:g}.")
    return float(q)


def check_ordered(p: float, q: float) -> tuple[float, float]:
    """Return (p, q) when 0 < p < q."""
    if not 0 < p < q:
        raise ValueError(f"p and q must satisfy 0 < p < q, got p={p:g}, q={q:g}.")
    return float(p), float(q)


def check_fraction(x: float, name: str) -> float:
    """Return `x` when it lies in [0, 1)."""
    if not 0 <= x < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {name}={x:g}.")
    return float(x)


def check_count(s: int, name: str, lower: int, upper: int) -> int:
    """Return the whole number `s` when lower <= s <= upper."""
    if s != int(s) or not lower <= s <= upper:
        raise ValueError(f"{name} must be a whole number in [{lower}, {upper}], got {name}={s}.")
    return int(s)


def check_finite(w: ArrayLike, name: str = "w") -> Float64[np.ndarray, "*shape"]:
    """Return `w` as a float64 array when it is not empty and every entry is finite."""
    array = np.asarray(w, dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"{name} must have at least one entry, got shape {array.shape}.")
    bad = int(array.size - np.count_nonzero(np.isfinite(array)))
    if bad:
        raise ValueError(f"{name} must be finite, got {bad} of {array.size} entries NaN or infinite.")
    return array
