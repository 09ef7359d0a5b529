"""Theorem 30: no weights break the bound, those that are found never make it worse, and on real networks they help."""

import numpy as np
import pytest

from lqtheory.bounds import IDENTITY, Linear, forward, second_moments, tier_c, tier_c_weighted
from lqtheory.bounds.weighted import balanced_weights, in_weighted_norms


def test_no_weights_break_the_bound(random_case, rms):
    for seed in range(400):
        dense, pruned, x = random_case(seed)
        generator, moments = np.random.default_rng(seed), second_moments(dense, x)
        observed = rms(forward(dense, x) - forward(pruned, x))
        spread = generator.choice([0.1, 1, 3])
        weights = [np.exp(spread * generator.normal(size=len(layer.weight))) for layer in dense[:-1]]
        bound = in_weighted_norms(dense, pruned, moments, weights)
        assert not bound.violated(observed)
        assert sum(bound.contributions) == pytest.approx(bound.value, rel=1e-9)


def test_weights_of_1_are_tier_c_and_found_ones_are_never_worse(random_case, rms):
    for seed in range(60):
        dense, pruned, x = random_case(seed)
        moments, ones = second_moments(dense, x), [np.ones(len(layer.weight)) for layer in dense[:-1]]
        plain, found = tier_c(dense, pruned, moments), tier_c_weighted(dense, pruned, moments)
        assert in_weighted_norms(dense, pruned, moments, ones).value == pytest.approx(plain.value, rel=1e-5, abs=1e-300)
        assert found.value <= plain.value
        assert not found.violated(rms(forward(dense, x) - forward(pruned, x)))


def test_units_that_are_scaled_up_and_down_again_are_found_out():
    """The function is the same, tier C is not: the weights undo most of what the scales did."""
    generator = np.random.default_rng(0)
    x, scale = generator.normal(size=(50, 15)), 10.0 ** generator.uniform(-0.7, 0.7, 20)
    w1, w2 = generator.normal(size=(20, 15)), generator.normal(size=(5, 20))
    masks = [generator.random((20, 15)) < 0.7, generator.random((5, 20)) < 0.7]
    even = [Linear(w1), Linear(w2, None, IDENTITY)]
    uneven = [Linear(scale[:, None] * w1), Linear(w2 / scale, None, IDENTITY)]
    values = []
    for dense in (even, uneven):
        pruned = [Linear(n.weight * m, n.bias, n.activation) for n, m in zip(dense, masks, strict=True)]
        moments = second_moments(dense, x)
        values.append((tier_c(dense, pruned, moments).value, tier_c_weighted(dense, pruned, moments).value))
    assert values[1][0] > 2 * values[0][0]
    assert values[1][1] < 1.1 * values[0][1]


def test_a_wide_layer_that_is_dropped_whole_passes_nothing_on():
    wide = Linear(np.random.default_rng(0).normal(size=(210, 210)))
    dense = [wide, Linear(wide.weight, None, IDENTITY)]
    pruned = [wide, Linear(np.zeros((210, 210)), None, IDENTITY)]
    x = np.ones((2, 210))
    bound = tier_c_weighted(dense, pruned, second_moments(dense, x))
    assert bound.value == pytest.approx(np.linalg.norm(forward(dense, x)[0]), rel=1e-5)


def test_on_real_networks_a_sixth_is_gained_unless_the_last_layer_has_all_the_error(real, smallest, prune):
    dense, x = real
    pruned = prune(dense, smallest([layer.weight for layer in dense], 0.5, "neuron"))
    moments = second_moments(dense, x)
    plain, found = tier_c(dense, pruned, moments), tier_c_weighted(dense, pruned, moments)
    assert not found.violated(np.sqrt(np.mean(np.sum((forward(dense, x) - forward(pruned, x)) ** 2, axis=1))))
    assert found.value < 0.85 * plain.value or plain.shares[-1] > 0.9
    weights = balanced_weights(dense, pruned, moments)
    assert [len(w) for w in weights] == [len(layer.weight) for layer in dense[:-1]]
