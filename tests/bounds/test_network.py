"""Theorems 13 to 16: no violation on random and on real networks, the tiers in order, the tight cases tight."""

from dataclasses import replace
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lqtheory.bounds import (
    IDENTITY,
    Linear,
    Moments,
    forward,
    input_radius,
    layers as layers_module,
    second_moments,
    tier_a,
    tier_b,
    tier_c,
    tier_d,
)
from lqtheory.bounds.moments import rms_response
from lqtheory.bounds.network import Q_GRID, exact_local


@pytest.fixture(scope="module")
def check(rms):
    return partial(_check, rms)


def _check(rms, layers, pruned, x):
    moments = second_moments(layers, x)
    observed = rms(forward(layers, x) - forward(pruned, x))
    a, b = tier_a(layers, pruned, moments[0].radius), tier_b(layers, pruned, moments[0].radius)
    c = tier_c(layers, pruned, moments)
    for bound in (a, b, c):
        assert not bound.violated(observed), (bound, observed)
    assert c.value <= b.value <= a.value
    return a, b, c, observed


def test_no_violation_and_the_ladder_in_order_on_1000_random_networks(check, random_case):
    for seed in range(1000):
        check(*random_case(seed))


@pytest.mark.slow
def test_no_violation_and_the_ladder_in_order_on_100000_random_networks(check, random_case):
    for seed in range(1000, 101_000):
        check(*random_case(seed))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=200)
def test_tiers_b_and_c_hold_for_any_second_network(seed, rms, random_case):
    """Not only masks: every weight and bias may differ."""
    layers, _, x = random_case(seed)
    generator = np.random.default_rng(seed)
    other = [
        Linear(
            layer.weight + generator.normal(size=layer.weight.shape) * generator.integers(2),
            layer.offset + generator.normal(size=len(layer.weight)) * generator.integers(2),
            layer.activation,
        )
        for layer in layers
    ]
    observed = rms(forward(layers, x) - forward(other, x))
    b, c = tier_b(layers, other, input_radius(x)), tier_c(layers, other, second_moments(layers, x))
    assert not b.violated(observed)
    assert not c.violated(observed)
    assert c.value <= b.value


def last_bits(array, generator):
    """Each entry moved to a neighbour, up or down, or left alone; zeros stay zeros."""
    towards = generator.choice([-np.inf, np.inf], array.shape)
    return np.where((array == 0) | (generator.random(array.shape) < 0.3), array, np.nextafter(array, towards))


@pytest.mark.parametrize("seed", range(150))
def test_no_bound_flips_when_last_bits_move(seed, rms, random_case, in_another_order):
    layers, pruned, x = random_case(seed)
    generator = np.random.default_rng(seed)
    moved_x = last_bits(x, generator)
    bits = [
        [Linear(last_bits(n.weight, generator), n.bias, n.activation) for n in network] for network in (layers, pruned)
    ]
    bounds = [tier_b(layers, pruned, input_radius(x)), tier_c(layers, pruned, second_moments(layers, x))]
    bounds.append(tier_a(layers, pruned, input_radius(x)))
    observed = [
        rms(in_another_order(layers, x, generator) - in_another_order(pruned, x, generator)),
        rms(forward(bits[0], moved_x) - forward(bits[1], moved_x)),
    ]
    for bound in bounds:
        assert not any(bound.violated(error) for error in observed)


def test_moments_of_a_sum_that_cancels_cover_every_order(rms, in_another_order):
    """The hidden unit is 0 but for rounding, which the order decides; all of it is dropped, so no gain carries it."""
    generator = np.random.default_rng(0)
    half = generator.normal(size=(1, 20)) * 10.0 ** generator.integers(-8, 8, (1, 20))
    x = np.concatenate([half, -half], axis=1)
    dense = [Linear(np.ones((1, 40)), None, IDENTITY), Linear(np.ones((1, 1)), None, IDENTITY)]
    pruned = [dense[0], Linear(np.zeros((1, 1)), None, IDENTITY)]
    bound, each = tier_c(dense, pruned, second_moments(dense, x)), tier_d(dense, pruned, x)
    seen = [in_another_order(dense, x, generator) for _ in range(20)]
    assert max(map(rms, seen)) > rms(forward(dense, x))
    assert not any(bound.violated(rms(output)) for output in seen)
    assert all(np.all(np.abs(output) <= each.elementwise) for output in seen)


