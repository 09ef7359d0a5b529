"""Tables fit the terminal: names break at dots, columns that do not fit go below."""

from pathlib import Path

import numpy as np
import pytest

from lqtheory.analysis import analyze
from lqtheory.cli.bound_tables import ladder_text
from lqtheory.comparison import compare
from lqtheory.records import read
from lqtheory.terminal import WIDTH, Grid, analysis_table, broken, comparison_table, text


def grid(columns):
    table = Grid("layer", *[f"column {k}" for k in range(columns)])
    for layer in ("encoder.layer.0.attention.self.query.weight", "fc"):
        table.add_row(layer, *[f"{k}.{k}" for k in range(columns)])
    return table


@pytest.mark.parametrize("columns", [1, 5, 30])
def test_every_cell_is_there_once_and_no_line_is_too_long(columns):
    lines = text(grid(columns)).splitlines()
    assert max(map(len, lines)) <= WIDTH
    words = " ".join(lines).split()
    assert all(words.count(f"{k}.{k}") == 2 for k in range(columns))
    tables = sum(line.startswith("layer") for line in lines)
    assert tables == {1: 1, 5: 1, 30: 6}[columns]
    assert words.count("fc") == tables


def test_names_break_behind_dots_and_nothing_is_lost():
    name = "embeddings.position_embeddings.weight"
    assert broken(name, 20).split("\n") == ["embeddings.", "position_embeddings.", "weight"]
    assert broken(name, 80) == name
    assert broken("", 5) == ""


@pytest.mark.parametrize("scope", ["neuron", "tensor", "network"])
def test_an_analysis_fits(scope):
    name = "encoder.layer.0.attention.output.dense.weight"
    shown = analysis_table(analyze({name: np.random.default_rng(0).standard_normal((30522, 8))}), scope)
    assert max(map(len, shown.splitlines())) <= WIDTH
    assert "PQ" in shown.splitlines()[0]


def test_a_comparison_fits_and_says_which_is_sparser():
    rng = np.random.default_rng(0)
    a, b = ({"w": rng.standard_normal((64, 64)) ** power, "zero": np.zeros((2, 2))} for power in (1, 3))
    shown = comparison_table(compare(a, b))
    assert max(map(len, shown.splitlines())) <= WIDTH
    rows = {line.split("  ")[0]: line.split()[-1] for line in shown.splitlines() if "  " in line}
    assert rows["N/d"] == rows["PQ"] == rows["kept for 10% error"] == "B"
    assert "B 1, undefined 1" in " ".join(shown.split())


def test_counts_of_networks_of_different_sizes_decide_nothing():
    rng = np.random.default_rng(0)
    shown = comparison_table(compare({"w": rng.standard_normal((64, 64))}, {"w": rng.standard_normal((8, 64)) ** 3}))
    rows = {line.split("  ")[0]: line.split()[-1] for line in shown.splitlines() if "  " in line}
    assert rows["N/d"] == rows["kept for 10% error"] == "-"
    assert rows["PQ"] == "B"


def test_the_ladder_of_a_deep_network_fits():
    found = read(Path(__file__).parents[1] / "analysis" / "results" / "train_certified.jsonl")
    shown = ladder_text([r for r in found if r.setting["network"] == "four hidden layers"])
    assert max(map(len, shown.splitlines())) <= WIDTH
    for part in ("Largest sparsity at harm of at most 0.01", "8.weight", "Cw", "envelope → tail"):
        assert part in shown
