"""The whole road on a network that ships with the package: measure, prune, set bounds beside measurements, export."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib.resources import as_file, files
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from . import records
from .analysis import analyze
from .evaluate import LinearStack, Sample, read_sample, read_stack
from .ladder import scored_layers, sweep
from .pruning import Method, global_ranking, keep_rule_at_total, magnitude, uniform
from .pruning.export import write_pruned
from .records import Provenance, Record
from .terminal import analysis_table

SPARSITIES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
KEEP_RULE = Method("keep rule", magnitude, keep_rule_at_total)
METHODS = (
    KEEP_RULE,
    Method("global magnitude", magnitude, global_ranking),
    Method("uniform magnitude", magnitude, uniform),
)
MOST_LOST = 0.05  # the exported network certifiably loses at most this share of the held-out inputs
NETWORK = "LeNet-300-100"
DATA = "Fashion-MNIST, 2,000 held-out test images"
LINE: dict[str, Any] = {"highlight": False, "soft_wrap": True}


def run(
    output: Path = Path("lqtheory-demo"),
    seed: int = 0,
    sparsities: Sequence[float] = SPARSITIES,
    console: Console | None = None,
) -> int:
    """Run the demo, print its tables, write its files into `output`, and return 1 if any bound was violated, else 0.

    The files: records.jsonl, bound_vs_measured.pdf and .png, and the pruned checkpoint with masks and recipe.
    """
    from . import plot  # matplotlib

    console = console or Console()
    output.mkdir(parents=True, exist_ok=True)
    with as_file(files("lqtheory") / "data") as shipped:
        source, sample = shipped / "demo.safetensors", shipped_sample(shipped)
        console.print(analysis_table(analyze(source), "tensor"), highlight=False, soft_wrap=True)
        found = verified(read_stack(source), sample, sparsities, seed, output / "records.jsonl")
        print_bounds(found, console)
        method, sparsity = most_certified(found)
        pruned = export(source, sample, method, sparsity, output, seed)
    figure = plot.save(plot.bound_vs_measured(found, KEEP_RULE.name), output / "bound_vs_measured")
    guarantee = (
        f"{method.name}, {sparsity:.0%} sparsity: bound C allows {MOST_LOST:.0%} of the inputs to be lost at most"
    )
    console.print(f"{guarantee}.\nPruned checkpoint: {pruned}", **LINE)
    console.print(f"Figure: {' '.join(map(str, figure))}\nRecords: {output / 'records.jsonl'}", **LINE)
    return int(records.violations(found) > 0)


def export(source: Path, sample: Sample, method: Method, sparsity: float, output: Path, seed: int) -> Path:
    """Write the network pruned by `method`, with its masks and recipe."""
    masks = method.masks(scored_layers(read_stack(source), sample), sparsity)
    recipe = {
        "method": {"name": method.name, "score": method.score.__name__, "budget": method.budget.__name__},
        "sparsity": sparsity,
        **asdict(Provenance(seed)),
        "command": f"lqtheory demo --seed {seed}",
    }
    return write_pruned(source, masks, output, recipe)


def shipped_sample(folder: Path) -> Sample:
    """The held-out part of Fashion-MNIST in `folder`."""
    sample = read_sample(folder / "demo_heldout.npz")
    return Sample(DATA, sample.x, sample.y)


def verified(stack: LinearStack, sample: Sample, sparsities: Sequence[float], seed: int, path: Path) -> list[Record]:
    """All records of the demo, written to `path` as they come."""
    path.unlink(missing_ok=True)
    found = sweep(stack, sample, METHODS, sparsities, Provenance(seed), {"network": NETWORK})
    kept = []
    with tqdm(total=len(METHODS) * len(sparsities), desc="prune and verify", unit="network", disable=None) as bar:
        for _, point in groupby(found, key=lambda r: (r.setting["method"], r.sparsity)):
            kept += (new := list(point))
            records.append(path, new)
            bar.update()
    return kept


def most_certified(found: Iterable[Record]) -> tuple[Method, float]:
    """The method and the largest sparsity at which tier C promises that at most MOST_LOST is lost, and so before."""
    best = KEEP_RULE, 0.0
    for method in METHODS:
        mine = (r for r in found if is_harm_by_tier_c(r) and r.setting["method"] == method.name)
        for record in takewhile(lambda r: r.bound <= MOST_LOST, mine):
            if record.sparsity > best[1]:
                best = method, record.sparsity
    return best


def print_bounds(found: Sequence[Record], console: Console) -> None:
    """Both tables, each under its title."""
    title = f"\nOutput error of the {KEEP_RULE.name} and its bounds (*: answering zero would do as well)"
    console.print(title, style="bold", **LINE)
    console.print(bounds_table(found))
    dense = found[0].setting["dense_accuracy"]
    console.print(f"\nAccuracy (and what bound C guarantees); dense network {dense:.1%}", style="bold", **LINE)
    console.print(accuracy_table(found))
    count = f"{len(found)} bounds set beside measurements, {records.violations(found)} violated"
    console.print(f"\n{count}. All on {DATA}.", **LINE)


def bounds_table(found: Sequence[Record]) -> Table:
    """The measured output error of the keep rule and its bound by each tier."""
    table = _table("sparsity", "measured", "bound C", "bound B", "bound A", "C / measured", "violated")
    mine = [r for r in found if r.setting["method"] == KEEP_RULE.name and r.setting["quantity"] == "output_error"]
    for sparsity, point in groupby(mine, key=lambda r: r.sparsity):
        at = {r.tier: r for r in point}
        bounds = [f"{at[tier].bound:.3g}{'*' if at[tier].vacuous else ' '}" for tier in "CBA"]
        c = at["C"]
        table.add_row(
            *[f"{sparsity:.0%}", f"{c.measured:.3g}", *bounds, f"{c.tightness:.1f}"],
            str(records.violations(at.values())),
        )
    return table


def accuracy_table(found: Sequence[Record]) -> Table:
    """Accuracy on the held-out inputs by method, and what tier C guarantees."""
    mine = {(r.sparsity, r.setting["method"]): r.setting for r in found if is_harm_by_tier_c(r)}
    table = _table("sparsity", *[method.name for method in METHODS])
    for sparsity in dict.fromkeys(sparsity for sparsity, _ in mine):
        points = [mine[sparsity, method.name] for method in METHODS]
        table.add_row(f"{sparsity:.0%}", *[f"{p['accuracy']:.1%} ({p['certified_accuracy']:.1%})" for p in points])
    return table


def is_harm_by_tier_c(record: Record) -> bool:
    """Whether the record is about the inputs lost, as bounded by tier C."""
    return record.tier == "C" and record.setting["quantity"] == "harm"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
