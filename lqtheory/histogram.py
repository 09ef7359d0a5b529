r"""The mergeable form of a profile: how many weights fall into each bin of a floating-point grid.

A bin is a leading part of the bit pattern: sign, exponent and, for 16-bit types, the whole mantissa (a bin is then
one number and the histogram is exact), for 32- and 64-bit types ten bits of it (a relative width of $2^{-10}$).
Inside a bin the remaining mantissa bits r count upwards in equal steps, so that the number of weights, $\sum r$ and
$\sum r^2$ are whole numbers: merging is addition, exact in any order, over tensors, files, GPUs and machines.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64

from .profile import Profile


@dataclass(frozen=True)
class Grid:
    """How the bit patterns of one floating type fall into bins."""

    dtype: str
    bits: int
    mantissa: int
    rest: int  # mantissa bits below the bin's key

    @property
    def keys(self) -> int:
        """How many bins there are, with both signs."""
        return 1 << (self.bits - self.rest)

    @property
    def first_nonfinite(self) -> int:
        """The positive keys from this one on are infinite or not a number."""
        exponent_bits = self.bits - 1 - self.mantissa
        return ((1 << exponent_bits) - 1) << (self.mantissa - self.rest)

    def magnitude(self, pattern: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The value of each bit pattern without its sign."""
        unsigned, width = pattern.astype(np.uint64), self.bits
        if self.dtype == "bfloat16":  # the upper half of a float32
            unsigned, width = unsigned << np.uint64(16), 32
        with np.errstate(invalid="ignore"):  # signalling NaN patterns
            return unsigned.astype(f"uint{width}").view(f"float{width}").astype(np.float64)


GRIDS = {
    "float16": Grid("float16", 16, 10, 0),
    "bfloat16": Grid("bfloat16", 16, 7, 0),
    "float32": Grid("float32", 32, 23, 13),
    "float64": Grid("float64", 64, 52, 42),
}


