"""`lqtheory prune`: a checkpoint in, the same checkpoint with zeros out."""

import json
import shlex
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from .networks import chosen_device, recipe_of, running


@click.command()
@running
@click.option("--sparsity", type=float, help="Share of the weights set to zero; one half, if nothing is said.")
@click.option(
    "--max-drop", type=float, help="Prune as far as at most this share of the inputs is certified to be lost."
)
@click.option("--data", help="Held-out labelled inputs for --max-drop, never used to train, calibrate or choose.")
@click.option("--tier", default="G", show_default=True, help="What certifies --max-drop: G, or A to F for a stack.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of tier G.")
@click.option("--method", default="magnitude", show_default=True, metavar="SCORE[:BUDGET[:FIT[:EPOCHS]]]")
@click.option(
    "--pattern",
    metavar="N:M|channels|heads",
    help="Keep N of every M consecutive inputs, instead of --sparsity; or prune whole neurons and filters, or whole "
    "attention heads, of which --sparsity is the share, and write the smaller network as well.",
)
@click.option("--by-block", is_flag=True, help="One block after another, as memory asks for with large transformers.")
@click.option("--steps", type=int, default=1, show_default=True, help="Prune and re-fit in so many steps.")
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("pruned"), show_default=True
)
def prune(
    source: Path | None,
    model: str | None,
    calibration: str | None,
    output: Path,
    sparsity: float | None,
    **options: Any,
) -> None:
    """Prune the network in SOURCE and write checkpoint, masks and recipe.json into a folder."""
    from ..guaranteed import largest
    from ..models import load_data, load_model, stack_names
    from ..pruning.blocks import by_blocks
    from ..pruning.export import write_pruned, write_smaller
    from ..pruning.size import sizes
    from ..records import Provenance

    if source is None:
        raise click.UsageError("prune takes a checkpoint, a file or a folder.")
    pattern, max_drop, data = _pattern(options["pattern"]), options["max_drop"], options["data"]
    if max_drop is not None and (sparsity is not None or data is None):
        raise click.UsageError("--max-drop takes the place of --sparsity and needs --data.")
    choice = {key: options[key] for key in ("include", "exclude", "steps", "seed")}
    recipe = recipe_of(options["method"], sparsity=0.5 if sparsity is None else sparsity, pattern=pattern, **choice)
    device = chosen_device(options["device"])
    network = load_model(model, source).to(device)
    inputs = load_data(calibration).x.to(device) if calibration else None
    guarantee = None
    if max_drop is not None:
        held_out, how = load_data(data), (options["tier"], options["confidence"], device)
        guarantee = largest(network, held_out, max_drop, recipe, inputs, *how)
        click.echo(guarantee.summary())
        recipe = replace(recipe, sparsity=guarantee.sparsity)
    if options["by_block"]:
        if inputs is None:
            raise click.UsageError("--by-block needs --calibration.")
        pruned = by_blocks(network, recipe, inputs)
    else:
        pruned = recipe(network, refit=inputs)
    names = stack_names(source) if model is None and source.is_file() else {}
    masks = {names.get(name, name): mask for name, mask in pruned.stored_masks().items()}
    state = {names.get(name, name): value.cpu() for name, value in pruned.model.state_dict().items()}
    about = {
        **{"method": recipe.describe(), "sparsity": recipe.sparsity, "calibration": calibration},
        **({"guarantee": json.loads(guarantee.to_json()), "held_out": data} if guarantee else {}),
        **asdict(Provenance(options["seed"], device)),
        "command": shlex.join(["lqtheory", *sys.argv[1:]]),
    }
    target = write_pruned(source, masks, output, about, state)
    click.echo(f"kept {pruned.kept:,} of {pruned.weights:,} weights ({pruned.kept / pruned.weights:.2%})")
    for line in sizes(network, pruned, source, target, inputs):
        click.echo(line)
    if pattern == "heads" or (pattern == "channels" and inputs is not None):
        renamed = {names.get(name, name): value for name, value in smaller(pruned.model, pattern, inputs).items()}
        click.echo(f"{write_smaller(source, output, renamed)}")
    for name in pruned.left if recipe.fit and calibration else ():
        click.echo(f"lqtheory: {name} was pruned but not re-fitted.", err=True)
    click.echo(f"{target}")


def smaller(model: Any, pattern: str, inputs: Any) -> dict[str, Any]:
    """The tensors of the network without its zeroed channels or heads; says how many could not be removed."""
    from ..pruning.attention import heads
    from ..pruning.channels import channels
    from ..pruning.heads import without_heads
    from ..pruning.structured import slim, unread

    found = heads(model) if pattern == "heads" else channels(model, inputs)
    zeroed = set(unread(model, found).tolist())
    if stuck := len(zeroed & found.rigid):
        click.echo(
            f"lqtheory: {stuck} of {len(zeroed)} {pattern} are zeros but stay: the code has their number.", err=True
        )
    return (without_heads(model) if pattern == "heads" else slim(model, inputs)).state_dict()


def _pattern(text: str | None) -> Any:
    if text in (None, "channels", "heads"):
        return text
    n, _, m = text.partition(":")
    if not (n.isdigit() and m.isdigit() and 0 < int(n) <= int(m)):
        raise click.UsageError(f"--pattern takes N:M with 0 < N <= M, channels or heads, got {text!r}.")
    return int(n), int(m)
