"""What is kept of a tensor once it was measured is small, whatever its size and the number of tensors."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from lqtheory import scan as scanning
from lqtheory.analysis import analyze
from lqtheory.checkpoint import Checkpoint, Layout, WeightTensor, read


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
    few, many = peak(network(12, 5000, dtype)), peak(network(72, 5000, dtype))
    # their rows of the table, 30 kB each, and a megabyte that two workers may hold at once or not; sums and histograms
    # would take ten times as much
    assert many - few < 60 * 60_000


def test_blocks_of_rows_do_not_change_what_is_measured(monkeypatch):
    checkpoint = network(1, 5000, "float32")
    blocks = analyze(checkpoint).tensors[0].measure
    monkeypatch.setattr(scanning, "ROWS", 1 << 20)
    whole = analyze(checkpoint).tensors[0].measure
    assert blocks.indices == whole.indices
    assert (blocks.parameters, blocks.neurons) == (whole.parameters, whole.neurons) == (80_000, 5000)
    for name, row in whole.neurons_summary.items():
        assert blocks.neurons_summary[name] == pytest.approx(row, rel=1e-12)


def test_memory_does_not_grow_with_the_number_of_rows():
    short, long = peak(network(1, 1 << 13, "bfloat16")), peak(network(1, 1 << 17, "bfloat16"))
    assert long - short < 2_000_000  # the sums of all rows would take 7 million bytes for each of the workers


RESIDENT = """
import sys
from lqtheory.analysis import analyze
def resident():
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
analyze(sys.argv[1])
before = resident()
analyze(sys.argv[2])
print(resident() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_pages_of_a_file_do_not_count_as_memory(tmp_path, kind):
    """A tensor of 200 MB after one of 10 MB: no more than the buffers, which both take."""
    small, large = (torch.full((rows, 4096), 0.5, dtype=torch.bfloat16) for rows in (1200, 24000))
    paths = [tmp_path / f"{name}.{kind}" for name in ("small", "large")]
    for path, w in zip(paths, (small, large), strict=True):
        save_file({"w": w}, path) if kind == "safetensors" else torch.save({"w": w}, path)
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, *map(str, paths)], capture_output=True, text=True, check=True
    )
    assert int(done.stdout) < 40_000


def test_a_torch_file_is_read_by_ranges_with_the_same_weights(tmp_path):
    torch.manual_seed(0)
    state = {"a": torch.randn(30, 40), "b": torch.randn(20, 30).t(), "c": torch.randn(8, 9).half()[:, 2:]}
    state["d"] = state["a"][3:20]
    torch.save(state, tmp_path / "w.pt")
    for tensor in read(tmp_path / "w.pt").tensors:
        assert (tensor.ranges is not None) == (tensor.name in "ad") or not Path("/proc/self/maps").exists()
        with tensor.reader() as reading:
            assert np.array_equal(reading(3, tensor.parameters), tensor.bits()[3:])
        assert np.array_equal(tensor.values(), state[tensor.name].double().numpy())
