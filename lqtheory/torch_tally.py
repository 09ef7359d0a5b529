"""The kernels of `lqtheory.scan` in torch, for CUDA devices; on a CPU they serve as their own reference.

Counts and sums of mantissa bits are whole numbers and hence the same as on a CPU; power sums accumulate in float64 and
agree to rounding.
"""

import numpy as np
import torch

from .checkpoint import Layout
from .checkpoint.tensor import decode
from .histogram import GRIDS, Histogram
from .neuron_sums import NeuronSums
from .tally import Scan, merged


class TorchTally:
    """What one device has seen of a tensor of 8-, 16- or 32-bit floats so far."""

    def __init__(self, dtype: str, layout: Layout, exponents: tuple[float, ...], device: str) -> None:
        self.grid = GRIDS.get(dtype, GRIDS["float16"])
        self.layout, self.exponents, self.device = layout, exponents, device
        self.widened = None
        if dtype not in GRIDS:
            with np.errstate(invalid="ignore"):  # NaN patterns
                patterns = decode(np.arange(256, dtype=np.uint8), dtype).astype(np.float16).view(np.int16)
            self.widened = torch.from_numpy(patterns.astype(np.int64)).to(device)
        self.counts = torch.zeros(3, self.grid.keys, dtype=torch.float64, device=device)
        self.sums = torch.zeros(layout.rows, len(exponents), dtype=torch.float64, device=device)
        self.nonzero = torch.zeros(layout.rows, dtype=torch.int64, device=device)
        self.largest = torch.zeros(layout.rows, dtype=torch.float64, device=device)
        self.seen, self.others = 0, []

    def add(self, bits: np.ndarray, start: int) -> None:
        """Count the bit patterns of a chunk that begins at the flat position `start`."""
        stored = torch.from_numpy(bits.copy().view(f"i{bits.itemsize}" if bits.itemsize > 1 else "u1"))
        values = self.count(stored.to(self.device))
        self._add_powers(values.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0), start)

    def count(self, stored: torch.Tensor) -> torch.Tensor:
        """Count the bit patterns of a chunk, signed integers on the device; returns the magnitudes as float64."""
        pattern = stored.long() if self.widened is None else self.widened[stored.long()]
        pattern = pattern & ((1 << self.grid.bits) - 1)
        magnitude = pattern & ((1 << (self.grid.bits - 1)) - 1)
        values = self._values(magnitude)
        self._count(pattern, magnitude, values)
        return values

    def _values(self, magnitude: torch.Tensor) -> torch.Tensor:
        """The magnitudes as float64."""
        if self.grid.bits == 32:
            return magnitude.int().view(torch.float32).double()
        if self.grid.dtype == "bfloat16":
            return (magnitude << 16).int().view(torch.float32).double()
        return magnitude.short().view(torch.float16).double()

    def _count(self, pattern: torch.Tensor, magnitude: torch.Tensor, values: torch.Tensor) -> None:
        taken = magnitude != 0
        if self.grid.bits == 32:
            denormal = taken & (magnitude < 1 << self.grid.mantissa)
            if denormal.any():
                signed = torch.where(pattern == magnitude, values, -values)[denormal].cpu().numpy()
                self.others.append(Histogram.of_bits(GRIDS["float64"], signed.view(np.uint64)))
                taken &= ~denormal
        self.seen += int((taken | (magnitude == 0)).sum())
        key, rest = pattern[taken] >> self.grid.rest, (pattern[taken] & ((1 << self.grid.rest) - 1)).double()
        for k, weight in enumerate((None, rest, rest * rest) if self.grid.rest else (None,)):
            self.counts[k] += torch.bincount(key, weight, self.grid.keys)

    def _add_powers(self, values: torch.Tensor, start: int) -> None:
        layout = self.layout
        run = torch.arange(start, start + values.numel(), device=self.device) // layout.inner
        row = run // (layout.outer * layout.neurons) * layout.neurons + run % layout.neurons
        self.largest.scatter_reduce_(0, row, values, "amax")
        self.nonzero += torch.bincount(row[values > 0], minlength=layout.rows)
        for k, p in enumerate(self.exponents):
            powers = torch.where(values > 0, values**p, 0.0)
            self.sums[:, k] += torch.bincount(row, powers, layout.rows)

    def result(self) -> Scan:
        """The histograms and neuron sums of all chunks together."""
        key = torch.nonzero(self.counts[0]).ravel()
        sums = self.counts[: 3 if self.grid.rest else 1, key].cpu().numpy().astype(np.int64)
        histogram = Histogram.of_sums(self.grid, key.cpu().numpy(), sums, self.seen - int(sums[0].sum()))
        sums, nonzero, largest = (each.cpu().numpy() for each in (self.sums, self.nonzero, self.largest))
        neurons = NeuronSums(self.layout.fan_in, self.exponents, sums, nonzero, largest)
        return Scan(merged([histogram, *self.others]), neurons)
