"""The one object all theory reads: the magnitudes of a set of weights, sorted, with their multiplicities."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from statistics import NormalDist

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from ._checks import check_count, check_finite


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    r"""Magnitudes $0 \le a_{(1)} \le \dots \le a_{(m)}$, each shared by `counts` weights, Definition 1.

    A vector gives one magnitude per weight and is exact. A histogram (`lqtheory.histogram`) gives at most two
    magnitudes per bin, chosen so that the number, the sum and the sum of squares of the weights in the bin are
    kept; `exact` then says whether no bin had to be summarised.

    >>> profile = Profile.of([3, -1, 0])
    >>> profile.magnitudes, profile.d, profile.nonzero
    (array([0., 1., 3.]), 3, 2)
    """

    magnitudes: Float64[np.ndarray, " m"]
    counts: Float64[np.ndarray, " m"]
    exact: bool = True

    @classmethod
    def of(cls, w: ArrayLike) -> "Profile":
        """The exact profile of an array of finite weights of any shape; raises ValueError otherwise."""
        magnitudes = np.sort(np.abs(check_finite(w)), axis=None)
        return cls(magnitudes, np.ones(magnitudes.size))

    @classmethod
    def gaussian(cls, d: int, bins: int = 4096) -> "Profile":
        r"""The profile that d independent standard Gaussian weights have on average, Definition 18.

        The half-normal law cut into min(d, bins) pieces of equal probability; each piece keeps its number, mean
        and variance, all in closed form, as a pair of magnitudes. It is the baseline that lets an index be read.
        """
        m = min(check_count(d, "d", 1, 2**62), bins)
        atoms = _half_normal(m)
        return cls(atoms, np.full(atoms.size, d / atoms.size), exact=False)

    @property
    def d(self) -> int:
        """How many weights."""
        return round(float(self.below[-1]))

    @property
    def nonzero(self) -> int:
        """How many weights are not zero."""
        return self.d - self.zeros

    @property
    def zeros(self) -> int:
        """How many weights are exactly zero."""
        return round(float(self.counts[self.magnitudes == 0].sum()))

    @property
    def log_max(self) -> float:
        """Logarithm of the largest magnitude; -inf for w = 0."""
        return float(self.log_magnitudes[-1])

    @cached_property
    def log_range(self) -> float:
        """Logarithm of the largest over the smallest magnitude that is not zero; inf for w = 0."""
        nonzero = self.log_magnitudes[np.searchsorted(self.magnitudes, 0.0, side="right") :]
        return float(nonzero[-1] - nonzero[0]) if nonzero.size else np.inf

    @cached_property
    def log_magnitudes(self) -> Float64[np.ndarray, " m"]:
        """Logarithms of the magnitudes; -inf for zeros."""
        with np.errstate(divide="ignore"):
            return np.log(self.magnitudes)

    @cached_property
    def below(self) -> Float64[np.ndarray, " m+1"]:
        """Entry k: how many weights the k smallest magnitudes stand for."""
        return np.concatenate([[0.0], np.cumsum(self.counts)])

    def log_power_sum(self, p: float) -> float:
        r"""$\log \sum_i |w_i|^p$ for 0 <= p < inf, where $0^0 = 0$; -inf for w = 0."""
        if p not in self._power_sums:
            terms = p * self.log_magnitudes[np.searchsorted(self.magnitudes, 0.0, side="right") :]
            counts = self.counts[self.counts.size - terms.size :]
            total = np.sum(counts * np.exp(terms - terms[-1])) if terms.size else 0.0
            self._power_sums[p] = float(terms[-1] + np.log(total)) if terms.size else -np.inf
        return self._power_sums[p]

    def log_partial_sums(self, p: float) -> Float64[np.ndarray, " m+1"]:
        """Entry k: log of the sum of |w|^p over the k smallest magnitudes, p > 0; -inf where they are zero."""
        if p not in self._partial_sums:
            terms = np.log(self.counts) + p * self.log_magnitudes
            nonzero = terms[np.searchsorted(self.magnitudes, 0.0, side="right") :]
            if nonzero.size and nonzero.max() - nonzero.min() < 600:  # within the range of float64
                with np.errstate(divide="ignore"):
                    sums = nonzero.max() + np.log(np.cumsum(np.exp(terms - nonzero.max())))
            else:
                sums = np.logaddexp.accumulate(terms)
            self._partial_sums[p] = np.concatenate([[-np.inf], sums])
        return self._partial_sums[p]

    @cached_property
    def _power_sums(self) -> dict[float, float]:
        return {}

    @cached_property
    def _partial_sums(self) -> dict[float, Float64[np.ndarray, " m+1"]]:
        return {}

    def __repr__(self) -> str:
        kind = "exact" if self.exact else "binned"
        return f"Profile(d={self.d}, nonzero={self.nonzero}, max={self.magnitudes[-1]:.6g}, {kind})"


@lru_cache(maxsize=64)
def _half_normal(m: int) -> Float64[np.ndarray, " 2m"]:
    """Two magnitudes for each of m pieces of equal probability of the half-normal law, with its mean and variance."""
    law = NormalDist()
    edges = np.array([law.inv_cdf((1 + k / m) / 2) for k in range(m)])
    density = np.append(np.exp(-(edges**2) / 2) * np.sqrt(2 / np.pi), 0.0)
    moment = np.append(edges * density[:-1], 0.0)
    mean = -np.diff(density) * m
    spread = np.sqrt(np.maximum(1 - np.diff(moment) * m - mean**2, 0.0))
    low = np.maximum(mean - spread, 0.0)
    return np.sort(np.column_stack([low, 2 * mean - low]).ravel())
