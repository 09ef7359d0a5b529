"""Which tiers of bounds a command shows."""

from collections.abc import Sequence

import click

TIERS = ("A", "B", "C", "C weighted", "D", "D uniform", "E", "F", "G", "H", "layer C", "layer norms", "layer B")


def tier_names(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    """Names of tiers, with spaces or dashes."""
    names = [value.replace("-", " ") for value in values]
    if wrong := [name for name in names if name not in TIERS]:
        raise click.BadParameter(f"tiers are {', '.join(TIERS)}, got {wrong[0]!r}.")
    return names
