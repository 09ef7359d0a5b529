"""The part of a report about one network."""

from .charts import spark
from .network_maps import budget_block, magnitudes_block, orders_block
from .network_words import Row, effective_share, middle_q, short_name, words
from .page import Block, Section
from .svg import percent, short
from .tables import Cell, Column, Table, number_cell, share_cell


def network_section(document: Row) -> Section:
    """The section of an analysis, `schema` lqtheory/analysis/1; what needs outlines is left out, and says so."""
    network = document["network"]
    blocks = [coverage_block(document), tensors_block(document)]
    if network["indices"]:
        blocks += [orders_block(document), magnitudes_block(document), budget_block(document)]
    return Section(short_name(document["source"]), "one network", words(document), key_figures(document), blocks)


def key_figures(document: Row) -> list[tuple[str, str, str]]:
    """Name, value and meaning of the figures on top of the page."""
    network, q, coverage = document["network"], middle_q(document), document["coverage"]
    table, d = network["indices"], max(network["parameters"] - network["nonfinite"], 1)
    figures = [("parameters analysed", f"{coverage['analysed']:,}", f"of {coverage['parameters']:,}")]
    if table and table["gini"] is not None:
        ours, noise, null = effective_share(network, q) or 0, effective_share(network, q, "null") or 0, network["null"]
        figures += [
            ("weights that count, N/d", percent(ours), f"noise {percent(noise)}; q = {q}"),
            ("PQ index", f"{table['pq_index'][f'{q},1']:.3f}", f"noise {null['pq_index'][f'{q},1']:.3f}; ({q}, 1)"),
            ("Gini index", f"{table['gini']:.3f}", f"noise {null['gini']:.3f}"),
            ("exact zeros", percent(network["zeros"] / d), f"{network['zeros']:,} weights"),
        ]
    return figures


def coverage_block(document: Row) -> Block:
    """The ledger: each parameter once."""
    coverage = document["coverage"]
    total = max(coverage["parameters"], 1)
    groups: dict[str, list[Row]] = {}
    for entry in coverage["skipped"]:
        groups.setdefault(entry["reason"], []).append(entry)
    rows = [("analysed", len(document["tensors"]), coverage["analysed"])]
    rows += [
        (f"skipped: {reason}", len(group), sum(e["parameters"] for e in group)) for reason, group in groups.items()
    ]
    ledger = Table(
        "Coverage ledger: every parameter is in exactly one row",
        (Column("what", "", False), Column("tensors"), Column("parameters"), Column("share")),
        [
            (what, (Cell(f"{n:,}", n), Cell(f"{count:,}", count), Cell(percent(count / total), count / total)))
            for what, n, count in rows
        ],
        filtered=False,
    )
    kept = coverage.get("buffers", [])
    entries = [(e, "skipped") for e in coverage["skipped"]] + [(e, "buffer, no parameter") for e in kept]
    items = [ledger]
    if entries:
        items.append(
            Table(
                "Tensors that are not analysed, by name",
                (Column("tensor", "", False), Column("entries"), Column("as", "", False), Column("reason", "", False)),
                [
                    (e["name"], (Cell(f"{e['parameters']:,}", e["parameters"]), Cell(kind), Cell(e["reason"])))
                    for e, kind in entries
                ],
                folded=True,
            )
        )
    text = "What was read and what was not. A figure about a network is a figure about the analysed part of it."
    return Block("Coverage", text, items, [f"{note}." for note in coverage.get("notes", [])])


def tensors_block(document: Row) -> Block:
    """The table that `lqtheory analyze` prints, and more columns."""
    q = middle_q(document)
    columns = (
        Column("tensor", "", False),
        Column("shape", "as stored", False),
        Column("weights"),
        Column("zeros", "share of weights that are exactly zero"),
        Column("N/d", f"share of the weights that count: effective number N({q},1) over d"),
        Column("noise", "N/d of Gaussian weights of the same shape"),
        Column("PQ", f"PQ index I({q},1)"),
        Column("Gini"),
        Column("kurtosis", "3 for Gaussian weights; heavy tails make it large"),
        Column("neurons' N/d", "median over the single neurons"),
        Column("magnitudes", "histogram over the four decades below the largest magnitude", False),
        Column("remarks", "", False),
    )
    rows = [_tensor_row(row, q) for row in document["tensors"]]
    if document["network"]["indices"]:
        rows.append(_tensor_row(document["network"] | {"name": "network", "shape": []}, q))
    text = (
        "One row per tensor, the network last. Smaller N/d, and larger PQ, Gini and kurtosis, mean more compressible. "
        "Compare N/d with the column beside it: Gaussian weights have no structure to use."
    )
    return Block("Tensors", text, [Table("Indices by tensor", columns, rows)])


def _tensor_row(row: Row, q: str) -> tuple[str, list[Cell]]:
    table, d = row["indices"], max(row["parameters"] - row["nonfinite"], 1)
    ours, noise = effective_share(row, q), effective_share(row, q, "null")
    spread = row["neurons_summary"].get(f"effective_number[{q}]", {}).get("median")
    fan_in = row.get("fan_in") or (row["parameters"] / row["neurons"] if row["neurons"] else 0)
    median = spread / fan_in if spread is not None and row.get("fan_in") else None
    remarks = [*row["flags"], *(["neuron axis assumed"] if row.get("axis_assumed") else [])]
    cells = [
        Cell("×".join(map(str, row["shape"]))),
        Cell(f"{row['parameters']:,}", row["parameters"]),
        share_cell(row["zeros"] / d),
        share_cell(ours, None if ours is None else 1 - ours),
        share_cell(noise),
        number_cell(table.get("pq_index", {}).get(f"{q},1")),
        number_cell(table.get("gini")),
        Cell(short(table["kurtosis"]), table["kurtosis"]) if table.get("kurtosis") is not None else Cell("–"),
        share_cell(median),
        Cell(spark(row.get("outline") or {})),
        Cell("; ".join(remarks)),
    ]
    return row["name"], cells
