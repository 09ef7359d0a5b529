"""How many weights each neuron needs, by selection: of a neuron, only the weights around each answer are sorted."""

import numpy as np
from jaxtyping import Float64, Int64
from numba import njit

BUCKETS = 1024  # sixteen octaves below a neuron's largest magnitude, 64 to an octave; the last holds all below
SHIFT = 46  # of the 52 bits of a mantissa, six count


def weights_needed(
    rows: Float64[np.ndarray, "neurons fan_in"], errors: tuple[float, ...]
) -> Int64[np.ndarray, "neurons errors"]:
    r"""`lqtheory.indices.weights_needed` in the $\ell_2$ norm of each row, for each relative error, Definition 14.

    Squares are added up directly and not in logarithms: answers that hang on the last digit may differ by a weight.

    >>> weights_needed(np.array([[3.0, -4.0, 0.0], [0.0, 0.0, 0.0]]), (0.7, 0.1))
    array([[1, 2],
           [0, 0]])
    """
    found = np.empty((len(rows), len(errors)), np.int64)
    _select(np.ascontiguousarray(rows), np.square(errors), found)
    return found


@njit(nogil=True, cache=True)
def _select(rows, limits, found):
    counts, sums = np.empty(BUCKETS, np.int64), np.empty(BUCKETS)
    for i in range(len(rows)):
        row, bits = np.abs(rows[i]), np.abs(rows[i]).view(np.int64) >> SHIFT
        top, last = row.max(), bits.max()
        counts[:], sums[:] = 0, 0.0
        for j in range(row.size if top else 0):
            bucket = min(last - bits[j], BUCKETS - 1)
            counts[bucket] += 1
            sums[bucket] += (row[j] / top) ** 2
        total = sums[::-1].sum()
        for k in range(limits.size):
            found[i, k] = _kept(row, bits, top, last, counts, sums, limits[k] * total) if top else 0


@njit(nogil=True, cache=True)
def _kept(row, bits, top, last, counts, sums, rest):
    """How many stay when the smallest are dropped whose squares add up to at most `rest`."""
    kept, bucket = row.size, BUCKETS - 1
    while bucket >= 0 and sums[bucket] <= rest:
        rest -= sums[bucket]
        kept -= counts[bucket]
        bucket -= 1
    if bucket < 0:
        return kept
    for x in np.sort(row[np.minimum(last - bits, BUCKETS - 1) == bucket]):
        rest -= (x / top) ** 2
        if rest < 0:
            return kept
        kept -= 1
    return kept
