"""The part of a report about two or more networks."""

from typing import Any

from .charts import dumbbell, lead_chart, lorenz_chart, stroke
from .network_words import short_name
from .page import Block, Figure, Section
from .svg import percent, short
from .tables import Cell, Column, Table, number_cell

Row = dict[str, Any]

FALLING = ("effective_number", "weights_needed")  # smaller is more compressible
COUNTS = ("effective_number", "weights_needed", "sparsity_index")  # depend on d
DOMINATES = (
    "its Lorenz curve lies above everywhere, so every index agrees that rises when the same sum is held more unequally."
)
VERDICTS = {
    "A": "for A",
    "B": "for B",
    "equal": "equal",
    "crossing": "crossing",
    "undefined": "without a verdict, as all weights of one are zero",
}
SCALED = ("lq_norm",)  # depends on the scale of the weights, says nothing by itself


def comparison_section(document: Row) -> Section:
    """The section of a comparison, `schema` lqtheory/comparison/1."""
    names = ", ".join(f"{label} {short_name(row['source'])}" for label, row in document["networks"].items())
    blocks = [ranking_block(document), curves_block(document), indices_block(document), tensors_block(document)]
    figures = [
        (f"PQ index of {row['label']}", f"{row['pq_index[0.5,1]']:.3f}", f"{row['parameters']:,} weights")
        for row in document["ranking"]
    ]
    verdict = {"A": "A dominates", "B": "B dominates"}.get(str(document["verdict"]), str(document["verdict"]))
    figures.insert(0, ("verdict on A and B", verdict, "by the Lorenz curves, without choosing q"))
    return Section(names, "comparison", words(document), figures, blocks)


def words(document: Row) -> list[str]:
    """The answer, in a few sentences."""
    networks, verdict = document["networks"], document["verdict"]
    crossings, margins = document["crossings"], document["margins"]
    said = [
        f"{label} is {short_name(row['source'])} ({row['analysed']:,} weights analysed)."
        for label, row in networks.items()
    ]
    said.append(
        {
            "A": f"A is more compressible than B: {DOMINATES}",
            "B": f"B is more compressible than A: {DOMINATES}",
            "equal": "A and B are equally compressible: their Lorenz curves coincide.",
        }.get(
            verdict,
            f"Neither dominates: the Lorenz curves cross {'once' if len(crossings) == 1 else f'{len(crossings)} times'}"
            + (f", first at {percent(crossings[0]['weights'])} of the weights" if crossings else "")
            + ". Which one is the more compressible depends on how much is kept, and indices may disagree.",
        )
    )
    said.append(
        f"As large a share of the weights, the largest first, holds at most {percent(margins['A'])} more of the sum of "
        f"magnitudes in A than in B, and at most {percent(margins['B'])} more in B than in A."
    )
    rows = [row["verdict"] or "undefined" for row in document["tensors"]]
    if rows:
        parts = [f"{rows.count(v)} {text}" for v, text in VERDICTS.items() if v in rows]
        said.append(f"{len(rows)} tensors match by name and shape: {', '.join(parts)}.")
    else:
        said.append("No tensors match by name and shape, so only the whole networks are compared.")
    return said


def ranking_block(document: Row) -> Block:
    """The networks from the most to the least compressible."""
    columns = (
        Column("network", "", False),
        Column("file", "", False),
        Column("weights"),
        Column("zeros"),
        Column("PQ", "PQ index I(0.5,1) of all weights"),
        Column("dominates", "networks whose Lorenz curve lies below everywhere", False),
    )
    rows = [
        (
            row["label"],
            [
                Cell(short_name(row["source"])),
                Cell(f"{row['parameters']:,}", row["parameters"]),
                Cell(percent(row["zeros"] / row["parameters"]), row["zeros"] / row["parameters"]),
                number_cell(row["pq_index[0.5,1]"]),
                Cell(", ".join(row["dominates"]) or "none"),
            ],
        )
        for row in document["ranking"]
    ]
    return Block(
        "Ranking", "From the most to the least compressible.", [Table("Networks", columns, rows, filtered=False)]
    )


