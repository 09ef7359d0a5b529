"""The hot loops, on bit patterns straight from the file; nothing else.

Counts and sums of mantissa bits are whole numbers, hence the same in any order. Power sums accumulate in float64.
References in plain NumPy stand in `tests/test_kernels.py`.
"""

import numba
import numpy as np
from jaxtyping import Float64, Int64, UInt16, UInt32
from numba import njit, prange

BLOCK = 32  # neurons that one task works on together


def threads() -> int:
    """How many threads the loops use."""
    return numba.get_num_threads()


@njit(parallel=True, nogil=True, cache=True)
def count_16(bits: UInt16[np.ndarray, " n"], workers: int) -> Int64[np.ndarray, "65536"]:
    """How often each 16-bit pattern occurs."""
    tables = np.zeros((workers, 2, 65536), dtype=np.int64)
    share = (bits.size + workers - 1) // workers
    for t in prange(workers):
        start, stop = min(t * share, bits.size), min((t + 1) * share, bits.size)
        even, odd = tables[t, 0], tables[t, 1]  # two tables: a repeated pattern does not wait for itself
        for i in range(start, stop - 1, 2):
            even[bits[i]] += 1
            odd[bits[i + 1]] += 1
        if (stop - start) % 2:
            even[bits[stop - 1]] += 1
    return tables.sum(axis=0).sum(axis=0)


@njit(parallel=True, nogil=True, cache=True)
def count_32(bits: UInt32[np.ndarray, " n"], workers: int) -> Int64[np.ndarray, "3 524288"]:
    """For each pattern of the upper 19 bits: how many, the sum of the lower 13 bits, and of their squares.

    Zeros of either sign are left out; denormal numbers share their bins.
    """
    tables = np.zeros((workers, 1 << 19, 3), dtype=np.int64)
    share = (bits.size + workers - 1) // workers
    for t in prange(workers):
        table = tables[t]
        for i in range(min(t * share, bits.size), min((t + 1) * share, bits.size)):
            key, rest = bits[i] >> np.uint32(13), np.int64(bits[i] & np.uint32(8191))
            table[key, 0] += (bits[i] & np.uint32(0x7FFFFFFF)) != 0
            table[key, 1] += rest
            table[key, 2] += rest * rest
    return tables.sum(axis=0).T.copy()


@njit(parallel=True, nogil=True, cache=True)
def power_sums_16(bits, table, first_nonfinite, sums, largest):
    """Add table[|pattern|, :] of each 16-bit weight to the sums of its neuron, and keep its largest pattern.

    bits: [batch, outer, neurons, inner]; table: [32768, exponents]; sums: [batch * neurons, exponents] and
    largest: [batch * neurons], both in place.
    """
    batch, outer, neurons, inner = bits.shape
    blocks = (neurons + BLOCK - 1) // BLOCK
    for task in prange(batch * blocks):
        b, first = task // blocks, task % blocks * BLOCK
        for o in range(outer):
            for n in range(first, min(first + BLOCK, neurons)):
                total, top = sums[b * neurons + n], largest[b * neurons + n]
                for i in range(inner):
                    pattern = np.int64(bits[b, o, n, i] & np.uint16(32767))
                    power = table[pattern]
                    top = max(top, pattern if pattern < first_nonfinite else 0)
                    for k in range(total.size):
                        total[k] += power[k]
                largest[b * neurons + n] = top


@njit(parallel=True, nogil=True, cache=True)
def power_sums_32(bits, exponents, mantissa, scale, series, sums, largest):
    r"""Add $|w|^p$ of each float32 weight, for every exponent p, to the sums of its neuron.

    $|w| = 2^e c\,(1 + x)$ with c the middle of one of 1024 mantissa bins and $|x| \le 2^{-11}$: the tables hold
    $c^p$ (mantissa) and $2^{ep}$ (scale), and $(1 + x)^p$ is its series to the fourth order (series), which leaves
    a relative error below 1e-15 for p up to 2. Weights that are not finite add nothing.
    """
    batch, outer, neurons, inner = bits.shape
    blocks = (neurons + BLOCK - 1) // BLOCK
    for task in prange(batch * blocks):
        b, first = task // blocks, task % blocks * BLOCK
        for o in range(outer):
            for n in range(first, min(first + BLOCK, neurons)):
                total, top = sums[b * neurons + n], largest[b * neurons + n]
                for i in range(inner):
                    pattern = np.int64(bits[b, o, n, i] & np.uint32(0x7FFFFFFF))
                    top = max(top, pattern if pattern < 0x7F800000 else 0)
                    e, m = pattern >> 23, (pattern >> 13) & 1023
                    if 0 < e < 255:
                        x = ((pattern & 8191) - 4096) / (8388608.0 + 8192.0 * m + 4096.0)
                        at, by = mantissa[m], scale[e]
                        for k in range(total.size):
                            tail = x * (series[0, k] + x * (series[1, k] + x * (series[2, k] + x * series[3, k])))
                            total[k] += at[k] * by[k] * (1.0 + tail)
                    elif e == 0 and pattern:
                        w = pattern * 2.0**-149
                        for k in range(total.size):
                            total[k] += w ** exponents[k]
                largest[b * neurons + n] = top


def power_table_16(magnitudes: Float64[np.ndarray, "32768"], exponents: Float64[np.ndarray, " k"]) -> np.ndarray:
    """$|w|^p$ for each of the 2^15 magnitudes of a 16-bit type: [32768, k]; 0 for zero and for what is not finite."""
    usable = np.isfinite(magnitudes) & (magnitudes > 0)
    table = np.zeros((magnitudes.size, exponents.size))
    table[usable] = magnitudes[usable, None] ** exponents
    return table


def power_tables_32(exponents: Float64[np.ndarray, " k"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The tables `mantissa` [1024, k], `scale` [256, k] and `series` [4, k] of `power_sums_32`."""
    middle = 1 + (np.arange(1024) + 0.5) / 1024
    order = np.arange(4)[:, None]
    series = np.cumprod((exponents - order) / (order + 1), axis=0)
    return middle[:, None] ** exponents, np.exp2((np.arange(256)[:, None] - 127.0) * exponents), series
