"""Command line: parse, call, print. Data goes to stdout, everything else to stderr."""

import sys
from pathlib import Path
from typing import Any

import click

from .. import __version__
from .gate import holds
from .options import common, one_sentence, progress, write
from .report import report


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="lqtheory")
def main() -> None:
    """How compressible is a trained network, and how far can it be pruned with a guaranteed loss?

    Exit codes: 0 done; 1 a gate or --strict found something; 2 usage, unreadable or unsafe input.
    """


@main.command()
@click.argument("source")
@click.option(
    "--scope", type=click.Choice(["neuron", "tensor", "network"]), default="tensor", help="Rows of csv and md."
)
@click.option("--index", "extra", multiple=True, help="An index that takes a sort or a decomposition, by name.")
@click.option("--strict", is_flag=True, help="Exit 1 when a weight matrix was skipped unasked.")
@common
def analyze(source: str, scope: str, extra: tuple[str, ...], strict: bool, device: str, **options: Any) -> None:
    """Measure SOURCE: a checkpoint file, a folder, or org/name[@rev] of the Hugging Face hub."""
    from .. import distributed
    from ..analysis import analysis_of, check_exponents, workers_on
    from ..checkpoint import read
    from ..measure import QS
    from ..scan import scan_or_error
    from .tables import analysis_table, markdown

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
    result = analysis_of(checkpoint, scans, qs, extra)
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
    _finish(options["gates"], result.to_dict, [f"--strict: weight matrix {name!r} was skipped" for name in missed])


@main.command()
@click.argument("sources", nargs=-1, required=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of the resampling behind the intervals.")
@click.option("--resamples", type=click.IntRange(0), default=400, show_default=True, help="0 for no intervals.")
@common
def compare(sources: tuple[str, ...], seed: int, resamples: int, device: str, **options: Any) -> None:
    """Say which of two or more SOURCES is the more compressible: A, B, or where their curves cross."""
    from ..comparison import compare as compared
    from ..measure import QS
    from .tables import comparison_table, markdown

    filters = {"include": options["include"], "exclude": options["exclude"]}
    result = compared(*sources, qs=options["qs"] or QS, resamples=resamples, seed=seed, device=device, **filters)
    texts = {
        "table": lambda: comparison_table(result),
        "json": result.to_json,
        "csv": lambda: result.to_pandas().to_csv(index=False).rstrip("\n"),
        "md": lambda: markdown(result.to_pandas()),
    }
    write(texts[options["form"]](), options["output"])
    _finish(options["gates"], result.to_dict, [])


@main.command()
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("lqtheory-demo"))
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@one_sentence
def demo(output: Path, seed: int) -> None:
    """Measure, prune, verify and plot the trained network that comes with the package."""
    from ..demo import run

    sys.exit(run(output, seed))


main.add_command(report)


def _finish(gates: tuple[str, ...], document: Any, found: list[str]) -> None:
    """Exit 1, with the reasons on stderr, when a gate is true or something was found."""
    found = found + [f"--fail-if: {gate}" for gate in gates if holds(gate, document())]
    for line in found:
        click.echo(f"lqtheory: {line}.", err=True)
    if found:
        sys.exit(1)
