"""Bars, points and bands show the numbers they are given."""

import pytest
from matplotlib.figure import Figure

from lqtheory.plot_bars import bands, bars, tightness_by_tier


@pytest.fixture
def ax():
    return Figure().subplots()


def test_each_value_has_a_bar_of_its_length_with_its_text(ax):
    assert bars({"first": {"B": 0.5, "C": 0.25}, "second": {"C": 0.75}}, ax, "{:.2f}".format) is ax
    widths = {each.get_label(): [bar.get_width() for bar in each] for each in ax.containers}
    assert widths == {"B": [0.5], "C": [0.25, 0.75]}
    assert [text.get_text() for text in ax.texts] == ["0.50", "0.25", "0.75"]
    b, c = ax.containers
    assert [round(bar.get_y() + bar.get_height() / 2, 9) for bar in (*b, *c)] == [-0.2, 0.2, 1.2]


def test_series_differ_without_colour(ax):
    bars({"one": {str(k): 1.0 for k in range(8)}}, ax)
    assert len({container[0].get_hatch() for container in ax.containers}) == 8


def test_points_stand_over_their_tier(ax):
    tightness_by_tier({"net": {"B": [10.0, 20.0], "C": [2.0]}, "other": {"C": [3.0]}}, ax)
    net, other = ax.get_lines()[:2]
    assert [(round(x), y) for x, y in zip(*net.get_data(), strict=True)] == [(0, 10), (0, 20), (1, 2)]
    assert [(round(x), y) for x, y in zip(*other.get_data(), strict=True)] == [(1, 3)]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["B", "C"]


def test_a_band_reaches_from_the_least_to_the_most(ax):
    bands({"lq": [(0.5, 0.8, 0.9, 0.95), (0.9, 0.4, 0.5, 0.7)]}, ax)
    assert list(ax.get_lines()[0].get_ydata()) == [0.9, 0.5]
    (band,) = ax.collections
    assert {tuple(corner) for corner in band.get_paths()[0].vertices} == {
        (0.5, 0.8),
        (0.5, 0.95),
        (0.9, 0.4),
        (0.9, 0.7),
    }


def test_accuracies_within_a_percent_have_different_labels(ax):
    bands({"lq": [(0.5, 0.97, 0.974, 0.976), (0.9, 0.96, 0.966, 0.968)]}, ax)
    ax.get_figure().draw_without_rendering()
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert len(set(labels)) == len(labels)
