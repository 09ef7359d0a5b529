"""Figures from records alone. Each function draws on an Axes and returns it; nothing is computed here."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from . import indices
from .outline import bins, fitted, thinned
from .profile import Profile
from .records import Record, violations

# Okabe and Ito's palette: told apart with any colour vision; markers and dashes tell them apart without colour
TIERS: dict[str, dict[str, Any]] = {
    "A": {"color": "#D55E00", "marker": "^", "linestyle": ":", "label": "bound A, closed form"},
    "B": {"color": "#0072B2", "marker": "s", "linestyle": "--", "label": "bound B, weights only"},
    "C": {"color": "#009E73", "marker": "D", "linestyle": "-.", "label": "bound C, with activations"},
    "D": {"color": "#CC79A7", "marker": "v", "linestyle": "--", "label": "bound D, at each input"},
    "F": {"color": "#E69F00", "marker": "x", "linestyle": ":", "label": "bound F, paths"},
    "H": {"color": "#56B4E9", "marker": ".", "linestyle": "-.", "label": "bound H, measured by layer"},
}
MEASURED: dict[str, Any] = {"color": "#000000", "marker": "o", "linestyle": "-", "label": "measured"}
METHODS: tuple[dict[str, Any], ...] = (
    {"color": "#CC79A7", "marker": "o"},
    {"color": "#0072B2", "marker": "s"},
    {"color": "#E69F00", "marker": "^"},
    {"color": "#009E73", "marker": "v"},
    {"color": "#000000", "marker": "D"},
    {"color": "#56B4E9", "marker": "P"},
    {"color": "#D55E00", "marker": "X"},
)
STYLE: Any = {
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 7.5,
    "pdf.fonttype": 42,
    "savefig.dpi": 200,
    "svg.hashsalt": "lqtheory",
}
PERCENT = PercentFormatter(xmax=1, decimals=0)


def select(records: Iterable[Record], method: str, quantity: str) -> list[Record]:
    """The records of one method and one quantity, by rising sparsity."""
    chosen = [r for r in records if r.setting["method"] == method and r.setting["quantity"] == quantity]
    if not chosen:
        raise ValueError(f"a figure must have records, got none of method {method!r} and quantity {quantity!r}.")
    return sorted(chosen, key=lambda r: r.sparsity)


def methods_of(records: Iterable[Record]) -> list[str]:
    """The methods in the order in which they appear."""
    return list(dict.fromkeys(r.setting["method"] for r in records))


def bound_against_measurement(records: Sequence[Record], method: str, quantity: str, ax: Axes) -> Axes:
    """The measurement and each tier's bound over sparsity, on a log axis; where bounds say nothing is shaded."""
    chosen = select(records, method, quantity)
    for tier, style in TIERS.items():
        points = [(r.sparsity, r.bound) for r in chosen if r.tier == tier]
        if points:
            ax.plot(*zip(*points, strict=True), **style)
    measured = sorted({(r.sparsity, r.measured) for r in chosen})
    ax.plot(*zip(*measured, strict=True), **MEASURED)
    ax.set_yscale("log", nonpositive="mask")
    _shade_vacuous(ax, chosen[0].setting["trivial"])
    _sparsity_axis(ax, chosen)
    count = f"{violations(chosen)} of {len(chosen)} bounds violated"
    ax.annotate(count, (1, 0), xycoords="axes fraction", xytext=(-4, 4), ha="right", **NOTE)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1.2)
    return ax


Name = TypeVar("Name")


def styled(names: Iterable[Name]) -> Iterator[tuple[Name, dict[str, Any]]]:
    """Each name with a colour and a marker of its own; ValueError where there are more than can be told apart."""
    chosen = list(names)
    if len(chosen) > len(METHODS):
        raise ValueError(
            f"a figure must have at most {len(METHODS)} series, got {len(chosen)}: {', '.join(map(str, chosen))}."
        )
    return zip(chosen, METHODS, strict=False)


