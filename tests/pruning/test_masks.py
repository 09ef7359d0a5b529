"""Masks keep what the counts say, by rank and by one tie rule; methods put scores, budgets and masks together."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from lqtheory.pruning import (
    Layer,
    Method,
    global_ranking,
    keep_rule_at_total,
    kept_total,
    largest_scores,
    magnitude,
    uniform,
    wanda,
)
from lqtheory.pruning.masks import keeps_largest

scores = arrays(np.float64, (3, 5), elements=st.sampled_from([0.0, 1.0, 1.0, 2.0, 1e-310]))


@given(scores, arrays(np.int64, 3, elements=st.integers(0, 5)))
def test_each_row_keeps_its_largest_scores_and_of_equal_ones_the_first(s, counts):
    mask = largest_scores(s, counts)
    for row, kept, k in zip(s, mask, counts, strict=True):
        expected = sorted(range(5), key=lambda j: (-row[j], j))[:k]
        assert np.flatnonzero(kept).tolist() == sorted(expected)


def test_scores_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="scores must be numbers, got 1 NaN of 2"):
        largest_scores(np.array([[np.nan, 1.0]]), np.array([1]))


@pytest.mark.parametrize("budget", [uniform, global_ranking, keep_rule_at_total])
@pytest.mark.parametrize("score", [magnitude, wanda, lambda layer: np.ones_like(layer.weight)])
@given(scores, scores, st.sampled_from([0.0, 0.25, 0.5, 0.75]))
def test_methods_keep_exactly_the_total(budget, score, a, b, sparsity):
    layers = [Layer("a", a, np.arange(5.0)), Layer("b", -b, np.ones(5))]
    masks = Method("any", score, budget).masks(layers, sparsity)
    assert sum(int(mask.sum()) for mask in masks.values()) == kept_total(30, sparsity)


@given(scores, arrays(np.int64, 3, elements=st.integers(0, 5)))
def test_magnitude_masks_keep_the_largest(w, counts):
    assert keeps_largest(-w, largest_scores(w, counts))


def test_a_mask_that_drops_the_largest_is_noticed():
    assert not keeps_largest(np.array([[1.0, -2.0]]), np.array([[True, False]]))


def test_wanda_by_hand_and_without_data():
    layer = Layer("fc", np.array([[3.0, -1.0], [0.5, 2.0]]), np.array([1.0, 10.0]))
    np.testing.assert_array_equal(wanda(layer), [[3.0, 10.0], [0.5, 20.0]])
    with pytest.raises(ValueError, match="got none for tensor 'fc'"):
        wanda(Layer("fc", layer.weight))
