"""`lqtheory bound`: the ladder of guarantees of one network beside what happens, and how far it may be pruned."""

import sys
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import one_sentence, write

if TYPE_CHECKING:
    from ..ladder import Rung
    from ..pruning import Method
    from ..records import Record
    from ..verification import Dense

TIERS = ("A", "B", "C", "C weighted", "D", "D uniform", "E", "F", "G", "H")
SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
FILE = click.Path(dir_okay=False, path_type=Path)


def _tier(context: click.Context, parameter: click.Parameter, values: Sequence[str]) -> list[str]:
    """Names of tiers, with spaces or dashes."""
    names = [value.replace("-", " ") for value in values]
    if wrong := [name for name in names if name not in TIERS]:
        raise click.BadParameter(f"tiers are {', '.join(TIERS)}, got {wrong[0]!r}.")
    return names


@click.command()
@click.argument("source", type=FILE)
@click.option("--data", required=True, help="Labelled inputs: .npz with x and y, IDX images, package.module:factory.")
@click.option("--model", help="Whose weights SOURCE holds: package.module:factory; else recognised from SOURCE.")
@click.option("--held-out", help="The same for tier G, never used to train or to choose; --data when not given.")
@click.option("--sparsity", "sparsities", multiple=True, type=float, help="Share of the weights to drop; repeatable.")
@click.option("--tier", "tiers", multiple=True, callback=_tier, help="Only these tiers; repeatable. E only on demand.")
@click.option(
    "--method",
    type=click.Choice(["magnitude", "wanda", "keep-rule"]),
    default="magnitude",
    show_default=True,
    help="What decides which weights stay.",
)
@click.option(
    "--scope",
    type=click.Choice(["neuron", "tensor", "network"]),
    default="network",
    show_default=True,
    help="Where weights compete; with a limit, what gets a sparsity of its own.",
)
@click.option("--max-drop", type=float, help="Find the largest sparsities with at most this loss of accuracy.")
@click.option("--max-error", type=float, help="Find the largest sparsities with at most this output error.")
@click.option("--radius", type=float, default=1 / 255, help="Of the balls of tier E. [default: 1/255]")
@click.option("--box", type=(float, float), default=(0.0, 1.0), show_default=True, help="Range of inputs in tier E.")
@click.option("--confidence", type=float, default=0.95, show_default=True, help="Of tier G.")
@click.option("--seed", type=int, default=0, show_default=True)
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "json", "jsonl", "csv", "md"]),
    default="table",
    show_default=True,
    help="json and jsonl are one record a line.",
)
@click.option("-o", "--output", type=FILE, help="Write there, not to stdout.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@one_sentence
def bound(source: Path, data: str, form: str, output: Path | None, **options: Any) -> None:
    """Bound what pruning SOURCE, a stack of linear layers, can do to its output, tier by tier, beside the measurement.

    Exit code 1 when a bound is violated, which would be a bug of lqtheory.
    """
    from .. import records

    found = list(ladder_records(source, data, options))
    texts: dict[str, Callable[[], str]] = {
        "table": lambda: _tables(found),
        "csv": lambda: _frame(found).to_csv(index=False).rstrip("\n"),
        "md": lambda: _markdown(found),
    }
    write(texts.get(form, lambda: "\n".join(record.to_json() for record in found))(), output)
    if bad := records.violations(found):
        click.echo(f"lqtheory: {bad} of {len(found)} bounds are violated: a bug, please report it.", err=True)
        sys.exit(1)


def ladder_records(source: Path, data: str, options: Mapping[str, Any]) -> "list[Record]":
    """All records of the command: the curve over sparsities, then the largest sparsities under each limit."""
    from tqdm import tqdm

    from .._checks import check_fraction
    from ..ladder import by_count, by_error, curve, largest_sparsities
    from ..records import Provenance
    from ..samples import read_for
    from ..stacks import load_stack
    from ..verification import Dense

    sparsities = [check_fraction(s, "sparsity") for s in options["sparsities"] or SPARSITIES]
    limits = {"harm": options["max_drop"], "output_error": options["max_error"]}
    if limits["harm"] is not None:
        check_fraction(limits["harm"], "--max-drop")
    stack = load_stack(source, options["model"])
    dense = Dense.of(stack, read_for(stack, data))
    method, rungs = method_of(options["method"], options["scope"]), rungs_of(dense, options)
    provenance, setting = Provenance(options["seed"]), {"network": source.name, "scope": options["scope"]}
    found = []
    with tqdm(sorted(set(sparsities)), desc="ladder", disable=None, leave=False) as bar:
        for sparsity in bar:
            found += curve(dense, method, [sparsity], provenance, setting, rungs)
    families = [by_count(dense, method)]
    if options["scope"] != "network":
        families.append(by_error(dense, options["scope"]))
    return found + list(
        chain.from_iterable(
            largest_sparsities(dense, family, quantity, limit, provenance, setting, _searched(rungs))
            for quantity, limit in limits.items()
            if limit is not None
            for family in families
        )
    )


def _searched(rungs: "Mapping[str, Rung]") -> "dict[str, Rung]":
    """The rungs that promise something beforehand and for the whole sample."""
    return {tier: rung for tier, rung in rungs.items() if tier not in ("E", "H")}


def method_of(method: str, scope: str) -> "Method":
    """How the curve prunes: by magnitude or Wanda's score, the weights of a neuron, tensor or network competing."""
    from ..pruning import Method, global_ranking, keep_rule_at_total, magnitude, uniform, wanda
    from ..pruning.layers import layer_uniform

    if method == "keep-rule":
        return Method("keep rule", magnitude, keep_rule_at_total)
    budget = {"neuron": uniform, "tensor": layer_uniform, "network": global_ranking}[scope]
    return Method(f"{method} by {scope}", {"magnitude": magnitude, "wanda": wanda}[method], budget)


def rungs_of(dense: "Dense", options: Mapping[str, Any]) -> "dict[str, Rung]":
    """The tiers that were asked for: all but E unless it is named."""
    from ..ladder import RUNGS, Population, Regions
    from ..samples import read_for

    wanted = options["tiers"] or [tier for tier in TIERS if tier != "E"]
    rungs = {tier: rung for tier, rung in RUNGS.items() if tier in wanted}
    if "E" in wanted:
        rungs["E"] = Regions(options["radius"], *options["box"], seed=options["seed"])
    if "G" in wanted:
        held_out = options["held_out"]
        if options["method"] == "wanda" and not held_out:
            if options["tiers"]:
                raise ValueError("tier G needs --held-out when the method has seen --data, got --method wanda.")
            click.echo("lqtheory: no tier G, as wanda has seen the data; --held-out gives it other data.", err=True)
            return rungs
        sample = read_for(dense.stack, held_out) if held_out else dense.sample
        rungs["G"] = Population.of(dense.stack, sample, options["confidence"])
    return rungs


def _tables(found: "Sequence[Record]") -> str:
    from .bound_tables import ladder_text

    return ladder_text(found)


def _frame(found: "Sequence[Record]") -> Any:
    from .bound_tables import frame

    return frame(found)


def _markdown(found: "Sequence[Record]") -> str:
    from ..terminal import markdown

    return markdown(_frame(found))
