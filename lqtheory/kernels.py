"""The hot loops, on bit patterns straight from the file; nothing else.

Each works on one chunk and adds to what it is given, holds no lock of the interpreter, and has a reference in plain
NumPy in `tests/test_kernels.py`. Counts and sums of mantissa bits are whole numbers, the same in any order; power sums
accumulate in float64. A chunk is a piece, from the flat position `start`, of a tensor seen as
[batch, outer, neurons, inner], where neuron (b, n) is row b * neurons + n (`lqtheory.checkpoint.Layout`).
"""

import numpy as np
from numba import njit

QUARTERS = (0.25, 0.5, 0.75, 1.0, 2.0)  # exponents that two square roots give; the default table needs no others


@njit(nogil=True, cache=True)
def count_16(bits, total):
    """Add to `total` [65536] how often each 16-bit pattern occurs."""
    # two tables: a pattern that repeats does not wait for itself; four patterns to a load
    even, odd = np.zeros(65536, np.uint32), np.zeros(65536, np.uint32)
    words, mask = bits[: bits.size // 4 * 4].view(np.uint64), np.uint64(0xFFFF)
    for word in words:
        even[word & mask] += np.uint32(1)
        odd[(word >> np.uint64(16)) & mask] += np.uint32(1)
        even[(word >> np.uint64(32)) & mask] += np.uint32(1)
        odd[word >> np.uint64(48)] += np.uint32(1)
    for i in range(words.size * 4, bits.size):
        even[bits[i]] += np.uint32(1)
    for key in range(65536):
        total[key] += np.int64(even[key]) + np.int64(odd[key])


@njit(nogil=True, cache=True)
def count_32(bits, total):
    """Add to `total` [524288, 3], for each pattern of the upper 19 bits: how many, sum of the rest, of its square.

    The rest is the lower 13 bits. Zeros of either sign are left out; denormal numbers share their bins.
    """
    for pattern in bits:
        key, rest = pattern >> np.uint32(13), np.int64(pattern & np.uint32(8191))
        total[key, 0] += (pattern << np.uint32(1)) != 0
        total[key, 1] += rest
        total[key, 2] += rest * rest


@njit(nogil=True, cache=True)
def taken(total):
    """The keys of a table of `count_32` whose number is not zero, and their rows."""
    size = 0
    for key in range(len(total)):
        size += total[key, 0] != 0
    keys, rows = np.empty(size, np.int64), np.empty((3, size), np.int64)
    at = 0
    for key in range(len(total)):
        if total[key, 0] != 0:
            keys[at], at = key, at + 1
            for k in range(3):
                rows[k, at - 1] = total[key, k]
    return keys, rows


@njit(nogil=True, cache=True)
def _largest_and_nonzero(bits, mask, infinite):
    """The largest finite pattern without its sign, how many finite ones are not zero, and whether all are finite."""
    top, nonzero = bits[0] & mask, 0
    for i in range(bits.size):  # two loops over the index: each becomes vector instructions
        top = max(top, bits[i] & mask)
    for i in range(bits.size):
        nonzero += (bits[i] & mask) != 0
    largest = np.int64(top)
    if top >= infinite:
        largest = 0
        for pattern in bits:
            finite = pattern & mask < infinite
            nonzero -= not finite
            largest = max(largest, np.int64(pattern & mask) if finite else 0)
    return largest, nonzero, top < infinite


@njit(nogil=True, cache=True)
def _add_16(bits, table, total):
    """Add table[|pattern|] of each weight of one neuron to its total."""
    mask, eights = np.uint16(0x7FFF), bits.size // 8 * 8
    for i in range(0, eights, 8):  # eight rows summed before the total is touched: it need not wait for itself
        a, b = table[bits[i] & mask], table[bits[i + 1] & mask]
        c, d = table[bits[i + 2] & mask], table[bits[i + 3] & mask]
        e, f = table[bits[i + 4] & mask], table[bits[i + 5] & mask]
        g, h = table[bits[i + 6] & mask], table[bits[i + 7] & mask]
        for k in range(total.size):
            total[k] += ((a[k] + b[k]) + (c[k] + d[k])) + ((e[k] + f[k]) + (g[k] + h[k]))
    for i in range(eights, bits.size):
        a = table[bits[i] & mask]
        for k in range(total.size):
            total[k] += a[k]


@njit(nogil=True, cache=True)
def _add_row_16(bits, first, table, infinite, sums, nonzero, largest):
    """Add one weight to each of the neurons from `first` on: a stored row of a matrix whose neurons are columns."""
    for i in range(bits.size):
        pattern, row = np.int64(bits[i] & np.uint16(0x7FFF)), first + i
        for k in range(sums.shape[1]):
            sums[row, k] += table[pattern, k]
        if 0 < pattern < infinite:
            nonzero[row] += 1
            largest[row] = max(largest[row], pattern)


@njit(nogil=True, cache=True)
def power_sums_16(bits, start, outer, neurons, inner, infinite, table, sums, nonzero, largest):
    """Add table[|pattern|, :] of each 16-bit weight to the sums of its neuron; count its non-zeros; keep its largest.

    table: [32768, exponents]; sums: [rows, exponents], nonzero and largest: [rows], all three in place.
    """
    at, n, slab = 0, start // inner % neurons, start // inner // neurons
    while inner == 1 and at < bits.size:
        row, stop = slab // outer * neurons + n, min(at + neurons - n, bits.size)
        _add_row_16(bits[at:stop], row, table, infinite, sums, nonzero, largest)
        at, n, slab = stop, 0, slab + 1
    stop = inner - start % inner
    while at < bits.size:
        row, stop = slab // outer * neurons + n, min(stop, bits.size)
        _add_16(bits[at:stop], table, sums[row])
        top, count, _ = _largest_and_nonzero(bits[at:stop], np.uint16(0x7FFF), np.uint16(infinite))
        nonzero[row] += count
        largest[row] = max(largest[row], top)
        at, stop, n = stop, stop + inner, n + 1
        if n == neurons:
            n, slab = 0, slab + 1


@njit(nogil=True, cache=True, fastmath={"contract"})
def _add_32(bits, mantissa, scale, inverse, series, total):
    """Add the powers of each weight of one neuron to its total."""
    first, second, third = series[0], series[1], series[2]
    fours = bits.size // 4 * 4
    for i in range(0, fours, 4):
        p, q = np.int64(bits[i] & np.uint32(0x7FFFFFFF)), np.int64(bits[i + 1] & np.uint32(0x7FFFFFFF))
        r, s = np.int64(bits[i + 2] & np.uint32(0x7FFFFFFF)), np.int64(bits[i + 3] & np.uint32(0x7FFFFFFF))
        mp, mq, mr, ms = (p >> 13) & 1023, (q >> 13) & 1023, (r >> 13) & 1023, (s >> 13) & 1023
        xp, xq = ((p & 8191) - 4096) * inverse[mp], ((q & 8191) - 4096) * inverse[mq]
        xr, xs = ((r & 8191) - 4096) * inverse[mr], ((s & 8191) - 4096) * inverse[ms]
        ap, aq, ar, as_ = mantissa[mp], mantissa[mq], mantissa[mr], mantissa[ms]
        bp, bq, br, bs = scale[p >> 23], scale[q >> 23], scale[r >> 23], scale[s >> 23]
        for k in range(total.size):
            one, two, three = first[k], second[k], third[k]
            wp, wq, wr, ws = ap[k] * bp[k], aq[k] * bq[k], ar[k] * br[k], as_[k] * bs[k]
            wp += wp * (xp * (one + xp * (two + xp * three)))
            wq += wq * (xq * (one + xq * (two + xq * three)))
            wr += wr * (xr * (one + xr * (two + xr * three)))
            ws += ws * (xs * (one + xs * (two + xs * three)))
            total[k] += (wp + wq) + (wr + ws)
    for i in range(fours, bits.size):
        p = np.int64(bits[i] & np.uint32(0x7FFFFFFF))
        m = (p >> 13) & 1023
        x, a, b = ((p & 8191) - 4096) * inverse[m], mantissa[m], scale[p >> 23]
        for k in range(total.size):
            total[k] += a[k] * b[k] * (1 + x * (first[k] + x * (second[k] + x * third[k])))


@njit(nogil=True, cache=True, fastmath={"contract"})
def _add_row_32(bits, first, mantissa, scale, inverse, series, sums, nonzero, largest):
    """Add one weight to each of the neurons from `first` on: a stored row of a matrix whose neurons are columns."""
    for i in range(bits.size):
        pattern, row = np.int64(bits[i] & np.uint32(0x7FFFFFFF)), first + i
        m, e = (pattern >> 13) & 1023, pattern >> 23
        x = ((pattern & 8191) - 4096) * inverse[m]
        for k in range(sums.shape[1]):
            tail = x * (series[0, k] + x * (series[1, k] + x * series[2, k]))
            sums[row, k] += mantissa[m, k] * scale[e, k] * (1 + tail)
        if 0 < pattern < 0x7F800000:
            nonzero[row] += 1
            largest[row] = max(largest[row], pattern)


@njit(nogil=True, cache=True)
def power_sums_32(bits, start, outer, neurons, inner, mantissa, scale, inverse, series, sums, nonzero, largest):
    r"""Add $|w|^p$ of each float32 weight, for every exponent p, to the sums of its neuron; the rest as for 16 bits.

    $|w| = 2^e c\,(1 + x)$ with c the middle of one of 1024 mantissa bins and $|x| \le 2^{-11}$: the tables hold
    $c^p$ (mantissa), $2^{ep}$ (scale), what makes x of the rest (inverse), and the binomial series of $(1 + x)^p$ to
    the third order (series), which leaves a relative error below 3e-15 for p in [0, 2]. Denormal numbers, infinities
    and NaN add nothing: their scale is 0.
    """
    at, n, slab = 0, start // inner % neurons, start // inner // neurons
    while inner == 1 and at < bits.size:
        row, stop = slab // outer * neurons + n, min(at + neurons - n, bits.size)
        _add_row_32(bits[at:stop], row, mantissa, scale, inverse, series, sums, nonzero, largest)
        at, n, slab = stop, 0, slab + 1
    stop = inner - start % inner
    while at < bits.size:
        row, stop = slab // outer * neurons + n, min(stop, bits.size)
        _add_32(bits[at:stop], mantissa, scale, inverse, series, sums[row])
        top, count, _ = _largest_and_nonzero(bits[at:stop], np.uint32(0x7FFFFFFF), np.uint32(0x7F800000))
        nonzero[row] += count
        largest[row] = max(largest[row], top)
        at, stop, n = stop, stop + inner, n + 1
        if n == neurons:
            n, slab = 0, slab + 1


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _add_quarters(weights, total):
    """Add the sums of |w|^p, p = 1/4, 1/2, 3/4, 1, 2, of float32 weights to the total of their neuron."""
    fourth = half = three = one = two = 0.0
    for i in range(weights.size):
        w = np.float64(abs(weights[i]))
        root = np.sqrt(w)
        fourth_root = np.sqrt(root)
        fourth += fourth_root
        half += root
        three += root * fourth_root
        one += w
        two += w * w
    total[0], total[1], total[2] = total[0] + fourth, total[1] + half, total[2] + three
    total[3], total[4] = total[3] + one, total[4] + two


@njit(nogil=True, cache=True)
def quarter_sums_32(bits, start, outer, neurons, inner, sums, nonzero, largest):
    """What `power_sums_32` does for the exponents of QUARTERS, by two square roots: five times faster.

    Denormal numbers are included; infinities and NaN add nothing.
    """
    weights = bits.view(np.float32)
    at, n, slab = 0, start // inner % neurons, start // inner // neurons
    while inner == 1 and at < bits.size:
        row, stop = slab // outer * neurons + n, min(at + neurons - n, bits.size)
        for i in range(at, stop):
            if np.isfinite(weights[i]) and weights[i] != 0:
                _add_quarters(weights[i : i + 1], sums[row + i - at])
                nonzero[row + i - at] += 1
                pattern = np.int64(bits[i] & np.uint32(0x7FFFFFFF))
                largest[row + i - at] = max(largest[row + i - at], pattern)
        at, n, slab = stop, 0, slab + 1
    stop = inner - start % inner
    while at < bits.size:
        row, stop = slab // outer * neurons + n, min(stop, bits.size)
        top, count, finite = _largest_and_nonzero(bits[at:stop], np.uint32(0x7FFFFFFF), np.uint32(0x7F800000))
        found = weights[at:stop]
        _add_quarters(found if finite else found[np.isfinite(found)], sums[row])
        nonzero[row] += count
        largest[row] = max(largest[row], top)
        at, stop, n = stop, stop + inner, n + 1
        if n == neurons:
            n, slab = 0, slab + 1


@njit(nogil=True, cache=True)
def add_denormals_32(bits, start, outer, neurons, inner, exponents, sums):
    """Add $|w|^p$ of the denormal float32 weights, which `power_sums_32` leaves out."""
    for i in range(bits.size):
        pattern = bits[i] & np.uint32(0x7FFFFFFF)
        if 0 < pattern < 0x800000:
            run = (start + i) // inner
            row = run // (outer * neurons) * neurons + run % neurons
            for k in range(exponents.size):
                sums[row, k] += (pattern * 2.0**-149) ** exponents[k]
