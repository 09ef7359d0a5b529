"""`lqtheory analyze`: how compressible is a network, and where?"""

import sys
from typing import Any

import click

from .options import common, finish, progress, write


@click.command()
@click.argument("source")
@click.option("--scope", type=click.Choice(["neuron", "tensor", "network"]), default="tensor", help="What a row is.")
@click.option("--index", "extra", multiple=True, help="An index that takes a sort or a decomposition, by name.")
@click.option("--strict", is_flag=True, help="Exit 1 when a weight matrix was skipped unasked.")
@common
def analyze(
    source: str, scope: str, extra: tuple[str, ...], strict: bool, device: str, seed: int, **options: Any
) -> None:
    """Measure SOURCE: a checkpoint file, a folder, or org/name[@rev] of the Hugging Face hub."""
    from .. import distributed
    from ..analysis import analysis_of, check_exponents, workers_on
    from ..checkpoint import read
    from ..measure import QS
    from ..scan import scan_or_error
    from ..terminal import analysis_table, markdown

    qs = check_exponents(options["qs"] or QS)
    checkpoint = read(source, include=options["include"], exclude=options["exclude"])
    exponents, workers = (*qs, 1.0, 2.0), workers_on(device)
    with progress(sum(tensor.parameters for tensor in checkpoint.tensors)) as watch:
        if distributed.started():
            scans = distributed.scan_all(checkpoint.tensors, exponents, workers, watch)
        else:
            scans = [scan_or_error(tensor, exponents, None, workers, watch) for tensor in checkpoint.tensors]
    if scans is None:  # the first rank prints
        return
    result = analysis_of(checkpoint, scans, qs, extra, seed)
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
