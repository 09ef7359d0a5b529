"""Command line: parse, call, print. Data goes to stdout, everything else to stderr; one module for each command."""

import platform
from importlib.metadata import version
from typing import Any

import click

from .. import __version__
from .analyze import analyze
from .bound import bound
from .certify import certify
from .compare import compare
from .demo import demo
from .prune import prune
from .report import report
from .verify import verify


def _show_version(context: click.Context, _: Any, wanted: bool) -> None:
    if wanted:
        import torch  # to name the device

        device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
        parts = [f"{name} {version(name)}" for name in ("numpy", "numba", "torch")]
        click.echo(f"lqtheory {__version__} (Python {platform.python_version()}, {', '.join(parts)}; device: {device})")
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show versions."
)
def main() -> None:
    """How compressible is a trained network, and how far can it be pruned with a guaranteed loss?

    Exit codes: 0 done; 1 a gate or --strict found something; 2 usage, unreadable or unsafe input.
    """


main.add_command(analyze)
main.add_command(bound)
main.add_command(compare)
main.add_command(demo)
main.add_command(report)
main.add_command(prune)
main.add_command(verify)
main.add_command(certify)
