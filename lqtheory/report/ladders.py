"""The part of a report about a verification run: bounds beside measurements."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from ..records import Record, violations
from .charts import series_chart, swatch
from .page import Block, Figure, Panels, Section
from .svg import BOTTOM, TOP, Axis, log_axis, percent, short, tenths
from .tables import Cell, Column, Table

TIERS = {
    "A": "closed form: quasi-norms of the weights alone",
    "B": "weights only: exact tails, norms of the layers",
    "C": "with activations: second moments on the data",
    "D": "each input by itself",
    "E": "regions: all inputs within a radius",
    "F": "path metric",
    "G": "statistical, for the population",
    "H": "telescoped: measured layer by layer",
}
STYLES = {tier: f"s{k} d{k}" for k, tier in enumerate("ABCDEFGH", start=1)}
MEASURED = "s0 d0"
QUANTITIES = {
    "output_error": "output error ‖f − f̂‖",
    "changed_predictions": "share of changed predictions",
    "harm": "share of inputs lost",
}
MAX_ROWS = 2000  # of the table of all records; the rest stays in the file


def records_section(source: str, records: Sequence[Record]) -> Section:
    """The section of the records of `lqtheory verify` or `demo`."""
    bad = violations(records)
    tiers = sorted({r.tier for r in records})
    figures = [
        ("bounds beside measurements", f"{len(records):,}", f"tiers {', '.join(tiers)}"),
        ("violated", str(bad), "anything but 0 is a bug of the first rank"),
        ("vacuous", percent(sum(r.vacuous for r in records) / len(records)), "say no more than knowing nothing"),
    ]
    if dense := records[0].setting.get("dense_accuracy"):
        figures.append(("accuracy of the dense network", tenths(dense), records[0].setting.get("data", "")))
    title = f"{records[0].setting.get('network', source)}, pruned and verified"
    blocks = [ladder_block(records), *accuracy_block(records), *shares_block(records), all_block(records)]
    return Section(title, "verification", words(records), figures, [block for block in blocks if block.items])


def words(records: Sequence[Record]) -> list[str]:
    """The answer, in a few sentences."""
    bad = violations(records)
    said = [
        f"{len(records):,} bounds are set beside measurements; "
        + ("none is violated." if not bad else f"{bad} ARE VIOLATED, which is a bug in lqtheory: please report it.")
    ]
    if data := records[0].setting.get("data"):
        said.append(f"Everything is measured on {data}, and the bounds are about these very inputs.")
    errors = [r for r in records if r.setting.get("quantity") == "output_error" and not r.vacuous]
    for tier, mine in groupby(sorted(errors, key=lambda r: r.tier), key=lambda r: r.tier):
        ratios = sorted(r.tightness for r in mine)
        said.append(
            f"Where bound {tier} says something about the output error, it is {short(ratios[0])} to "
            f"{short(ratios[-1])} times what was measured (median {short(ratios[len(ratios) // 2])})."
        )
    harm = [r for r in records if r.setting.get("quantity") == "harm" and r.bound <= 0.05 and not r.vacuous]
    if harm:
        best = max(harm, key=lambda r: (r.sparsity, -r.bound))
        said.append(
            f"The sparsest network that provably loses at most 5 % of these inputs has sparsity "
            f"{percent(best.sparsity)} ({best.setting.get('method', 'pruned')}; bound {best.tier} allows "
            f"{percent(best.bound)}, measured are {percent(best.measured)})."
        )
    return said


def _grouped(records: Sequence[Record]) -> dict[tuple[str, str], list[Record]]:
    """(method, quantity) -> records, in the order in which they appear."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for r in records:
        key = str(r.setting.get("method", "pruned")), str(r.setting.get("quantity", "bound"))
        groups.setdefault(key, []).append(r)
    order = list(QUANTITIES)
    return dict(sorted(groups.items(), key=lambda pair: order.index(pair[0][1]) if pair[0][1] in order else len(order)))


