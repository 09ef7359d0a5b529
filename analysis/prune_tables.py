"""The tables about pruned language models and about the memory that pruning takes, made from their records."""

from collections.abc import Callable

import series

from lqtheory import records
from lqtheory.records import Record

Rows = list[list[str]]
SHARES, OF_HEADS = (0.5, 0.6, 0.7, 0.8, 0.9), (0.125, 0.25, 0.5, 0.75)
NAMES = {
    "heads by least squares": "by least squares, re-fitted",
    "heads by magnitude, least squares": "by magnitude, re-fitted",
    "heads by magnitude": "by magnitude",
    "SparseGPT": "SparseGPT, the same density in every layer",
    "Wanda": "Wanda, the same density in every neuron",
    "Wanda, least squares": "Wanda, the same density in every neuron, least squares",
}


def points() -> list[Record]:
    """One record of each pruned language model."""
    return series.where(records.read(series.RESULTS / "prune_language_model.jsonl"), quantity="harm")


def perplexities() -> Rows:
    """The method first that is best at 80 %."""
    found = [r for r in points() if not r.setting["method"].startswith("heads")]
    return by_method("perplexity", found, SHARES, 0.8, lambda r: f"{r.setting['perplexity']:.2f}")


def perplexities_without_heads() -> Rows:
    """The method first that is best at a half."""
    found = [r for r in points() if r.setting["method"].startswith("heads")]
    return by_method("perplexity without heads", found, OF_HEADS, 0.5, lambda r: f"{r.setting['perplexity']:.2f}")


def lost_bytes() -> Rows:
    """Tier G beside what was counted."""
    found = [r for r in points() if not r.setting["method"].startswith("heads")]
    return by_method(
        "next bytes lost", found, SHARES, 0.8, lambda r: f"{100 * r.bound:.1f} % ({100 * r.measured:.1f} %)"
    )


def by_method(
    what: str, found: list[Record], shares: tuple[float, ...], at: float, cell: Callable[[Record], str]
) -> Rows:
    """A row for each method, ordered by perplexity at one share."""
    rows: dict[str, dict[float, Record]] = {}
    for r in found:
        rows.setdefault(r.setting["method"], {})[r.sparsity] = r
    dense = found[0].setting["dense_perplexity"]
    order = sorted(rows, key=lambda method: rows[method][at].setting["perplexity"])
    head = [f"{what} (dense {dense:.2f})" if what.startswith("perplexity") else what, *(percent(s) for s in shares)]
    return [head, *([NAMES.get(m, m), *(cell(rows[m][s]) for s in shares)] for m in order)]


def percent(share: float) -> str:
    """A share as tables have it."""
    return f"{100 * share:g} %"


def memory() -> Rows:
    rows = [["magnitude with the re-fit, in place, MB", "weights", "before", "more at the peak", "of it held"]]
    found = series.lines(series.RESULTS / "prune_memory.jsonl")
    keys = ("weights_mb", "before_mb", "peak_mb", "held_mb")
    return rows + [[str(row["network"]), *(f"{row[key]:,.0f}" for key in keys)] for row in found]


def facts() -> list[tuple[str, str]]:
    """Sentences of the page with numbers of the records."""
    found = records.read(series.RESULTS / "prune_language_model.jsonl")
    layers, (steps,) = sum(r.setting.get("layers", 0) for r in found), {r.setting["steps"] for r in found}
    return [
        ("experiments_pruning.md", f"{len(points())} pruned models, {layers:,} bounds of layers"),
        ("experiments_pruning.md", f"trains one, in {steps:,} steps"),
    ]


TABLES = (perplexities, lost_bytes, perplexities_without_heads, memory)
