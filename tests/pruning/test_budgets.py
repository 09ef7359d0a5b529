"""Budgets are exact to the weight, whatever the scores: ties, zeros, neurons of one weight."""

import math
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from hypothesis import given, strategies as st

from lqtheory.pruning import global_ranking, keep_rule, keep_rule_at_total, kept_total, uniform
from lqtheory.pruning.budgets import _rule

BUDGETS = (uniform, global_ranking, keep_rule_at_total)


@st.composite
def networks(draw) -> list[np.ndarray]:
    """Scores of up to three layers, drawn from few values so that ties and zeros are common."""
    layers = []
    for _ in range(draw(st.integers(1, 3))):
        shape = draw(st.integers(1, 5)), draw(st.integers(1, 6))
        values = draw(
            st.lists(st.sampled_from([0.0, 0.0, 1e-300, 0.5, 1.0, 1.0, 3.0, 1e300]), min_size=30, max_size=30)
        )
        layers.append(np.resize(values, shape))
    return layers


def neurons(layers) -> int:
    return sum(len(layer) for layer in layers)


def size(layers) -> int:
    return sum(layer.size for layer in layers)


@pytest.mark.parametrize("budget", BUDGETS)
@given(networks(), st.data())
def test_counts_are_exact_and_no_neuron_is_empty_or_overfull(budget, layers, data):
    total = data.draw(st.integers(neurons(layers), size(layers)))
    counts = budget(layers, total)
    assert [c.shape for c in counts] == [(len(layer),) for layer in layers]
    assert sum(int(c.sum()) for c in counts) == total
    for layer, c in zip(layers, counts, strict=True):
        assert np.all(c >= 1)
        assert np.all(c <= layer.shape[1])


@pytest.mark.parametrize("budget", [uniform, global_ranking])
@given(networks(), st.data())
def test_neurons_may_be_emptied_when_asked(budget, layers, data):
    total = data.draw(st.integers(0, size(layers)))
    counts = budget(layers, total, least=0)
    assert sum(int(c.sum()) for c in counts) == total


@pytest.mark.parametrize("budget", BUDGETS)
def test_less_than_one_weight_per_neuron_is_refused(budget):
    with pytest.raises(ValueError, match=r"weights to keep must be a whole number in \[3, 6\], got .*=2"):
        budget([np.ones((3, 2))], 2)


@given(networks(), st.data())
def test_uniform_gives_each_neuron_its_quota_rounded_up_or_down(layers, data):
    total = data.draw(st.integers(0, size(layers)))
    for layer, counts in zip(layers, uniform(layers, total, least=0), strict=True):
        quota = Fraction(total * layer.shape[1], size(layers))
        assert set(counts.tolist()) <= {math.floor(quota), math.ceil(quota)}


@given(networks(), st.data())
def test_global_ranking_keeps_the_largest_scores_of_all(layers, data):
    total = data.draw(st.integers(0, size(layers)))
    counts = global_ranking(layers, total, least=0)
    kept = [
        np.sort(row)[::-1][:k] for layer, c in zip(layers, counts, strict=True) for row, k in zip(layer, c, strict=True)
    ]
    expected = np.sort(np.concatenate([layer.ravel() for layer in layers]))[::-1][:total]
    np.testing.assert_array_equal(np.sort(np.concatenate(kept))[::-1], expected)


@given(networks(), st.data())
def test_keep_rule_at_totals_is_nested(layers, data):
    total = data.draw(st.integers(neurons(layers), size(layers) - 1)) if neurons(layers) < size(layers) else None
    if total is not None:
        fewer, more = keep_rule_at_total(layers, total), keep_rule_at_total(layers, total + 1)
        assert all(np.all(a <= b) for a, b in zip(fewer, more, strict=True))


@given(networks(), st.floats(-0.9, 10), st.sampled_from([0.1, 0.5, 0.9]))
def test_keep_rule_against_its_definition(layers, eta, q):
    for layer, counts in zip(layers, keep_rule(layers, eta, q), strict=True):
        for row, count in zip(layer, counts, strict=True):
            assert count in allowed_counts(row, eta, q)


def allowed_counts(row, eta, q) -> set[int]:
    """The definition at 50 digits; both neighbours where it is a whole number up to rounding."""
    if not row.any():
        return {1}
    with mpmath.workdps(50):
        w = [mpmath.mpf(float(a)) for a in row if a > 0]
        exponent = mpmath.mpf(q)
        number = (sum(a**exponent for a in w) ** (1 / exponent) / sum(w)) ** (exponent / (1 - exponent))
        wanted = number * (1 + mpmath.mpf(eta)) ** (-1 / (1 - exponent))
        ends = mpmath.ceil(wanted * (1 - mpmath.mpf("1e-11"))), mpmath.ceil(wanted * (1 - mpmath.mpf("1e-13")))
    return {min(max(int(end), 1), len(row)) for end in ends}


@given(networks(), st.floats(0, 5))
def test_keep_rule_at_total_meets_the_rule_at_its_own_total(layers, eta):
    counts = keep_rule(layers, eta)
    again = keep_rule_at_total(layers, sum(int(c.sum()) for c in counts))
    for a, b in zip(counts, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_group_log_of_may_2022_keeps_83363_of_118016_weights():
    d, normalised_index, q = 118_016, 1.4157, 0.5
    effective = np.array([d * normalised_index ** (-q / (1 - q))])
    assert _rule(1.0, effective, np.array([d])).tolist() == [83_363]


def test_flat_neurons_keep_everything_at_eta_zero():
    assert keep_rule([np.full((1, 118_016), 0.1)], eta=0)[0].tolist() == [118_016]


@given(st.integers(1, 10**9), st.integers(0, 999))
def test_kept_total_rounds_half_up_in_decimals(n, thousandths):
    exact = (1000 - thousandths) * n
    assert kept_total(n, thousandths / 1000) == (2 * exact + 1000) // 2000


def test_kept_total_keeps_all_at_sparsity_zero_and_refuses_one():
    assert kept_total(7, 0.0) == 7
    with pytest.raises(ValueError, match=r"sparsity must lie in \[0, 1\), got sparsity=1"):
        kept_total(7, 1.0)


@pytest.mark.parametrize(
    ("eta", "q", "message"), [(-1, 0.5, "eta must be above -1"), (0, 1.0, "q must lie in"), (0, 0, "q must lie in")]
)
def test_keep_rule_refuses(eta, q, message):
    with pytest.raises(ValueError, match=message):
        keep_rule([np.ones((1, 2))], eta, q)
