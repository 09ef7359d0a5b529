"""The part of a report about a verification run: bounds beside measurements."""

from collections.abc import Mapping, Sequence
from itertools import groupby

from ..records import Record, violations
from .charts import series_chart, swatch
from .outcomes import accuracy_block, all_block, at_a_limit, limits_block, shares_block, words_on_shares
from .page import Block, Figure, Panels, Section
from .svg import BOTTOM, TOP, Axis, log_axis, percent, short, tenths
from .tables import Cell, Column, Table

TIERS = {
    "A": "closed form: quasi-norms of the weights alone",
    "B": "weights only: exact tails, norms of the layers",
    "C": "with activations: second moments on the data",
    "C weighted": "the same, in the best norms of the hidden layers",
    "D": "each input by itself",
    "D uniform": "each input, all networks with the same row tails",
    "E": "regions: all inputs within a radius",
    "F": "path metric",
    "G": "statistical, for the population",
    "H": "telescoped: measured layer by layer",
}
STYLES = {tier: f"s{k} d{k}" for k, tier in enumerate("ABCDEFGH", start=1)}
STYLES |= {"C weighted": "s3 d8 open", "D uniform": "s4 d8 open"}
MEASURED = "s0 d0"
QUANTITIES = {
    "output_error": "output error ‖f − f̂‖",
    "changed_predictions": "share of changed predictions",
    "harm": "share of inputs lost",
    "agreement": "share of inputs with one answer in a whole region",
}
LOWER = ("agreement",)  # quantities that are bounded from below


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
    curves = [r for r in records if not at_a_limit(r)]
    blocks = [
        ladder_block(curves),
        limits_block(records),
        *accuracy_block(records),
        *shares_block(records),
        all_block(records),
    ]
    return Section(title, "verification", words(records), figures, [block for block in blocks if block.items])


def words(records: Sequence[Record]) -> list[str]:
    """The answer, in a few sentences."""
    bad = violations(records)
    said = [
        f"{len(records):,} bounds are set beside measurements; "
        + ("none is violated." if not bad else f"{bad} ARE VIOLATED, which is a bug in lqtheory: please report it.")
    ]
    if data := records[0].setting.get("data"):
        said.append(f"Everything is measured on {data}; the bounds are about these very inputs, but for tier G.")
    errors = [r for r in records if r.setting.get("quantity") == "output_error" and not r.vacuous]
    ratios = {
        tier: sorted(r.tightness for r in mine)
        for tier, mine in groupby(sorted(errors, key=lambda r: r.tier), key=lambda r: r.tier)
    }
    if ratios:
        medians = ", ".join(f"{tier} {short(found[len(found) // 2])}" for tier, found in ratios.items())
        said.append(
            "Where they say something about the output error, the bounds are so many times what was measured (median): "
            f"{medians}."
        )
    said += words_on_shares(records)
    harm = [r for r in records if r.setting.get("quantity") == "harm" and r.bound <= 0.05 and r.tier != "G"]
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
    lower = quantity in LOWER
    axis = Axis(0, 1, BOTTOM, TOP) if lower else log_axis(values, BOTTOM, TOP)
    name = QUANTITIES.get(quantity, quantity)
    bands = {s: _reading(s, at[s]) for s in sparsities}
    region = None if lower else trivial
    svg = series_chart(f"{method}: {name}", series, styles, axis, name, bands, group, region)
    legend = [(swatch(styles[f"bound {t}"]), f"bound {t}, {TIERS.get(t, '')}") for t in tiers]
    columns = (
        Column("sparsity", "", False),
        Column("measured"),
        *(Column(f"bound {t}", "in brackets where vacuous") for t in reversed(tiers)),
        Column("best / measured", "the best bound and what was measured, the larger over the smaller"),
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
    promises = [r for r in at.values() if r.tier != "H"] or list(at.values())  # H is told afterwards
    best = min(promises, key=lambda r: r.tightness)
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
