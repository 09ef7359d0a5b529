"""Moments taken by torch: those of numpy but for rounding, and bounds from them that hold."""

import numpy as np
import pytest

from lqtheory.bounds import IDENTITY, TANH, Linear, forward, second_moments, tier_b, tier_c
from lqtheory.bounds.layers import Activation

torch = pytest.importorskip("torch")
device = pytest.importorskip("lqtheory.bounds.device")


def check_pass(where, case, rms):
    layers, pruned, x = case
    here, there = second_moments(layers, x), second_moments(layers, x, where)
    for a, b in zip(here, there, strict=True):
        scale = np.max(np.abs(a.second)) or 1.0
        np.testing.assert_allclose(b.second / scale, a.second / scale, atol=1e-12)
        assert b.radius == pytest.approx(a.radius, rel=1e-12, abs=1e-300)
        assert b.count == a.count
    observed = rms(forward(layers, x) - forward(pruned, x))
    bound = tier_c(layers, pruned, there)
    assert not bound.violated(observed)
    assert bound.value <= tier_b(layers, pruned, there[0].radius).value


@pytest.mark.parametrize("seed", range(60))
def test_moments_by_torch_serve_as_well(seed, random_case, rms, monkeypatch):
    monkeypatch.setattr(device, "BATCH", 2)  # sums over several batches
    check_pass("cpu", random_case(seed), rms)


@pytest.mark.gpu
def test_moments_on_a_gpu_serve_as_well(random_case, rms):
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for seed in range(60):
        check_pass("cuda", random_case(seed), rms)
    generator = np.random.default_rng(0)
    layers = [Linear(generator.normal(size=(m, n)) / n**0.5) for n, m in ((784, 300), (300, 100), (100, 10))]
    pruned = [Linear(np.where(np.abs(w.weight) > 0.02, w.weight, 0.0)) for w in layers]
    check_pass("cuda", (layers, pruned, generator.random((40_000, 784))), rms)


def test_the_radius_is_an_upper_bound_of_the_exact_one():
    x = np.random.default_rng(1).normal(size=(7, 5)) * 1e-170  # squares would underflow
    (found,) = second_moments([Linear(np.ones((1, 5)), None, IDENTITY)], x, "cpu")
    exact = np.sqrt(np.sum(np.square(x.astype(np.longdouble))) / 7)
    assert exact <= found.radius <= exact * (1 + 1e-14)


def test_what_cannot_run_there_is_named():
    layers = [Linear(np.eye(2), None, Activation("square", 1.0, np.square))]
    with pytest.raises(ValueError, match=r"on a device must be one of .*, got square"):
        second_moments(layers, np.ones((2, 2)), "cpu")
    huge = [Linear(np.full((2, 2), 1e300), None, IDENTITY), Linear(np.eye(2), None, TANH)]
    with pytest.raises(ValueError, match="must be finite"):
        second_moments(huge, np.full((2, 2), 1e300), "cpu")
