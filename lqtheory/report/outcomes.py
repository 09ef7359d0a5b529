"""What became of the pruned networks: accuracy and its guarantee, the layers behind a bound, all records."""

from collections.abc import Sequence
from typing import Any

from ..records import Record
from .charts import series_chart, swatch
from .page import Block, Figure
from .svg import BOTTOM, TOP, Axis, percent, short, tenths
from .tables import Cell, Column, Table

MAX_ROWS = 2000  # of the table of all records; the rest stays in the file


def at_a_limit(record: Record) -> bool:
    """Whether the record bounds a sparsity at which a quantity keeps a limit, and not a quantity at a sparsity."""
    return str(record.setting.get("quantity", "")).startswith("sparsity at ")


def limits_block(records: Sequence[Record]) -> Block:
    """How sparse each tier promises that the network may be, in all and by layer."""
    mine = [r for r in records if at_a_limit(r)]
    layers = list(dict.fromkeys(layer for r in mine for layer in r.setting.get("layers", {})))
    columns = (
        Column("method", "", False),
        Column("limit", "on which quantity", False),
        Column("tier", "", False),
        Column("promised", "the sparsest network for which this tier promises the limit"),
        Column("measured", "the sparsest that keeps the limit"),
        *(Column(layer, "sparsity of this layer in the promised network") for layer in layers),
    )
    rows = [
        (
            str(r.setting.get("method", "pruned")),
            [
                Cell(
                    f"{r.setting['quantity'].removeprefix('sparsity at ').replace('_', ' ')} ≤ {r.setting['limit']:g}"
                ),
                Cell(r.tier),
                Cell(tenths(r.bound), r.bound, bar=r.bound),
                Cell(tenths(r.measured), r.measured, bar=r.measured),
                *(_layer(r, layer) for layer in layers),
            ],
        )
        for r in mine
    ]
    text = (
        "The question turned round: how many weights may go so that the limit is kept? Each tier promises one network; "
        "its layers are as sparse as the columns say."
    )
    return Block(
        "Sparsity at a limit",
        text,
        [Table("Largest sparsities, and the budget of each layer", columns, rows)] if mine else [],
    )


def _layer(record: Record, layer: str) -> Cell:
    share: Any = record.setting.get("layers", {}).get(layer)
    return Cell("–") if share is None else Cell(tenths(share), share)


def accuracy_block(records: Sequence[Record]) -> list[Block]:
    """Accuracy of the pruned networks by method, and the best that any tier guarantees."""
    harm = [
        r
        for r in records
        if r.setting.get("quantity") == "harm" and "certified_accuracy" in r.setting and r.tier != "G"
    ]
    methods = list(dict.fromkeys(str(r.setting.get("method", "pruned")) for r in harm))
    if not harm:
        return []
    sparsities = sorted({r.sparsity for r in harm})
    found = {
        (m, s): [r for r in harm if r.sparsity == s and str(r.setting.get("method", "pruned")) == m]
        for m in methods
        for s in sparsities
    }
    series, styles, legend = {}, {}, []
    for k, method in enumerate(methods):
        points = [(s, found[method, s]) for s in sparsities if found[method, s]]
        series[f"{method}, measured"] = [(s, rs[0].setting["accuracy"]) for s, rs in points]
        series[f"{method}, guaranteed"] = [(s, _guaranteed(rs)) for s, rs in points]
        styles[f"{method}, measured"], styles[f"{method}, guaranteed"] = f"s{k} d0", f"s{k} d1 open"
        legend += [(swatch(styles[key]), key) for key in (f"{method}, measured", f"{method}, guaranteed")]
    bands = {
        s: f"{percent(s)} sparsity: "
        + "; ".join(
            f"{m} {tenths(rs[0].setting['accuracy'])}, guaranteed {tenths(_guaranteed(rs))}"
            for m in methods
            if (rs := found[m, s])
        )
        for s in sparsities
    }
    axis = Axis(0, 1, BOTTOM, TOP)
    svg = series_chart("Accuracy by method", series, styles, axis, "accuracy on the sample", bands, "accuracy")
    columns = (Column("sparsity", "", False), *(Column(m, "measured (guaranteed)") for m in methods))
    rows = [
        (
            percent(s),
            [
                Cell(f"{tenths(rs[0].setting['accuracy'])} ({tenths(_guaranteed(rs))})", rs[0].setting["accuracy"])
                if (rs := found[m, s])
                else Cell("–")
                for m in methods
            ],
        )
        for s in sparsities
    ]
    table = Table(
        "Accuracy, and in brackets what is guaranteed",
        columns,
        rows,
        filtered=False,
        points=[f"accuracy-{k}" for k in range(len(rows))],
    )
    dense = harm[0].setting.get("dense_accuracy")
    caption = (
        "Solid: accuracy of the pruned network. Dashed: what the best bound guarantees on the same inputs, the dense "
    )
    caption += (
        f"network having {tenths(dense)}." if dense is not None else "accuracy minus the inputs that may be lost."
    )
    text = "The pruned network may be far better than promised, never worse."
    return [Block("Accuracy and its guarantee", text, [Figure(svg, caption, legend, table, slider=True)])]


