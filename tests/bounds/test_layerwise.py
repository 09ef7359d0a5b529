"""Theorem 36: single layers, against the definition at 50 digits, and what is known less being worth less."""

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from mpmath import mp, mpf

from lqtheory.bounds import Moments
from lqtheory.bounds.layerwise import layer_error, layer_error_by_norms, layer_error_by_radius, response_down


def case(seed):
    """A layer of one or two groups, a perturbation, the inputs of each group; sizes from tiny to huge."""
    rng = np.random.default_rng(seed)
    groups, out, d, n = rng.integers(1, 3), rng.integers(1, 4), rng.integers(1, 6), rng.integers(1, 9)
    scale, size = 10.0 ** rng.choice([0, 0, -100, 60], 2)
    weight = rng.standard_t(2, (groups * out, d)) * scale
    change = np.where(rng.random(weight.shape) < rng.random(), weight, 0.0)
    inputs = [rng.normal(rng.normal(), 1, (n, d)) * size for _ in range(groups)]
    shift = rng.normal(size=len(weight)) * scale * size if rng.random() < 0.5 else None
    return weight, change, inputs, shift


def size(weight, inputs, shift=None):
    """The definition: the root of the mean of squares over samples."""
    mp.dps = 50
    total = mpf(0)
    shifts = np.split(np.zeros(len(weight)) if shift is None else shift, len(inputs))
    for block, rows, offset in zip(np.split(weight, len(inputs)), inputs, shifts, strict=True):
        for h in rows:
            for w, b in zip(block, offset, strict=True):
                total += (sum(mpf(float(a)) * mpf(float(x)) for a, x in zip(w, h, strict=True)) + mpf(float(b))) ** 2
    return mp.sqrt(total / len(inputs[0]))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=100)
def test_is_the_definition_rounded_up_and_what_knows_less_is_worth_less(seed, tolerance):
    weight, change, inputs, shift = case(seed)
    moments = [Moments.of(rows) for rows in inputs]
    exact, whole = size(change, inputs, shift), size(weight, inputs)
    assert response_down(weight[: len(weight) // len(inputs)], moments[0]) <= size(
        weight[: len(weight) // len(inputs)], inputs[:1]
    )
    found = [
        bound(weight, change, moments, shift) for bound in (layer_error, layer_error_by_norms, layer_error_by_radius)
    ]
    if whole == 0:
        assert all(bound.value == (0.0 if exact == 0 else np.inf) for bound in found)
        return
    for bound in found:
        assert mpf(bound.value) >= exact / whole
        assert bound.source == "Theorem 36"
    near = np.sqrt(np.sum(np.square(change)) / np.sum(np.square(weight))) > 1e-3 and exact / whole > 1e-2
    if near and (shift is None or all(1e-3 < m.radius < 1e3 for m in moments)):  # else rounding is most of it
        assert found[0].value <= float(exact / whole) * (1 + 1e4 * tolerance["tight"])
    assert found[0].value <= min(found[1].value, found[2].value) * (1 + tolerance["inequality"])


@pytest.mark.parametrize("bound", [layer_error, layer_error_by_norms, layer_error_by_radius])
def test_inputs_whose_squares_underflow_are_covered(bound):
    """An output that almost cancels, of inputs so small that float64 has nothing left of their squares."""
    weight, change, rows = np.array([[1.0, 1.0]]), np.array([[0.5, 0.0]]), np.array([[1e-162, -0.999e-162]])
    assert mpf(bound(weight, change, [Moments.of(rows)]).value) >= size(change, [rows]) / size(weight, [rows])


def test_dropping_a_layer_is_an_error_of_one():
    weight, x = np.array([[1.0, 2.0], [3.0, -4.0]]), np.array([[1.0, 0.5], [-2.0, 1.0]])
    assert layer_error(weight, weight, [Moments.of(x)]).value == pytest.approx(1)
    assert layer_error(weight, 0 * weight, [Moments.of(x)]).value == 0


def test_norms_are_enough_where_inputs_go_together():
    """Equal inputs and weights of one sign: the triangle inequality is an equality."""
    x, weight = np.array([[1.0, 1.0], [2.0, 2.0]]), np.array([[1.0, 3.0]])
    exact, norms, radius = (
        bound(weight, np.array([[1.0, 1.0]]), [Moments.of(x)]).value
        for bound in (layer_error, layer_error_by_norms, layer_error_by_radius)
    )
    assert norms == pytest.approx(exact)
    assert radius == pytest.approx(exact)
    assert exact == pytest.approx(0.5)
