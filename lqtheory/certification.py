"""How far a network can be pruned with a guarantee about inputs that nobody has seen yet."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from torch import nn

from .bounds import certified_sparsity, certified_sparsity_by_drop, harm, harm_rate, net_drop
from .models import Data
from .pruning import kept_total
from .pruning.parts import prunable
from .pruning.recipe import Pruned, Recipe
from .pruning.running import Inputs
from .sweep import Bench, outcome

SPARSITIES = tuple(k / 20 for k in range(1, 20))


@dataclass(frozen=True)
class Certificate:
    """Up to which sparsity of a path at most `limit` of the inputs that the dense network gets right are lost.

    With the stated confidence; 0 where not even the first step passes. `lost` are the counts among the n held-out
    inputs that the dense network gets right, as far as the path was walked, and `rates` their upper limits.
    `drop_sparsity` is the same for the accuracy itself, where inputs that the pruned network gains (`gained`, among all
    `samples`) are set off, and `drops` are its upper limits: another promise, at the same confidence for itself.
    """

    sparsity: float
    limit: float
    confidence: float
    n: int
    sparsities: tuple[float, ...]
    lost: tuple[int, ...]
    rates: tuple[float, ...]
    drop_sparsity: float
    samples: int
    gained: tuple[int, ...]
    drops: tuple[float, ...]
    method: str
    source: str
    drop_source: str

    def summary(self) -> str:
        """Both promises, a sentence each."""
        return f"{self._harm()} {self._drop()}"

    def _harm(self) -> str:
        if not self.sparsity:
            return f"No sparsity of the path is certified: {self._promise('would be lost')}."
        return f"At {100 * self.sparsity:.4g} % sparsity, {self._promise('are lost')}."

    def _drop(self) -> str:
        falls = f"by at most {100 * self.limit:.3g} percentage points (n = {self.samples:,})"
        if not self.drop_sparsity:
            return f"No step is certified to lower the accuracy {falls}."
        sure = f"with {100 * self.confidence:.4g} % confidence for this sentence"
        return f"At {100 * self.drop_sparsity:.4g} %, {sure}, the accuracy falls {falls}."

    def _promise(self, verb: str) -> str:
        share = f"at most {100 * self.limit:.3g} % of inputs that the dense network gets right {verb}"
        return f"with {100 * self.confidence:.4g} % confidence, {share} (n = {self.n:,})"

    def to_json(self) -> str:
        """All fields and the sentence as one JSON object."""
        return json.dumps({**asdict(self), "summary": self.summary()}, indent=2)


def certify(
    model: nn.Module,
    data: Data,
    limit: float = 0.01,
    confidence: float = 0.95,
    sparsities: Sequence[float] | None = None,
    recipe: Recipe | None = None,
    calibration: Inputs | None = None,
    device: str = "cpu",
) -> Certificate:
    """Walk a path of sparsities fixed beforehand until the first step that cannot be certified, Theorems 29 and 35.

    `data` must be independent draws that were never used to train, to calibrate or to choose. The path is walked from
    the least sparse on, and the steps before the first failure are certified together at `confidence`; once for the
    inputs that are lost and once for the drop of accuracy. Without `sparsities` it goes by 5 % as far as every neuron
    keeps a weight.
    """
    chosen = recipe or Recipe()
    bench = Bench(model, data, calibration, device)
    right = bench.outcome.correct
    n = int(right.sum())
    if not n:
        raise ValueError("a certificate needs inputs that the dense network gets right, got none.")
    certified_sparsity([], [], n, limit, confidence)  # refuses a wrong limit before the work
    walked, lost, rates, gained, drops = [], [], [], [], []
    for sparsity in sorted(possible(model, chosen) if sparsities is None else sparsities):
        after = outcome(pruned_at(bench, chosen, sparsity).model, data, device)
        walked.append(sparsity)
        lost.append(harm(right, after.correct))
        gained.append(harm(after.correct, right))
        rates.append(float(harm_rate(lost[-1], n, confidence).value))
        drops.append(float(net_drop(lost[-1], gained[-1], len(right), confidence).value))
        if max(rates) > limit and max(drops) > limit:
            break
    bound = certified_sparsity(walked, lost, n, limit, confidence)
    by_drop = certified_sparsity_by_drop(walked, lost, gained, len(right), limit, confidence)
    return Certificate(
        sparsity=bound.value,
        limit=limit,
        confidence=confidence,
        n=n,
        sparsities=tuple(walked),
        lost=tuple(lost),
        rates=tuple(np.round(rates, 12).tolist()),
        drop_sparsity=by_drop.value,
        samples=len(right),
        gained=tuple(gained),
        drops=tuple(np.round(drops, 12).tolist()),
        method=repr(chosen),
        source=bound.source,
        drop_source=by_drop.source,
    )


def possible(model: nn.Module, recipe: Recipe) -> list[float]:
    """The steps of the default path at which every neuron can keep a weight."""
    parts = prunable(model, recipe.include, recipe.exclude)
    neurons, weights = sum(p.layout.rows for p in parts), sum(p.tensor.numel() for p in parts)
    return [sparsity for sparsity in SPARSITIES if kept_total(weights, sparsity) >= neurons]


def pruned_at(bench: Bench, recipe: Recipe, sparsity: float) -> Pruned:
    """The network of one step of the path."""
    return bench.prune(replace(recipe, sparsity=sparsity))
