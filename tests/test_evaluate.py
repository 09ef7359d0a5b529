"""Stacks of linear layers: recognised, run in both precisions, compared with plain numpy."""

import gc
import gzip
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st

from lqtheory import evaluate
from lqtheory.evaluate import linear_stack, read_sample, read_stack


def network(seed: int = 0, widths=(5, 4, 3)) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    state = {}
    for i, (n, m) in enumerate(itertools.pairwise(widths)):
        state |= {f"fc.{2 * i}.weight": rng.normal(size=(m, n)), f"fc.{2 * i}.bias": rng.normal(size=m)}
    return state


@given(st.integers(0, 100))
def test_outputs_are_those_of_the_formula(seed):
    state, x = network(seed), np.random.default_rng(seed).normal(size=(7, 5))
    stack = linear_stack(state)
    hidden = np.maximum(x @ state["fc.0.weight"].T + state["fc.0.bias"], 0)
    expected = hidden @ state["fc.2.weight"].T + state["fc.2.bias"]
    np.testing.assert_allclose(evaluate.outputs(stack, x), expected, rtol=1e-12, atol=1e-12)
    entering = evaluate.activations(stack, x)
    for h, reference in zip(entering, [x, hidden, expected], strict=True):
        np.testing.assert_allclose(h, reference, rtol=1e-12, atol=1e-12)


def test_float32_agrees_with_float64(tolerance):
    stack, x = linear_stack(network()), np.random.default_rng(1).normal(size=(7, 5))
    single = evaluate.outputs(stack, x, dtype=torch.float32)
    np.testing.assert_allclose(single, evaluate.outputs(stack, x), rtol=tolerance["torch32"], atol=tolerance["torch32"])


def test_layers_come_in_the_natural_order_of_their_names_where_shapes_allow():
    square = np.eye(2)
    assert linear_stack({"l10.weight": square, "l9.weight": square}).names == ("l9.weight", "l10.weight")
    assert linear_stack({"a.weight": np.ones((1, 2)), "b.weight": square}).names == ("b.weight", "a.weight")


def test_a_layer_may_lack_a_bias():
    stack = linear_stack({"l9.weight": np.ones((2, 3)), "l10.weight": np.ones((1, 2)), "l10.bias": np.ones(1)})
    assert [bias.tolist() for bias in stack.biases] == [[0, 0], [1]]


def test_masked_sets_weights_to_zero_and_leaves_the_stack_alone():
    stack = linear_stack(network())
    before = stack.weights[0].copy()
    pruned = stack.masked({"fc.0.weight": np.zeros((4, 5), dtype=bool)})
    assert not pruned.weights[0].any()
    np.testing.assert_array_equal(pruned.weights[1], stack.weights[1])
    np.testing.assert_array_equal(stack.weights[0], before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv": np.ones((1, 1, 3, 3))}, r"got tensor 'conv' \[1, 1, 3, 3\]"),
        ({"fc.2.weight": np.ones((3, 9))}, r"got 'fc.0.weight' \[4, 5\], 'fc.2.weight' \[3, 9\]"),
        ({"fc.2.bias": np.ones(9)}, r"got tensor 'fc.2.bias' \[9\]"),
        ({"norm.weight": np.ones(4)}, "got tensor 'norm.weight'"),
    ],
)
def test_what_is_no_stack_of_linear_layers_is_refused_by_name(change, message):
    with pytest.raises(ValueError, match=message):
        linear_stack(network() | change)


def test_an_empty_checkpoint_is_refused():
    with pytest.raises(ValueError, match="a stack of linear layers has only"):
        linear_stack({})


def test_accuracy_error_and_changes_by_hand():
    f, g = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 2.0], [0.0, 1.0]])
    assert evaluate.accuracy(f, np.array([0, 0])) == 0.5
    assert evaluate.output_error(f, g) == pytest.approx(np.sqrt(2), rel=1e-15)
    assert evaluate.changed_predictions(f, g) == 0.5


@pytest.mark.parametrize("size", [1e200, 1e-200, 0.0])
def test_no_square_of_an_output_error_leaves_float64(size):
    f = size * np.array([[3.0, 0.0], [0.0, 4.0]])
    assert evaluate.output_error(f, np.zeros((2, 2))) == pytest.approx(size * 12.5**0.5, rel=1e-15)


def test_pixels_are_divided_by_255_and_numbers_are_not(tmp_path):
    np.savez(tmp_path / "pixels.npz", x=np.full((2, 3, 3), 255, np.uint8), y=np.array([1, 2]))
    np.savez(tmp_path / "numbers.npz", x=np.full((2, 9), 255.0), y=np.array([1, 2]))
    pixels, numbers = read_sample(tmp_path / "pixels.npz"), read_sample(tmp_path / "numbers.npz")
    np.testing.assert_array_equal(pixels.x, np.ones((2, 9)))
    np.testing.assert_array_equal(numbers.x, np.full((2, 9), 255.0))
    assert pixels.y.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.ones((2, 3))}, "got no y in"),
        ({"x": np.ones((2, 3)), "y": np.ones(3)}, "got 2 inputs and 3 labels"),
        ({"x": np.ones((2, 3)), "y": np.array([1, 0.5])}, "whole numbers, got 0.5 in data.npz"),
    ],
)
def test_data_without_labels_is_refused(tmp_path, arrays, message):
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        read_sample(tmp_path / "data.npz")


def test_data_that_were_cut_off_are_refused_and_leave_no_handle(tmp_path):
    np.savez(path := tmp_path / "data.npz", x=np.zeros((4, 9)), y=np.arange(4))
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match="npz file must be whole"):
        read_sample(path)
    gc.collect()  # a handle left open would warn, and warnings are errors


@pytest.mark.parametrize(
    ("file", "dataset", "least"),
    [
        ("hls4ml/mnist_mlp_784-512-512-10/model_def_best.safetensors", "mnist", 0.9798),
        ("auto-lirpa/mnist_fc_3layer.pth", "mnist", 0.9752),
    ],
)
def test_real_networks_reach_their_verified_accuracy(data, file, dataset, least):
    stack = read_stack(data / "models" / file)
    x = idx(data / "datasets" / dataset / "t10k-images-idx3-ubyte.gz", 16).reshape(10_000, 784) / 255
    y = idx(data / "datasets" / dataset / "t10k-labels-idx1-ubyte.gz", 8).astype(np.int64)
    assert evaluate.accuracy(evaluate.outputs(stack, x), y) == pytest.approx(least, abs=0.5e-4)


def idx(path, header: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)


def test_a_matrix_without_the_word_weight_is_no_bias_of_its_own():
    stack = evaluate.linear_stack({"w1": np.ones((3, 2)), "w2": np.ones((1, 3)), "w2.bias": np.full(1, 5.0)})
    assert [bias.tolist() for bias in stack.biases] == [[0, 0, 0], [5]]
    assert evaluate.outputs(stack, np.ones((1, 2))).tolist() == [[11]]
