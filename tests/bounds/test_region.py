"""Theorems 19 and 20: nothing inside a region leaves the bounds, the linear ones are never worse, agreement is true."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
from mpmath import iv

from lqtheory.bounds import IDENTITY, RELU, TANH, Linear, forward, tier_e_interval, tier_e_linear


def relu_only(layers):
    hidden = [Linear(n.weight, n.bias, RELU) for n in layers[:-1]]
    return [*hidden, Linear(layers[-1].weight, layers[-1].bias, IDENTITY)]


def points(x, radius, generator, count=40):
    """Corners, faces and inner points of the ball around each input."""
    for _ in range(count):
        step = generator.choice([-1.0, 1.0], x.shape)
        if generator.random() < 0.5:
            step *= generator.random(x.shape) ** generator.integers(0, 3)
        yield np.clip(x + radius * step, x - radius, x + radius)


def check(bounds, dense, pruned, x, radius, generator):
    rows, y = np.arange(len(x)), bounds.predicted
    agreement = bounds.agreement()
    for point in points(x, radius, generator):
        f, hat = forward(dense, point), forward(pruned, point)
        assert np.all((bounds.delta.lower <= f - hat) & (f - hat <= bounds.delta.upper))
        for out, margins in ((f, bounds.dense_margins), (hat, bounds.pruned_margins)):
            gap = out[rows, y][:, None] - out
            gap[rows, y] = np.inf
            assert np.all(margins <= gap + 1e-15 * np.abs(out).max())
        if f.shape[1] > 1:
            assert np.all((f.argmax(axis=1) == hat.argmax(axis=1))[agreement])


def ordinary_case(random_case, seed):
    """A drawn case whose numbers are of ordinary size, and a radius."""
    dense, pruned, x = random_case(seed)
    if np.abs(x).max() < 1e-9:
        x = x * 1e160
    generator = np.random.default_rng(seed)
    return dense, pruned, x, float(generator.choice([0.0, 0.01, 0.3, 2.0]) * np.abs(x).max()), generator


def test_nothing_leaves_the_boxes(random_case):
    for seed in range(300):
        dense, pruned, x, radius, generator = ordinary_case(random_case, seed)
        check(tier_e_interval(dense, pruned, x, radius), dense, pruned, x, radius, generator)


def test_nothing_leaves_the_lines_which_are_never_worse(random_case):
    better = 0
    for seed in range(300):
        dense, pruned, x, radius, generator = ordinary_case(random_case, seed)
        dense, pruned = relu_only(dense), relu_only(pruned)
        linear, boxes = tier_e_linear(dense, pruned, x, radius), tier_e_interval(dense, pruned, x, radius)
        check(linear, dense, pruned, x, radius, generator)
        assert np.all(linear.norms() <= boxes.norms() * (1 + 1e-12))
        assert np.all(linear.dense_margins >= boxes.dense_margins)
        assert np.all(linear.pruned_margins >= boxes.pruned_margins)
        better += bool(np.any(linear.norms() < 0.9 * boxes.norms()))
    assert better > 60


@pytest.mark.parametrize("tier", [tier_e_interval, tier_e_linear])
def test_a_ball_of_radius_zero_is_the_point(random_case, tier):
    for seed in range(40):
        dense, pruned, x, _, _ = ordinary_case(random_case, seed)
        dense, pruned = relu_only(dense), relu_only(pruned)
        bounds, delta = tier(dense, pruned, x, 0.0), forward(dense, x) - forward(pruned, x)
        scale = 1e-9 * np.prod([max(n.frobenius, 1) for n in dense]) * (1 + np.abs(x).max())
        np.testing.assert_allclose(bounds.delta.lower, delta, rtol=0, atol=scale)
        np.testing.assert_allclose(bounds.delta.upper, delta, rtol=0, atol=scale)


def test_a_linear_network_is_exact_in_both(tolerance):
    generator = np.random.default_rng(0)
    dense = [Linear(generator.normal(size=(3, 5)), generator.normal(size=3), IDENTITY)]
    pruned = [Linear(dense[0].weight * (generator.random((3, 5)) < 0.5), dense[0].bias, IDENTITY)]
    x, radius = generator.normal(size=(4, 5)), 0.25
    change = dense[0].weight - pruned[0].weight
    center, reach = x @ change.T, radius * np.abs(change).sum(axis=1)
    for tier in (tier_e_interval, tier_e_linear):
        bounds = tier(dense, pruned, x, radius)
        np.testing.assert_allclose(bounds.delta.upper, center + reach, atol=1e-12)
        np.testing.assert_allclose(bounds.delta.lower, center - reach, atol=1e-12)


def margins_by_mpmath(layers, x, radius, y):
    """Theorem 19 for one network in the interval arithmetic of mpmath, written out."""
    h = [iv.mpf([v - radius, v + radius]) for v in x]
    for layer in layers[:-1]:
        z = [
            sum((w * v for w, v in zip(row, h, strict=True)), iv.mpf(b))
            for row, b in zip(layer.weight.tolist(), layer.offset.tolist(), strict=True)
        ]
        h = [iv.mpf([max(v.a, 0), max(v.b, 0)]) for v in z]
    rows, offsets = layers[-1].weight.tolist(), layers[-1].offset.tolist()
    gaps = [
        sum(((iv.mpf(a) - b) * v for a, b, v in zip(rows[y], row, h, strict=True)), iv.mpf(offsets[y]) - offset)
        for row, offset in zip(rows, offsets, strict=True)
    ]
    return [float(mpmath.mpf(gap.a)) for gap in gaps]


def test_margins_are_those_of_another_interval_arithmetic():
    for seed in range(20):
        generator = np.random.default_rng(seed)
        widths = generator.integers(2, 6, 4)
        layers = relu_only(
            [Linear(generator.normal(size=(b, a)), generator.normal(size=b)) for a, b in pairwise(widths)]
        )
        x = generator.normal(size=(1, widths[0]))
        bounds = tier_e_interval(layers, layers, x, 0.1)
        naive = margins_by_mpmath(layers, x[0].tolist(), 0.1, int(bounds.predicted[0]))
        np.testing.assert_allclose(bounds.dense_margins[0], naive, rtol=1e-9, atol=1e-9)


def test_the_pair_cancels_what_two_boxes_cannot():
    """Two networks that are equal differ by nothing, however wide the box of their common output."""
    generator = np.random.default_rng(0)
    shapes = [(6, 4), (6, 6), (2, 6)]
    dense = relu_only([Linear(generator.normal(size=s), generator.normal(size=s[0])) for s in shapes])
    for tier in (tier_e_interval, tier_e_linear):
        bounds = tier(dense, dense, generator.normal(size=(3, 4)), 1.0)
        assert np.all(bounds.norms() < 1e-9)
        assert np.all(bounds.dense_margins.min(axis=1) < -1)


def test_the_domain_cuts_the_ball():
    dense = [Linear(np.array([[1.0]]), None, IDENTITY)]
    pruned = [Linear(np.array([[0.0]]), None, IDENTITY)]
    bounds = tier_e_interval(dense, pruned, [[0.9]], 0.5, low=0.0, high=1.0)
    assert bounds.delta.upper[0, 0] == pytest.approx(1.0)
    assert bounds.delta.lower[0, 0] == pytest.approx(0.4)


def uphill(dense, pruned, x, radius, steps=10):
    """Signed-gradient search of the ball for an input on which the networks disagree; numerical, on the margin."""
    generator, found = np.random.default_rng(0), np.zeros(len(x), bool)
    y = forward(dense, x).argmax(axis=1)
    for _ in range(steps):
        signs = generator.choice([-1.0, 1.0], x.shape)
        point = np.clip(x + radius * signs, 0, 1)
        h, gates = point, []
        for layer in pruned[:-1]:
            h = layer(h)
            gates.append(h > 0)
        logits = pruned[-1](h)
        logits[np.arange(len(x)), y] = -np.inf
        row = pruned[-1].weight[logits.argmax(axis=1)] - pruned[-1].weight[y]
        for layer, gate in zip(reversed(pruned[:-1]), reversed(gates), strict=True):
            row = (row * gate) @ layer.weight
        point = np.clip(x + radius * np.sign(row), 0, 1)
        found |= forward(dense, point).argmax(axis=1) != forward(pruned, point).argmax(axis=1)
    return found


def test_agreement_on_a_real_network_survives_a_search_for_counter_examples(real, smallest, prune):
    dense, x = real
    if dense[0].fan_in * len(dense[0].weight) > 150_000:
        pytest.skip("minutes for 512 neurons; the small network is enough here")
    x, radius = x[:12], 1 / 255
    pruned = prune(dense, smallest([layer.weight for layer in dense], 0.5, "neuron"))
    linear = tier_e_linear(dense, pruned, x, radius, 0.0, 1.0)
    boxes = tier_e_interval(dense, pruned, x, radius, 0.0, 1.0)
    found = uphill(dense, pruned, x, radius)
    assert not np.any(found & linear.agreement())
    assert linear.agreement().mean() >= boxes.agreement().mean()
    assert linear.agreement().mean() > 0.3


def test_what_is_not_supported_is_named():
    tanh = [Linear(np.ones((2, 3)), None, TANH), Linear(np.ones((2, 2)), None, IDENTITY)]
    with pytest.raises(ValueError, match="tier_e_interval works"):
        tier_e_linear(tanh, tanh, np.ones((1, 3)), 0.1)
    with pytest.raises(ValueError, match="linear last layer"):
        tier_e_linear([Linear(np.ones((2, 3)))], [Linear(np.ones((2, 3)))], np.ones((1, 3)), 0.1)
    with pytest.raises(ValueError, match="radius must be"):
        tier_e_interval(tanh, tanh, np.ones((1, 3)), -0.1)
    with pytest.raises(ValueError, match="x must lie in"):
        tier_e_interval(tanh, tanh, np.full((1, 3), 2.0), 0.1, 0.0, 1.0)