def accuracy_by_method(records: Sequence[Record], tier: str, ax: Axes, methods: Sequence[str] = ()) -> Axes:
    """Accuracy of the pruned network over sparsity by method, and dashed what a tier guarantees on the sample.

    All methods of the records are drawn, or those that are named; a ValueError where that is more than seven.
    """
    harm = sorted((r for r in records if r.setting["quantity"] == "harm" and r.tier == tier), key=lambda r: r.sparsity)
    for method, style in styled(methods or methods_of(harm)):
        mine = select(harm, method, "harm")
        sparsity = [r.sparsity for r in mine]
        ax.plot(sparsity, [r.setting["certified_accuracy"] for r in mine], linestyle="--", mfc="white", **style)
        ax.plot(sparsity, [r.setting["accuracy"] for r in mine], linestyle="-", **style, label=method)
    dense = harm[0].setting["dense_accuracy"]
    ax.axhline(dense, color="#666666", linewidth=0.8, zorder=1)
    ax.annotate("dense", (1, dense), xycoords=("axes fraction", "data"), xytext=(0, 3), ha="right", **NOTE)
    _sparsity_axis(ax, harm)
    ax.set_ylim(0, 1)
    ax.yaxis.set_major_formatter(PERCENT)
    ax.set_ylabel("accuracy on the held-out sample")
    promised = Line2D(
        [], [], color="#666666", linestyle="--", marker="o", mfc="white", label=f"guaranteed, bound {tier}"
    )
    handles = [*ax.get_legend_handles_labels()[0], promised]
    ax.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2, columnspacing=1.2)
    return ax


def bound_vs_measured(records: Sequence[Record], method: str, tier: str = "C") -> Figure:
    """The demo's figure: the ladder of bounds beside the measured error, and accuracy beside what is guaranteed."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.4, 3.7), layout="constrained")
        left, right = figure.subplots(1, 2)
        bound_against_measurement(records, method, "output_error", left)
        left.set_ylabel(r"output error $\Vert f-\hat f\,\Vert_{L_2}$")
        left.set_title(f"Output error and its bounds, {method}", loc="left")
        accuracy_by_method(records, tier, right)
        right.set_title("Accuracy and its guarantee", loc="left")
    return figure


# what a file says of itself: nothing that changes from day to day; an .svg keeps the version of Matplotlib
METADATA: dict[str, dict[str, None]] = {
    ".pdf": {"CreationDate": None, "Producer": None, "Creator": None},
    ".png": {"Software": None},
    ".svg": {"Date": None},
}


def save(figure: Figure, stem: Path, suffixes: Sequence[str] = (".pdf", ".png")) -> list[Path]:
    """Write the figure in each format, with no date inside, so that the same records give the same bytes."""
    paths = [stem.with_suffix(suffix) for suffix in suffixes]
    with mpl.rc_context(STYLE):
        for path in paths:
            figure.savefig(path, metadata=METADATA[path.suffix])
    return paths


NOTE: dict[str, Any] = {"textcoords": "offset points", "fontsize": 7, "color": "#555555"}


def _shade_vacuous(ax: Axes, trivial: float) -> None:
    top = ax.get_ylim()[1]
    ax.axhspan(trivial, top, facecolor="#efefef", linewidth=0, zorder=0)
    ax.axhline(trivial, color="#aaaaaa", linewidth=0.8, zorder=1)
    ax.annotate(
        "vacuous: answering zero does as well", (0, 1), xycoords="axes fraction", xytext=(4, -4), va="top", **NOTE
    )
    ax.set_ylim(top=top)


def _sparsity_axis(ax: Axes, records: Sequence[Record]) -> None:
    ax.set_xlabel("sparsity (share of the weights set to zero)")
    ax.set_xlim(records[0].sparsity - 0.03, records[-1].sparsity + 0.03)
    ax.xaxis.set_major_formatter(PERCENT)


POINTS = 400  # corners of a Lorenz curve along each axis, finer than a printed line
CURVES: tuple[dict[str, Any], ...] = tuple(
    {"color": style["color"], "linestyle": dashes}
    for style, dashes in zip(METHODS, ("-", "--", "-.", ":", (0, (5, 1, 1, 1, 1, 1))), strict=False)
)


def lorenz(curves: Mapping[str, Profile | None], ax: Axes | None = None) -> Axes:
    """The Lorenz curve of each profile, Definition 11; the higher curve is the more compressible.

    A profile without a non-zero weight has no curve and is left out; with none left this is a ValueError.
    """
    drawn = {name: profile for name, profile in curves.items() if profile is not None and profile.nonzero}
    if not drawn:
        raise ValueError(f"a Lorenz curve must have a non-zero weight, got none in {', '.join(curves) or 'no curve'}.")
    ax = _new_axes() if ax is None else ax
    for k, (name, profile) in enumerate(drawn.items()):
        ax.plot(*thinned(*indices.lorenz(profile), POINTS), label=name, **CURVES[k % len(CURVES)])
    ax.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=0.8, zorder=1, label="all magnitudes equal")
    ax.set_xlabel("share of the weights, largest first")
    ax.set_ylabel(r"share of the $\ell_1$ norm")
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(PERCENT)
    ax.legend(loc="lower right")
    return ax


def _new_axes() -> Axes:
    """Axes that a notebook shows by itself."""
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


WIDTHS = {"single": 3.35, "double": 6.95}
"""Widths of one and two columns of print, in inches."""


ABOVE: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}


@contextmanager
def publication() -> Iterator[None]:
    """Within it figures are made in the style of the project's own: small type, thin rules, fonts that stay text."""
    with mpl.rc_context({**STYLE, "axes.prop_cycle": cycler(color=[style["color"] for style in METHODS])}):
        yield


