"""Over layers and q, magnitudes, budgets: where in a network something is to be had."""

from collections.abc import Callable, Sequence

from ..outline import FINE, outline
from ..profile import Profile
from .charts import histogram_chart, lead_chart, lorenz_chart, stroke
from .network_words import Row, effective_share
from .page import Block, Figure, Panels
from .svg import NO_BREAK, percent
from .tables import Cell, Column, Table


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
