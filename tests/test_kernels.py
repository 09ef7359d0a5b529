"""Every kernel against plain NumPy: counts to the last one, power sums to 1e-12."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from lqtheory import scan as scanning
from lqtheory.checkpoint import Layout, WeightTensor
from lqtheory.checkpoint.tensor import decode
from lqtheory.histogram import GRIDS, Histogram
from lqtheory.kernels import QUARTERS
from lqtheory.scan import scan
from lqtheory.tally import _split_denormals, merged
from lqtheory.torch_tally import TorchTally

LAYOUTS = [
    Layout(1, 1, 70, 90, "linear"),
    Layout(1, 90, 70, 1, "linear"),
    Layout(3, 7, 10, 30, "transposed convolution"),
    Layout(1, 1, 1, 6300, "vector"),
]
EXPONENTS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def patterns(width, n, seed):
    """Gaussian weights with zeros of both signs, denormal numbers, infinities and NaN among them."""
    rng = np.random.default_rng(seed)
    w = rng.standard_normal(n).astype(np.float32)
    w[::11], w[1::13], w[2::17] = 0.0, -0.0, 1e-41
    w[3], w[4], w[5] = np.inf, -np.inf, np.nan
    bits = w.view(np.uint32)
    return (bits >> 16).astype(np.uint16) if width == 16 else bits


def tensor_of(bits, dtype, layout):
    return WeightTensor("w", (bits.size,), dtype, layout, lambda: bits)


@pytest.mark.parametrize("n", [1, 2, 1001, 200_003])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_counts_are_exact(n, threads, dtype, monkeypatch):
    monkeypatch.setattr(scanning, "CHUNK", 1 << 13)
    bits = patterns(GRIDS[dtype].bits, max(n, 6), n)[:n]
    ours = scan(tensor_of(bits, dtype, Layout(1, 1, 1, n, "vector")), [1.0], workers=["cpu"] * threads).histograms
    usual, denormal = _split_denormals(bits) if dtype == "float32" else (bits, bits[:0])
    reference = [Histogram.of_bits(GRIDS[dtype], usual)]
    if denormal.size:
        reference.append(Histogram.of_bits(GRIDS["float64"], denormal.view(np.float32).astype(float).view(np.uint64)))
    assert len(ours) == len(reference)
    for one, other in zip(ours, reference, strict=True):
        for name in ("key", "count", "rest", "rest_squared", "zeros", "nonfinite"):
            assert np.array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("chunk", [101, 1 << 20])
@pytest.mark.parametrize("exponents", [EXPONENTS, QUARTERS], ids=["any", "quarters"])
def test_power_sums_of_every_neuron(layout, dtype, chunk, exponents, tolerance, monkeypatch):
    monkeypatch.setattr(scanning, "CHUNK", chunk)
    width = GRIDS[dtype].bits
    if width == 64:
        bits = (1e200 * patterns(32, 6300, 5).view(np.float32).astype(np.float64)).view(np.uint64)
    else:
        bits = patterns(width, 6300, 5)
    rows = np.abs(np.nan_to_num(layout.as_rows(decode(bits, dtype)), nan=0.0, posinf=0.0, neginf=0.0))
    ours = scan(tensor_of(bits, dtype, layout), exponents, workers=["cpu"] * 2).neurons
    assert np.array_equal(ours.nonzero, np.count_nonzero(rows, axis=1))
    assert ours.largest * ours.unit == pytest.approx(rows.max(axis=1), rel=1e-15)
    for p in exponents:
        unit = rows.max()
        truth = np.log(np.sum((rows / unit) ** p, axis=1)) + p * np.log(unit)
        assert ours.log_power_sum(p) == pytest.approx(truth, rel=tolerance["merge"], abs=tolerance["merge"])


def test_the_series_of_the_32_bit_kernel_covers_each_mantissa(tolerance):
    bits = np.uint32(127 << 23) + np.arange(0, 1 << 23, 97, dtype=np.uint32)
    ours = scan(tensor_of(bits, "float32", Layout(1, 1, bits.size, 1, "linear")), EXPONENTS).neurons
    x = bits.view(np.float32).astype(np.float64)
    for k, p in enumerate(ours.exponents):
        assert ours.sums[:, k] == pytest.approx(x**p, rel=tolerance["merge"])


def test_parts_of_a_tensor_add_up():
    bits, layout = patterns(32, 6300, 8), LAYOUTS[2]
    tensor = tensor_of(bits, "float32", layout)
    whole, parts = (
        scan(tensor, EXPONENTS),
        scan(tensor, EXPONENTS, range(2001)) + scan(tensor, EXPONENTS, range(2001, 6300)),
    )
    assert parts.neurons.sums == pytest.approx(whole.neurons.sums, rel=1e-12)
    assert np.array_equal(parts.neurons.largest, whole.neurons.largest)
    assert np.array_equal(parts.neurons.nonzero, whole.neurons.nonzero)
    for one, other in zip(whole.histograms, parts.histograms, strict=True):
        assert np.array_equal(one.count, other.count)
        assert np.array_equal(one.rest, other.rest)
        assert (one.zeros, one.nonfinite) == (other.zeros, other.nonfinite)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
def test_torch_kernels_agree_with_those_of_the_cpu(dtype, layout, tolerance):
    bits = patterns({"float32": 32}.get(dtype, 16), 6300, 9)
    bits = bits.astype(np.uint8) if dtype.startswith("float8") else bits
    check_torch_tally(bits, dtype, layout, "cpu", tolerance["merge"])


def check_torch_tally(bits, dtype, layout, device, rel):
    ours = TorchTally(dtype, layout, EXPONENTS, device)
    for start in range(0, bits.size, 1001):
        ours.add(bits[start : start + 1001], start)
    result, reference = ours.result(), scan(tensor_of(bits, dtype, layout), EXPONENTS)
    for one, other in zip(result.histograms, reference.histograms, strict=True):
        for name in ("key", "count", "rest", "rest_squared", "zeros", "nonfinite"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert result.neurons.sums == pytest.approx(reference.neurons.sums, rel=rel)
    assert np.array_equal(result.neurons.nonzero, reference.neurons.nonzero)
    assert result.neurons.largest == pytest.approx(reference.neurons.largest, rel=1e-15)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "float8_e4m3fn"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
def test_cuda_agrees_with_the_cpu(dtype, layout, tolerance):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    bits = patterns({"float32": 32}.get(dtype, 16), 6300, 10)
    bits = bits.astype(np.uint8) if dtype.startswith("float8") else bits
    check_torch_tally(bits, dtype, layout, "cuda:0", tolerance["merge"])


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.kind)
@pytest.mark.parametrize(("rows", "weights"), [(1, 10**6), (7, 10**6), (10**6, 500), (10**6, 6300)])
def test_a_tensor_scanned_in_blocks_of_rows(layout, rows, weights, monkeypatch):
    """Whatever the blocks, and whatever part is scanned first: the same rows, one after the other."""
    monkeypatch.setattr(scanning, "ROWS", rows)
    monkeypatch.setattr(scanning, "WEIGHTS", weights)
    bits = patterns(32, 6300, 8)
    tensor = tensor_of(bits, "float32", layout)
    whole, found = scan(tensor, EXPONENTS), {}
    for part in (range(2001), range(2001, 6300)):
        for row, each in scanning.scan_blocks(tensor, EXPONENTS, part):
            found[row] = found[row] + each if row in found else each
            assert len(each.neurons.sums) <= max(rows, layout.neurons if layout.outer > 1 else 1)
    assert np.concatenate([found[row].neurons.sums for row in sorted(found)]) == pytest.approx(
        whole.neurons.sums, rel=1e-12
    )
    assert sorted(found) == list(np.cumsum([0] + [len(found[row].neurons.sums) for row in sorted(found)])[:-1])
    for one, other in zip(
        merged([h for each in found.values() for h in each.histograms]), whole.histograms, strict=True
    ):
        for name in ("key", "count", "rest", "rest_squared"):
            assert np.array_equal(getattr(one, name), getattr(other, name))
        assert (one.zeros, one.nonfinite) == (other.zeros, other.nonfinite)


def test_blocks_are_tensors_of_their_own():
    bits, layout = patterns(32, 6300, 8), LAYOUTS[2]
    tensor = tensor_of(bits, "float32", layout)
    rows = np.concatenate([block.layout.as_rows(block.bits()) for _, block in tensor.blocks(10, 10**6)])
    assert np.array_equal(rows, layout.as_rows(bits))


SIMULATED = """
import numpy as np
from lqtheory import cuda_kernels

cuda_kernels.THREADS = 4
rng = np.random.default_rng(0)
for shift in (16, 3):  # patterns that look like bfloat16, and some whose octaves the window cannot hold
    w = rng.standard_normal(2000).astype(np.float32)
    w[::7], w[1::31] = 0.0, -0.0
    w[2::301], w[3::401] = np.inf, 1e-41
    bits = ((w.view(np.uint32) >> shift) & 0xFFFF).astype(np.uint16)
    low, total = cuda_kernels.window(int((bits & 0x7FFF)[:40].max())), np.zeros(1 << 16, np.uint64)
    cuda_kernels.count_16(bits.view(np.uint64), low, total, 2)
    cuda_kernels.count_16(bits.view(np.uint64)[:100], low, total, 2)
    truth = np.bincount(bits, minlength=1 << 16) + np.bincount(bits[:400], minlength=1 << 16)
    assert np.array_equal(total.astype(np.int64), truth), shift
"""


def test_the_kernel_for_shared_memory_counts_like_numpy_in_the_simulator():
    environment = os.environ | {"NUMBA_ENABLE_CUDASIM": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SIMULATED], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
