"""Results as tables for a terminal, as CSV and as Markdown."""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from io import StringIO
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

from .analysis import Analysis, TensorMeasure
from .comparison import Comparison
from .measure import Measure

if TYPE_CHECKING:
    import pandas as pd


WIDTH = 80  # of a pipe
NAME = 20  # columns that a name may always have


class Grid:
    """Rows of texts under their headings, laid out when the width is known: the first column holds names."""

    def __init__(self, *columns: str) -> None:
        self.rows: list[tuple[str, ...]] = [columns]

    def add_row(self, *cells: str) -> None:
        """One more row, a cell for each column."""
        self.rows.append(cells)

    def tables(self, width: int) -> Iterator[Table]:
        """One table, or several below each other, each with the names and as many other columns as fit."""
        names, *columns = zip(*self.rows, strict=True)
        room = min(NAME, _widest(names))
        while columns:
            ends = list(accumulate(_widest(column) + GAP for column in columns))
            count = max(bisect_right(ends, width - room), 1)
            yield _laid_out([broken(name, width - ends[count - 1]) for name in names], columns[:count])
            columns = columns[count:]


GAP = 2


def _widest(column: Sequence[str]) -> int:
    return max(map(cell_len, column))


def _laid_out(names: Sequence[str], columns: Sequence[Sequence[str]]) -> Table:
    """Numbers to the right of the names."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column(names[0], overflow="fold")
    for heading, *_ in columns:
        table.add_column(heading, justify="right", no_wrap=True)
    for cells in zip(names[1:], *(column[1:] for column in columns), strict=True):
        table.add_row(*cells)
    return table


def broken(name: str, width: int) -> str:
    """A name over several lines, broken behind its dots.

    >>> broken("encoder.layer.0.attention.key.weight", 20).split()
    ['encoder.layer.0.', 'attention.key.weight']
    """
    lines = [""]
    for part in re.findall(r"[^.]*\.|[^.]+$", name):
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def text(*parts: Grid | str) -> str:
    """Tables and sentences, one below the other, as plain text as wide as the terminal, or 80 columns in a pipe."""
    console = Console(file=StringIO(), width=None if Console().is_terminal else WIDTH, highlight=False, markup=False)
    for part in parts:
        pieces = list(part.tables(console.width)) if isinstance(part, Grid) else [part]
        for k, piece in enumerate(pieces):
            console.print(*([""] if k else []), piece, sep="\n")
    assert isinstance(console.file, StringIO)
    lines = console.file.getvalue().replace(NO_BREAK, " ").rstrip().split("\n")
    return "\n".join(line.rstrip() for line in lines)


def analysis_table(result: Analysis, scope: str) -> str:
    """The network, its tensors or the spread over its neurons; what was skipped; and the summary."""
    q = f"{result.qs[len(result.qs) // 2]:g}"
    legend = (
        f"N/d: share of the weights that count (effective number, q = {q}); noise: the same for Gaussian weights; "
        f"PQ: I({q},1). Smaller N/d, larger Gini and PQ: more compressible."
    )
    if scope == "neuron":
        table = Grid("neurons of", "count", "fan-in", "zero", "least N/d", "median", "most", "PQ")
        for each in result.tensors:
            table.add_row(each.tensor.name, *_spread(each, q))
    else:
        table = Grid("tensor", "shape", "zeros", "N/d", "", "noise", "Gini", "PQ")
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
    fan_in, rows = each.tensor.layout.fan_in, each.measure.neurons_summary
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


SHOWN = (  # index, its heading, how it is written, whether it counts weights: then its share is shown, and less is more
    ("effective_number[{q}]", "N/d", "{:.1%}", True),
    ("pq_index[{q},1]", "PQ", "{:.3f}", False),
    ("gini", "Gini", "{:.3f}", False),
    ("hoyer", "Hoyer", "{:.3f}", False),
    ("hard_sparsity", "zeros", "{:.1%}", False),
    ("kurtosis", "kurtosis", "{:.3g}", False),
    ("weights_needed[0.1]", "kept for 10% error", "{:.1%}", True),
)


def comparison_table(result: Comparison) -> str:
    """The main indices with difference and interval, the verdict per tensor, the ranking, and the summary."""
    labels, q = list(result.networks), f"{result.networks['A'].qs[len(result.networks['A'].qs) // 2]:g}"
    table, rows = Grid("index", *labels, "A - B", f"{result.confidence:.0%} interval", "sparser"), result.indices()
    sizes = {label: n.network.parameters - n.network.nonfinite for label, n in result.networks.items()}
    for name, heading, form, counts in SHOWN:
        row = rows[name.format(q=q)]
        values = [row[label] / (sizes[label] if counts else 1) for label in labels]
        low, high = (end / (sizes["A"] if counts else 1) for end in row["interval"] or (np.nan, np.nan))
        if counts and sizes["A"] != sizes["B"]:
            low, high = np.nan, np.nan  # of the counts, says nothing of the shares
        interval = "-" if np.isnan(low) else f"{form.format(low)} to {form.format(high)}"
        sparser = ("A" if (low > 0) != counts else "B") if low > 0 or high < 0 else "-"
        table.add_row(heading, *map(form.format, [*values, values[0] - values[1]]), interval, sparser)
    sources = [f"{label}:{NO_BREAK}{network.checkpoint.source}" for label, network in result.networks.items()]
    verdicts = [row["verdict"] or "undefined" for row in result.tensors()]
    counts = ", ".join(f"{v} {verdicts.count(v)}" for v in VERDICTS if v in verdicts)
    tensors = (
        f"{len(verdicts)} tensors match by name and shape; the more compressible one is: {counts}."
        if verdicts
        else "No tensors match by name and shape."
    )
    order = " > ".join(f"{row['label']} ({row['pq_index[0.5,1]']:.3f})" for row in result.ranking)
    legend = (
        f"N/d: share of the weights that count (q = {q}). Sparser: the more compressible one by this index, where the "
        "interval of A - B, which resamples neurons, leaves out zero."
    )
    ranking = f"Ranking by the PQ index (0.5, 1): {order}."
    return text(*sources, "", table, "", legend, "", tensors, ranking, result.summary())


VERDICTS = ("A", "B", "equal", "crossing", "undefined")
NO_BREAK = "\u00a0"  # a path is printed in one piece


def markdown(frame: "pd.DataFrame") -> str:
    """A frame as a Markdown table."""
    rows = [[_cell(value) for value in row] for row in frame.itertuples(index=False)]
    return "\n".join(map(_line, [list(map(str, frame.columns)), ["---"] * len(frame.columns), *rows]))


def _cell(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
