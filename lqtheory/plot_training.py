"""What training for compressibility buys, drawn from records. Nothing is computed here."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from .plot import METHODS, PERCENT
from .records import Record, violations

PENALTIES = {"none": "*", "norms and l0": "o", "log of tier C": "s"}


def frontier(records: Sequence[Record], ax: Axes) -> Axes:
    """The share of inputs with a certificate over the accuracy of the dense network, a line for each sparsity.

    Each mark is a network of `analysis/train_frontier.py`, and its form the penalty that it was trained with; a line
    goes through those of one seed that differ in the strength of the first penalty only.
    """
    if not records:
        raise ValueError("a frontier must have records, got none.")
    for sparsity, style in zip(sorted({r.sparsity for r in records}), METHODS, strict=False):
        mine = [r for r in records if r.sparsity == sparsity]
        path = sorted(_point(r) for r in mine if r.setting["penalty"] != "log of tier C" and r.seed == mine[0].seed)
        ax.plot(*zip(*path, strict=True), color=style["color"], linewidth=1, label=f"{sparsity:.0%} sparsity")
        for penalty, marker in PENALTIES.items():
            points = [_point(r) for r in mine if r.setting["penalty"] == penalty]
            if points:
                ax.plot(*zip(*points, strict=True), color=style["color"], marker=marker, linestyle="none", mfc="none")
    ax.axhline(0.9, color="#666666", linewidth=0.8, zorder=1)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PERCENT)
    ax.set_xlabel("test accuracy of the dense network")
    ax.set_ylabel("test inputs certified")
    ax.set_title(f"{violations(records)} of {len(records)} bounds violated", loc="right", fontsize=7)
    for penalty, marker in PENALTIES.items():
        ax.plot([], [], color="#666666", marker=marker, linestyle="none", mfc="none", label=penalty)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=4, columnspacing=1.2)
    return ax


def _point(record: Record) -> tuple[float, float]:
    return record.setting["accuracy"], record.setting["certified_share"]


def compression(lines: Iterable[Mapping[str, Any]], key: str, ax: Axes) -> Axes:
    """A mark for each seed of the lines of a pipeline: the number `key` over the penalty, on a log axis."""
    rows = list(lines)
    penalties = list(dict.fromkeys(row["setting"]["penalty"] for row in rows))
    networks = list(dict.fromkeys(row["setting"].get("network", "") for row in rows))
    for k, (network, style) in enumerate(zip(networks, METHODS, strict=False)):
        mine = [row for row in rows if row["setting"].get("network", "") == network]
        x = [penalties.index(row["setting"]["penalty"]) + 0.16 * (k - (len(networks) - 1) / 2) for row in mine]
        ax.plot(x, [row[key] for row in mine], **style, linestyle="none", mfc="none", label=network)
    ax.set_xticks(range(len(penalties)), penalties)
    ax.set_yscale("log")
    ax.grid(visible=False, axis="x")
    if len(networks) > 1:
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1.2)
    return ax
