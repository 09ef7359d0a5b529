"""Theorem 21: the paths lost bound the error at each input and over a box, and the definition is met path by path."""

from itertools import product

import numpy as np
import pytest

from lqtheory.bounds import IDENTITY, RELU, SIGMOID, Linear, forward, path_errors, tier_d, tier_f


def without_sigmoid(layers):
    return [Linear(n.weight, n.bias, RELU if n.activation is SIGMOID else n.activation) for n in layers]


def test_no_violation_and_never_below_tier_d(random_case):
    for seed in range(400):
        dense, pruned, x = random_case(seed)
        dense, pruned = without_sigmoid(dense), without_sigmoid(pruned)
        errors = path_errors(dense, pruned, x)
        delta = np.abs(forward(dense, x) - forward(pruned, x))
        assert np.all(delta <= errors)
        box = float(np.abs(x).max())
        assert not tier_f(dense, pruned, box).violated(delta.sum(axis=1).max())
        rounding = path_errors(dense, dense, x) + tier_d(dense, dense, x).elementwise
        assert np.all(tier_d(dense, pruned, x).elementwise <= errors * (1 + 1e-9) + 2 * rounding)


def test_any_second_network_is_covered(random_case):
    for seed in range(200):
        dense, _, x = random_case(seed)
        dense, generator = without_sigmoid(dense), np.random.default_rng(seed)
        other = [
            Linear(n.weight * generator.normal(size=n.weight.shape), n.offset + generator.normal(), n.activation)
            for n in dense
        ]
        assert np.all(np.abs(forward(dense, x) - forward(other, x)) <= path_errors(dense, other, x))


def test_it_is_the_sum_over_all_paths_that_are_lost(tolerance):
    generator = np.random.default_rng(0)
    widths = (3, 4, 2)
    shapes = zip(widths[1:], widths[:-1], strict=True)
    dense = [Linear(generator.normal(size=s), generator.normal(size=s[0]), RELU) for s in shapes]
    masks = [generator.random(n.weight.shape) < 0.6 for n in dense]
    pruned = [Linear(n.weight * m, n.bias, RELU) for n, m in zip(dense, masks, strict=True)]
    lost = np.zeros(2)
    for first, mid, out in product(range(4), range(4), range(2)):  # input 3 stands for the bias of the first layer
        start = np.abs(dense[0].offset[mid]) if first == 3 else np.abs(dense[0].weight[mid, first])
        there = first == 3 or masks[0][mid, first]
        if not (there and masks[1][out, mid]):
            lost[out] += start * np.abs(dense[1].weight[out, mid])
    np.testing.assert_allclose(path_errors(dense, pruned, np.ones((1, 3)))[0], lost, rtol=1e-12)
    assert tier_f(dense, pruned).value == pytest.approx(lost.sum(), rel=tolerance["tight"])


def test_it_is_attained_by_positive_networks(tolerance):
    generator = np.random.default_rng(1)
    dense = [
        Linear(generator.random((4, 3)), generator.random(4), RELU),
        Linear(generator.random((2, 4)), None, IDENTITY),
    ]
    pruned = [Linear(n.weight * (generator.random(n.weight.shape) < 0.5), n.bias, n.activation) for n in dense]
    x = generator.random((5, 3))
    delta = np.abs(forward(dense, x) - forward(pruned, x))
    np.testing.assert_allclose(path_errors(dense, pruned, x), delta, rtol=tolerance["tight"], atol=1e-13)


def test_never_above_the_bound_with_the_larger_of_1_and_the_input():
    """Gonon et al. scale the biases with the input too; here they stay."""
    dense = [Linear(np.array([[1.0, -2.0]]), np.array([5.0]), RELU), Linear(np.array([[3.0]]), None, IDENTITY)]
    pruned = [Linear(np.array([[0.0, -2.0]]), np.array([5.0]), RELU), Linear(np.array([[0.0]]), None, IDENTITY)]
    assert tier_f(dense, pruned, 1.0).value == pytest.approx(24)
    assert tier_f(dense, pruned, 10.0).value == pytest.approx(3 * (30 + 5))
    assert tier_f(dense, pruned, 10.0).value < 10 * tier_f(dense, pruned, 1.0).value


def test_bad_arguments_are_named():
    layers = [Linear(np.ones((1, 2)), None, SIGMOID)]
    with pytest.raises(ValueError, match="activations that are 0 at 0"):
        tier_f(layers, layers)
    with pytest.raises(ValueError, match="box must be"):
        tier_f([Linear(np.ones((1, 2)))], [Linear(np.ones((1, 2)))], -1.0)