@dataclass(frozen=True, eq=False)
class Histogram:
    r"""Bins of one grid that are not empty, by ascending key, with their $n$, $\sum r$ and $\sum r^2$, Definition 19.

    The sums are exact integers for types of up to 32 bits and float64 for 64. `zeros` weights are exactly zero and
    `nonfinite` ones NaN or infinite; these stand in no bin.
    """

    grid: Grid
    key: Int64[np.ndarray, " n"]
    count: Int64[np.ndarray, " n"]
    rest: np.ndarray
    rest_squared: np.ndarray
    zeros: int = 0
    nonfinite: int = 0

    @classmethod
    def of_sums(cls, grid: Grid, key: np.ndarray, sums: np.ndarray, zeros: int) -> "Histogram":
        """From keys in ascending order with n, sum r and sum r^2 as rows of `sums`, or n alone; no zeros in them."""
        finite = (key & (grid.keys // 2 - 1)) < grid.first_nonfinite
        nonfinite = int(sums[0, ~finite].sum())
        count, rest, rest_squared = np.pad(sums[:, finite], ((0, 3 - len(sums)), (0, 0)))
        return cls(grid, key[finite], count.astype(np.int64), rest, rest_squared, zeros, nonfinite)

    @classmethod
    def of_bits(cls, grid: Grid, bits: np.ndarray) -> "Histogram":
        """From bit patterns, by sorting: the reference for the kernels, and what small tensors use."""
        nonzero = bits[bits << bits.dtype.type(1) != 0].astype(np.uint64)  # the sign shifted out
        key, place = np.unique((nonzero >> np.uint64(grid.rest)).astype(np.int64), return_inverse=True)
        rest = (nonzero & np.uint64((1 << grid.rest) - 1)).astype(np.float64)
        sums = np.array(
            [np.bincount(place, weights=w, minlength=key.size) for w in (np.ones(rest.size), rest, rest**2)]
        )
        return cls.of_sums(grid, key, sums if grid.bits == 64 else sums.astype(np.int64), bits.size - nonzero.size)

    @classmethod
    def merged(cls, parts: Iterable["Histogram"]) -> "Histogram":
        """The histogram of all weights of some histograms of one grid together."""
        parts = list(parts)
        if len(parts) == 1:
            return parts[0]
        key, *sums = (np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS)
        zeros, nonfinite = sum(part.zeros for part in parts), sum(part.nonfinite for part in parts)
        return cls(parts[0].grid, *_added(key, sums), zeros, nonfinite)

    @cached_property
    def without_signs(self) -> "Histogram":
        """The histogram of the magnitudes."""
        key, sums = self.key & (self.grid.keys // 2 - 1), [self.count, self.rest, self.rest_squared]
        return Histogram(self.grid, *_added(key, sums), self.zeros, self.nonfinite)

    @property
    def d(self) -> int:
        """How many finite weights."""
        return int(self.count.sum()) + self.zeros

    @property
    def sign(self) -> Float64[np.ndarray, " n"]:
        """+1 or -1 for each bin."""
        return np.where(self.key < self.grid.keys // 2, 1.0, -1.0)

    @cached_property
    def low_and_step(self) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """The smallest magnitude in each bin, and what one unit of r adds to it."""
        pattern = (self.key & (self.grid.keys // 2 - 1)) << self.grid.rest
        low = self.grid.magnitude(pattern)
        return low, (self.grid.magnitude(pattern + 1) - low if self.grid.rest else np.zeros(low.size))

    @property
    def edges(self) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """The smallest and the largest magnitude that each bin can hold."""
        low, step = self.low_and_step
        return low, low + step * ((1 << self.grid.rest) - 1)

    @cached_property
    def moments(self) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """Mean and standard deviation of the magnitudes in each bin."""
        low, step = self.low_and_step
        mean, square = self.rest / self.count, self.rest_squared / self.count
        variance = np.maximum(square - mean**2, 0.0)
        variance[variance < square * 1e-14] = 0.0  # rounding: the weights of the bin are equal
        return low + step * mean, step * np.sqrt(variance)

    def atoms(self) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
        """Magnitudes in ascending order and their counts: one or two a bin, with its number, mean and variance."""
        bins = self.without_signs
        mean, spread = bins.moments
        first, second, share = two_points(*bins.edges, mean, spread)
        taken = np.column_stack([np.ones(mean.size, bool), spread > 0]).ravel()
        values = np.column_stack([first, second]).ravel()[taken]
        counts = np.column_stack([bins.count * share, bins.count * (1 - share)]).ravel()[taken]
        none = [0] if self.zeros else []
        return np.insert(values, none, 0.0), np.insert(counts, none, self.zeros)

    @property
    def exact(self) -> bool:
        """Whether every bin gives its weights back."""
        bins = self.without_signs
        return bool(np.all((bins.count <= 2) | (bins.moments[1] == 0)))


_COLUMNS = ("key", "count", "rest", "rest_squared")


def _added(key: np.ndarray, sums: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Ascending keys, each once, and the three sums of the bins with the same key."""
    order = np.argsort(key, kind="stable")  # runs that are sorted already are merged
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    n, r, r2 = (np.add.reduceat(values[order], first) if first.size else values for values in sums)
    return key[first], n, r, r2


def two_points(
    low: np.ndarray, high: np.ndarray, mean: np.ndarray, spread: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two points in [low, high], and the share of the first, with the given mean and standard deviation.

    They are mean - spread and mean + spread, so that two weights are given back exactly, or, where one of these
    would leave the bin, the edge that it crosses and the point that then keeps the moments. With no spread both
    are the mean and the share is 1.

    >>> [float(x) for x in two_points(*map(np.array, (0.0, 4.0, 1.0, 1.5)))]  # 1 - 1.5 crosses the lower edge
    [0.0, 3.25, 0.692307692]
    """
    exponent = np.frexp(high)[1]  # in units of the bin's power of two no square leaves the range of float64
    low, high, mean, spread = (np.ldexp(each, -exponent) for each in (low, high, mean, spread))
    wide = spread > 0
    first = np.where(wide, np.maximum(mean - spread, low), mean)
    second = np.where(wide, mean + spread**2 / np.where(wide & (mean > first), mean - first, 1.0), mean)
    over = second > high
    first = np.where(over, np.maximum(mean - spread**2 / np.where(over & (high > mean), high - mean, 1.0), low), first)
    second = np.where(over, high, second)
    share = np.divide(second - mean, second - first, out=np.ones_like(mean), where=second > first)
    return np.ldexp(first, exponent), np.ldexp(second, exponent), np.where(wide, share, 1.0)


def profile_of(histograms: Sequence[Histogram]) -> Profile:
    """The profile of all finite weights of some histograms, of whatever grids, together."""
    values, counts = (np.concatenate(each) for each in zip(*(h.atoms() for h in histograms), strict=True))
    exact = all(h.exact for h in histograms)
    if len(histograms) == 1:
        return Profile(values, counts, exact)
    order = np.argsort(values, kind="stable")
    return Profile(values[order], counts[order], exact)


def signed_moments(histograms: Sequence[Histogram]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each bin of some histograms: signed mean, standard deviation and number of its weights; the zeros last."""
    parts = [(h.sign * h.moments[0], h.moments[1], h.count.astype(np.float64)) for h in histograms]
    zeros = np.array([float(sum(h.zeros for h in histograms))])
    mean, spread, count = (np.concatenate(each) for each in zip(*parts, strict=True))
    return np.append(mean, 0.0), np.append(spread, 0.0), np.append(count, zeros)


def power_sum_bracket(histogram: Histogram, p: float) -> tuple[float, float]:
    r"""Certified bounds on $\sum |w_i|^p$, p > 0, Theorem of Markov and Krein for two moments, Definition 19.

    In each bin $\sum |w|^p$ is least and greatest, given number, mean and variance, for the two laws on two points
    one of which is an edge of the bin.
    """
    (low, high), (mean, spread) = histogram.edges, histogram.moments
    sums = [_two_point_power(edge, mean, spread, p) for edge in (low, high)]
    totals = np.array([float(np.sum(histogram.count * each)) for each in (np.minimum(*sums), np.maximum(*sums))])
    lower, upper = totals * (1 + 1e-14 * np.array([-1.0, 1.0]))  # rounding of the sums
    return float(lower), float(upper)


def gini_error(histograms: Sequence[Histogram]) -> float:
    r"""Certified bound on the error that the bins cause in the Gini index of all the weights together, Definition 19.

    Only pairs within a bin are uncertain. Their mean difference lies between $2s^2/h$ (for the law on the edges)
    and $2s/\sqrt 3$ (Glasser's inequality) for standard deviation s and width h; ours is that of two points.
    """
    d = sum(h.d for h in histograms)
    excess = total = 0.0
    for histogram in histograms:
        (low, high), (mean, spread) = histogram.edges, histogram.moments
        first, second, share = two_points(low, high, mean, spread)
        ours = 2 * share * (1 - share) * (second - first)
        least = np.divide(2 * spread**2, high - low, out=np.zeros_like(low), where=high > low)
        error = np.where(histogram.count > 2, np.maximum(2 * spread / np.sqrt(3) - ours, ours - least), 0.0)
        excess += float(np.sum((histogram.count / d) ** 2 * error))
        total += float(np.sum(histogram.count / d * mean))
    return excess / (2 * total) if total else 0.0


def _two_point_power(edge: np.ndarray, mean: np.ndarray, spread: np.ndarray, p: float) -> np.ndarray:
    """E|x|^p for the law with this mean and spread on `edge` and one other point."""
    away = mean - edge
    wide = (spread > 0) & (away != 0)
    other = np.where(wide, mean + spread**2 / np.where(wide, away, 1.0), mean)
    share = np.where(wide, away / np.where(wide, other - edge, 1.0), 1.0)
    return share * np.abs(other) ** p + (1 - share) * edge**p
