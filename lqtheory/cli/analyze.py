"""`lqtheory analyze`: how compressible is a network, and where?"""

import sys
from collections import deque
from contextlib import nullcontext
from typing import Any

import click

from .options import a_file, common, finish, progress, write


@click.command()
@click.argument("source", shell_complete=a_file)
@click.option("--scope", type=click.Choice(["neuron", "tensor", "network"]), default="tensor", help="What a row is.")
@click.option("--index", "extra", multiple=True, help="An index that takes a sort or a decomposition, by name.")
@click.option("--strict", is_flag=True, help="Exit 1 when a weight matrix was skipped unasked.")
@common
def analyze(
    source: str, scope: str, extra: tuple[str, ...], strict: bool, device: str, seed: int, **options: Any
) -> None:
    """Measure SOURCE: a checkpoint file or its address, a folder, or org/name[@rev] of the Hugging Face hub.

    Of an address (https://..., hf://org/name[@rev]) only what is measured is fetched, and nothing stored.
    """
    from .. import distributed
    from ..analysis import analysis_of, analyze as alone, workers_on
    from ..assembly import Plan
    from ..checkpoint import read
    from ..measure import QS
    from ..scan import unwatched
    from ..shelf import Shelf
    from ..terminal import analysis_table, markdown

    plan = Plan.of(options["qs"] or QS, extra, seed)
    checkpoint = read(source, include=options["include"], exclude=options["exclude"])
    first, share = distributed.rank() == 0, sum(t.parameters for t in checkpoint.tensors) // distributed.ranks()
    with progress(share) if first else nullcontext(unwatched) as watch:
        if distributed.ranks() > 1:
            found = distributed.measured(checkpoint.tensors, plan, workers_on(device), Shelf(), watch)
            if not first:  # the first rank prints
                deque(found)
                return
            result = analysis_of(checkpoint, found, plan)
        else:
            result = alone(checkpoint, plan.qs, index=extra, device=device, seed=seed, watch=watch)
    texts = {
        "table": lambda: analysis_table(result, scope),
        "json": lambda: result.to_json(neurons=scope == "neuron"),
        "csv": lambda: result.to_pandas(scope).to_csv(index=False).rstrip("\n"),
        "md": lambda: markdown(result.to_pandas(scope)),
    }
    write(texts[options["form"]](), options["output"])
    for sentence in result.damaged:
        click.echo(f"lqtheory: {sentence}", err=True)
    if result.damaged:
        sys.exit(2)
    missed = [entry.name for entry in checkpoint.skipped_matrices] if strict else []
    finish(options["gates"], result.to_dict, [f"--strict: weight matrix {name!r} was skipped" for name in missed])
