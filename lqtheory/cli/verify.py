"""`lqtheory verify`: bounds beside measurements over a sweep, one JSON line each."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from .networks import chosen_device, recipe_of, running
from .tiers import tier_names


@click.command()
@running
@click.option("--data", required=True, help="Labelled inputs: .npz with x and y, IDX, CIFAR .bin or package.module:f.")
@click.option("--method", "methods", multiple=True, default=["magnitude"], metavar="SCORE[:BUDGET[:FIT[:EPOCHS]]]")
@click.option("--sparsity", "sparsities", multiple=True, type=float, default=[0.5, 0.7, 0.8, 0.9], show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="How many, for methods that draw.")
@click.option("--confidence", type=float, default=0.95, show_default=True)
@click.option(
    "--tier",
    "tiers",
    multiple=True,
    default=["B", "C"],
    show_default=True,
    callback=tier_names,
    help="Beside G, as far as the network has them; repeatable.",
)
@click.option(
    "--inputs",
    type=click.IntRange(2),
    help="How many tiers but G are about, the first. [default: 1 in 60, at least 50]",
)
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), default=Path("records.jsonl"), show_default=True
)
def verify(source: Path | None, model: str | None, data: str, output: Path, **options: Any) -> None:
    """Prune the network in SOURCE by each method at each sparsity, and set bounds beside what really happens.

    Records are appended as they come; a sweep that was killed goes on where it was. Under torchrun the points are
    split between the processes. Exit code 1 when a bound is violated.
    """
    from ..models import load_data, load_model
    from ..samples import calibration, judged
    from ..sweep import Bench, Verification, sweep

    device = chosen_device(options["device"])
    choice = {key: options[key] for key in ("include", "exclude")}
    methods = {method: recipe_of(method, **choice) for method in options["methods"]}
    label = str(source.name if source is not None else model)

    def bench() -> Bench:
        network = load_model(model, source).to(device)
        inputs = calibration(network, load_data(options["calibration"])).to(device) if options["calibration"] else None
        return Bench(network, judged(network, load_data(data)), inputs, device, options["tiers"], options["inputs"])

    seeds = range(options["seed"], options["seed"] + options["seeds"])
    rank, ranks = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    found = []
    steps = sweep(
        *({label: bench}, methods, options["sparsities"], list(seeds), output, device, options["confidence"]),
        rank=rank,
        ranks=ranks,
    )
    for point, new in steps:
        found += new
        about = new[0].setting
        click.echo(
            f"{point.method}  {point.sparsity:.1%}  accuracy {about['accuracy']:.4f} of {about['dense_accuracy']:.4f}"
            f"  agreement {about['agreement']:.4f}  violated {sum(r.violated for r in new)} of {len(new)}"
        )
    result = Verification(found)
    click.echo(result.summary())
    if result.violations:
        sys.exit(1)
