"""Theorems 17 and 18: no violation at any input and coordinate, uniformly too, and in the order of the ladder."""

import numpy as np
import pytest

from lqtheory.bounds import IDENTITY, RELU, Linear, forward, row_tails, second_moments, tier_c, tier_d, tier_d_uniform


def gaps(outputs, y):
    return np.abs(outputs - outputs[np.arange(len(outputs)), y][:, None])


def lengths(rows):
    """Norms of rows whose squares may leave float64."""
    scale = np.max(np.abs(rows), initial=0.0) or 1.0
    return scale * np.linalg.norm(rows / scale, axis=1)


def check(bounds, dense, pruned, x):
    delta = forward(dense, x) - forward(pruned, x)
    y = forward(dense, x).argmax(axis=1)
    assert np.all(np.abs(delta) <= bounds.elementwise)
    assert np.all(lengths(delta) <= bounds.norms * (1 + 1e-15))
    assert np.all(gaps(delta, y) <= bounds.pairs * (1 + 1e-15))
    if delta.shape[1] > 1:
        assert np.all((forward(pruned, x).argmax(axis=1) == y)[bounds.certified()])


def never_above_tier_c(bounds, dense, pruned, x):
    """But for rounding, which is all that tier C says of a network and itself."""
    moments = second_moments(dense, x)
    rounding = 2 * tier_c(dense, dense, moments).value
    assert bounds.rms().value <= tier_c(dense, pruned, moments).value * (1 + 1e-9) + rounding


def other_with_the_same_tails(dense, tails, generator, x):
    """A perturbation of the full size in every row: at random, or along the input that the row sees."""
    layers, h = [], x[:1]
    for layer, tail in zip(dense, tails, strict=True):
        direction = generator.normal(size=layer.weight.shape)
        if generator.random() < 0.5 and np.any(h):
            direction = generator.choice([-1, 1], (len(layer.weight), 1)) * h
        length = lengths(direction)[:, None]
        change = direction / np.where(length > 0, length, 1) * tail[:, None] * (1 - 1e-12)
        layers.append(Linear(layer.weight - change, layer.bias, layer.activation))
        h = layers[-1](h)
    return layers


def test_no_violation_on_random_networks_and_never_above_tier_c(random_case):
    for seed in range(400):
        dense, pruned, x = random_case(seed)
        bounds = tier_d(dense, pruned, x)
        check(bounds, dense, pruned, x)
        never_above_tier_c(bounds, dense, pruned, x)


def test_uniform_bounds_hold_for_other_perturbations_with_the_same_tails(random_case):
    for seed in range(400):
        dense, pruned, x = random_case(seed)
        generator, tails = np.random.default_rng(seed), row_tails(dense, pruned)
        bounds = tier_d_uniform(dense, tails, x)
        check(bounds, dense, pruned, x)
        for _ in range(2):
            other = other_with_the_same_tails(dense, tails, generator, x)
            if all(np.all(a <= b) for a, b in zip(row_tails(dense, other), tails, strict=True)):
                check(bounds, dense, other, x)


def test_a_network_and_itself_in_another_order(random_case, in_another_order):
    """Nothing is pruned: all that the bound holds is rounding, and it must hold that of both evaluations."""
    for seed in range(200):
        dense, _, x = random_case(seed)
        generator, bounds = np.random.default_rng(seed), tier_d(dense, dense, x)
        delta = in_another_order(dense, x, generator) - in_another_order(dense, x, generator)
        assert np.all(np.abs(delta) <= bounds.elementwise)
        assert np.all(lengths(delta) <= bounds.norms)


def test_biases_may_change_too_when_the_network_is_given(random_case):
    for seed in range(200):
        dense, pruned, x = random_case(seed)
        generator = np.random.default_rng(seed)
        moved = [
            Linear(n.weight, n.offset + generator.normal(size=len(n.weight)) * 10.0 ** generator.integers(-9, 3))
            for n in pruned
        ]
        moved = [Linear(m.weight, m.bias, n.activation) for m, n in zip(moved, pruned, strict=True)]
        check(tier_d(dense, moved, x), dense, moved, x)


def test_one_layer_is_exact_in_every_coordinate_and_pair(tolerance):
    generator = np.random.default_rng(0)
    dense = [Linear(generator.normal(size=(5, 9)), None, IDENTITY)]
    pruned = [Linear(dense[0].weight * (generator.random((5, 9)) < 0.5), None, IDENTITY)]
    x = generator.normal(size=(20, 9))
    bounds, delta = tier_d(dense, pruned, x), forward(dense, x) - forward(pruned, x)
    np.testing.assert_allclose(bounds.elementwise, np.abs(delta), rtol=0, atol=1e-12)
    y = forward(dense, x).argmax(axis=1)
    np.testing.assert_allclose(bounds.pairs, gaps(delta, y), rtol=0, atol=1e-12)


def test_a_uniform_bound_is_attained_by_the_perturbation_along_the_input():
    x, w = np.array([[3.0, 4.0]]), np.array([[1.0, 0.0]])
    bounds = tier_d_uniform([Linear(w, None, IDENTITY)], [[0.5]], x)
    assert bounds.elementwise[0, 0] == pytest.approx(0.5 * 5)


def test_a_neuron_that_is_surely_off_carries_no_error():
    """Pre-activation -10, perturbed by at most 1: after the ReLU there is nothing; with -0.25, at most 0.75."""
    x = np.array([[1.0]])
    for bias, error in [(-11.0, 0.0), (-1.25, 0.75), (3.0, 1.0)]:
        bounds = tier_d_uniform([Linear(np.array([[1.0]]), np.array([bias]), RELU)], [[1.0]], x)
        assert bounds.elementwise[0, 0] == pytest.approx(error, abs=1e-12)


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_real_networks_are_certified_only_where_they_agree(real, share, smallest, prune):
    dense, x = real
    pruned = prune(dense, smallest([layer.weight for layer in dense], share, "layer"))
    bounds = tier_d(dense, pruned, x)
    check(bounds, dense, pruned, x)
    never_above_tier_c(bounds, dense, pruned, x)
    uniform = tier_d_uniform(dense, row_tails(dense, pruned), x)
    check(uniform, dense, pruned, x)
    assert np.all(bounds.norms <= uniform.norms * (1 + 1e-9))
    assert bounds.certified().mean() >= uniform.certified().mean()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: tier_d(n, n, np.ones(3)), "x must have shape"),
        (lambda n: tier_d_uniform(n, [], np.ones((1, 3))), "one vector per layer"),
        (lambda n: tier_d_uniform(n, [[1.0]], np.ones((1, 3))), "tails must be 2 numbers"),
        (lambda n: tier_d_uniform(n, [[1.0, -1.0]], np.ones((1, 3))), "tails must be 2 numbers"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call([Linear(np.ones((2, 3)), None, IDENTITY)])
