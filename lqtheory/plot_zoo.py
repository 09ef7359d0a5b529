"""How well indices rank the networks of the zoo, drawn from analysis/results/zoo_study.jsonl; nothing is computed."""

from collections.abc import Iterable, Mapping
from typing import Any

from matplotlib.axes import Axes

from .plot import METHODS, PERCENT

SCOPES = ("global", "layer", "neuron")
INDICES = {
    "stable rank": "layer stable rank",
    "WeightWatcher's alpha": "WeightWatcher alpha",
    "kurtosis": "network kurtosis",
    "Hill's tail index": "network Hill[0.05]",
    "Gini": "network gini",
    "PQ index (0.5, 1)": "network N[0.5,1]",
    "predicted, independent errors": "independent_errors {} truncated",
    "predicted, first order": "first_order {} truncated",
    "measured on other images": "measured {} truncated",
}
"""What is drawn, from below, and its name in the records; the scope of the truth goes into the braces."""


def correlations(records: Iterable[Mapping[str, Any]], family: str, ax: Axes) -> Axes:
    """Spearman's correlation of indices with the truth of each scope and its interval, a row for each index."""
    chosen = [r for r in records if r["quantity"] == "correlation" and r["family"] == family]
    found = {(r["truth"], r["index"]): r["spearman"] for r in chosen}
    for k, (scope, style) in enumerate(zip(SCOPES, METHODS, strict=False)):
        names = [index.format(scope) for index in INDICES.values()]
        rows = [(i + 0.2 * (k - 1), found[scope, name]) for i, name in enumerate(names) if (scope, name) in found]
        places, values = [place for place, _ in rows], [value for _, (value, _, _) in rows]
        reach = [[v - low for _, (v, low, _) in rows], [high - v for _, (v, _, high) in rows]]
        ax.errorbar(values, places, xerr=reach, **style, linestyle="none", linewidth=1, label=scope)
    ax.set_yticks(range(len(INDICES)), list(INDICES))
    ax.axvline(0, color="#666666", linewidth=0.8, zorder=1)
    ax.set(xlim=(-1, 1), xlabel="Spearman's correlation")
    ax.grid(visible=False, axis="y")
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, columnspacing=1.2)
    return ax


def predicted(records: Iterable[Mapping[str, Any]], family: str, ax: Axes) -> Axes:
    """The measured over the predicted largest sparsity, first order, a mark for each network and scope."""
    chosen = [r for r in records if r["quantity"] == "points" and r["family"] == family]
    for r, style in zip((r for scope in SCOPES for r in chosen if r["truth"] == scope), METHODS, strict=False):
        ax.plot(*zip(*r["points"], strict=True), **style, linestyle="none", mfc="none", label=r["truth"])
    ax.plot([0, 1], [0, 1], color="#666666", linewidth=0.8, zorder=1)
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal", xlabel="predicted", ylabel="largest sparsity, measured")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PERCENT)
    ax.legend(loc="lower right")
    return ax
