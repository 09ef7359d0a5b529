"""Where a bound is lost, drawn from records: by step of the proof and by layer. Nothing is computed here."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from matplotlib.axes import Axes

from .plot import PERCENT
from .records import Record

# light to dark: the more is known of the network and the data, the darker
STEPS = {
    "lq envelope to exact tail": "#D55E00",
    "exact tail to moments": "#E69F00",
    "moments to per input": "#56B4E9",
    "per input to measured": "#0072B2",
}
LAYERS = ("#D55E00", "#0072B2", "#009E73", "#E69F00", "#CC79A7", "#56B4E9", "#F0E442", "#666666")
HATCHES = ("", "//", "..", "\\\\", "xx", "--", "oo", "++")


def lost_by_step(rows: Iterable[Mapping[str, Any]], ax: Axes) -> Axes:
    """How many powers of ten each step of the proof loses, stacked from the measurement up, over sparsity.

    `rows` are those of `lqtheory.ladder.steps_of_proof` for one method. An infinite factor is drawn as no bar.
    """
    rows = sorted(rows, key=lambda row: row["sparsity"])
    if len({row["method"] for row in rows}) != 1:
        raise ValueError(f"the steps of one method are drawn, got {len({row['method'] for row in rows})} methods.")
    names = list(dict.fromkeys(name for row in rows for name in row["factors"]))
    heights = {name: [_powers(row["factors"].get(name, 1.0)) for row in rows] for name in reversed(names)}
    colors = {name: STEPS.get(name, "#666666") for name in names}
    _stack([row["sparsity"] for row in rows], heights, colors, ax)
    ax.set_ylabel("powers of ten above the measured error")
    return ax


def lost_by_layer(records: Sequence[Record], tier: str, ax: Axes) -> Axes:
    """The share of each layer in a tier's bound on the output error, stacked over sparsity, for one method."""
    mine = [r for r in records if r.tier == tier and r.setting["quantity"] == "output_error" and "shares" in r.setting]
    if len({r.setting["method"] for r in mine}) != 1:
        raise ValueError(f"the layers of one method are drawn, got {len({r.setting['method'] for r in mine})} methods.")
    mine.sort(key=lambda r: r.sparsity)
    heights = {layer: [r.setting["shares"][layer] for r in mine] for layer in mine[0].setting["shares"]}
    colors = {layer: LAYERS[i % len(LAYERS)] for i, layer in enumerate(heights)}
    _stack([r.sparsity for r in mine], heights, colors, ax)
    ax.set_ylabel(f"share of bound {tier}")
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(PERCENT)
    return ax


def _stack(x: Sequence[float], heights: Mapping[str, Sequence[float]], colors: Mapping[str, str], ax: Axes) -> None:
    gaps = [b - a for a, b in pairwise(x)]
    width, base = 0.8 * min(gaps, default=0.1), [0.0] * len(x)
    for (name, values), hatch in zip(heights.items(), HATCHES * len(heights), strict=False):
        ax.bar(x, values, width, base, label=name, color=colors[name], hatch=hatch, edgecolor="white", linewidth=0.5)
        base = [low + high for low, high in zip(base, values, strict=True)]
    ax.set_xlabel("sparsity (share of the weights set to zero)")
    ax.xaxis.set_major_formatter(PERCENT)
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.2)


def _powers(factor: float) -> float:
    return max(math.log10(factor), 0.0) if math.isfinite(factor) else 0.0
