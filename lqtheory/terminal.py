"""Results as tables for a terminal, as CSV and as Markdown."""

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console
from rich.table import Table

from .analysis import Analysis, TensorMeasure
from .comparison import Comparison
from .measure import Measure

if TYPE_CHECKING:
    import pandas as pd


def text(*parts: Any) -> str:
    """Rich renderables as plain text as wide as the terminal, or 80 columns in a pipe."""
    console = Console(file=StringIO(), width=None if Console().is_terminal else 80, highlight=False)
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str) and "\n" in part)
    assert isinstance(console.file, StringIO)
    return "\n".join(line.rstrip() for line in console.file.getvalue().rstrip().split("\n"))


def _table(*columns: str) -> Table:
    """Numbers to the right of names that may wrap."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for k, name in enumerate(columns):
        table.add_column(
            name, justify="right" if k else "left", no_wrap=bool(k), overflow="fold", min_width=0 if k else 20
        )
    return table


def analysis_table(result: Analysis, scope: str) -> str:
    """The network, its tensors or the spread over its neurons; what was skipped; and the summary."""
    q = f"{result.qs[len(result.qs) // 2]:g}"
    legend = (
        f"N/d: share of the weights that count (effective number, q = {q}); noise: the same for Gaussian\n"
        f"weights; PQ: I({q},1). Smaller N/d, larger Gini and PQ: more compressible."
    )
    if scope == "neuron":
        table = _table("neurons of", "neurons", "fan-in", "all zero", "N/d least", "median", "most", "PQ median")
        for each in result.tensors:
            table.add_row(each.tensor.name, *_spread(each, q))
    else:
        table = _table("tensor", "shape", "zeros", "N/d", "", "noise", "Gini", "PQ")
        for each in result.tensors if scope == "tensor" else ():
            mark = " (axis assumed)" if each.tensor.layout.assumed else ""
            table.add_row(each.tensor.name + mark, "×".join(map(str, each.tensor.shape)), *_cells(each.measure, q))
        table.add_row("network", f"{result.network.parameters:,}", *_cells(result.network, q))
    return text(table, "", *_remarks(result), legend, "", result.summary())


def _cells(measure: Measure, q: str) -> list[str]:
    finite = measure.parameters - measure.nonfinite
    if not measure.indices:
        return ["-"] * 6
    share, noise = (table["effective_number"][q] / finite for table in (measure.indices, measure.null))
    bar = "" if np.isnan(share) else "▁▂▃▄▅▆▇█"[min(int(8 * share), 7)]
    gini, pq = measure.indices["gini"], measure.indices["pq_index"][f"{q},1"]
    return [percent(measure.zeros / finite), percent(share), bar, percent(noise), number(gini), number(pq)]


def _spread(each: TensorMeasure, q: str) -> list[str]:
    fan_in, rows = each.scan.neurons.d, each.measure.neurons_summary
    if not rows:
        return ["-"] * 7
    share, pq = rows[f"effective_number[{q}]"], rows[f"pq_index[{q},1]"]
    shares = [percent(share[key] / fan_in) for key in ("min", "median", "max")]
    return [str(each.measure.neurons), str(fan_in), str(share["undefined"]), *shares, number(pq["median"])]


def percent(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:.1%}"


def number(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:.3f}"


def _remarks(result: Analysis) -> list[str]:
    flags = [f"! {each.tensor.name}: {flag}." for each in result.tensors for flag in each.measure.flags]
    reasons: dict[str, int] = {}
    for skipped in result.checkpoint.skipped:
        reasons[skipped.reason] = reasons.get(skipped.reason, 0) + skipped.parameters
    ledger = [f"skipped: {count:,} parameters: {reason}." for reason, count in reasons.items()]
    return flags + ledger + [f"note: {note}." for note in result.checkpoint.notes]


def comparison_table(result: Comparison) -> str:
    """The main indices with difference and interval, the verdict per tensor, the ranking, and the summary."""
    labels, q = list(result.networks), f"{result.networks['A'].qs[len(result.networks['A'].qs) // 2]:g}"
    shown = (
        f"effective_number[{q}]",
        f"pq_index[{q},1]",
        "gini",
        "hoyer",
        "hard_sparsity",
        "kurtosis",
        "weights_needed[0.1]",
    )
    table, rows = _table("index", *labels, "A - B", f"{result.confidence:.0%} interval"), result.indices()
    for name in shown:
        low, high = rows[name]["interval"] or (np.nan, np.nan)
        interval = "" if np.isnan(low) else f"{low:.4g} to {high:.4g}"
        table.add_row(
            name, *(f"{rows[name][label]:.4g}" for label in labels), f"{rows[name]['difference']:.4g}", interval
        )
    sources = [f"{label}: {network.checkpoint.source}" for label, network in result.networks.items()]
    verdicts = [row["verdict"] for row in result.tensors()]
    counts = ", ".join(f"{v} {verdicts.count(v)}" for v in ("A", "B", "equal", "crossing") if v in verdicts)
    tensors = (
        f"{len(verdicts)} tensors match by name and shape: {counts}."
        if verdicts
        else "No tensors match by name and shape."
    )
    order = " > ".join(f"{row['label']} ({row['pq_index[0.5,1]']:.3f})" for row in result.ranking)
    return text(*sources, "", table, "", tensors, f"Ranking by the PQ index (0.5, 1): {order}.", result.summary())


def markdown(frame: "pd.DataFrame") -> str:
    """A frame as a Markdown table."""
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(map(_line, [list(map(str, frame.columns)), ["---"] * len(frame.columns), *rows]))


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
