"""Theorem 22: the terms are the changes of one layer at a time, their sum bounds the whole, tier C bounds each."""

from itertools import pairwise

import numpy as np
import pytest

from lqtheory.bounds import forward, second_moments, telescoped, tier_c


def test_the_sum_bounds_the_whole_and_each_term_is_one_layer(random_case, rms):
    for seed in range(300):
        dense, pruned, x = random_case(seed)
        bound = telescoped(dense, pruned, x)
        assert not bound.violated(rms(forward(dense, x) - forward(pruned, x)))
        mixed = [[*dense[:level], *pruned[level:]] for level in range(len(dense) + 1)]
        outputs = [forward(layers, x) for layers in mixed]
        terms = [rms(a - b) for a, b in pairwise(outputs)]
        np.testing.assert_allclose(bound.local, terms, rtol=1e-12, atol=1e-300)
        promised = tier_c(dense, pruned, second_moments(dense, x)).contributions
        assert all(term <= most for term, most in zip(terms, promised, strict=True))


def test_one_pruned_layer_is_the_whole_error(random_case, rms):
    dense, pruned, x = random_case(7)
    for level in range(len(dense)):
        one = [*dense[:level], pruned[level], *dense[level + 1 :]]
        bound = telescoped(dense, one, x)
        assert bound.value == pytest.approx(rms(forward(dense, x) - forward(one, x)), rel=1e-12)
        assert bound.shares[level] == pytest.approx(1) or bound.value < 1e-300
