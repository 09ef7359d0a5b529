"""The one object all theory reads: the magnitudes of a set of weights, sorted, with their multiplicities."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from ._checks import check_finite


@dataclass(frozen=True, eq=False, repr=False)
class Profile:
    r"""Magnitudes $0 \le a_{(1)} \le \dots \le a_{(m)}$, each shared by `counts` weights, Definition 1.

    A vector gives one magnitude per weight and is exact. A histogram (`lqtheory.histogram`) gives two
    magnitudes per bin, chosen so that the number, the sum and the sum of squares of the weights in the bin are
    kept; `exact` then says whether every bin holds a single magnitude.

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

    @property
    def d(self) -> int:
        """How many weights."""
        return round(float(self.counts.sum()))

    @property
    def nonzero(self) -> int:
        """How many weights are not zero."""
        return self.d - self.zeros

    @property
    def zeros(self) -> int:
        """How many weights are exactly zero."""
        return round(float(self.counts[self.magnitudes == 0].sum()))

    @property
    def max(self) -> float:
        """The largest magnitude."""
        return float(self.magnitudes[-1])

    @cached_property
    def log_magnitudes(self) -> Float64[np.ndarray, " m"]:
        """Logarithms of the magnitudes; -inf for zeros."""
        with np.errstate(divide="ignore"):
            return np.log(self.magnitudes)

    @cached_property
    def below(self) -> Float64[np.ndarray, " m+1"]:
        """Entry k: how many weights the first k magnitudes stand for."""
        return np.concatenate([[0.0], np.cumsum(self.counts)])

    def __repr__(self) -> str:
        kind = "exact" if self.exact else "binned"
        return f"Profile(d={self.d}, nonzero={self.nonzero}, max={self.max:.6g}, {kind})"
