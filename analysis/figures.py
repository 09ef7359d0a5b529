"""Draw every figure of the README and of the documentation again from the records under analysis/results.

`make figures` writes figures/NAME.svg for each NAME of the table FIGURES. The same records and the same version of
Matplotlib give the same bytes. analysis/results/demo.jsonl is the records.jsonl that `lqtheory demo` writes.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import series
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lqtheory import ladder, plot, plot_bars, plot_bounds, plot_training, plot_zoo, records
from lqtheory.demo import KEEP_RULE

ROOT = Path(__file__).resolve().parents[1]


def one(draw: Callable[[Any, Axes], Axes], ratio: float = 0.5) -> Callable[[Any], Figure]:
    """A figure of one drawing, two columns wide."""

    def drawn(found: Any) -> Figure:
        with plot.publication():
            figure = plot.figure("double", ratio)
            draw(found, figure.subplots())
        return figure

    return drawn


def percent(value: float) -> str:
    return f"{value:.1%}"


def pruned_mlp(found: list[records.Record], ax: Axes) -> Axes:
    plot.accuracy_by_method(series.where(found, network="hls4ml 784-512-512-10"), "G", ax)
    ax.set_ylim(0.85, 1)
    return ax


def pruned_resnet(found: list[records.Record], ax: Axes) -> Axes:
    methods = (
        "support search, tuned",
        "support search",
        "magnitude, least squares",
        "SparseGPT, global magnitude budget",
        "LAMP, least squares",
    )
    return plot.accuracy_by_method(series.where(found, network="ResNet-20"), "G", ax, methods)


def tightness(found: list[records.Record], ax: Axes) -> Axes:
    chosen = series.where(series.by_network(found), method="magnitude by neuron")
    return plot_bars.tightness_by_tier(series.tightness(chosen, "network"), ax)


def certified(found: list[records.Record], ax: Axes) -> Axes:
    plot_bars.bars(series.certified(series.by_network(found), "magnitude by network"), ax, percent)
    ax.set_xlabel("sparsity at which at most 1 % of the inputs are lost")
    ax.xaxis.set_major_formatter(plot.PERCENT)
    return ax


def budget(found: list[records.Record], ax: Axes) -> Axes:
    plot_bars.bars(series.layers(found, "two hidden layers", "one error for every neuron"), ax, percent)
    ax.set_xlabel("share of the layer that stays")
    ax.xaxis.set_major_formatter(plot.PERCENT)
    return ax


def steps(found: list[records.Record], ax: Axes) -> Axes:
    chosen = series.where(found, network="four hidden layers", method="magnitude by neuron")
    return plot_bounds.lost_by_step(ladder.steps_of_proof(chosen), ax)


def layers(found: list[records.Record], ax: Axes) -> Axes:
    chosen = series.where(found, network="four hidden layers", method="magnitude by neuron")
    return plot_bounds.lost_by_layer(chosen, "C", ax)


def resnet20(found: list[records.Record], ax: Axes) -> Axes:
    rows = {idea: {"": ratios["10%"]} for idea, ratios in series.ideas(found).items()}
    plot_bars.bars(rows, ax, "{:.1e}".format, log=True)
    ax.set_xlabel("bound over measured error at 10 % sparsity (1 is the truth)")
    ax.set_xlim(left=1)
    return ax


def engine(found: list[Mapping[str, Any]], ax: Axes) -> Axes:
    plot_bars.bars(series.costs(found), ax, "{:.2g}".format, log=True)
    ax.set_xlabel("nanoseconds per weight")
    return ax


def penalties(found: list[Mapping[str, Any]], ax: Axes) -> Axes:
    rows = {row["setting"]["name"]: {"": row["validation"]["tightness"]} for row in found}
    plot_bars.bars(rows, ax, "{:.1f}".format)
    ax.set_xlabel("tier C over measured error, median")
    return ax


def frontier(found: list[records.Record]) -> Figure:
    with plot.publication():
        figure = plot.figure("double", 0.6)
        for ax, network in zip(figure.subplots(1, 2, sharey=True), ("MLP", "CNN"), strict=True):
            plot_training.frontier(series.where(found, network=network, data="test"), ax)
            ax.set_title(network, loc="left")
            ax.label_outer()
    return figure


def l0_paths(found: list[Mapping[str, Any]]) -> Figure:
    with plot.publication():
        figure = plot.figure("double", 0.5)
        networks = ("LeNet-300-100, MNIST", "LeNet-300-100, Fashion-MNIST")
        for ax, network in zip(figure.subplots(1, 2), networks, strict=True):
            plot_bars.bands(series.paths(found, network), ax)
            ax.set_title(network, loc="left")
            ax.set_xlabel("share of the weights dropped")
        figure.axes[0].set_ylabel("validation accuracy after fine-tuning")
    return figure


def by_family(draw: Callable[[Any, str, Axes], Axes]) -> Callable[[Any], Figure]:
    """The MLPs and the CNNs of the zoo beside each other."""

    def drawn(found: Any) -> Figure:
        with plot.publication():
            figure = plot.figure("double", 0.55)
            for ax, family in zip(figure.subplots(1, 2, sharey=True), ("mlp", "cnn"), strict=True):
                draw(found, family, ax)
                ax.set_title(family.upper(), loc="left")
                ax.label_outer()
        return figure

    return drawn


FIGURES: Mapping[str, tuple[str, Callable[[Path], Any], Callable[[Any], Figure]]] = {
    "bound_vs_measured": ("demo.jsonl", records.read, lambda found: plot.bound_vs_measured(found, KEEP_RULE.name)),
    "demo_penalties": ("train_demo.jsonl", series.lines, one(penalties, 0.3)),
    "tightness_by_tier": ("train_certified.jsonl", records.read, one(tightness)),
    "lost_by_step": ("train_certified.jsonl", records.read, one(steps)),
    "lost_by_layer": ("train_certified.jsonl", records.read, one(layers)),
    "certified_sparsity": ("train_certified.jsonl", records.read, one(certified, 0.9)),
    "budget_by_layer": ("train_certified.jsonl", records.read, one(budget, 0.7)),
    "resnet20_factors": ("resnet_bound.jsonl", records.read, one(resnet20, 0.45)),
    "pruned_mlp": ("prune_mlps.jsonl", records.read, one(pruned_mlp)),
    "pruned_resnet20": ("prune_resnet.jsonl", records.read, one(pruned_resnet)),
    "training_frontier": ("train_frontier.jsonl", records.read, frontier),
    "training_paths": ("train_l0.jsonl", series.lines, l0_paths),
    "zoo_correlations": ("zoo_study.jsonl", series.lines, by_family(plot_zoo.correlations)),
    "zoo_predicted": ("zoo_study.jsonl", series.lines, by_family(plot_zoo.predicted)),
    "engine": ("engine.jsonl", series.lines, one(engine)),
}


def draw(name: str, folder: Path) -> Path:
    """Write one figure of the table into a folder."""
    file, read, function = FIGURES[name]
    (path,) = plot.save(function(read(series.RESULTS / file)), folder / name, (".svg",))
    return path


def main() -> None:
    for name in FIGURES:
        print(draw(name, ROOT / "figures").relative_to(ROOT))


if __name__ == "__main__":
    main()
