"""Prune as far as a guarantee goes: given is what may be lost, and the sparsity follows from it."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import nn

from ._checks import check_fraction
from .certification import Certificate, certify, possible, pruned_at
from .ladder import RUNGS, Beside
from .models import Data
from .pruning.budgets import Budget
from .pruning.recipe import Recipe, named, prune as plainly
from .pruning.running import Inputs
from .pruning.scores import Score
from .samples import sample_of
from .sweep import Bench

STATISTICAL = "G"
EXACT = {tier: rung for tier, rung in RUNGS.items() if tier != "H"}  # what promises something about the sample


@dataclass(frozen=True)
class Promise:
    """Up to which sparsity of a path a bound says that at most `limit` of the n inputs at hand are lost.

    Lost are inputs that the dense network gets right and the pruned one wrong. `bounds` are those of the path as far as
    `sparsities` goes, computed without running the pruned network; 0 where no step passes.
    """

    sparsity: float
    limit: float
    n: int
    sparsities: tuple[float, ...]
    bounds: tuple[float, ...]
    tier: str
    source: str
    method: str

    def summary(self) -> str:
        """The promise in a sentence."""
        share = f"at most {100 * self.limit:.3g} % of the {self.n:,} inputs at hand"
        if not self.sparsity:
            return f"No sparsity of the path is promised: {share} would be lost (tier {self.tier})."
        return f"At {100 * self.sparsity:.4g} % sparsity, {share} are lost, by {self.source} (tier {self.tier})."

    def to_json(self) -> str:
        """All fields and the sentence as one JSON object."""
        return json.dumps({**asdict(self), "summary": self.summary()}, indent=2)


def promise(
    model: nn.Module,
    data: Data,
    limit: float,
    tier: str = "C",
    recipe: Recipe | None = None,
    calibration: Inputs | None = None,
    sparsities: Sequence[float] | None = None,
) -> Promise:
    """The largest sparsity of a path at which a tier of the ladder promises `limit`; ValueError where it has none.

    Nothing is statistical about it: it holds for the inputs at hand, whatever they were used for before. Without
    `sparsities` the path goes by 5 % as far as every neuron keeps a weight.
    """
    named(tier, EXACT, "tier")
    check_fraction(limit, "limit")
    chosen, bench = recipe or Recipe(fit=None), Bench(model, data, calibration)
    beside = Beside.of(model, sample_of(data), [tier], len(data))
    if not beside.rungs:
        raise ValueError(f"tier {tier} must have a network that is made for it, got {beside.dense.reason}")
    walked, bounds, source = [], [], ""
    for sparsity in sorted(possible(model, chosen) if sparsities is None else sparsities):
        pruned = pruned_at(bench, chosen, sparsity).model
        found = [pair for _, quantity, pair in beside(pruned) if quantity == "harm"]
        if not found:
            raise ValueError(f"tier {tier} holds only where every neuron keeps its largest weights, got {chosen.name}.")
        walked.append(sparsity)
        bounds.append(float(found[0].bound.value))
        source = found[0].bound.source
    best = max((s for s, value in zip(walked, bounds, strict=True) if value <= limit), default=0.0)
    return Promise(best, limit, len(data), tuple(walked), tuple(bounds), tier, source, repr(chosen))


def largest(
    model: nn.Module,
    held_out: Data,
    max_drop: float,
    recipe: Recipe | None = None,
    calibration: Inputs | None = None,
    tier: str = STATISTICAL,
    confidence: float = 0.95,
    device: str = "cpu",
) -> Certificate | Promise:
    """The guarantee of the largest sparsity at which at most `max_drop` of the inputs are lost.

    Tier G is about the population that `held_out` was drawn from, at a confidence, for any network (Theorem 29); the
    others are about these very inputs, and certain, as far as the network has them. The accuracy falls by no more.
    """
    if tier == STATISTICAL:
        return certify(model, held_out, max_drop, confidence, None, recipe, calibration, device)
    return promise(model, held_out, max_drop, tier, recipe, calibration)


def prune(
    model: nn.Module,
    sparsity: float | None = None,
    score: str | Score = "magnitude",
    budget: str | Budget = "global",
    refit: Inputs | None = None,
    data: Inputs | None = None,
    inplace: bool = False,
    max_drop: float | None = None,
    held_out: Data | None = None,
    tier: str = STATISTICAL,
    confidence: float = 0.95,
    **options: Any,
) -> nn.Module:
    """Set a share `sparsity` of the prunable weights to zero, and re-fit the others when calibration inputs are given.

    As `pruning.recipe.prune`, which says what the arguments are; one half, if no sparsity is given. Instead of it there
    may be `max_drop`, the share of inputs that may be lost: then the sparsity is the `largest` that is guaranteed from
    `held_out`, labelled inputs that were never used to train or calibrate.
    """
    if max_drop is None:
        return plainly(model, 0.5 if sparsity is None else sparsity, score, budget, refit, data, inplace, **options)
    if sparsity is not None or held_out is None:
        given = "a sparsity as well" if sparsity is not None else "no held_out data"
        raise ValueError(f"max_drop takes the place of a sparsity and must have held_out data, got {given}.")
    recipe = Recipe(0.5, score, budget, **options)
    recipe = recipe if refit is not None else replace(recipe, fit=None)
    found = largest(model, held_out, max_drop, recipe, data if refit is None else refit, tier, confidence)
    return replace(recipe, sparsity=found.sparsity)(model, refit, data, inplace).model
