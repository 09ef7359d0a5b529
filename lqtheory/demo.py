"""The whole road on a network that ships with the package: measure, prune, set bounds beside measurements, export."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from . import records
from .analysis import analyze
from .evaluate import Sample, linear_stack, read_sample, read_stack
from .ladder import RUNGS, Dense, Population, Rung
from .ladder.curves import about, shares
from .ladder.networks import Pruned, counts
from .pruning import Method, global_ranking, keep_rule_at_total, magnitude, uniform
from .pruning.export import write_pruned
from .pruning.recipe import Recipe
from .records import Provenance, Record
from .terminal import analysis_table

SPARSITIES = (0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
KEEP_RULE = Method("keep rule", magnitude, keep_rule_at_total)
METHODS = (
    KEEP_RULE,
    Method("global magnitude", magnitude, global_ranking),
    Method("uniform magnitude", magnitude, uniform),
)
REFITTED, REFITTED_FROM = "global, re-fitted", 0.8  # below, nothing is lost that a re-fit could bring back
TABLED = "DCBAF"  # tightest first; H is in the figure
MOST_LOST = 0.05  # the exported network certifiably loses at most this share of the held-out inputs
CALIBRATION = 500  # held-out images for the re-fit, by which nothing is judged
NETWORK = "LeNet-300-100"
DATA = "Fashion-MNIST, 1,500 held-out test images"
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
        source, held_out = shipped / "demo.safetensors", shipped_sample(shipped)
        console.print(analysis_table(analyze(source), "tensor"), highlight=False, soft_wrap=True)
        dense = Dense(read_stack(source), judged(held_out))
        found = verified(dense, held_out.x[:CALIBRATION], sparsities, seed, output / "records.jsonl")
        print_bounds(found, console)
        method, sparsity = most_certified(found)
        pruned = export(source, dense, method, sparsity, output, seed)
    figure = plot.save(plot.bound_vs_measured(found, KEEP_RULE.name), output / "bound_vs_measured")
    guarantee = (
        f"{method.name}, {sparsity:.0%} sparsity: bound C allows {MOST_LOST:.0%} of the inputs to be lost at most"
    )
    console.print(f"{guarantee}.\nPruned checkpoint: {pruned}", **LINE)
    console.print(f"Figure: {' '.join(map(str, figure))}\nRecords: {output / 'records.jsonl'}", **LINE)
    return int(records.violations(found) > 0)


def export(source: Path, dense: Dense, method: Method, sparsity: float, output: Path, seed: int) -> Path:
    """Write the network pruned by `method`, with its masks and recipe."""
    masks = method.masks(dense.layers, sparsity)
    recipe = {
        "method": {"name": method.name, "score": method.score.__name__, "budget": method.budget.__name__},
        "sparsity": sparsity,
        **asdict(Provenance(seed)),
        "command": f"lqtheory demo --seed {seed}",
    }
    return write_pruned(source, masks, output, recipe)


def shipped_sample(folder: Path) -> Sample:
    """The held-out part of Fashion-MNIST in `folder`."""
    return read_sample(folder / "demo_heldout.npz")


def judged(held_out: Sample) -> Sample:
    """What the networks are judged by: all that is not for the re-fit."""
    return Sample(DATA, held_out.x[CALIBRATION:], held_out.y[CALIBRATION:])


@dataclass(frozen=True)
class Way:
    """A way of pruning with the tiers that are set beside it, from some sparsity on."""

    name: str
    prune: Callable[[float], Pruned]
    rungs: Mapping[str, Rung]
    start: float = 0.0


def ways(dense: Dense, calibration: Any) -> Iterator[Way]:
    """The methods of masks, the first with the whole ladder; and the re-fit."""
    ladder = {"G": Population(dense.sample, dense.outcome), **RUNGS}
    for method in METHODS:
        tiers = "GABCDFH" if method is KEEP_RULE else "GC"
        yield Way(
            method.name, lambda s, m=method: dense.masked(m.masks(dense.layers, s)), {t: ladder[t] for t in tiers}
        )
    yield Way(REFITTED, lambda s: refitted(dense, s, calibration), {t: ladder[t] for t in "GC"}, REFITTED_FROM)


def refitted(dense: Dense, sparsity: float, calibration: Any) -> Pruned:
    """Global magnitude, and what is left re-fitted by least squares."""
    found = Recipe(sparsity)(dense.network.module(), refit=torch.from_numpy(calibration))
    tensors = {name: tensor.numpy() for name, tensor in found.model.state_dict().items()}
    return dense.pruned(linear_stack(tensors), counts(found.masks))


def verified(dense: Dense, calibration: Any, sparsities: Sequence[float], seed: int, path: Path) -> list[Record]:
    """All records of the demo, written to `path` as they come."""
    path.unlink(missing_ok=True)
    points = [(way, sparsity) for way in ways(dense, calibration) for sparsity in sparsities if sparsity >= way.start]
    kept: list[Record] = []
    for way, sparsity in tqdm(points, desc="prune and verify", unit="network", disable=None):
        new = list(point(dense, way, sparsity, Provenance(seed)))
        records.append(path, new)
        kept += new
    return kept


def point(dense: Dense, way: Way, sparsity: float, provenance: Provenance) -> Iterator[Record]:
    """The records of one pruned network."""
    pruned = way.prune(sparsity)
    setting = {"network": NETWORK, **about(dense, pruned), "method": way.name}
    for tier, rung in way.rungs.items():
        for quantity, pair in rung(dense, pruned).items():
            more = {**setting, "quantity": quantity, **shares(pair.bound, dense.parts)}
            yield pair.record(tier, sparsity, more, provenance)


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
    title = f"\nOutput error of the {KEEP_RULE.name} and its bounds by tier (*: answering zero would do as well)"
    console.print(title, style="bold", **LINE)
    console.print(bounds_table(found))
    dense = found[0].setting["dense_accuracy"]
    console.print(f"\nAccuracy (and what bound C guarantees); dense network {dense:.1%}", style="bold", **LINE)
    console.print(accuracy_table(found))
    count = f"{len(found)} bounds set beside measurements, {records.violations(found)} violated"
    console.print(f"\n{count}. All on {DATA}.", **LINE)


def bounds_table(found: Sequence[Record]) -> Table:
    """The measured output error of the keep rule and its bound by each tier."""
    table = _table("sparsity", "measured", *TABLED, f"{TABLED[0]} / measured", "violated")
    mine = [r for r in found if r.setting["method"] == KEEP_RULE.name and r.setting["quantity"] == "output_error"]
    for sparsity, point in groupby(mine, key=lambda r: r.sparsity):
        at = {r.tier: r for r in point}
        bounds = [f"{at[tier].bound:.3g}{'*' if at[tier].vacuous else ' '}" for tier in TABLED]
        best = at[TABLED[0]]
        table.add_row(
            *[f"{sparsity:.0%}", f"{best.measured:.3g}", *bounds, f"{best.tightness:.1f}"],
            str(records.violations(at.values())),
        )
    return table


def accuracy_table(found: Sequence[Record]) -> Table:
    """Accuracy on the held-out inputs by method, and what tier C guarantees."""
    mine = {(r.sparsity, r.setting["method"]): r.setting for r in found if is_harm_by_tier_c(r)}
    names = list(dict.fromkeys(name for _, name in mine))
    table = _table("sparsity", *names)
    for sparsity in dict.fromkeys(sparsity for sparsity, _ in mine):
        points = [mine.get((sparsity, name)) for name in names]
        cells = [f"{p['accuracy']:.1%} ({p['certified_accuracy']:.1%})" if p else "" for p in points]
        table.add_row(f"{sparsity:.0%}", *cells)
    return table


def is_harm_by_tier_c(record: Record) -> bool:
    """Whether the record is about the inputs lost, as bounded by tier C."""
    return record.tier == "C" and record.setting["quantity"] == "harm"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table
