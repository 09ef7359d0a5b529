"""Theorems 11 and 12 against explicitly built matrices, and folding against the layers it replaces."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lqtheory.bounds import average_pool_norm, convolution_norm, fold_batch_norm, max_pool_lipschitz, spectral_norm
from lqtheory.bounds.convolution import FREQUENCIES

torch = pytest.importorskip("torch")
CONV = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}


def explicit(kernel, side, padding, stride=1, dilation=1, groups=1):
    """The matrix of the convolution on inputs of `side` per axis: its action on every unit vector."""
    axes, channels = kernel.ndim - 2, kernel.shape[1] * groups
    basis = torch.eye(channels * side**axes, dtype=torch.float64).reshape(-1, channels, *[side] * axes)
    out = CONV[axes](basis, torch.from_numpy(kernel), None, stride, padding, dilation, groups)
    return out.reshape(len(basis), -1).numpy().T


@st.composite
def settings_of_a_convolution(draw):
    axes = draw(st.sampled_from([1, 1, 2]))
    groups, stride, dilation = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    size = draw(st.integers(1, 4))
    generator = np.random.default_rng(draw(st.integers(0, 10**6)))
    shape = (groups * draw(st.integers(1, 3)), draw(st.integers(1, 3)), *[size] * axes)
    kernel = generator.normal(size=shape) if draw(st.booleans()) else generator.random(shape)
    side = draw(st.integers((size - 1) * dilation + 1, 14 if axes == 1 else 10))
    return kernel, side, draw(st.integers(0, 3)), stride, dilation, groups


@given(settings_of_a_convolution())
@settings(max_examples=80)
def test_norm_is_above_that_of_the_matrix(case):
    kernel, _, _, stride, dilation, groups = case
    matrix = explicit(*case)
    assert convolution_norm(kernel, stride, dilation, groups) >= np.linalg.norm(matrix, 2) * (1 - 1e-13)


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_norm_is_approached_by_long_inputs(stride, dilation, size):
    kernel = np.random.default_rng(size).normal(size=(3, 2, size))
    large = np.linalg.norm(explicit(kernel, 120, size, stride, dilation), 2)
    factor = 1 / np.cos(np.pi * (size - 1) * dilation / (2 * FREQUENCIES))
    assert large <= convolution_norm(kernel, stride, dilation) <= large * factor * 1.004


def test_finer_grids_approach_the_supremum_from_above():
    kernel = np.random.default_rng(0).normal(size=(4, 3, 3, 3))
    finest = convolution_norm(kernel, frequencies=512)
    values = [convolution_norm(kernel, frequencies=n) for n in (8, 16, 64, 128)]
    assert all(finest <= value * 1.0001 for value in values)
    assert values[-1] < finest * 1.0007


def test_a_peak_between_grid_points_is_covered():
    """|1 + t e^(i x) - e^(2 i x)/2| is largest where cos x = t/4: here half way between two of eight frequencies."""
    kernel = np.array([1.0, 4 * np.cos(3 * np.pi / 8), -0.5])
    on_grid = np.max(np.abs(np.fft.fft(kernel, 8)))
    truth = np.linalg.norm(explicit(kernel[None, None], 400, 2), 2)
    assert on_grid < 0.99 * truth
    assert convolution_norm(kernel[None, None], frequencies=8) >= truth


def test_one_tap_is_its_matrix_and_zero_is_zero():
    kernel = np.random.default_rng(0).normal(size=(5, 4, 1, 1))
    assert convolution_norm(kernel) == pytest.approx(spectral_norm(kernel[:, :, 0, 0]), rel=1e-9)
    assert convolution_norm(np.zeros((2, 2, 3, 3))) == 0


def test_depthwise_is_the_largest_channel():
    kernel = np.random.default_rng(0).normal(size=(4, 1, 3, 3))
    each = [convolution_norm(kernel[i : i + 1]) for i in range(4)]
    assert convolution_norm(kernel, groups=4) == max(each)


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 10**6))
def test_max_pooling_never_expands_more(size, stride, dilation, seed):
    generator = np.random.default_rng(seed)
    x, y = torch.from_numpy(generator.normal(size=(2, 1, 1, 14, 14)) * (generator.random((14, 14)) < 0.2))
    a, b = (torch.nn.functional.max_pool2d(v, size, stride, 0, dilation) for v in (x, y))
    assert (a - b).norm() <= max_pool_lipschitz(size, stride, dilation) * (x - y).norm() * (1 + 1e-12)


@pytest.mark.parametrize(("size", "stride", "dilation"), [(2, 2, 1), (3, 2, 1), (3, 1, 1), (3, 3, 1), (3, 2, 2)])
def test_the_constant_of_max_pooling_is_attained(size, stride, dilation):
    x = torch.zeros(1, 1, 13, 13, dtype=torch.float64)
    x[0, 0, 6, 6] = 1  # in the most windows there are, for these strides
    most = torch.nn.functional.max_pool2d(x, size, stride, 0, dilation).norm().item()
    assert max_pool_lipschitz(size, stride, dilation) == pytest.approx(most, rel=1e-12)


@given(st.integers(1, 4), st.integers(1, 4))
def test_average_pooling_is_below_and_exact_without_overlap(size, stride):
    basis = torch.eye(144, dtype=torch.float64).reshape(144, 1, 12, 12)
    matrix = torch.nn.functional.avg_pool2d(basis, size, stride).reshape(144, -1).numpy()
    norm = np.linalg.norm(matrix, 2)
    assert norm * (1 - 1e-13) <= average_pool_norm(size, stride)
    if stride >= size:
        assert average_pool_norm(size, stride) == pytest.approx(norm, rel=1e-12)


def test_folding_is_the_layer_then_the_norm():
    torch.manual_seed(0)
    conv, norm = torch.nn.Conv2d(3, 4, 3).double(), torch.nn.BatchNorm2d(4).double()
    with torch.no_grad():
        for p in norm.parameters():
            p.normal_()
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
        norm.eval()
        x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
        args = [conv.weight, conv.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var]
        weight, bias = fold_batch_norm(*[a.numpy() for a in args], norm.eps)
        folded = torch.nn.functional.conv2d(x, torch.from_numpy(weight), torch.from_numpy(bias))
        torch.testing.assert_close(folded, norm(conv(x)), rtol=1e-12, atol=1e-12)


def test_every_convolution_of_a_real_resnet_is_above_its_matrix_on_small_images(data):
    state = torch.load(
        data / "models/akamaster-resnet-cifar10/resnet20-12fca82f.th", weights_only=True, map_location="cpu"
    )
    kernels = {name: value for name, value in state["state_dict"].items() if value.ndim == 4}
    assert len(kernels) == 19
    for name in ("module.conv1.weight", "module.layer2.0.conv1.weight"):
        kernel, stride = kernels[name].double().numpy(), 2 if "layer2.0.conv1" in name else 1
        norm = np.linalg.norm(explicit(kernel, 7, 1, stride), 2)
        assert norm <= convolution_norm(kernel, stride) <= norm * 1.25


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: convolution_norm(np.ones((2, 2))), "kernel must have shape"),
        (lambda: convolution_norm(np.ones((3, 2, 3)), groups=2), "groups must divide"),
        (lambda: convolution_norm(np.ones((3, 2, 3)), stride=(1, 2)), "one per axis"),
        (lambda: convolution_norm(np.ones((3, 2, 3)), dilation=0), "dilation must be"),
        (lambda: convolution_norm(np.full((3, 2, 3), np.inf)), "kernel must be finite"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
