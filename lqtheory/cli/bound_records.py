"""What `lqtheory bound` computes: the network as the most that is known of it, its rungs, and their records."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from .._checks import check_fraction
from ..evaluate import read_stack
from ..ladder import (
    LAYER_TIERS,
    Dense,
    DenseLayers,
    DenseModule,
    Population,
    Regions,
    Rung,
    by_count,
    by_error,
    curve,
    dense_of,
    largest_sparsities,
    layer_curve,
    rungs_for,
)
from ..models import load_model
from ..pruning import Method, global_ranking, keep_rule_at_total, magnitude, uniform, wanda
from ..pruning.layers import layer_uniform
from ..records import Provenance, Record
from ..samples import read_as, read_for

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
INPUTS = 200  # of a network that is no stack: its moments are those of every pixel


def ladder_records(source: Path | None, data: str, options: Mapping[str, Any]) -> list[Record]:
    """All records of the command: the curve over sparsities, then the largest sparsities under each limit."""
    sparsities = sorted({check_fraction(s, "sparsity") for s in options["sparsities"] or SPARSITIES})
    limits = {"harm": options["max_drop"], "output_error": options["max_error"]}
    if limits["harm"] is not None:
        check_fraction(limits["harm"], "--max-drop")
    dense = dense_network(source, data, options)
    method, rungs = method_of(options["method"], options["scope"]), rungs_of(dense, options)
    name = source.name if source is not None else options["model"]
    provenance, setting = Provenance(options["seed"]), {"network": name, "scope": options["scope"]}
    found, singly = [], singly_of(dense, method, options)
    with tqdm(sparsities, desc="ladder", disable=None, leave=False) as bar:
        for sparsity in bar:
            found += curve(dense, method, [sparsity], provenance, setting, rungs)
            found += singly([sparsity], provenance, setting)
    families = [by_count(dense, method)]
    if options["scope"] != "network":
        families.append(by_error(dense, options["scope"]))
    searched = {tier: rung for tier, rung in rungs.items() if tier not in ("E", "H")}  # no promise for the sample
    return found + list(
        chain.from_iterable(
            largest_sparsities(dense, family, quantity, limit, provenance, setting, searched)
            for quantity, limit in limits.items()
            if limit is not None
            for family in families
        )
    )


def dense_network(source: Path | None, data: str, options: Mapping[str, Any]) -> Dense | DenseModule:
    """The network on the data: a stack of linear layers recognised from the checkpoint, or what the model is."""
    most = options["inputs"]
    if options["model"] is None:
        if source is None:
            raise ValueError("a network must come from --model or from a checkpoint, got neither.")
        stack = read_stack(source)
        sample = read_for(stack, data)
        return Dense(stack, sample if most is None else sample.first(most))
    model = load_model(options["model"], source)
    sample = read_as(model, data)
    dense = dense_of(model, sample if most is None else sample.first(most))
    if most is None and isinstance(dense, DenseModule) and len(sample.y) > INPUTS:
        click.echo(f"lqtheory: the first {INPUTS} inputs only; --inputs {len(sample.y)} takes all.", err=True)
        return dense_of(model, sample.first(INPUTS))
    return dense


def method_of(method: str, scope: str) -> Method:
    """How the curve prunes: by magnitude or Wanda's score, the weights of a neuron, tensor or network competing."""
    if method == "keep-rule":
        return Method("keep rule", magnitude, keep_rule_at_total)
    budget = {"neuron": uniform, "tensor": layer_uniform, "network": global_ranking}[scope]
    return Method(f"{method} by {scope}", {"magnitude": magnitude, "wanda": wanda}[method], budget)


def rungs_of(dense: Dense | DenseModule, options: Mapping[str, Any]) -> dict[str, Rung]:
    """The tiers that were asked for, or all that the network has but E; ValueError for one that it has not."""
    known = rungs_for(dense)
    if unknown := [t for t in options["tiers"] if t not in {*known, *_others(dense)}]:
        raise ValueError(f"tier {unknown[0]} must have another network: {dense.reason}")
    wanted = options["tiers"] or [*known, "G"]
    rungs = {tier: rung for tier, rung in known.items() if tier in wanted}
    if "E" in wanted:
        rungs["E"] = Regions(options["radius"], *options["box"], seed=options["seed"])
    if "G" in wanted:
        if options["method"] == "wanda" and not options["held_out"]:
            if options["tiers"]:
                raise ValueError("tier G needs --held-out when the method has seen --data, got --method wanda.")
            click.echo("lqtheory: no tier G, as wanda has seen the data; --held-out gives it other data.", err=True)
            return rungs
        rungs["G"] = population(dense, options)
    return rungs


def population(dense: Dense | DenseModule, options: Mapping[str, Any]) -> Population:
    """Tier G on the held-out data, or on the data itself."""
    sample, held_out = dense.sample, options["held_out"]
    if held_out:
        sample = read_for(dense.network, held_out) if isinstance(dense, Dense) else read_as(dense.model, held_out)
    return Population.of(dense.network, sample, options["confidence"])


Curve = Callable[[list[float], Provenance, Mapping[str, Any]], Iterable[Record]]


def singly_of(dense: Dense | DenseModule, method: Method, options: Mapping[str, Any]) -> Curve:
    """The records of the tiers about single layers: on demand, and of networks that have no others."""
    tiers = {tier: bound for tier, bound in LAYER_TIERS.items() if tier in options["tiers"]}
    if not options["tiers"] and not rungs_for(dense):
        click.echo(f"lqtheory: {dense.reason}", err=True)
        tiers = LAYER_TIERS
    if not tiers or not isinstance(dense, DenseModule):
        return lambda *_: ()
    return partial(layer_curve, dense, DenseLayers(dense.model, dense.sample.x), method, tiers=tiers)


def _others(dense: Dense | DenseModule) -> tuple[str, ...]:
    """Tiers that are not among the rungs."""
    return ("E", "G") if isinstance(dense, Dense) else ("G", *LAYER_TIERS)
