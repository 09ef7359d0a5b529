r"""The mergeable form of a profile: how many weights fall into each bin of a floating-point grid.

A bin is a leading part of the bit pattern: sign, exponent and, for 16-bit types, the whole mantissa (a bin is then
one number and the histogram is exact), for 32- and 64-bit types ten bits of it (a relative width of $2^{-10}$).
Inside a bin the remaining mantissa bits r count upwards in equal steps, so that the number of weights, $\sum r$ and
$\sum r^2$ are whole numbers: merging is addition, exact in any order, over tensors, files, GPUs and machines.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

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

    def value(self, key: Int64[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
        """The smallest magnitude in each bin of non-negative `key`."""
        pattern = key.astype(np.uint64) << np.uint64(self.rest)
        width = self.bits
        if self.dtype == "bfloat16":  # the upper half of a float32
            pattern, width = pattern << np.uint64(16), 32
        with np.errstate(invalid="ignore"):  # signalling NaN patterns
            return pattern.astype(f"uint{width}").view(f"float{width}").astype(np.float64)


GRIDS = {
    "float16": Grid("float16", 16, 10, 0),
    "bfloat16": Grid("bfloat16", 16, 7, 0),
    "float32": Grid("float32", 32, 23, 13),
    "float64": Grid("float64", 64, 52, 42),
}


@dataclass(frozen=True, eq=False)
class Histogram:
    r"""Bins of one grid that are not empty, by ascending key, with their $n$, $\sum r$ and $\sum r^2$, Definition 19.

    The sums are exact integers for types of up to 32 bits and float64 for 64. `nonfinite` weights (NaN and Inf) are
    counted and stand in no bin.
    """

    grid: Grid
    key: Int64[np.ndarray, " n"]
    count: Int64[np.ndarray, " n"]
    rest: np.ndarray
    rest_squared: np.ndarray
    nonfinite: int = 0

    @classmethod
    def of_dense(cls, grid: Grid, dense: np.ndarray) -> "Histogram":
        """From a table of shape [1 or 3, grid.keys]: n and, where bins have a width, sum r and sum r^2."""
        magnitude = np.arange(grid.keys) & (grid.keys // 2 - 1)
        taken = np.flatnonzero(dense[0])
        finite = taken[magnitude[taken] < grid.first_nonfinite]
        total = int(dense[0, taken].sum()) - int(dense[0, finite].sum())
        sums = (
            dense[:, finite] if len(dense) == 3 else np.concatenate([dense[:, finite], np.zeros((2, finite.size), int)])
        )
        return cls(grid, finite, sums[0].astype(np.int64), sums[1], sums[2], total)

    @classmethod
    def of_bits(cls, grid: Grid, bits: np.ndarray) -> "Histogram":
        """From bit patterns, by sorting: the reference for the kernels, and what small tensors use."""
        pattern = bits.astype(np.uint64)
        key, place = np.unique((pattern >> np.uint64(grid.rest)).astype(np.int64), return_inverse=True)
        rest = (pattern & np.uint64((1 << grid.rest) - 1)).astype(np.float64)
        sums = [np.bincount(place, weights=w, minlength=key.size) for w in (np.ones(rest.size), rest, rest**2)]
        kind = np.float64 if grid.bits == 64 else np.int64
        finite = (key & (grid.keys // 2 - 1)) < grid.first_nonfinite
        n, r, r2 = (s[finite].astype(k) for s, k in zip(sums, (np.int64, kind, kind), strict=True))
        return cls(grid, key[finite], n, r, r2, int(rest.size - n.sum()))

    @classmethod
    def merged(cls, parts: Iterable["Histogram"]) -> "Histogram":
        """The histogram of all weights of some histograms of one grid together."""
        parts = list(parts)
        key, place = np.unique(np.concatenate([part.key for part in parts]), return_inverse=True)

        def add(name: str) -> np.ndarray:
            values = np.concatenate([getattr(part, name) for part in parts])
            total = np.zeros(key.size, dtype=values.dtype)
            np.add.at(total, place, values)
            return total

        nonfinite = sum(part.nonfinite for part in parts)
        return cls(parts[0].grid, key, add("count"), add("rest"), add("rest_squared"), nonfinite)

    @property
    def d(self) -> int:
        """How many finite weights."""
        return int(self.count.sum())

    @property
    def sign(self) -> Float64[np.ndarray, " n"]:
        """+1 or -1 for each bin."""
        return np.where(self.key < self.grid.keys // 2, 1.0, -1.0)

    @property
    def edges(self) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """Smallest and largest magnitude that each bin can hold."""
        key = self.key & (self.grid.keys // 2 - 1)
        low = self.grid.value(key)
        return low, low + (self._step(key, low) * ((1 << self.grid.rest) - 1))

    def _step(self, key: np.ndarray, low: np.ndarray) -> np.ndarray:
        """What one unit of r adds to the magnitude in each bin."""
        if not self.grid.rest:
            return np.zeros(key.size)
        exponent = np.maximum(np.frexp(low)[1] - 1, 2 - (1 << (self.grid.bits - 2 - self.grid.mantissa)))
        return np.ldexp(1.0, exponent - self.grid.mantissa)

    @property
    def moments(self) -> tuple[Float64[np.ndarray, " n"], Float64[np.ndarray, " n"]]:
        """Mean and standard deviation of the magnitudes in each bin."""
        low, high = self.edges
        units = max((1 << self.grid.rest) - 1, 1)
        mean, square = self.rest / self.count, self.rest_squared / self.count
        variance = np.maximum(square - mean**2, 0.0)
        variance[(self.count == 1) | (variance < square * 1e-14)] = 0.0
        step = (high - low) / units
        return low + step * mean, step * np.sqrt(variance)

    def atoms(self) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
        """Signed values and their counts, one or two a bin, with the bin's number, mean and variance."""
        mean, spread = self.moments
        first, second, share = two_points(*self.edges, mean, spread)
        wide = spread > 0
        values = np.concatenate([(self.sign * first), (self.sign * second)[wide]])
        return values, np.concatenate([self.count * share, (self.count * (1 - share))[wide]])

    @property
    def exact(self) -> bool:
        """Whether every bin gives its weights back."""
        return bool(np.all((self.count <= 2) | (self.moments[1] == 0)))


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
    wide = spread > 0
    first = np.where(wide, np.maximum(mean - spread, low), mean)
    second = np.where(wide, mean + spread**2 / np.where(wide & (mean > first), mean - first, 1.0), mean)
    over = second > high
    first = np.where(over, np.maximum(mean - spread**2 / np.where(over & (high > mean), high - mean, 1.0), low), first)
    second = np.where(over, high, second)
    share = np.divide(second - mean, second - first, out=np.ones_like(mean), where=second > first)
    return first, second, np.where(wide, share, 1.0)


def atoms_of(histograms: Iterable[Histogram]) -> tuple[Float64[np.ndarray, " m"], Float64[np.ndarray, " m"]]:
    """Signed values and counts of all weights of some histograms, of whatever grids, together."""
    values, counts = zip(*(h.atoms() for h in histograms), strict=True)
    return np.concatenate(values), np.concatenate(counts)


def profile_of(histograms: Sequence[Histogram]) -> Profile:
    """The profile of all finite weights of some histograms together."""
    values, counts = atoms_of(histograms)
    order = np.argsort(np.abs(values), kind="stable")
    return Profile(np.abs(values)[order], counts[order], all(h.exact for h in histograms))


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


def _two_point_power(edge: np.ndarray, mean: np.ndarray, spread: np.ndarray, p: float) -> np.ndarray:
    """E|x|^p for the law with this mean and spread on `edge` and one other point."""
    away = mean - edge
    wide = (spread > 0) & (away != 0)
    other = np.where(wide, mean + spread**2 / np.where(wide, away, 1.0), mean)
    share = np.where(wide, away / np.where(wide, other - edge, 1.0), 1.0)
    return share * np.abs(other) ** p + (1 - share) * edge**p
