"""The figures of the zoo show the correlations, intervals and points of the records."""

import pytest
from matplotlib.figure import Figure

from lqtheory import plot_zoo


@pytest.fixture
def ax():
    return Figure().subplots()


def correlation(truth, index, values, family="mlp"):
    return {"quantity": "correlation", "family": family, "truth": truth, "index": index, "spearman": values}


def test_each_correlation_stands_on_the_row_of_its_index_with_its_interval(ax):
    records = [
        correlation("global", "network gini", [0.5, 0.25, 0.75]),
        correlation("layer", "first_order layer truncated", [0.9, 0.8, 1.0]),
        correlation("global", "network gini", [0.0, 0.0, 0.0], family="cnn"),
        {"quantity": "spread", "family": "mlp"},
    ]
    plot_zoo.correlations(records, "mlp", ax)
    labels = [label.get_text() for label in ax.get_yticklabels()]
    drawn = {c.get_label(): c for c in ax.containers}
    ((value, row),) = drawn["global"][0].get_xydata()
    assert (value, labels[round(row)]) == (0.5, "Gini")
    ((start, end),) = drawn["global"][2][0].get_segments()
    assert (start[0], end[0]) == (0.25, 0.75)
    ((value, row),) = drawn["layer"][0].get_xydata()
    assert (value, labels[round(row)]) == (0.9, "predicted, first order")


def test_points_lie_where_prediction_and_truth_say(ax):
    points = [[0.5, 0.6], [0.7, 0.65]]
    records = [
        {"quantity": "points", "family": family, "truth": scope, "points": points}
        for family in ("mlp", "cnn")
        for scope in ("neuron", "global")
    ]
    plot_zoo.predicted(records, "cnn", ax)
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.get_lines()}
    assert lines["global"] == lines["neuron"] == points
    assert "layer" not in lines
