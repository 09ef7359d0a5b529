"""The records of `lqtheory bound` as tables."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..ladder import steps_of_proof
from ..records import Record, violations
from ..terminal import Grid, percent, text

if TYPE_CHECKING:
    import pandas as pd

SHORT = {"C weighted": "Cw", "D uniform": "Du"}
LAYERS = {
    "layer C": "Output error of each layer relative to its output, exactly",
    "layer norms": "The same, bounded from the norms of the layer's inputs alone",
    "layer B": "The same, bounded from the size of the layer's inputs alone",
}
COLUMNS = ("tier", "source", "sparsity", "bound", "measured", "tightness", "vacuous", "violated")


def frame(found: Sequence[Record]) -> "pd.DataFrame":
    """One row for each record."""
    import pandas as pd

    rows = [
        {"method": r.setting["method"], "quantity": r.setting["quantity"], **{c: getattr(r, c) for c in COLUMNS}}
        for r in found
    ]
    return pd.DataFrame(rows)


def ladder_text(found: Sequence[Record]) -> str:
    """Everything that the command has to say, one table below the other."""
    first = found[0].setting
    curve = [r for r in found if not r.setting["quantity"].startswith("sparsity at")]
    parts: list[Grid | str] = []
    titles = {
        "output_error": "Output error, root mean square, and what each tier allows (*: answering zero does as well)",
        "harm": "Share of inputs the network gets wrong only when pruned, and what each tier allows (*: vacuous)",
        "changed_predictions": "Share of inputs with another prediction, and what each tier allows (*: vacuous)",
        "agreement": "Share of inputs with the same prediction in a whole ball: promised, and not refuted by search",
    }
    for quantity, title in titles.items():
        if mine := [r for r in curve if r.setting["quantity"] == quantity]:
            parts += [title, over_sparsity(mine), ""]
    for tier in dict.fromkeys(r.tier for r in curve if r.setting["quantity"] == "layer_error"):
        mine = [r for r in curve if r.tier == tier]
        parts += [f"{LAYERS[tier]}, over the sparsity (*: dropping it does as well)", layer_errors(mine), ""]
    for quantity in dict.fromkeys(r.setting["quantity"] for r in found if r not in curve):
        mine = [r for r in found if r.setting["quantity"] == quantity]
        limit = mine[0].setting["limit"]
        parts += [f"Largest {quantity.replace('_', ' ')} of at most {limit:g}", largest(mine), ""]
        for method in dict.fromkeys(r.setting["method"] for r in mine):
            parts += [f"Share of each layer that is dropped then, {method}", on_layers(mine, method), ""]
    if (steps := steps_table(curve)) is not None:
        parts += ["Where the bound is lost: factor of each step of the proof", steps, ""]
    if (layers := layers_table(curve)) is not None:
        parts += ["Where the bound is lost: share of each layer, over the sparsity", layers, ""]
    about = (
        f"{first['network']} on {first['data']} ({first['samples']:,} inputs), {first['method']}; dense accuracy "
        f"{first['dense_accuracy']:.1%}."
    )
    remark = "Cw: C in weighted norms. Du: D for every network with these row tails. G: for the population."
    return text(about, "", *parts, remark, f"{len(found)} bounds, {violations(found)} violated.")


def over_sparsity(records: Sequence[Record]) -> Grid:
    """Measured, then one column for each tier; tier G has its own measurement, which is on the held-out data."""
    tiers = list(dict.fromkeys(r.tier for r in records))
    table = Grid("sparsity", "measured", *[SHORT.get(tier, tier) for tier in tiers])
    at = {(r.sparsity, r.tier): r for r in records}
    for sparsity in dict.fromkeys(r.sparsity for r in records):
        row = {tier: at[sparsity, tier] for tier in tiers if (sparsity, tier) in at}
        measured = next(r.measured for tier, r in row.items() if tier != "G" or len(row) == 1)
        cells = [f"{row[t].bound:.2g}{'*' if row[t].vacuous else ' '}" if t in row else "-" for t in tiers]
        table.add_row(f"{sparsity:.1%}", f"{measured:.3g}", *cells)
    return table


def layer_errors(records: Sequence[Record]) -> Grid:
    """One row for each layer, one column for each sparsity."""
    at = {(r.setting["layer"], r.sparsity): r for r in records}
    sparsities = list(dict.fromkeys(r.sparsity for r in records))
    table = Grid("layer", *[f"{sparsity:.1%}" for sparsity in sparsities])
    for layer in dict.fromkeys(r.setting["layer"] for r in records):
        row = [at[layer, sparsity] for sparsity in sparsities]
        table.add_row(layer, *[f"{r.bound:.3g}{'*' if r.vacuous else ' '}" for r in row])
    return table


def largest(records: Sequence[Record]) -> Grid:
    """For each tier the sparsity that it guarantees, and the measured one."""
    table = Grid("pruned by", "tier", "guaranteed", "measured")
    for r in records:
        table.add_row(r.setting["method"], r.tier, percent(r.bound), percent(r.measured))
    return table


def on_layers(records: Sequence[Record], method: str) -> Grid:
    """How the sparsity that each tier guarantees falls on the layers."""
    mine = [r for r in records if r.setting["method"] == method]
    table = Grid("layer", *[SHORT.get(r.tier, r.tier) for r in mine])
    for layer in mine[0].setting["layers"]:
        table.add_row(layer, *[percent(r.setting["layers"][layer]) for r in mine])
    return table


def steps_table(records: Sequence[Record]) -> Grid | None:
    """The factors between the rungs, down to the measurement; None where there is nothing to compare."""
    rows = steps_of_proof(records)
    names = list(dict.fromkeys(name for row in rows for name in row["factors"]))
    if not names:
        return None
    table = Grid("sparsity", *map(_step, names))
    for row in rows:
        cells = [f"{row['factors'][name]:.3g}" if name in row["factors"] else "-" for name in names]
        table.add_row(f"{row['sparsity']:.1%}", *cells)
    return table


def _step(name: str) -> str:
    for word in ("lq ", "exact ", "per "):
        name = name.replace(word, "")
    return name.replace(" to ", " → ")


def layers_table(records: Sequence[Record]) -> Grid | None:
    """The share of each layer in tier C, or in the first tier that has shares."""
    known = [r for r in records if "shares" in r.setting and r.setting["quantity"] == "output_error"]
    if not known:
        return None
    tier = "C" if any(r.tier == "C" for r in known) else known[0].tier
    mine = [r for r in known if r.tier == tier]
    table = Grid(f"layer (tier {tier})", *[f"{r.sparsity:.1%}" for r in mine])
    for layer in mine[0].setting["shares"]:
        table.add_row(layer, *[percent(r.setting["shares"][layer]) for r in mine])
    return table
