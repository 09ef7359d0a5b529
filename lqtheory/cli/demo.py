"""`lqtheory demo`: the whole way, on a network that comes with the package."""

import sys
from pathlib import Path

import click

from .options import one_sentence


@click.command()
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=Path("lqtheory-demo"))
@click.option("--seed", type=int, default=0, show_default=True)
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@one_sentence
def demo(output: Path, seed: int) -> None:
    """Measure, prune, verify and plot the trained network that comes with the package."""
    from ..demo import run

    sys.exit(run(output, seed))