def _guaranteed(records: Sequence[Record]) -> float:
    return max(r.setting["certified_accuracy"] for r in records)


def shares_of(records: Sequence[Record]) -> list[Record]:
    """The records of output errors that say how the layers share in the bound (`setting["shares"]`: layer -> share)."""
    errors = [r for r in records if r.setting.get("quantity") == "output_error"]
    return [r for r in errors if isinstance(r.setting.get("shares"), dict) and r.setting["shares"]]


def words_on_shares(records: Sequence[Record]) -> list[str]:
    """Which layer dominates the bound of the best tier, on average over its records."""
    known = shares_of(records)
    if not known:
        return []
    tier = max((r.tier for r in known if r.tier != "H"), default="H")  # H is told afterwards
    mine = [r.setting["shares"] for r in known if r.tier == tier]
    mean = {layer: sum(shares.get(layer, 0.0) for shares in mine) / len(mine) for layer in mine[0]}
    layer = max(mean, key=lambda name: mean[name])
    return [f"{layer} dominates bound {tier}: {percent(mean[layer])} of it on average."]


def shares_block(records: Sequence[Record]) -> list[Block]:
    """Which layer wastes the bound, where the records say so (`setting["shares"]`: layer -> share)."""
    known = shares_of(records)
    if not known:
        return []
    layers = list(dict.fromkeys(layer for r in known for layer in r.setting["shares"]))
    columns = (
        Column("method", "", False),
        Column("tier", "", False),
        Column("sparsity"),
        *(Column(layer) for layer in layers),
    )
    rows = [
        (
            str(r.setting.get("method", "pruned")),
            [Cell(r.tier), Cell(percent(r.sparsity), r.sparsity), *(_share(r, layer) for layer in layers)],
        )
        for r in known
    ]
    text = (
        "The bound is a sum over layers of local error times the gain to the output; here is each layer's share of it."
    )
    return [Block("Which layer the bound is made of", text, [Table("Shares of the bound", columns, rows)])]


def _share(record: Record, layer: str) -> Cell:
    share: Any = record.setting["shares"].get(layer)
    return Cell("–") if share is None else Cell(percent(share), share, bar=share)


def all_block(records: Sequence[Record]) -> Block:
    """Every record, to sort and to filter."""
    columns = (
        Column("method", "", False),
        Column("quantity", "", False),
        Column("tier", "", False),
        Column("proof", "", False),
        Column("sparsity"),
        Column("measured"),
        Column("bound"),
        Column("bound / measured"),
        Column("vacuous", "", False),
        Column("violated", "", False),
    )
    rows = [
        (
            str(r.setting.get("method", "pruned")),
            [
                Cell(str(r.setting.get("quantity", "bound")).replace("_", " ")),
                Cell(r.tier),
                Cell(r.source),
                Cell(percent(r.sparsity), r.sparsity),
                Cell(short(r.measured), r.measured),
                Cell(short(r.bound), min(r.bound, 1e300)),
                Cell(short(r.tightness), min(r.tightness, 1e300)),
                Cell("vacuous" if r.vacuous else ""),
                Cell("VIOLATED" if r.violated else "no"),
            ],
        )
        for r in records[:MAX_ROWS]
    ]
    more = (
        f" The first {MAX_ROWS:,} of {len(records):,}; all of them are in the file." if len(records) > MAX_ROWS else ""
    )
    return Block("All records", f"One row per bound and measurement.{more}", [Table("Records", columns, rows)])
