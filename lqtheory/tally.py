"""What one thread has seen of a tensor: the counts of its histogram and the power sums of each neuron."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from . import kernel_tables, kernels
from .checkpoint import Layout
from .checkpoint.tensor import decode
from .histogram import GRIDS, Grid, Histogram
from .neuron_sums import NeuronSums

SMALL = 1 << 15  # up to here sorting beats a table of all bins


@dataclass(frozen=True, eq=False)
class Scan:
    """What one pass over a tensor, or over a part of it, gives; parts add up."""

    histograms: list[Histogram]
    neurons: NeuronSums

    def __add__(self, other: "Scan") -> "Scan":
        return Scan(merged(self.histograms + other.histograms), self.neurons + other.neurons)


def merged(histograms: Sequence[Histogram]) -> list[Histogram]:
    """One histogram for each grid."""
    grids = sorted({h.grid.dtype for h in histograms})
    return [Histogram.merged([h for h in histograms if h.grid.dtype == grid]) for grid in grids]


class Tally(Protocol):
    """What one thread has seen of a tensor so far."""

    def add(self, bits: np.ndarray, start: int) -> None:
        """Count the bit patterns of a chunk that begins at the flat position `start`."""
        ...

    def result(self) -> Scan: ...


def tally(dtype: str, layout: Layout, exponents: tuple[float, ...], device: str = "cpu") -> Tally:
    """An empty tally for a stored type on a device."""
    if device != "cpu" and dtype != "float64":
        from .torch_tally import TorchTally  # torch is needed for its devices only

        return TorchTally(dtype, layout, exponents, device)
    kind = {"float64": Tally64, "float32": Tally32}.get(dtype, Tally16)
    return kind(dtype, layout, exponents)


class Tally16:
    """16-bit floats, and 8-bit ones, which fit into float16 without loss."""

    def __init__(self, dtype: str, layout: Layout, exponents: tuple[float, ...]) -> None:
        self.grid, self.layout, self.exponents = GRIDS.get(dtype, GRIDS["float16"]), layout, exponents
        self.widened = None if dtype in GRIDS else float16_patterns(dtype)
        self.magnitudes = self.grid.magnitude(np.arange(1 << 15))
        self.table = _powers_16(self.grid, exponents)
        self.counts = kernel_tables.table_16()
        self.sums, self.nonzero, self.top = _empty_sums(layout, exponents)

    def add(self, bits: np.ndarray, start: int) -> None:
        bits = bits if self.widened is None else self.widened[bits]
        kernels.count_16(bits, self.counts)
        into = self.sums, self.nonzero, self.top
        kernels.power_sums_16(bits, start, *_shape(self.layout), self.grid.first_nonfinite, self.table, *into)

    def result(self) -> Scan:
        zeros = int(self.counts[[0, 1 << 15]].sum())
        self.counts[[0, 1 << 15]] = 0
        key = np.flatnonzero(self.counts)
        largest = self.magnitudes[self.top]
        neurons = NeuronSums(self.layout.fan_in, self.exponents, self.sums, self.nonzero, largest)
        return Scan([Histogram.of_sums(self.grid, key, self.counts[None, key], zeros)], neurons)


class Tally32:
    """float32; what is denormal goes to the grid of float64, where it is not (Definition 19)."""

    def __init__(self, dtype: str, layout: Layout, exponents: tuple[float, ...]) -> None:
        self.grid, self.layout, self.exponents = GRIDS[dtype], layout, exponents
        self.counts = kernel_tables.table_32() if layout.rows * layout.fan_in > SMALL else None
        self.seen, self.parts = 0, []
        self.sums, self.nonzero, self.top = _empty_sums(layout, exponents)

    def add(self, bits: np.ndarray, start: int) -> None:
        usual, denormal = self._count(bits)
        if self.counts is None:
            self.parts.append(Histogram.of_bits(self.grid, usual))
        if denormal.size:
            self.parts.append(Histogram.of_bits(GRIDS["float64"], _as_float64(denormal)))
        shape, into = _shape(self.layout), (self.sums, self.nonzero, self.top)
        if self.exponents == kernels.QUARTERS:
            kernels.quarter_sums_32(bits, start, *shape, *into)
            return
        kernels.power_sums_32(bits, start, *shape, *_powers_32(self.exponents), *into)
        if denormal.size:
            kernels.add_denormals_32(bits, start, *shape, np.array(self.exponents), self.sums)

    def _count(self, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Count a chunk in the table, if there is one; returns its usual and its denormal patterns."""
        if self.counts is None:
            return _split_denormals(bits)
        kernels.count_32(bits, self.counts)
        smallest = self.counts.reshape(2, -1, 3)[:, : 1 << (self.grid.mantissa - self.grid.rest)]
        usual, denormal = _split_denormals(bits) if smallest[..., 0].any() else (bits, bits[:0])
        smallest[:] = 0
        self.seen += usual.size
        return usual, denormal

    def result(self) -> Scan:
        if self.counts is not None:
            key, sums = kernels.taken(self.counts)
            self.parts.append(Histogram.of_sums(self.grid, key, sums, self.seen - int(sums[0].sum())))
        largest = self.top.astype(np.uint32).view(np.float32).astype(np.float64)
        neurons = NeuronSums(self.layout.fan_in, self.exponents, self.sums, self.nonzero, largest)
        return Scan(merged(self.parts), neurons)


