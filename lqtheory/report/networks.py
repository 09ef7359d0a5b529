"""The part of a report about one network."""

from collections.abc import Callable, Sequence
from pathlib import PurePath
from typing import Any

from ..outline import FINE, outline
from ..profile import Profile
from .charts import histogram_chart, lead_chart, lorenz_chart, spark, stroke
from .page import Block, Figure, Panels, Section
from .svg import NO_BREAK, percent, short
from .tables import Cell, Column, Table

Row = dict[str, Any]


def network_section(document: Row) -> Section:
    """The section of an analysis, `schema` lqtheory/analysis/1; what needs outlines is left out, and says so."""
    network = document["network"]
    blocks = [coverage_block(document), tensors_block(document)]
    if network["indices"]:
        blocks += [orders_block(document), magnitudes_block(document), budget_block(document)]
    return Section(short_name(document["source"]), "one network", words(document), key_figures(document), blocks)


def short_name(source: str) -> str:
    """The last parts of a path; other sources as they are.

    >>> short_name("/data/models/mini/model"), short_name("org/name@main"), short_name("a/net.pt")
    ('mini/model', 'org/name@main', 'net.pt')
    """
    path = PurePath(source)
    return path.name if path.suffix and "@" not in source else "/".join(path.parts[-2:])


def middle_q(document: Row) -> str:
    """The exponent that tables show when there is room for one."""
    return f"{document['qs'][len(document['qs']) // 2]:g}"


def effective_share(row: Row, q: str, table: str = "indices") -> float | None:
    """N_{q,1}/d of a tensor or network: of its weights, or (`null`) of as many Gaussian ones."""
    number = row[table].get("effective_number", {}).get(q)
    return None if number is None else number / (row["parameters"] - row["nonfinite"])


def words(document: Row) -> list[str]:
    """The answer, in a few sentences."""
    coverage, network, q = document["coverage"], document["network"], middle_q(document)
    covered = percent(coverage["analysed"] / coverage["parameters"]) if coverage["parameters"] else "none"
    said = [
        f"{coverage['analysed']:,} of {coverage['parameters']:,} parameters ({covered}) are analysed, in "
        f"{_count(len(document['tensors']), 'tensor')}; the ledger below says what became of the rest."
    ]
    ours, noise = effective_share(network, q), effective_share(network, q, "null")
    if ours is None or noise is None:
        return [*said, "None of the analysed weights is finite and other than zero, so there is nothing to measure."]
    verdict = (
        "more compressible than"
        if ours < noise * 0.98
        else "about as compressible as"
        if ours < noise * 1.02
        else "less compressible than"
    )
    said.append(
        f"The network counts as {percent(ours)} of its weights (effective number, q = {q}); Gaussian noise of its size "
        f"counts as {percent(noise)}. It is {verdict} noise."
    )
    return said + _words_on_tensors(document, q) + _words_on_budget(network) + _words_on_flags(document)


def _words_on_tensors(document: Row, q: str) -> list[str]:
    pairs = [(effective_share(row, q), effective_share(row, q, "null"), row) for row in document["tensors"]]
    known = sorted(((ours / noise, row) for ours, noise, row in pairs if ours and noise), key=lambda pair: pair[0])
    if len(known) < 2:
        return []
    below = sum(ratio < 1 for ratio, _ in known)
    (_, best), (_, worst) = known[0], known[-1]
    every = "Every tensor is" if below == len(known) else f"{below} of {len(known)} tensors are"
    return [
        f"{every} more compressible than Gaussian weights of its shape. Relative to them, the most compressible is "
        f"{best['name']} (it counts as {percent(effective_share(best, q) or 0)}), the least {worst['name']} "
        f"({percent(effective_share(worst, q) or 0)})."
    ]


def _words_on_budget(network: Row) -> list[str]:
    needed, d = network["indices"].get("weights_needed", {}).get("0.1"), network["parameters"] - network["nonfinite"]
    if needed is None:
        return []
    return [
        f"Its largest {percent(needed / d)} of weights hold all but 10 % of the Euclidean norm: this is about weights; "
        "what a network answers without the rest is what lqtheory verify measures."
    ]


def _words_on_flags(document: Row) -> list[str]:
    flagged = [row["name"] for row in document["tensors"] if row["flags"]]
    return (
        [f"{_count(len(flagged), 'tensor')} to look at: {', '.join(flagged[:5])}{', …' if len(flagged) > 5 else ''}."]
        if flagged
        else []
    )


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


def share_cell(value: float | None, shade: float | None = None) -> Cell:
    """A share in percent."""
    return Cell("–") if value is None else Cell(percent(value), value, shade)


def number_cell(value: float | None, shade: float | None = None) -> Cell:
    """An index with three decimals."""
    return Cell("–") if value is None else Cell(f"{value:.3f}", value, shade)


def orders_block(document: Row) -> Block:
    """Heat maps of two indices over tensors and q."""
    rows = [*document["tensors"], document["network"] | {"name": "network"}]
    orders = _orders(document)
    share = _heat_map(
        "Share of the weights that count, N(q,1)/d, in %",
        rows,
        orders,
        lambda s, _: s,
        lambda s: 1 - s,
        lambda s: percent(s).rstrip(f"{NO_BREAK}%"),
    )
    below = [q for q in orders if 0 < float(q) < 1]
    pq = _heat_map(
        "PQ index I(q,1) = 1 − (N(q,1)/d)^(1/q − 1)",
        rows,
        below,
        lambda s, q: 1 - s ** (1 / q - 1),
        lambda v: v,
        lambda v: f"{v:.2f}",
    )
    text = (
        "Darker is more compressible. A small q asks how many weights are not negligible, q near 1 how many carry the "
        "norm; q = 0 counts the non-zeros, q = 1 is the exponential of the entropy. A row that darkens evenly has a "
        "heavy tail; one that is dark from q = 0 on has exact zeros."
    )
    return Block("Over layers and q", text, [Panels("index", [share, pq])])