def figure(columns: str = "single", ratio: float = 0.75) -> Figure:
    """An empty figure as wide as one ("single") or both ("double") columns of a paper; `ratio` is height over width."""
    if columns not in WIDTHS:
        raise ValueError(f"columns must be one of {', '.join(WIDTHS)}, got columns={columns!r}.")
    return Figure(figsize=(WIDTHS[columns], WIDTHS[columns] * ratio), layout="constrained")


def histogram(drawn: Mapping[str, Any], ax: Axes) -> Axes:
    """The magnitudes of an outline (`lqtheory.outline.outline`), and the tail that was fitted to the largest."""
    edges, shares = bins(drawn)
    ax.stairs(shares, edges, fill=True, color="#9cc3ea", label="weights")
    if drawn["tail"]:
        label = f"fitted tail, exponent {drawn['tail']['alpha']:.2f}"
        ax.plot(*zip(*fitted(drawn), strict=True), color="#D55E00", linewidth=2, label=label)
    ax.set(xscale="log", yscale="log", xlabel="magnitude", ylabel="share of the weights per bin")
    ax.set_ylim(bottom=min(share for share in shares if share) / 2)
    ax.legend(**ABOVE)
    return ax


def heat_map(rows: Mapping[str, Mapping[str, float]], ax: Axes, label: str = "") -> Axes:
    """An index over layers and q, name -> q -> value, as `outline(...)["effective_share"]` has it for one layer."""
    columns = list(next(iter(rows.values())))
    image = ax.imshow([[row[q] for q in columns] for row in rows.values()], aspect="auto", cmap="cividis")
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_xlabel("q")
    ax.grid(visible=False)
    if isinstance(whole := ax.get_figure(root=True), Figure):
        whole.colorbar(image, ax=ax, label=label)
    return ax


def budget(rows: Mapping[str, Mapping[str, float]], ax: Axes) -> Axes:
    """The share of each layer that must stay, name -> error -> share: bars inside one another, the darkest shortest."""
    names, errors = list(rows), sorted(next(iter(rows.values())), key=float)
    for eps, color in zip(errors, ("#cfe3f5", "#7fb2de", "#0b5cad", "#08336b"), strict=False):
        ax.barh(names, [rows[name][eps] for name in names], color=color, label=f"{float(eps):.0%}")
    ax.invert_yaxis()
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(PERCENT)
    ax.set_xlabel("share needed for each error")
    ax.legend(**ABOVE, ncols=len(errors), columnspacing=0.8, handlelength=1)
    return ax