@pytest.mark.parametrize("seed", range(50))
def test_exact_local_error_survives_cancellation(seed):
    """Inputs almost orthogonal to the change of the weights: the quadratic form is lost in the rounding of G."""
    generator = np.random.default_rng(seed)
    h = generator.normal(size=(3, 6))
    change = np.linalg.svd(h)[2][3:4] * 10.0 ** generator.integers(-200, 200)
    change += 1e-12 * generator.normal(size=(1, 6)) * change
    dense, other = [Linear(change, None, IDENTITY)], [Linear(np.zeros((1, 6)), None, IDENTITY)]
    truth = sum(sum(Fraction(a) * Fraction(b) for a, b in zip(row, change[0], strict=True)) ** 2 for row in h) / 3
    value = exact_local(dense[0], other[0], second_moments(dense, h)[0])
    assert Fraction(value) ** 2 >= truth


@pytest.mark.parametrize("size", [1.0, 1e-170, 1e150])
@pytest.mark.parametrize("shifted", [False, True])
def test_a_response_is_the_same_from_inputs_and_from_their_moments(size, shifted, tolerance):
    """Inputs fewer than half their coordinates are kept; both ways cover the exact value."""
    generator = np.random.default_rng(0)
    h, change = size * generator.normal(size=(4, 9)), generator.normal(size=(3, 9)) / 8
    shift = size * generator.normal(size=3) if shifted else np.zeros(3)
    few = Moments.of(h)
    assert few.rows is not None
    assert Moments.of(h[:, :8]).rows is None
    exact = [[sum(Fraction(a) * Fraction(b) for a, b in zip(d, x, strict=True)) for d in change] for x in h]
    truth = sum((z + Fraction(c)) ** 2 for row in exact for z, c in zip(row, shift, strict=True)) / len(h)
    for moments in (few, replace(few, rows=None)):
        value = Fraction(rms_response(change, moments, shift)) ** 2
        assert value >= truth
        assert size != 1 or value <= truth * (1 + Fraction(tolerance["inequality"]))


def test_inputs_that_are_kept_are_a_copy():
    h = np.ones((2, 9))
    moments = Moments.of(h)
    h[:] = 0
    assert rms_response(np.ones((1, 9)), moments) >= 9


def test_one_linear_layer_is_exact_in_tier_c(tolerance, check, smallest, prune):
    generator = np.random.default_rng(0)
    x, w = generator.normal(size=(50, 20)), generator.normal(size=(7, 20))
    dense = [Linear(w, None, IDENTITY)]
    pruned = prune(dense, smallest([w], 0.5, "layer"))
    *_, c, observed = check(dense, pruned, x)
    assert c.tightness(observed) < 1 + tolerance["inequality"]


def test_tier_b_is_attained_by_the_worst_input(tolerance, check, smallest, prune):
    w = np.random.default_rng(0).normal(size=(7, 20))
    dense = [Linear(w, None, IDENTITY)]
    pruned = prune(dense, smallest([w], 0.5, "layer"))
    x = np.linalg.svd(w - pruned[0].weight)[2][:1]
    _, b, c, observed = check(dense, pruned, x)
    assert b.tightness(observed) < 1 + tolerance["inequality"]
    assert c.tightness(observed) < 1 + tolerance["inequality"]


