"""The parts of a report about a certificate of `certify` and about the recipe that `prune` writes beside a network."""

import math
from typing import Any

from .charts import series_chart, swatch
from .network_words import short_name
from .page import Block, Figure, Section
from .svg import BOTTOM, TOP, Axis, percent, tenths
from .tables import Cell, Column, Table, breakable

Row = dict[str, Any]
STYLES = {
    "inputs lost, upper limit": "s1 d1",
    "drop of accuracy, upper limit": "s2 d2",
    "limit": "s0 d0",
}


def certificate_section(document: Row) -> Section:
    """Both promises in words, and the path on which they were found."""
    summary = document["summary"].replace(". ", ".\n").split("\n")
    blocks = [path_block(document)] if document["sparsities"] else []
    figures = [
        ("sparsity, by inputs lost", tenths(document["sparsity"]), f"{document['source']}, n = {document['n']:,}"),
        ("sparsity, by accuracy", tenths(document["drop_sparsity"]), f"{document['drop_source']}"),
        ("limit", tenths(document["limit"]), "of inputs, or points of accuracy"),
        ("confidence", percent(document["confidence"]), "for each promise by itself"),
    ]
    return Section("Certified sparsity", "certificate", summary, figures, blocks)


def path_block(document: Row) -> Block:
    """Each step of the path: what was counted, and the upper limits that follow from it."""
    steps, names = document["sparsities"], list(STYLES)
    values = (document["rates"], document["drops"], [document["limit"]] * len(steps))
    series = {name: list(zip(steps, row, strict=True)) for name, row in zip(names, values, strict=True)}
    bands = {
        s: f"{percent(s)} sparsity: at most {at_most(rate)} lost, accuracy at most {at_most(drop)} lower"
        for s, rate, drop in zip(steps, document["rates"], document["drops"], strict=True)
    }
    top = 1.1 * max([document["limit"], *document["rates"], *document["drops"]])
    axis = Axis(min([0.0, *document["drops"]]), top, BOTTOM, TOP)
    columns = (
        Column("sparsity", "", False),
        Column("lost", "held-out inputs that only the dense network gets right"),
        Column("gained", "held-out inputs that only the pruned network gets right"),
        Column("lost at most", "share of the population, at the confidence"),
        Column("accuracy lower by at most", "in the population, at the confidence"),
    )
    rows = [
        (percent(s), [Cell(f"{lost:,}", lost), Cell(f"{won:,}", won), _share(rate), _share(drop)])
        for s, lost, won, rate, drop in zip(
            steps, *(document[key] for key in ("lost", "gained", "rates", "drops")), strict=True
        )
    ]
    table = Table("Steps of the path", columns, rows, False, [f"path-{k}" for k in range(len(rows))])
    svg = series_chart("Upper limits along the path", series, STYLES, axis, "share of the inputs", bands, "path")
    legend = [(swatch(style), name) for name, style in STYLES.items()]
    text = "The path was fixed beforehand and walked from the left up to the first step that breaks both limits."
    caption = f"Method: {document['method']}."
    return Block("Path", text, [Figure(svg, caption, legend, table, slider=True)])


def at_most(limit: float) -> str:
    """An upper limit in percent, rounded up.

    >>> at_most(0.00161).replace("\u00a0", " ")
    '0.2 %'
    """
    return tenths(math.ceil(1000 * limit - 1e-9) / 1000)


def _share(value: float) -> Cell:
    return Cell(at_most(value), value)


def recipe_section(document: Row) -> Section:
    """What was pruned, how, and what stayed in each tensor."""
    rows = document["tensors"]
    kept, weights = (sum(row[key] for row in rows.values()) for key in ("kept", "of"))
    name = short_name(document["source"]["file"])
    words = [
        f"{kept:,} of {weights:,} weights of {name} were kept: {tenths(1 - kept / weights)} sparsity.",
        f"Made by: {document['command']}",
    ]
    figures = [
        ("weights kept", f"{kept:,}", f"of {weights:,}"),
        ("sparsity", tenths(1 - kept / weights), "share of the prunable weights set to zero"),
        ("seed", str(document["seed"]), f"on {document['device']}"),
    ]
    columns = (Column("tensor", "", False), Column("weights"), Column("kept"), Column("share kept"))
    cells = [
        (tensor, [Cell(f"{row['of']:,}", row["of"]), Cell(f"{row['kept']:,}", row["kept"]), _bar(row)])
        for tensor, row in rows.items()
    ]
    settings = [
        (key, [Cell(breakable(str(value)))]) for key, value in document["method"].items() if value not in (None, [], "")
    ]
    blocks = [
        Block("Budget per layer", "Which layers paid.", [Table("Weights kept by tensor", columns, cells)]),
        Block(
            "Recipe",
            "The same recipe, seed and versions give the same masks.",
            [Table("Settings", (Column("setting", "", False), Column("value", "", False)), settings, filtered=False)],
        ),
    ]
    return Section(f"{name}, pruned", "recipe of prune", words, figures, blocks)


def _bar(row: Row) -> Cell:
    share = row["kept"] / row["of"]
    return Cell(percent(share), share, bar=share)