def _orders(document: Row) -> list[str]:
    """The exponents at which every tensor has its effective share."""
    found = document["network"].get("outline", {}).get("effective_share")
    return list(found) if found else [f"{q:g}" for q in document["qs"]]


def _share_at(row: Row, q: str) -> float | None:
    found = (row.get("outline") or {}).get("effective_share", {}).get(q)
    return effective_share(row, q) if found is None else found


def _heat_map(
    label: str,
    rows: Sequence[Row],
    orders: Sequence[str],
    value: Callable[[float, float], float],
    sparse: Callable[[float], float],
    text: Callable[[float], str],
) -> Table:
    """`value` of the effective share and q in each cell, shaded by `sparse` of it, the largest of all being darkest."""
    shares = [[_share_at(row, q) for q in orders] for row in rows]
    values = [[None if s is None else value(s, float(q)) for s, q in zip(row, orders, strict=True)] for row in shares]
    darkest = max((sparse(v) for row in values for v in row if v is not None), default=1.0) or 1.0
    cells = [[Cell("–") if v is None else Cell(text(v), v, sparse(v) / darkest) for v in row] for row in values]
    columns = (Column("tensor", "", False), *(Column(f"q = {q}") for q in orders))
    body = [(row["name"], line) for row, line in zip(rows, cells, strict=True)]
    return Table(label, columns, body, label=label)


def magnitudes_block(document: Row) -> Block:
    """Lorenz curves and the histogram of magnitudes; they need outlines."""
    network = document["network"]
    drawn = network.get("outline")
    if not drawn:
        text = (
            "Lorenz curves and histograms need the weights. This report was made from a JSON document; make it from "
            f"the checkpoint itself to have them: lqtheory report {document['source']}"
        )
        return Block("Magnitudes", text)
    d = network["parameters"] - network["nonfinite"]
    noise = outline(Profile.gaussian(d), FINE)["lorenz"]
    tensors = {row["name"]: row["outline"]["lorenz"] for row in document["tensors"] if row.get("outline")}
    curves = Figure(
        lorenz_chart({"network": drawn["lorenz"], "Gaussian weights": noise}, tensors if len(tensors) > 1 else None),
        "Lorenz curves: how much of the sum of all magnitudes the largest weights hold. The higher curve is the more "
        "compressible, and where one curve lies above another everywhere, every index agrees. Thin: single tensors.",
        [
            (stroke("series s0 d0"), "network"),
            (stroke("series s1 d1"), "Gaussian weights"),
            (stroke("equal"), "all equal"),
        ]
        + ([(stroke("faint"), "a tensor")] if len(tensors) > 1 else []),
    )
    rms = (network["indices"]["lq_norm"]["2"] or 0.0) / d**0.5
    tail, counted = drawn["tail"], drawn["magnitudes"]
    fit = (
        f"The line is the fit to the largest {percent(tail['share'])}: P(|w| > x) falls as x^−{tail['alpha']:.2f} "
        "(Hill's estimate; smaller exponents are heavier tails). "
        if tail
        else ""
    )
    shape = Figure(
        histogram_chart(drawn, rms),
        f"Histogram of the magnitudes in bins of a tenth of a decade, both axes logarithmic. {fit}Not drawn: "
        f"{counted['zeros']:,} exact zeros and {counted['below']:,} weights below the axis.",
        [
            (stroke("series s1 d1"), "Gaussian weights with the same mean square"),
            *([(stroke("series s3 d0 thick"), f"fitted tail, exponent {tail['alpha']:.2f}")] if tail else []),
        ],
    )
    lead = Figure(
        lead_chart({"network": drawn["lorenz"]}, noise, "Gaussian weights"),
        "The same Lorenz curve as its distance from that of Gaussian weights: above zero the largest weights hold more "
        "of the sum than noise would give them.",
    )
    return Block("Magnitudes", "How unequal the weights are, without choosing any q.", [curves, shape, lead])


def budget_block(document: Row) -> Block:
    """How many weights each tensor needs for a given relative error."""
    errors = sorted(document["network"]["indices"]["weights_needed"], key=float, reverse=True)
    rows = [*document["tensors"], document["network"] | {"name": "network"}]
    columns = (
        Column("tensor", "", False),
        Column("weights"),
        *(
            Column(f"for {100 * float(eps):g} % error", "share of the weights needed, the largest first")
            for eps in errors
        ),
    )
    body = [
        (
            row["name"],
            [
                Cell(f"{row['parameters']:,}", row["parameters"]),
                *(_budget_cell(row, eps) for eps in errors),
            ],
        )
        for row in rows
    ]
    text = (
        "The least share of its weights that each tensor must keep so that what is dropped has at most this share of "
        "its Euclidean norm (Definition 14, exact). A tensor with short bars can be pruned first."
    )
    return Block("Budget per layer", text, [Table("Weights needed, per tensor", columns, body)])


def _budget_cell(row: Row, eps: str) -> Cell:
    needed = row["indices"].get("weights_needed", {}).get(eps)
    if needed is None:
        return Cell("–")
    share = needed / max(row["parameters"] - row["nonfinite"], 1)
    return Cell(percent(share), share, bar=share)


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
