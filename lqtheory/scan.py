"""One pass over a stored tensor: the histogram of all its weights and the power sums of each of its neurons."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from . import kernels
from .checkpoint import Layout, WeightTensor
from .checkpoint.tensor import decode
from .histogram import GRIDS, Grid, Histogram

SMALL = 1 << 15  # up to here sorting beats a table of all bins


@dataclass(frozen=True, eq=False)
class NeuronSums:
    r"""$\sum_j |w_{ij}|^p$ of every neuron i of a tensor for a few exponents p, and the largest magnitude.

    It takes the place of a profile in whatever only needs power sums (`lqtheory.norms.PowerSums`): the result then
    has one entry per neuron. The weights stand divided by `unit`, which only float64 tensors need.
    """

    d: int
    exponents: tuple[float, ...]
    sums: Float64[np.ndarray, " rows exponents"]
    largest: Float64[np.ndarray, " rows"]
    unit: float = 1.0

    @property
    def nonzero(self) -> Float64[np.ndarray, " rows"]:
        """How many weights of each neuron are not zero."""
        return self.sums[:, self.exponents.index(0.0)]

    @property
    def log_max(self) -> Float64[np.ndarray, " rows"]:
        """Logarithm of the largest magnitude of each neuron; -inf for a zero neuron."""
        with np.errstate(divide="ignore"):
            return np.log(self.largest) + np.log(self.unit)

    def log_power_sum(self, p: float) -> Float64[np.ndarray, " rows"]:
        r"""$\log \sum_j |w_{ij}|^p$ of each neuron, for an exponent of the table; KeyError for another."""
        if p not in self.exponents:
            raise KeyError(f"p must be one of the exponents {self.exponents} of this scan, got p={p:g}.")
        with np.errstate(divide="ignore"):
            return np.log(self.sums[:, self.exponents.index(p)]) + p * np.log(self.unit)


def scan(tensor: WeightTensor, exponents: Sequence[float]) -> tuple[list[Histogram], NeuronSums]:
    """Histograms and neuron sums of a tensor; NaN and Inf are counted in the histogram and left out of the sums."""
    exponents = tuple(sorted({0.0, *map(float, exponents)}))
    grid, bits = _on_grid(tensor)
    return histograms(grid, bits), _neuron_sums(grid, bits, tensor.layout, exponents)


def _on_grid(tensor: WeightTensor) -> tuple[Grid, np.ndarray]:
    """The bit patterns of a tensor on one of the grids; 8-bit floats fit into float16 without loss."""
    bits = tensor.bits().view(np.ndarray)
    if tensor.dtype in GRIDS:
        return GRIDS[tensor.dtype], bits
    with np.errstate(invalid="ignore"):  # NaN patterns
        table = decode(np.arange(256, dtype=np.uint8), tensor.dtype).astype(np.float16).view(np.uint16)
    return GRIDS["float16"], table[bits]


def histograms(grid: Grid, bits: np.ndarray) -> list[Histogram]:
    """The histogram of bit patterns; of float32 a second one, on the grid of float64, for denormal numbers.

    Below the normal range the bins of float32 are too wide for the promised precision.
    """
    if grid.bits != 32:
        return [_histogram(grid, bits)]
    usual = _histogram(grid, bits)
    exponent = np.uint32(0x7F800000)
    if not np.any((usual.key & (grid.keys // 2 - 1)) < (1 << (grid.mantissa - grid.rest))):
        return [usual]
    denormal = bits[((bits & exponent) == 0) & (bits << np.uint32(1) != 0)]
    others = _histogram(grid, bits[((bits & exponent) != 0) | (bits << np.uint32(1) == 0)])
    return [others, Histogram.of_bits(GRIDS["float64"], denormal.view(np.float32).astype(np.float64).view(np.uint64))]


def _histogram(grid: Grid, bits: np.ndarray) -> Histogram:
    if bits.size <= SMALL or grid.bits == 64:
        return Histogram.of_bits(grid, bits)
    if grid.bits == 16:
        dense = kernels.count_16(bits, kernels.threads())[None]
        dense[0, [0, 1 << 15]] = 0
    else:
        dense = kernels.count_32(bits, kernels.threads())
    return Histogram.of_dense(grid, dense, bits.size - int(dense[0].sum()))


def _neuron_sums(grid: Grid, bits: np.ndarray, layout: Layout, exponents: tuple[float, ...]) -> NeuronSums:
    shaped = bits.reshape(layout.batch, layout.outer, layout.neurons, layout.inner)
    p, sums = np.array(exponents), np.zeros((layout.rows, len(exponents)))
    top = np.zeros(layout.rows, dtype=np.int64)
    if grid.bits == 16:
        magnitudes = grid.magnitude(np.arange(1 << 15))
        kernels.power_sums_16(shaped, kernels.power_table_16(magnitudes, p), grid.first_nonfinite, sums, top)
        return NeuronSums(layout.fan_in, exponents, sums, magnitudes[top])
    if grid.bits == 32:
        kernels.power_sums_32(shaped, p, *kernels.power_tables_32(p), sums, top)
        return NeuronSums(layout.fan_in, exponents, sums, top.astype(np.uint32).view(np.float32).astype(np.float64))
    return _neuron_sums_64(layout.as_rows(np.abs(bits.view(np.float64))), exponents)


def _neuron_sums_64(rows: np.ndarray, exponents: tuple[float, ...]) -> NeuronSums:
    rows = np.where(np.isfinite(rows), rows, 0.0)
    unit = float(rows.max(initial=0.0)) or 1.0
    shares = rows / unit
    sums = [np.sum(shares**p, axis=1) if p else np.count_nonzero(rows, axis=1) for p in exponents]
    return NeuronSums(rows.shape[1], exponents, np.column_stack(sums).astype(np.float64), shares.max(axis=1), unit)
