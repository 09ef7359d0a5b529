"""`lqtheory report`: one HTML file that shows everything."""

import shlex
import sys
from pathlib import Path

import click

from .options import a_file, one_sentence


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", shell_complete=a_file)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page to write; - for stdout.",
)
@click.option("--title", default="", help="Title of the page.")
@click.option("--q", "qs", multiple=True, type=float, help="Exponent in (0, 1); may be given several times.")
@click.option("--include", multiple=True, help="Only tensors whose name matches this glob, or re:PATTERN.")
@click.option("--exclude", multiple=True, help="No tensor whose name matches this glob, or re:PATTERN.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@one_sentence
def report(
    runs: tuple[str, ...],
    output: Path,
    title: str,
    qs: tuple[float, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
) -> None:
    """Write one self-contained HTML page about each RUN.

    RUN is a checkpoint, which is then measured (two or more are also compared), the JSON of `analyze`, `compare`,
    `certify` or `prune` (recipe.json), or records (.jsonl) of `bound`, `verify` or `demo`. The page needs no network
    and no other file.
    """
    from ..measure import QS
    from ..report import html, read_runs, write

    command = shlex.join(["lqtheory", "report", *sys.argv[2:]]) if sys.argv[1:2] == ["report"] else ""
    found = read_runs(runs, qs or QS, include, exclude)
    if str(output) == "-":
        click.echo(html(found, command, title))
        return
    write(found, output, command, title)
    click.echo(f"lqtheory: wrote {output} ({output.stat().st_size / 1e6:.1f} MB).", err=True)
