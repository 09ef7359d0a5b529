"""The tables that the kernels look powers up in, and those that they count in."""

import numpy as np
from jaxtyping import Float64, Int64


def power_table_16(magnitudes: Float64[np.ndarray, "32768"], exponents: Float64[np.ndarray, " k"]) -> np.ndarray:
    """$|w|^p$ for each of the 2^15 magnitudes of a 16-bit type: [32768, k]; 0 for zero and for what is not finite."""
    usable = np.isfinite(magnitudes) & (magnitudes > 0)
    table = _aligned((magnitudes.size, exponents.size))
    table[usable] = magnitudes[usable, None] ** exponents
    return table


def power_tables_32(exponents: Float64[np.ndarray, " k"]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The tables mantissa [1024, k], scale [256, k], inverse [1024] and series [3, k] of `power_sums_32`."""
    middle = 1 + (np.arange(1024) + 0.5) / 1024
    scale = np.exp2((np.arange(256)[:, None] - 127.0) * exponents)
    scale[[0, 255]] = 0
    order = np.arange(3)[:, None]
    series = np.cumprod((exponents - order) / (order + 1), axis=0)
    mantissa, aligned_scale = _aligned((1024, exponents.size)), _aligned((256, exponents.size))
    mantissa[:], aligned_scale[:] = middle[:, None] ** exponents, scale
    return mantissa, aligned_scale, 1 / (middle * 2**23), series


def _aligned(shape: tuple[int, int]) -> Float64[np.ndarray, " rows columns"]:
    """Zeros that begin on a cache line: rows of eight or sixteen numbers then lie in the fewest lines."""
    size = shape[0] * shape[1]
    raw = np.zeros(size + 8)
    first = -raw.ctypes.data // 8 % 8
    return raw[first : first + size].reshape(shape)


def table_16() -> Int64[np.ndarray, "65536"]:
    """An empty total for `count_16`."""
    return np.zeros(1 << 16, np.int64)


def table_32() -> Int64[np.ndarray, "524288 3"]:
    """An empty total for `count_32`."""
    return np.zeros((1 << 19, 3), np.int64)
