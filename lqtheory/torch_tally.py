"""The kernels of `lqtheory.tally` in torch, for CUDA devices; on a CPU they serve as their own reference.

Counts and sums of mantissa bits are whole numbers and hence the same as on a CPU; power sums accumulate in float64 and
agree to rounding.
"""

from importlib.util import find_spec

import numpy as np
import torch

from . import kernel_tables
from .checkpoint import Layout
from .histogram import GRIDS, Histogram
from .neuron_sums import NeuronSums
from .tally import Scan, float16_patterns, merged


class TorchTally:
    """What one device has seen of a tensor of 8-, 16- or 32-bit floats so far."""

    def __init__(self, dtype: str, layout: Layout, exponents: tuple[float, ...], device: str) -> None:
        self.grid, self.layout, self.exponents = GRIDS.get(dtype, GRIDS["float16"]), layout, exponents
        self.device = torch.device(device)
        self.widened = None if dtype in GRIDS else self._there(float16_patterns(dtype).view(np.int16))
        self.counts = torch.zeros(3 if self.grid.rest else 1, self.grid.keys, dtype=torch.int64, device=self.device)
        self.sums = torch.zeros(layout.rows, len(exponents), dtype=torch.float64, device=self.device)
        self.nonzero = torch.zeros(layout.rows, dtype=torch.int64, device=self.device)
        self.largest = torch.zeros(layout.rows, dtype=torch.int64, device=self.device)
        self.magnitudes = self.grid.magnitude(np.arange(1 << 15)) if self.grid.bits == 16 else None
        if self.magnitudes is not None:
            self.powers = self._there(kernel_tables.power_table_16(self.magnitudes, np.array(exponents)))
        self.shared = self.device.type == "cuda" and find_spec("numba_cuda") is not None
        self.low, self.zeros, self.others, self.pinned = -1, 0, [], None

    def _there(self, array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(np.array(array)).to(self.device)

    def add(self, bits: np.ndarray, start: int) -> None:
        """Count the bit patterns of a chunk that begins at the flat position `start`, and add up its powers."""
        stored = self._sent(bits)
        self.count(stored)
        magnitude = stored.int() & ((1 << (self.grid.bits - 1)) - 1)
        first_infinite = self.grid.first_nonfinite << self.grid.rest
        magnitude = torch.where(magnitude < first_infinite, magnitude, 0)
        self._add_rows(magnitude, start)

    def _sent(self, bits: np.ndarray) -> torch.Tensor:
        """The bit patterns on the device, as signed integers of the width of the grid."""
        here = torch.from_numpy(bits.view(f"i{bits.itemsize}" if bits.itemsize > 1 else "u1").copy())
        if self.device.type == "cuda":
            if self.pinned is None or self.pinned.numel() < here.numel():
                self.pinned = torch.empty_like(here, pin_memory=True)
            here = self.pinned[: here.numel()].copy_(here)
        there = here.to(self.device)
        return there if self.widened is None else self.widened[there.int()]

    def count(self, stored: torch.Tensor) -> None:
        """Count the bit patterns of a chunk: signed integers on the device."""
        if self.grid.rest:
            self._count_32(stored)
            return
        size = stored.numel() // 4 * 4 if self.shared and stored.data_ptr() % 8 == 0 else 0
        if size:
            self._count_shared(stored[:size])
        if size < stored.numel():
            self.counts[0] += torch.bincount(stored[size:].int() & 0xFFFF, minlength=1 << 16)

    def _count_shared(self, stored: torch.Tensor) -> None:
        from . import cuda_kernels

        if self.low < 0:
            self.low = cuda_kernels.window(int((stored[:4096].int() & 0x7FFF).max()))
        cuda_kernels.count_tensor_16(stored, self.low, self.counts[0])

    def _count_32(self, stored: torch.Tensor) -> None:
        magnitude = stored & 0x7FFFFFFF
        tiny = magnitude < 1 << self.grid.mantissa
        self.zeros += int((magnitude == 0).sum())
        denormal = stored[tiny & (magnitude != 0)]
        if denormal.numel():
            values = denormal.cpu().numpy().view(np.float32).astype(np.float64)
            self.others.append(Histogram.of_bits(GRIDS["float64"], values.view(np.uint64)))
        key = torch.where(tiny, 0, (stored >> self.grid.rest) & (self.grid.keys - 1))
        rest = torch.where(tiny, 0, stored & ((1 << self.grid.rest) - 1)).double()
        for k, weight in enumerate((None, rest, rest * rest)):  # below 2^53: exact
            self.counts[k] += torch.bincount(key, weight, self.grid.keys).long()
        self.counts[0, 0] = 0  # the tiny ones, which are counted elsewhere

    def _add_rows(self, magnitude: torch.Tensor, start: int) -> None:
        """Add what the weights of a chunk give to the sums of their neurons: whole rows at once, where rows lie so."""
        layout, size, inner = self.layout, magnitude.numel(), self.layout.inner
        if layout.outer > 1:
            run = torch.arange(start, start + size, device=self.device) // inner
            row = run // (layout.outer * layout.neurons) * layout.neurons + run % layout.neurons
            self.sums.index_add_(0, row, self._powers(magnitude))
            self.nonzero.index_add_(0, row, (magnitude != 0).long())
            self.largest.scatter_reduce_(0, row, magnitude.long(), "amax")
            return
        head = min(-start % inner, size)
        middle = head + (size - head) // inner * inner
        for first, last in ((0, head), (head, middle), (middle, size)):
            if first < last:
                part = magnitude[first:last].reshape(max((last - first) // inner, 1), -1)
                rows = slice((start + first) // inner, (start + first) // inner + len(part))
                self.sums[rows] += self._powers(part.ravel()).view(*part.shape, -1).sum(1)
                self.nonzero[rows] += (part != 0).sum(1)
                self.largest[rows] = torch.maximum(self.largest[rows], part.amax(1).long())

    def _powers(self, magnitude: torch.Tensor) -> torch.Tensor:
        if self.magnitudes is not None:
            return self.powers[magnitude]
        logs = magnitude.view(torch.float32).double().log_()  # of zero: -inf, whose power is zero
        return torch.stack([(logs * p).exp_() for p in self.exponents], 1)

    def result(self) -> Scan:
        """The histograms and neuron sums of all chunks together."""
        counts = self.counts.cpu().numpy()
        zeros = self.zeros + int(counts[0, [0, self.grid.keys // 2]].sum() if not self.grid.rest else 0)
        counts[:, [0, self.grid.keys // 2] if not self.grid.rest else []] = 0
        key = np.flatnonzero(counts[0])
        histogram = Histogram.of_sums(self.grid, key, counts[:, key], zeros)
        sums, nonzero, top = (each.cpu().numpy() for each in (self.sums, self.nonzero, self.largest))
        neurons = NeuronSums(self.layout.fan_in, self.exponents, sums, nonzero, self.grid.magnitude(top))
        return Scan(merged([histogram, *self.others]), neurons)
