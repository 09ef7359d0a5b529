"""The drawings of training show the records they are given."""

import pytest
from matplotlib.figure import Figure

from lqtheory.plot_training import compression, frontier
from lqtheory.records import Record


@pytest.fixture
def ax():
    return Figure().subplots()


def record(sparsity, penalty, accuracy, share, seed=0):
    setting = {"penalty": penalty, "accuracy": accuracy, "certified_share": share}
    return Record("D", "", sparsity, 1 - share, 0.0, 0.0, False, False, setting, seed, {}, None, "cpu")


def test_a_line_goes_through_the_strengths_of_one_seed_and_marks_show_all(ax):
    found = [
        record(0.5, "none", 0.9, 0.0),
        record(0.5, "norms and l0", 0.85, 1.0),
        record(0.5, "norms and l0", 0.88, 0.6),
        record(0.5, "norms and l0", 0.87, 0.7, seed=1),
        record(0.7, "norms and l0", 0.85, 0.8),
    ]
    frontier(found, ax)
    line, plain, norms = ax.get_lines()[:3]
    assert list(zip(*line.get_data(), strict=True)) == [(0.85, 1.0), (0.88, 0.6), (0.9, 0.0)]
    assert list(zip(*plain.get_data(), strict=True)) == [(0.9, 0.0)]
    assert list(zip(*norms.get_data(), strict=True)) == [(0.85, 1.0), (0.88, 0.6), (0.87, 0.7)]
    assert plain.get_marker() != norms.get_marker()
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["50% sparsity", "70% sparsity", "none", "norms and l0"]
    assert [text.get_text() for text in ax.texts] == ["0 of 5 violated"]


def test_no_records_are_refused(ax):
    with pytest.raises(ValueError, match="a frontier must have records"):
        frontier([], ax)


def test_each_seed_has_its_mark_over_its_penalty(ax):
    rows = [
        {"setting": {"network": network, "penalty": penalty}, "ratio": ratio}
        for network, penalty, ratio in (("a", "none", 4), ("a", "l0", 9), ("a", "l0", 8), ("b", "l0", 7))
    ]
    compression(rows, "ratio", ax)
    a, b = ax.get_lines()
    assert [(round(x), y) for x, y in zip(*a.get_data(), strict=True)] == [(0, 4), (1, 9), (1, 8)]
    assert [(round(x), y) for x, y in zip(*b.get_data(), strict=True)] == [(1, 7)]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["none", "l0"]
