"""Scores against their published formulas, on numbers worked by hand."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from lqtheory.pruning.scores import Layer, by_gain, lamp, magnitude, random, surgeon, variance, wanda

weights = arrays(np.float64, (3, 4), elements=st.sampled_from([0.0, 1.0, -1.0, 2.5, -3.0, 1e-200, 1e200]))


def test_wanda_by_hand():
    layer = Layer("fc", np.array([[3.0, -1.0], [0.5, 2.0]]), np.array([1.0, 10.0]))
    np.testing.assert_array_equal(wanda(layer), [[3.0, 10.0], [0.5, 20.0]])


def test_variance_by_hand():
    layer = Layer("fc", np.array([[3.0, -1.0]]), covariance=np.array([[4.0, 1.0], [1.0, 0.25]]))
    np.testing.assert_array_equal(variance(layer), [[6.0, 0.5]])


def test_lamp_by_hand():
    """Squares 1, 4, 9, 16 in rising order: 1/30, 4/29, 9/25, 16/16."""
    np.testing.assert_allclose(lamp(Layer("fc", np.array([[4.0, -1.0], [2.0, -3.0]]))), [[1, 1 / 30], [4 / 29, 9 / 25]])


@given(weights)
def test_lamp_against_its_definition(w):
    scores, squares = lamp(Layer("fc", w)), (w / max(np.abs(w).max(), 1e-300)).ravel() ** 2
    order = sorted(range(w.size), key=lambda k: (abs(w.ravel()[k]), -k))  # of equal magnitudes the first is the larger
    for place, k in enumerate(order):
        whole = sum(squares[j] for j in order[place:])
        assert scores.ravel()[k] == pytest.approx(squares[k] / whole if whole else 0.0, rel=1e-12)


@given(weights, st.sampled_from([1e-3, 1.0, 7.0]))
def test_lamp_does_not_depend_on_the_scale_of_the_layer(w, scale):
    np.testing.assert_allclose(lamp(Layer("a", scale * w)), lamp(Layer("a", w)), rtol=1e-9)


def test_surgeon_is_the_error_of_dropping_one_weight_and_refitting_the_others():
    rng = np.random.default_rng(0)
    h = rng.normal(size=(500, 4)) @ rng.normal(size=(4, 4))
    w = rng.normal(size=4)
    centred = h - h.mean(axis=0)
    scores = surgeon(Layer("fc", w[None], covariance=centred.T @ centred / 500), ridge=0)[0]
    for j in range(4):
        rest = np.delete(centred, j, axis=1)
        best = np.linalg.lstsq(rest, centred @ w, rcond=None)[0]
        assert scores[j] == pytest.approx(np.sqrt(np.mean((centred @ w - rest @ best) ** 2)), rel=1e-9)


def test_gain_multiplies_rows():
    layer = Layer("fc", np.array([[1.0, -2.0], [3.0, 4.0]]), gain=lambda: np.array([10.0, 1.0]))
    np.testing.assert_array_equal(by_gain(magnitude)(layer), [[10.0, 20.0], [3.0, 4.0]])


def test_random_scores_are_those_of_the_seed_and_the_layer():
    first, second = (Layer("a", np.ones((2, 3)), position=k) for k in (0, 1))
    np.testing.assert_array_equal(random(1)(first), random(1)(first))
    assert not np.array_equal(random(1)(first), random(1)(second))
    assert not np.array_equal(random(1)(first), random(2)(first))


@pytest.mark.parametrize("score", [wanda, variance, surgeon, by_gain(magnitude)])
def test_scores_that_need_data_say_so(score):
    with pytest.raises(ValueError, match=r"must have calibration data .* got none for tensor 'fc'"):
        score(Layer("fc", np.ones((1, 2))))
