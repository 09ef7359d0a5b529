"""The ladder over sparsities: every rung at every point, with the part of the bound that each layer is to blame for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ..bounds import Bound, NetworkBound
from ..evaluate import LinearStack, Sample
from ..pruning import Method
from ..records import Provenance, Record
from .networks import Dense, DenseModule, Pruned
from .rungs import RUNGS, Rung

A_PRIORI = {tier: RUNGS[tier] for tier in ("A", "B", "C")}  # three kinds of knowledge, none of them a run


def sweep(
    stack: LinearStack,
    sample: Sample,
    methods: Sequence[Method],
    sparsities: Sequence[float],
    provenance: Provenance,
    setting: Mapping[str, Any],
    rungs: Mapping[str, Rung] = A_PRIORI,
) -> Iterator[Record]:
    """The curves of several methods for a stack of linear layers, one after the other."""
    dense = Dense(stack, sample)
    for method in methods:
        yield from curve(dense, method, sparsities, provenance, setting, rungs)


def curve(
    dense: Dense | DenseModule,
    method: Method,
    sparsities: Iterable[float],
    provenance: Provenance,
    setting: Mapping[str, Any],
    rungs: Mapping[str, Rung] = RUNGS,
) -> Iterator[Record]:
    """The records of every rung at every sparsity, as they come; a rung that does not apply gives none."""
    for sparsity in sparsities:
        pruned = dense.masked(method.masks(dense.layers, sparsity))
        mine = {**setting, **about(dense, pruned), "method": method.name}
        for tier, rung in rungs.items():
            for quantity, pair in rung(dense, pruned).items():
                more = {**mine, "quantity": quantity, **shares(pair.bound, dense.parts)}
                yield pair.record(tier, sparsity, more, provenance)


def shares(bound: Bound, parts: Sequence[str]) -> dict[str, dict[str, float]]:
    """Which part of a bound each layer is to blame for, where the bound is a sum over layers."""
    if not isinstance(bound, NetworkBound):
        return {}
    return {"shares": dict(zip(parts, bound.shares, strict=True))}


def about(dense: Dense | DenseModule, pruned: Pruned) -> dict[str, Any]:
    """What every record says of its point."""
    return {
        "data": dense.sample.name,
        "samples": len(dense.sample.y),
        "kept": sum(map(sum, pruned.kept.values())),
        "weights": weights(dense),
        "dense_accuracy": dense.outcome.accuracy,
        "accuracy": pruned.outcome.accuracy,
    }


def weights(dense: Dense | DenseModule) -> int:
    """How many weights can be pruned."""
    return sum(layer.weight.size for layer in dense.layers)
