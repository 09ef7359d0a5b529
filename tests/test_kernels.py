"""Every kernel against plain NumPy: counts to the last one, power sums to 1e-12."""

import numpy as np
import pytest

from lqtheory import kernels
from lqtheory.checkpoint import Layout
from lqtheory.histogram import GRIDS, Histogram
from lqtheory.scan import _neuron_sums

LAYOUTS = [
    Layout(1, 1, 70, 90, "linear"),
    Layout(1, 90, 70, 1, "linear"),
    Layout(3, 7, 10, 30, "transposed convolution"),
    Layout(1, 1, 1, 6300, "vector"),
]
EXPONENTS = (0.0, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def patterns(width, n, seed):
    """Gaussian weights with zeros of both signs, denormal numbers, infinities and NaN among them."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(n).astype(np.float32)
    w[::11], w[1::13], w[2::17] = 0.0, -0.0, 1e-41
    w[3], w[4], w[5] = np.inf, -np.inf, np.nan
    bits = w.view(np.uint32)
    return (bits >> 16).astype(np.uint16) if width == 16 else bits


@pytest.mark.parametrize("n", [1, 2, 1001, 200_000])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_counts_are_exact(n, workers):
    for grid, width, count in ((GRIDS["bfloat16"], 16, kernels.count_16), (GRIDS["float32"], 32, kernels.count_32)):
        bits = patterns(width, max(n, 6), n)[:n]
        dense = np.atleast_2d(count(bits, workers))
        if width == 16:
            dense[0, [0, 1 << 15]] = 0
        ours, reference = Histogram.of_dense(grid, dense, n - dense[0].sum()), Histogram.of_bits(grid, bits)
        for name in ("key", "count", "rest", "rest_squared"):
            assert np.array_equal(getattr(ours, name), getattr(reference, name))
        assert (ours.zeros, ours.nonfinite) == (reference.zeros, reference.nonfinite)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_power_sums_of_every_neuron(layout, dtype, tolerance):
    width = GRIDS[dtype].bits
    if width == 64:
        bits = patterns(32, 6300, 5).view(np.float32).astype(np.float64).view(np.uint64)
    else:
        bits = patterns(width, 6300, 5)
    values = {"bfloat16": lambda b: (b.astype(np.uint32) << 16).view(np.float32)}.get(dtype, lambda b: b.view(dtype))(
        bits
    )
    with np.errstate(invalid="ignore"):  # patterns of a bfloat16 NaN read as float16
        values = values.astype(np.float64)
    rows = np.abs(np.nan_to_num(layout.as_rows(values), nan=0.0, posinf=0.0, neginf=0.0))
    ours = _neuron_sums(GRIDS[dtype], bits, layout, EXPONENTS)
    assert np.array_equal(ours.nonzero, np.count_nonzero(rows, axis=1))
    assert ours.largest * ours.unit == pytest.approx(rows.max(axis=1), rel=1e-15)
    for p in EXPONENTS[1:]:
        truth = np.sum(rows**p, axis=1)
        assert np.exp(ours.log_power_sum(p)) == pytest.approx(truth, rel=tolerance["merge"])


def test_the_series_of_the_32_bit_kernel_covers_each_mantissa(tolerance):
    bits = (np.uint32(127 << 23) + np.arange(0, 1 << 23, 97, dtype=np.uint32)).astype(np.uint32)
    layout = Layout(1, 1, bits.size, 1, "linear")
    ours = _neuron_sums(GRIDS["float32"], bits, layout, EXPONENTS)
    x = bits.view(np.float32).astype(np.float64)
    for k, p in enumerate(ours.exponents):
        assert ours.sums[:, k] == pytest.approx(x**p, rel=tolerance["merge"])