def curves_block(document: Row) -> Block:
    """The Lorenz curves; they need outlines."""
    drawn = {label: row["outline"]["lorenz"] for label, row in document["networks"].items() if row.get("outline")}
    if not drawn:
        text = (
            "Lorenz curves need the weights. This report was made from a JSON document; make it from the checkpoints "
            f"to have them: lqtheory report {' '.join(row['source'] for row in document['networks'].values())}"
        )
        return Block("Lorenz curves", text)
    figure = Figure(
        lorenz_chart(drawn),
        "How much of the sum of all magnitudes the largest weights hold. The higher curve is the more compressible.",
        [(stroke(f"series s{k} d{k}"), label) for k, label in enumerate(drawn)] + [(stroke("equal"), "all equal")],
    )
    others = {f"{label} − B": curve for label, curve in drawn.items() if label != "B"}
    lead = Figure(
        lead_chart(others, drawn["B"], "B"),
        "The distance of the curves: where it is above zero, the network holds more of its sum of magnitudes than B in "
        "as large a share of its weights. A crossing is a change of sign.",
        [(stroke(f"series s{k} d{k}"), name) for k, name in enumerate(others)],
    )
    return Block("Lorenz curves", "The verdict that depends on no q.", [figure, lead])


def indices_block(document: Row) -> Block:
    """Every index of every network, with the interval of A − B."""
    labels = list(document["networks"])
    same = len({row["parameters"] for row in document["ranking"]}) == 1
    columns = (
        Column("index", "", False),
        *(Column(label) for label in labels),
        Column("A − B"),
        Column(f"{percent(document['confidence'])} interval", "of A − B, by resampling neurons", False),
        Column("more compressible", "by this index, when the interval leaves zero out", False),
    )
    rows = [
        (
            name,
            [
                *(Cell(short(row[label]), row[label]) for label in labels),
                Cell(short(row["difference"]), row["difference"]),
                Cell(_interval(row["interval"])),
                Cell(_says(name, row, same)),
            ],
        )
        for name, row in sorted(document["indices"].items(), key=lambda item: item[0].startswith(SCALED))
    ]
    text = (
        "The interval says how far the difference of A and B may come from which neurons there happen to be. Where the "
        "two networks differ in size, counts of weights are not compared; the PQ, Gini and Hoyer indices are free of "
        "size and scale."
    )
    return Block("Indices", text, [Table("Indices of the whole networks", columns, rows)])


def _interval(interval: list[float] | None) -> str:
    return "–" if not interval or None in interval else f"{short(interval[0])} to {short(interval[1])}"


def _says(name: str, row: Row, same_size: bool) -> str:
    family = name.split("[")[0]
    if family in SCALED or row["difference"] is None:
        return "says nothing"
    if family in COUNTS and not same_size:
        return "depends on size"
    interval = row["interval"]
    if not interval or None in interval:
        return "no interval"
    if interval[0] <= 0 <= interval[1]:
        return "undecided"
    return "A" if (interval[0] > 0) != (family in FALLING) else "B"


def tensors_block(document: Row) -> Block:
    """The tensors that A and B have in common."""
    key = next((k for row in document["tensors"] for k in row["indices"] if k == "pq_index[0.5,1]"), None)
    if key is None:
        return Block("Layer by layer", "A and B have no tensors in common by name and shape.")
    columns = (
        Column("tensor", "", False),
        Column("shape", "", False),
        Column("verdict", "by the Lorenz curves", False),
        Column("PQ of A"),
        Column("PQ of B"),
        Column("A − B"),
        Column("from 0 to 1", "PQ index: A a disc, B a ring", False),
        Column("Gini of A"),
        Column("Gini of B"),
    )
    rows = [_tensor_row(row, key) for row in document["tensors"]]
    text = "Tensors with the same name and shape in both networks. A larger PQ or Gini index is more compressible."
    return Block("Layer by layer", text, [Table("Tensors in common", columns, rows)])


def _tensor_row(row: Row, key: str) -> tuple[str, list[Cell]]:
    shape = Cell("×".join(map(str, row["shape"])))
    verdict = Cell(row["verdict"] or "undefined")
    pq, gini = row["indices"].get(key), row["indices"].get("gini")
    if not pq or not gini or None in (pq["A"], pq["B"], gini["A"], gini["B"]):
        return row["name"], [shape, verdict, *(Cell("–") for _ in range(6))]
    line = Cell(dumbbell(pq["A"], pq["B"]))
    numbers = [number_cell(pq[k]) for k in ("A", "B", "difference")]
    return row["name"], [shape, verdict, *numbers, line, number_cell(gini["A"]), number_cell(gini["B"])]
