"""The question turned round: the largest sparsity that a rung guarantees under a limit, beside the truth."""

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from typing import Any

import numpy as np

from .. import evaluate
from ..bounds import Bound, certified_sparsity, harm_rate
from ..bounds.inverse import last_safe
from ..records import Provenance, Record
from ..verification import Outcome, Pair
from .curves import about, weights
from .families import Family
from .networks import Dense, DenseModule, Pruned
from .rungs import RUNGS, Population, Rung

PATH = 100  # steps of the path that tier G tests, fixed beforehand

MEASURED: Mapping[str, Callable[[Outcome, Outcome], float]] = {
    "output_error": lambda before, after: evaluate.output_error(before.logits, after.logits),
    "changed_predictions": lambda before, after: evaluate.changed_predictions(before.logits, after.logits),
    "harm": lambda before, after: float(np.mean(before.correct & ~after.correct)),
}


def largest_sparsities(
    dense: Dense | DenseModule,
    family: Family,
    quantity: str,
    limit: float,
    provenance: Provenance,
    setting: Mapping[str, Any],
    rungs: Mapping[str, Rung] = RUNGS,
) -> Iterator[Record]:
    """For each rung the sparsest member of the family at which it promises `quantity` <= limit, beside the truth.

    The records bound a sparsity from below: what was measured is the largest at which the sample keeps the limit.
    """
    if not limit >= 0:
        raise ValueError(f"the limit of the {quantity.replace('_', ' ')} must not be negative, got {limit:g}.")
    at = lru_cache(maxsize=16)(lambda step: dense.masked(family.masks(step)))

    def keeps(step: int) -> bool:
        return MEASURED[quantity](dense.outcome, at(step).outcome) <= limit

    reached = last_safe(keeps, family.last)
    for tier, rung in rungs.items():
        if quantity not in rung(dense, at(family.last)):
            continue
        if isinstance(rung, Population):
            step, bound = _along_path(dense, at, rung, family.last, limit)
        else:
            step = last_safe(partial(_promises, dense, at, rung, quantity, limit), family.last)
            base = rung(dense, at(step))[quantity].bound
            bound = Bound(sparsity(dense, at(step)), "lower", base.source, base.assumptions)
        best = max(reached, step) if isinstance(rung, Population) or keeps(step) else reached
        more = {
            **setting,
            **about(dense, at(step)),
            "method": family.name,
            "quantity": f"sparsity at {quantity}",
            "limit": limit,
            "layers": layer_sparsities(dense, at(step)),
            "neurons": at(step).kept,
        }
        yield Pair(bound, sparsity(dense, at(best)), 0.0, {}).record(tier, bound.value, more, provenance)


def sparsity(dense: Dense | DenseModule, pruned: Pruned) -> float:
    """Share of the weights that are dropped, exactly."""
    total = weights(dense)
    return (total - sum(map(sum, pruned.kept.values()))) / total


def layer_sparsities(dense: Dense | DenseModule, pruned: Pruned) -> dict[str, float]:
    """The same of each layer."""
    sizes = {layer.name: layer.weight.size for layer in dense.layers}
    return {name: (sizes[name] - sum(kept)) / sizes[name] for name, kept in pruned.kept.items()}


def _promises(
    dense: Dense | DenseModule, at: Callable[[int], Pruned], rung: Rung, quantity: str, limit: float, step: int
) -> bool:
    found = rung(dense, at(step)).get(quantity)
    return found is not None and found.bound.value <= limit


def _along_path(
    dense: Dense | DenseModule, at: Callable[[int], Pruned], rung: Population, last: int, limit: float
) -> tuple[int, Bound]:
    """Theorem 29 along evenly spaced steps, up to the first that fails."""
    path = np.unique(np.linspace(0, last, PATH + 1).astype(int))[1:].tolist()
    n, passed, sparsities, lost = len(rung.sample.y), 0, [], []
    for step in path:
        if sparsities and sparsity(dense, at(step)) <= sparsities[-1]:
            continue
        sparsities.append(sparsity(dense, at(step)))
        lost.append(rung.harmed(dense, at(step)))
        if harm_rate(lost[-1], n, rung.confidence).value > limit:
            break
        passed = step
    return passed, certified_sparsity(sparsities, lost, n, limit, rung.confidence)
