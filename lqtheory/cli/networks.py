"""Options of the commands that run networks: which one, on which data, pruned how."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import one_sentence

if TYPE_CHECKING:
    from ..pruning.recipe import Recipe


def running(command: Callable[..., Any]) -> Callable[..., Any]:
    """The checkpoint and the options of every command that runs a network; click hands them on by name."""
    options = [
        click.argument("source", required=False, type=click.Path(exists=True, path_type=Path)),
        click.option(
            "--model",
            help="package.module:factory, torchvision:NAME, timm:NAME, hf:ID or a .pt2 file.",
        ),
        click.option("--calibration", help="Inputs for scores and re-fit: .npz, IDX, CIFAR .bin or package.module:f."),
        click.option("--seed", type=int, default=0, show_default=True),
        click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="cpu", show_default=True),
        click.option("--include", multiple=True, help="Prune only tensors that match this glob, or re:PATTERN."),
        click.option("--exclude", multiple=True, help="Prune no tensor whose name matches this glob, or re:PATTERN."),
        click.option("--debug", is_flag=True, help="Show the traceback of an error."),
    ]
    for option in reversed(options):
        command = option(command)
    return one_sentence(command)


def recipe_of(method: str, **options: Any) -> "Recipe":
    """SCORE[:BUDGET[:FIT[:EPOCHS]]], such as magnitude:global:support-search; fit `none` leaves what is left alone."""
    from ..pruning.recipe import Recipe

    score, budget, fit, epochs, *rest = [*method.split(":"), *["", "", "", ""]][: max(4, method.count(":") + 1)]
    if rest or (epochs and not epochs.isdigit()):
        raise ValueError(f"a method must be SCORE[:BUDGET[:FIT[:EPOCHS]]], got {method!r}.")
    chosen = None if fit == "none" else fit or "least-squares"
    return Recipe(score=score, budget=budget or "global", fit=chosen, epochs=int(epochs or 0), **options)


def chosen_device(device: str) -> str:
    """`auto` is CUDA where there is any."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
