"""Power sums of every neuron of a tensor: what stands in for a profile where many neurons are measured at once."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float64, Int64


@dataclass(frozen=True, eq=False)
class NeuronSums:
    r"""$\sum_j |w_{ij}|^p$ of every neuron i of a tensor for a few p > 0, its non-zeros and its largest magnitude.

    It takes the place of a profile in whatever only needs power sums (`lqtheory.norms.PowerSums`): the result then
    has one entry per neuron. The weights stand divided by `unit`, which only float64 tensors need.
    """

    d: int
    exponents: tuple[float, ...]
    sums: Float64[np.ndarray, " rows exponents"]
    nonzero: Int64[np.ndarray, " rows"]
    largest: Float64[np.ndarray, " rows"]
    unit: float = 1.0

    @property
    def log_max(self) -> Float64[np.ndarray, " rows"]:
        """Logarithm of the largest magnitude of each neuron; -inf for a zero neuron."""
        with np.errstate(divide="ignore"):
            return np.log(self.largest) + np.log(self.unit)

    def log_power_sum(self, p: float) -> Float64[np.ndarray, " rows"]:
        r"""$\log \sum_j |w_{ij}|^p$ of each neuron, for 0 or an exponent of the table; KeyError for another."""
        if p == 0:
            with np.errstate(divide="ignore"):
                return np.log(self.nonzero)
        if p not in self.exponents:
            raise KeyError(f"p must be 0 or one of the exponents {self.exponents} of this scan, got p={p:g}.")
        return self._log_sums[self.exponents.index(p)]

    @cached_property
    def _log_sums(self) -> Float64[np.ndarray, " exponents rows"]:
        with np.errstate(divide="ignore"):
            return np.log(self.sums.T) + np.log(self.unit) * np.array(self.exponents)[:, None]

    def in_units_of(self, unit: float) -> "NeuronSums":
        """The same sums of weights divided by another unit."""
        ratio = self.unit / unit
        return replace(
            self, sums=self.sums * ratio ** np.array(self.exponents), largest=self.largest * ratio, unit=unit
        )

    def __add__(self, other: "NeuronSums") -> "NeuronSums":
        """The sums over the weights of both, which are different weights of the same neurons."""
        unit = max(self.unit, other.unit)
        one, two = self.in_units_of(unit), other.in_units_of(unit)
        largest = np.maximum(one.largest, two.largest)
        return replace(one, sums=one.sums + two.sums, nonzero=one.nonzero + two.nonzero, largest=largest)
