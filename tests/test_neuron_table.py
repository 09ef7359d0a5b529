"""What is said of all neurons together, with values in pieces, in memory that does not grow."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import arrays

from lqtheory import indices, neuron_table as tables
from lqtheory.measure import group_norms
from lqtheory.neuron_table import NeuronTable, summary
from lqtheory.profile import Profile
from lqtheory.shelf import Desk, Held, Shelf

numbers = st.one_of(st.floats(allow_nan=True), st.sampled_from([0.0, -0.0, 1.0, np.inf, 0.5, np.nextafter(0.5, 1)]))


@given(arrays(np.float64, st.integers(1, 200), elements=numbers), st.integers(0, 200))
def test_the_summary_of_pieces_is_that_of_the_whole(values, cut):
    column = tuple(Held(part) for part in (values[:cut], values[cut:]))
    known = values[~np.isnan(values)]
    with pytest.MonkeyPatch.context() as patch, np.errstate(over="ignore", invalid="ignore"):
        patch.setattr(tables, "FEW", 3)
        found = summary(column)
        assert found["undefined"] == values.size - known.size
        if known.size:
            middle = np.sort(known)[[(known.size - 1) // 2, known.size // 2]]
            assert found["median"] == pytest.approx(middle.sum() / 2, nan_ok=True)
            assert (found["min"], found["max"]) == (known.min(), known.max())
            assert found["mean"] == pytest.approx(known.sum() / known.size, rel=1e-9, abs=1e-9, nan_ok=True)
        else:
            assert np.isnan(found["median"])


def test_the_median_of_many_values(monkeypatch):
    monkeypatch.setattr(tables, "FEW", 100)
    values = np.random.default_rng(0).standard_cauchy(30_001)
    for size in (30_000, 30_001):
        column = tuple(Held(part) for part in np.array_split(values[:size], 7))
        assert summary(column)["median"] == np.median(values[:size])


@pytest.mark.parametrize("top", [1.0, 1e300])
def test_the_norms_of_many_neurons_are_binned(top, tolerance, monkeypatch):
    norms = np.abs(np.random.default_rng(1).standard_normal(5000)) * top
    norms[:3] = 0
    with np.errstate(divide="ignore"):
        blocks = [NeuronTable.of_block(np.log(part), 0, {}, Desk()) for part in np.array_split(norms, 6)]
    table, truth = NeuronTable.joined(blocks), Profile.of(norms)
    assert indices.gini(group_norms(table)) == pytest.approx(indices.gini(truth), rel=1e-12)
    monkeypatch.setattr("lqtheory.measure.FEW", 1000)
    binned = group_norms(table)
    assert (binned.d, binned.zeros) == (5000, 3)
    assert not binned.exact
    for index in (indices.gini, indices.hoyer, lambda p: indices.pq_index(p, 0.5, 1)):
        assert index(binned) == pytest.approx(index(truth), rel=tolerance["histogram"])


def test_a_shelf_gives_back_what_was_put_there(monkeypatch):
    monkeypatch.setattr("lqtheory.shelf.IN_MEMORY", 100)
    shelf = Shelf()
    kept = [shelf.put(np.full(40, float(k))) for k in range(5)]
    assert float(kept[1]()[7]) == 1
    kept.append(shelf.put(np.full(40, 5.0)))  # behind the others, wherever was read last
    assert [float(each()[7]) for each in kept[::-1]] == [5, 4, 3, 2, 1, 0]
