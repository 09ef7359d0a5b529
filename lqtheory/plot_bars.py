"""Numbers by name, drawn from records: bars in groups, marks, bands over seeds. Nothing is computed here."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from .plot import NOTE, PERCENT, styled
from .plot_bounds import HATCHES, LAYERS


def bars(
    rows: Mapping[str, Mapping[str, float]], ax: Axes, text: Callable[[float], str] = "{:.3g}".format, log: bool = False
) -> Axes:
    """A group of bars for each name, one for each series, with its value at its end; a missing value has no bar."""
    series = list(dict.fromkeys(key for row in rows.values() for key in row))
    height = 0.8 / len(series)
    for k, key in enumerate(series):
        places = {i + (k + 0.5) * height - 0.4: row[key] for i, row in enumerate(rows.values()) if key in row}
        look: dict[str, Any] = {
            "color": LAYERS[k % len(LAYERS)],
            "hatch": HATCHES[k % len(HATCHES)],
            "edgecolor": "white",
        }
        drawn = ax.barh(list(places), list(places.values()), height, label=key, linewidth=0.5, **look)
        ax.bar_label(drawn, [text(value) for value in places.values()], padding=3, fontsize=7, color="#333333")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")
    ax.set_xscale("log" if log else "linear")
    ax.margins(x=0.12)
    if len(series) > 1:
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, columnspacing=1.2)
    return ax


def tightness_by_tier(rows: Mapping[str, Mapping[str, Sequence[float]]], ax: Axes) -> Axes:
    """Bound over measurement, series -> tier -> values: a mark for each value, on a log axis where 1 is the truth."""
    tiers = list(dict.fromkeys(tier for row in rows.values() for tier in row))
    for k, (name, style) in enumerate(styled(rows)):
        points = [
            (tiers.index(tier) + 0.16 * (k - (len(rows) - 1) / 2), v)
            for tier, found in rows[name].items()
            for v in found
        ]
        ax.plot(*zip(*points, strict=True), **style, linestyle="none", mfc="none", label=name)
    ax.axhline(1, color="#666666", linewidth=0.8, zorder=1)
    ax.annotate("measured", (0, 1), xycoords=("axes fraction", "data"), xytext=(3, 3), **NOTE)
    ax.set_yscale("log")
    ax.set_xticks(range(len(tiers)), tiers)
    ax.grid(visible=False, axis="x")
    ax.set_ylabel("bound over measured error")
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, columnspacing=1.2)
    return ax


def bands(rows: Mapping[str, Iterable[tuple[float, float, float, float]]], ax: Axes) -> Axes:
    """A line through the middle of each series and a band from its least to its most: (x, least, middle, most)."""
    for name, style in styled(rows):
        x, least, middle, most = zip(*rows[name], strict=True)
        ax.plot(x, middle, **style, label=name)
        ax.fill_between(x, least, most, color=style["color"], alpha=0.2, linewidth=0)
    ax.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=1))
    ax.xaxis.set_major_formatter(PERCENT)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1.2)
    return ax
