"""What is kept of a tensor once it was measured is small, whatever its size and the number of tensors."""

import tracemalloc

import numpy as np
import pytest

from lqtheory import scan as scanning
from lqtheory.analysis import analyze
from lqtheory.checkpoint import Checkpoint, Layout, WeightTensor


def network(tensors, rows, dtype):
    rng = np.random.default_rng(0)
    values = rng.standard_normal(rows * 16).astype(np.float32).view(np.uint32)
    bits = (values >> 16).astype(np.uint16) if dtype == "bfloat16" else values
    layout = Layout(1, 1, rows, 16, "linear")
    names = [f"layer{k}.weight" for k in range(tensors)]
    return Checkpoint("synthetic", tuple(WeightTensor(name, (rows, 16), dtype, layout, lambda: bits) for name in names))


def peak(checkpoint):
    tracemalloc.start()
    try:
        result = analyze(checkpoint)
        assert result.network.neurons == sum(tensor.layout.rows for tensor in checkpoint.tensors)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("lqtheory.shelf.IN_MEMORY", 1 << 16)
    monkeypatch.setattr("lqtheory.neuron_table.FEW", 1 << 10)
    monkeypatch.setattr("lqtheory.measure.FEW", 1 << 10)
    monkeypatch.setattr(scanning, "ROWS", 1 << 12)
    analyze(network(1, 100, "bfloat16"))  # tables that are made once


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_memory_does_not_grow_with_the_number_of_tensors(dtype):
    few, many = peak(network(4, 5000, dtype)), peak(network(24, 5000, dtype))
    assert many - few < 20 * 60_000  # their rows of the table; sums and histograms would take ten times as much


def test_memory_does_not_grow_with_the_number_of_rows():
    short, long = peak(network(1, 1 << 13, "bfloat16")), peak(network(1, 1 << 17, "bfloat16"))
    assert long - short < 2_000_000  # the sums of all rows would take 7 million bytes for each of the workers
