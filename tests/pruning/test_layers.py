"""Budgets of whole layers: published formulas by hand, totals to the weight."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from lqtheory.pruning.layers import (
    by_effective_number,
    erdos_renyi_kernel,
    layer_uniform,
    outlier_weighted,
    sap_pruned,
    within_layers,
)
from lqtheory.pruning.masks import largest_scores, n_of_m

BUDGETS = (layer_uniform, erdos_renyi_kernel, outlier_weighted, by_effective_number)


@st.composite
def networks(draw) -> list[np.ndarray]:
    layers = []
    for _ in range(draw(st.integers(1, 4))):
        shape = draw(st.integers(1, 5)), draw(st.integers(1, 6))
        values = draw(st.lists(st.sampled_from([0.0, 1e-300, 0.5, 1.0, 1.0, 30.0]), min_size=30, max_size=30))
        layers.append(np.resize(values, shape))
    return layers


@pytest.mark.parametrize("budget", BUDGETS)
@given(networks(), st.data())
def test_totals_are_exact_and_no_neuron_is_empty(budget, layers, data):
    neurons, size = sum(len(layer) for layer in layers), sum(layer.size for layer in layers)
    total = data.draw(st.integers(neurons, size))
    counts = budget(layers, total, [layer.shape for layer in layers])
    assert sum(int(c.sum()) for c in counts) == total
    for layer, c in zip(layers, counts, strict=True):
        assert np.all((c >= 1) & (c <= layer.shape[1]))


def test_too_few_weights_are_refused():
    with pytest.raises(ValueError, match=r"must lie in \[3, 6\], got 2"):
        layer_uniform([np.ones((3, 2))], 2)


def test_erdos_renyi_kernel_by_hand():
    """Sums of sides over products: 4+2+3+3 = 12 over 72, and 4+4 = 8 over 16.

    Shares in the ratio 12 : 8, so 36 weights are 21.6 and 14.4; of 46 the second would get 18.4, more than it has.
    """
    conv, linear = np.ones((4, 18)), np.ones((4, 4))
    counts = erdos_renyi_kernel([conv, linear], 36, [(4, 2, 3, 3), (4, 4)])
    assert [int(c.sum()) for c in counts] == [22, 14]
    capped = erdos_renyi_kernel([conv, linear], 46, [(4, 2, 3, 3), (4, 4)])
    assert [int(c.sum()) for c in capped] == [30, 16]


def test_owl_by_hand():
    """Shares of outliers 0 and 1/4, scaled to 0 and 2 x 0.08: two layers of equal size get 0.5 -+ 0.08."""
    even, spiky = np.ones((10, 20)), np.tile(np.array([100.0, 0, 0, 0]), (10, 5))
    counts = outlier_weighted([even, spiky], 200, m=3.0)
    assert [int(c.sum()) for c in counts] == [84, 116]


def test_effective_numbers_share_out_the_budget():
    flat, single = np.ones((1, 8)), np.array([[5.0, 0, 0, 0, 0, 0, 0, 0]])
    counts = by_effective_number([flat, single], 9)
    assert [int(c.sum()) for c in counts] == [8, 1]


def test_a_dense_total_is_dense():
    assert [c.tolist() for c in within_layers([np.ones((2, 3)), np.ones((1, 2))], 8, np.array([0.0, 1.0]))] == [
        [3, 3],
        [2],
    ]


def test_sap_by_hand():
    """(p, q) = (1, 2): r = (sum |w|)^2 / sum w^2 / (1 + eta)^2 = 100/30 -> 4 of 4; 16/10 -> 2 of 4; eta = 1: 1."""
    assert sap_pruned(np.array([4.0, 3, 2, 1]), 1, 2, eta=0, gamma=1, beta=0.9) == 0
    spiky = np.array([3.0, 1, 0, 0])
    assert sap_pruned(spiky, 1, 2, eta=0, gamma=1, beta=0.9) == 2
    assert sap_pruned(spiky, 1, 2, eta=1, gamma=1, beta=0.9) == 3
    assert sap_pruned(spiky, 1, 2, eta=0, gamma=0.5, beta=0.9) == 1
    assert sap_pruned(np.array([1.0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), 1, 2, eta=0, gamma=9, beta=0.5) == 5


@given(networks(), st.integers(1, 4), st.data())
def test_n_of_m_keeps_n_of_every_aligned_group(layers, m, data):
    n = data.draw(st.integers(1, m))
    for scores in layers:
        kept = n_of_m(scores, n, m)
        for start in range(0, scores.shape[1], m):
            group, part = kept[:, start : start + m], scores[:, start : start + m]
            np.testing.assert_array_equal(group.sum(axis=1), min(n, part.shape[1]))
            np.testing.assert_array_equal(group, largest_scores(part, np.full(len(part), n)))
