"""`lqtheory bound`: the ladder of guarantees of one network beside what happens, and how far it may be pruned."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import one_sentence, write
from .tiers import tier_names

if TYPE_CHECKING:
    from ..records import Record

FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("source", type=FILE, required=False)
@click.option("--data", required=True, help="Labelled inputs: .npz with x and y, IDX, CIFAR .bin or package.module:f.")
@click.option(
    "--model", help="Whose weights SOURCE holds: package.module:factory, torchvision:, timm: or hf:NAME, a .pt2 file."
)
@click.option("--inputs", type=click.IntRange(2), help="Only so many. [default: all of a stack, 200 of other networks]")
@click.option("--held-out", help="The same for tier G, never used to train or to choose; --data when not given.")
@click.option("--sparsity", "sparsities", multiple=True, type=float, help="Share of the weights to drop; repeatable.")
@click.option(
    "--tier", "tiers", multiple=True, callback=tier_names, help="Only these tiers; repeatable. E only on demand."
)
@click.option(
    "--method",
    type=click.Choice(["magnitude", "wanda", "keep-rule"]),
    default="magnitude",
    show_default=True,
    help="What decides which weights stay.",
)
@click.option(
    "--scope",
    type=click.Choice(["neuron", "tensor", "network"]),
    default="network",
    show_default=True,
    help="Where weights compete; with a limit, what gets a sparsity of its own.",
)
@click.option("--max-drop", type=float, help="Find the largest sparsities with at most this loss of accuracy.")
@click.option("--max-error", type=float, help="Find the largest sparsities with at most this output error.")
@click.option("--radius", type=float, default=1 / 255, help="Of the balls of tier E. [default: 1/255]")
@click.option("--box", type=(float, float), default=(0.0, 1.0), show_default=True, help="Range of inputs in tier E.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of tier G.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl", "csv", "md"]),
    default="table",
    show_default=True,
    help="json and jsonl are one record a line.",
)
@click.option("-o", "--output", type=FILE, help="Write there, not to stdout.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@one_sentence
def bound(source: Path | None, data: str, form: str, output: Path | None, **options: Any) -> None:
    """Bound what pruning SOURCE can do to its output, tier by tier, beside the measurement.

    A stack of linear layers with ReLU is recognised from SOURCE and has all tiers; a convolutional or residual network
    given by --model has B, C, D and G; of any other, such as a transformer, every layer is bounded by itself, and the
    whole by G. Exit code 1 when a bound is violated, which would be a bug of lqtheory.
    """
    from .. import records
    from .bound_records import ladder_records

    found = list(ladder_records(source, data, options))
    texts: dict[str, Callable[[], str]] = {
        "table": lambda: _tables(found),
        "csv": lambda: _frame(found).to_csv(index=False).rstrip("\n"),
        "md": lambda: _markdown(found),
    }
    write(texts.get(form, lambda: "\n".join(record.to_json() for record in found))(), output)
    if bad := records.violations(found):
        click.echo(f"lqtheory: {bad} of {len(found)} bounds are violated: a bug, please report it.", err=True)
        sys.exit(1)


def _tables(found: "Sequence[Record]") -> str:
    from .bound_tables import ladder_text

    return ladder_text(found)


def _frame(found: "Sequence[Record]") -> Any:
    from .bound_tables import frame

    return frame(found)


def _markdown(found: "Sequence[Record]") -> str:
    from ..terminal import markdown

    return markdown(_frame(found))
