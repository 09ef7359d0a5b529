"""What training for compressibility buys, drawn from records. Nothing is computed here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .plot import NOTE, PERCENT, styled
from .records import Record, violations

PENALTIES = {"none": "*", "norms and l0": "o"}


def frontier(records: Sequence[Record], ax: Axes) -> Axes:
    """The share of inputs with a certificate over the accuracy of the dense network, a line for each sparsity.

    Each mark is a network of `analysis/train_frontier.py`, and its form says whether it was trained with penalties; a
    line goes through those of the first seed, which differ in the strength only.
    """
    if not records:
        raise ValueError("a frontier must have records, got none.")
    for sparsity, style in styled(sorted({r.sparsity for r in records})):
        mine = [r for r in records if r.sparsity == sparsity]
        path = sorted(_point(r) for r in mine if r.seed == mine[0].seed)
        ax.plot(*zip(*path, strict=True), color=style["color"], linewidth=1, label=f"{sparsity:.0%} sparsity")
        for penalty, marker in PENALTIES.items():
            points = [_point(r) for r in mine if r.setting["penalty"] == penalty]
            if points:
                ax.plot(*zip(*points, strict=True), color=style["color"], marker=marker, linestyle="none", mfc="none")
    for penalty, marker in PENALTIES.items():
        if any(r.setting["penalty"] == penalty for r in records):
            ax.plot([], [], color="#666666", marker=marker, linestyle="none", mfc="none", label=penalty)
    ax.axhline(0.9, color="#666666", linewidth=0.8, zorder=1)
    ax.xaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=1))
    ax.locator_params(axis="x", nbins=5)
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set_xlabel("test accuracy of the dense network")
    ax.set_ylabel("test inputs certified")
    count = f"{violations(records)} of {len(records)} violated"
    ax.annotate(count, (1, 1), xycoords="axes fraction", xytext=(0, 3), ha="right", **NOTE)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1.2)
    return ax


def _point(record: Record) -> tuple[float, float]:
    return record.setting["accuracy"], record.setting["certified_share"]


def compression(lines: Iterable[Mapping[str, Any]], key: str, ax: Axes) -> Axes:
    """A mark for each seed of the lines of a pipeline: the number `key` over the penalty, on a log axis."""
    rows = list(lines)
    penalties = list(dict.fromkeys(row["setting"]["penalty"] for row in rows))
    networks = list(dict.fromkeys(row["setting"].get("network", "") for row in rows))
    for k, (network, style) in enumerate(styled(networks)):
        mine = [row for row in rows if row["setting"].get("network", "") == network]
        x = [penalties.index(row["setting"]["penalty"]) + 0.16 * (k - (len(networks) - 1) / 2) for row in mine]
        ax.plot(x, [row[key] for row in mine], **style, linestyle="none", mfc="none", label=network)
    ax.set_xticks(range(len(penalties)), penalties)
    ax.set_yscale("log")
    ax.grid(visible=False, axis="x")
    if len(networks) > 1:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1.2)
    return ax