def ladder_block(records: Sequence[Record]) -> Block:
    """The bounds of each tier above the measurement, for each method and quantity."""
    figures = [
        _ladder(f"ladder{k}", method, quantity, mine)
        for k, ((method, quantity), mine) in enumerate(_grouped(records).items())
    ]
    text = (
        "Each tier knows more than the one before and promises more. The distance between the lowest bound and the "
        "measurement is what the theory does not know. Move the slider, or the pointer over the chart, to read one "
        "sparsity; in the grey region a bound is true but says nothing."
    )
    return Block("Ladder of bounds", text, [Panels("method and quantity", figures)])


def _ladder(group: str, method: str, quantity: str, records: Sequence[Record]) -> Figure:
    tiers = sorted({r.tier for r in records})
    by_tier = {t: {r.sparsity: r for r in records if r.tier == t} for t in tiers}
    sparsities = sorted({r.sparsity for r in records})
    at = {s: {t: by_tier[t][s] for t in tiers if s in by_tier[t]} for s in sparsities}
    measured = [(s, next(iter(at[s].values())).measured) for s in sparsities]
    series = {f"bound {t}": [(s, r.bound) for s, r in sorted(by_tier[t].items())] for t in tiers} | {
        "measured": measured
    }
    styles = {f"bound {t}": STYLES.get(t, MEASURED) for t in tiers} | {"measured": MEASURED}
    trivial = records[0].setting.get("trivial")
    values = [v for points in series.values() for _, v in points]
    name = QUANTITIES.get(quantity, quantity)
    bands = {s: _reading(s, at[s]) for s in sparsities}
    svg = series_chart(f"{method}: {name}", series, styles, log_axis(values, BOTTOM, TOP), name, bands, group, trivial)
    legend = [(swatch(styles[f"bound {t}"]), f"bound {t}, {TIERS.get(t, '')}") for t in tiers]
    columns = (
        Column("sparsity", "", False),
        Column("measured"),
        *(Column(f"bound {t}", "in brackets where vacuous") for t in reversed(tiers)),
        Column("best / measured", "the lowest bound over what was measured"),
        Column("violated"),
    )
    rows = [(percent(s), _ladder_row(at[s], tiers)) for s in sparsities]
    table = Table(
        f"{method}: {name}, numbers", columns, rows, filtered=False, points=[f"{group}-{k}" for k in range(len(rows))]
    )
    sources = ", ".join(sorted({r.source for r in records}, key=lambda s: (len(s), s)))
    return Figure(
        svg,
        f"{method}: {name}. Proofs: {sources} of docs/theory.md.",
        [(swatch(MEASURED), "measured"), *legend],
        table,
        slider=True,
        label=f"{method} – {name}",
    )


def _reading(sparsity: float, tiers: Mapping[str, Record]) -> str:
    """What a reader is told at one sparsity."""
    parts = [f"bound {t} {short(r.bound)}{' (vacuous)' if r.vacuous else ''}" for t, r in reversed(list(tiers.items()))]
    return f"{percent(sparsity)} sparsity: measured {short(next(iter(tiers.values())).measured)}, {', '.join(parts)}"


def _ladder_row(at: Mapping[str, Record], tiers: Sequence[str]) -> list[Cell]:
    best = min(at.values(), key=lambda r: r.bound)
    bounds = [_bound_cell(at.get(t)) for t in reversed(tiers)]
    measured = Cell(short(best.measured), best.measured)
    return [
        measured,
        *bounds,
        Cell(short(best.tightness), min(best.tightness, 1e300)),
        Cell(str(violations(at.values())), violations(at.values())),
    ]


def _bound_cell(record: Record | None) -> Cell:
    if record is None:
        return Cell("–")
    text = short(record.bound)
    return Cell(f"({text})" if record.vacuous else text, min(record.bound, 1e300))


def accuracy_block(records: Sequence[Record]) -> list[Block]:
    """Accuracy of the pruned networks by method, and the best that any tier guarantees."""
    harm = [r for r in records if r.setting.get("quantity") == "harm" and "certified_accuracy" in r.setting]
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


def shares_block(records: Sequence[Record]) -> list[Block]:
    """Which layer wastes the bound, where the records say so (`setting["shares"]`: layer -> share)."""
    known = [
        r for r in records if isinstance(r.setting.get("shares"), dict) and r.setting.get("quantity") == "output_error"
    ]
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