def test_tier_a_is_attained_by_flat_neurons_and_the_worst_input(tolerance, check):
    """Theorem 2 at q = 1, s = 2: k = 2 s = 4 equal weights; the input is aligned with what is dropped."""
    w = np.array([[1.0, 1.0, 1.0, 1.0]])
    dense = [Linear(w, None, IDENTITY)]
    pruned = [Linear(w * [1, 1, 0, 0], None, IDENTITY)]
    a, b, c, observed = check(dense, pruned, np.array([[0.0, 0.0, 1.0, 1.0]]))
    assert observed == 2
    for bound in (a, b, c):
        assert bound.tightness(2.0) < 1 + tolerance["inequality"]


def test_a_dense_copy_has_no_error_beyond_rounding(check, random_case):
    layers, _, x = random_case(3)
    for bound in check(layers, layers, x)[:3]:
        assert bound.value < 1e-9


def test_contributions_add_up_to_the_bound(tolerance, check, random_case):
    layers, pruned, x = random_case(12)
    for bound in check(layers, pruned, x)[:3]:
        assert sum(bound.contributions) == pytest.approx(bound.value, rel=tolerance["inequality"])
        assert sum(bound.shares) == pytest.approx(1)
        assert len(bound.shares) == len(layers)


def test_a_finer_grid_of_q_only_helps_tier_a(random_case):
    layers, pruned, x = random_case(8)
    radius = input_radius(x)
    assert tier_a(layers, pruned, radius).value <= tier_a(layers, pruned, radius, Q_GRID[::3]).value


def check_shares(check, smallest, prune, layers, x, scope, shares):
    for share in shares:
        pruned = prune(layers, smallest([layer.weight for layer in layers], share, scope))
        *_, c, observed = check(layers, pruned, x)
        assert observed > 0 or share < 0.9
        assert c.tightness(observed) < 100 or observed == 0


@pytest.mark.parametrize(("scope", "share"), [("neuron", 0.3), ("layer", 0.6), ("global", 0.95)])
def test_no_violation_on_real_networks(real, scope, share, check, smallest, prune):
    check_shares(check, smallest, prune, *real, scope, [share])


@pytest.mark.slow
@pytest.mark.parametrize("scope", ["neuron", "layer", "global"])
def test_no_violation_on_real_networks_at_ten_sparsities(real, scope, check, smallest, prune):
    check_shares(check, smallest, prune, *real, scope, np.linspace(0.05, 0.95, 10))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda n: Linear(np.ones(3)), "two axes"),
        (lambda n: Linear(np.ones((2, 3)), np.ones(3)), "one entry per row"),
        (lambda n: Linear(np.array([[np.nan]])), "weight must be finite"),
        (lambda n: forward(n, np.ones((2, 5))), r"x must have shape \[n, 3\]"),
        (lambda n: tier_b(n, n, -1.0), "radius must be"),
        (lambda n: tier_b(n, n[:1], 1.0), "same layers"),
        (lambda n: tier_b([], [], 1.0), "at least one layer"),
        (lambda n: tier_b([n[0], n[0]], [n[0], n[0]], 1.0), "take what the one before it gives"),
        (lambda n: tier_a(n, [Linear(2 * n[0].weight), n[1]], 1.0), "must be unchanged"),
        (lambda n: tier_a(n, [Linear(n[0].weight * [[1, 0, 0]]), n[1]], 1.0), "keep its largest weights"),
    ],
)
def test_bad_arguments_are_named(call, message):
    network = [Linear(np.arange(6.0).reshape(2, 3)), Linear(np.ones((1, 2)))]
    with pytest.raises(ValueError, match=message):
        call(network)


def test_a_distance_is_computed_once_for_each_pair(monkeypatch):
    calls, honest = [], layers_module.spectral_norm
    monkeypatch.setattr(layers_module, "spectral_norm", lambda w: calls.append(1) or honest(w))
    layer, near, far = (Linear(np.diag([1.0, value])) for value in (1.0, 2.0, 5.0))
    assert [round(layer.distance(other), 9) for other in (near, far, near, far)] == [1, 4, 1, 4]
    assert len(calls) == 2
