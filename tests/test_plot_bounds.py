"""The stacked figures show what the records say."""

import math
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from lqtheory.ladder import steps_of_proof
from lqtheory.plot_bounds import lost_by_layer, lost_by_step
from lqtheory.records import Record


def record(tier, sparsity, bound, measured=1.0, **setting):
    about = {"method": "m", "quantity": "output_error", **setting}
    tightness = bound / measured
    return Record(tier, "Theorem", sparsity, bound, measured, tightness, False, False, about, 0, {}, None, "cpu")


FOUND = [
    record(tier, sparsity, bound, shares={"first": 0.75, "second": 0.25})
    for sparsity in (0.2, 0.4)
    for tier, bound in (("A", 1e5), ("B", 1e3), ("C", 20.0), ("D", 2.0))
]


def heights(ax):
    return {container.get_label(): [patch.get_height() for patch in container.patches] for container in ax.containers}


def test_steps_are_powers_of_ten_that_stack_to_the_whole():
    ax = lost_by_step(steps_of_proof(FOUND), Figure().subplots())
    drawn = heights(ax)
    assert next(iter(drawn)) == "per input to measured"
    assert drawn["lq envelope to exact tail"] == pytest.approx([2, 2])
    assert drawn["per input to measured"] == pytest.approx([math.log10(2)] * 2)
    assert sum(values[0] for values in drawn.values()) == pytest.approx(5)
    tops = [patch.get_y() + patch.get_height() for patch in ax.containers[-1].patches]
    assert tops == pytest.approx([5, 5])


def test_layers_stack_to_one():
    ax = lost_by_layer(FOUND, "C", Figure().subplots())
    assert heights(ax) == {"first": [0.75, 0.75], "second": [0.25, 0.25]}
    assert ax.containers[1].patches[0].get_y() == 0.75


def test_one_method_at_a_time():
    two = FOUND + [replace(FOUND[0], setting={**FOUND[0].setting, "method": "other"})]
    with pytest.raises(ValueError, match="got 2 methods"):
        lost_by_step(steps_of_proof(two), Figure().subplots())
    with pytest.raises(ValueError, match="got 2 methods"):
        lost_by_layer(two, "A", Figure().subplots())
    with pytest.raises(ValueError, match="got 0 methods"):
        lost_by_layer(FOUND, "E", Figure().subplots())