class Tally64:
    """float64, in plain NumPy: checkpoints rarely have it."""

    def __init__(self, dtype: str, layout: Layout, exponents: tuple[float, ...]) -> None:
        self.layout, self.exponents = layout, exponents
        self.histograms = [Histogram.of_bits(GRIDS[dtype], np.empty(0, np.uint64))]
        sums, nonzero, _ = _empty_sums(layout, exponents)
        self.neurons = NeuronSums(layout.fan_in, exponents, sums, nonzero, np.zeros(layout.rows), 5e-324)

    def add(self, bits: np.ndarray, start: int) -> None:
        self.histograms.append(Histogram.of_bits(GRIDS["float64"], bits))
        w = np.abs(bits.view(np.float64))
        w[~np.isfinite(w)] = 0.0
        unit, row = float(w.max(initial=0.0)), _rows(self.layout, start, bits.size)
        if unit:
            powers = [np.where(w > 0, (w / unit) ** p, 0.0) for p in self.exponents]
            sums = np.column_stack([np.bincount(row, power, self.layout.rows) for power in powers])
            nonzero, largest = np.bincount(row[w > 0], minlength=self.layout.rows), np.zeros(self.layout.rows)
            np.maximum.at(largest, row, w / unit)
            self.neurons += NeuronSums(self.layout.fan_in, self.exponents, sums, nonzero, largest, unit)

    def result(self) -> Scan:
        return Scan(merged(self.histograms), self.neurons)


@lru_cache(maxsize=8)
def _powers_16(grid: Grid, exponents: tuple[float, ...]) -> np.ndarray:
    return kernel_tables.power_table_16(grid.magnitude(np.arange(1 << 15)), np.array(exponents))


@lru_cache(maxsize=8)
def _powers_32(exponents: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    return kernel_tables.power_tables_32(np.array(exponents))


def _empty_sums(layout: Layout, exponents: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros((layout.rows, len(exponents))), np.zeros(layout.rows, np.int64), np.zeros(layout.rows, np.int64)


def _shape(layout: Layout) -> tuple[int, int, int]:
    return layout.outer, layout.neurons, layout.inner


def _rows(layout: Layout, start: int, size: int) -> np.ndarray:
    """The neuron that each weight of a chunk belongs to."""
    run = np.arange(start, start + size) // layout.inner
    return run // (layout.outer * layout.neurons) * layout.neurons + run % layout.neurons


def _split_denormals(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float32 patterns without and with those of denormal numbers."""
    denormal = ((bits & np.uint32(0x7F800000)) == 0) & (bits << np.uint32(1) != 0)
    return bits[~denormal], bits[denormal]


def _as_float64(bits: np.ndarray) -> np.ndarray:
    return bits.view(np.float32).astype(np.float64).view(np.uint64)


def float16_patterns(dtype: str) -> np.ndarray:
    """The float16 pattern of each of the 256 patterns of an 8-bit float."""
    with np.errstate(invalid="ignore"):  # NaN patterns
        return decode(np.arange(256, dtype=np.uint8), dtype).astype(np.float16).view(np.uint16)
