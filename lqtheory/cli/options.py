"""What the commands have in common: options, errors as one sentence, output that appears whole."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ..files import replacing
from .gate import holds

FORMATS = ("table", "json", "csv", "md")


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options of every command that measures; click hands them on by name."""
    options = [
        click.option("--q", "qs", multiple=True, type=float, help="Exponent in (0, 1); may be given several times."),
        click.option("--include", multiple=True, help="Only tensors whose name matches this glob, or re:PATTERN."),
        click.option("--exclude", multiple=True, help="No tensor whose name matches this glob, or re:PATTERN."),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu", show_default=True),
        click.option("--seed", type=int, default=0, show_default=True, help="Seed of whatever is drawn."),
        click.option("--format", "form", type=click.Choice(FORMATS), default="table", show_default=True),
        click.option(
            "-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Write there, not to stdout."
        ),
        click.option("--fail-if", "gates", multiple=True, metavar="EXPR", help="Exit 1 when true, e.g. 'gini < 0.4'."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    ]
    for option in reversed(options):
        command = option(command)
    return one_sentence(command)


def a_file(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """What a shell offers where a name may be a file but need not be."""
    return [CompletionItem(incomplete, type="file")]


def one_sentence(command: Callable[..., Any]) -> Callable[..., Any]:
    """Errors that a user can mend, as one sentence on stderr and exit code 2; everything else stays a traceback."""

    @wraps(command)
    def guarded(*args: Any, debug: bool = False, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except (ValueError, OSError) as error:
            if debug:
                raise
            click.echo(f"lqtheory: {error}", err=True)
            sys.exit(2)

    return guarded


def write(text: str, output: Path | None) -> None:
    """Text to stdout, or to a file that is replaced at the end."""
    if output is None:
        click.echo(text)
        return
    with replacing(output) as draft:
        draft.write_text(text if text.endswith("\n") else text + "\n")


@contextmanager
def progress(total: int) -> Iterator[Callable[[int], Any]]:
    """A bar over weights on stderr; nothing without a terminal."""
    from tqdm import tqdm

    with tqdm(total=total, unit=" weights", unit_scale=True, disable=not sys.stderr.isatty(), leave=False) as bar:
        yield bar.update


def finish(gates: tuple[str, ...], document: Any, found: list[str]) -> None:
    """Exit 1, with the reasons on stderr, when a gate is true or something was found."""
    found = found + [f"--fail-if: {gate}" for gate in gates if holds(gate, document())]
    for line in found:
        click.echo(f"lqtheory: {line}.", err=True)
    if found:
        sys.exit(1)
