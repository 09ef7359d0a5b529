"""Prune, evaluate, and set each bound beside what really happened: the only place that knows both sides.

Every comparison is exact about the sample at hand: the bounds take their averages over the very inputs on which
the pruned networks are measured, in float64. What they say about a population is the statistical tier's business.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64, Int64

from . import evaluate
from .bounds import (
    IDENTITY,
    RELU,
    Bound,
    Linear,
    Moments,
    accuracy_drop,
    changed_predictions_on_sample,
    margins,
    second_moments,
    tier_a,
    tier_b,
    tier_c,
)
from .evaluate import LinearStack, Sample
from .pruning.masks import Method, keeps_largest
from .pruning.scores import Layer
from .records import Provenance, Record

Tier = Callable[[list[Linear], list[Linear], list[Moments]], Bound]

TIERS: Mapping[str, Tier] = {
    "A": lambda dense, pruned, moments: tier_a(dense, pruned, moments[0].radius),
    "B": lambda dense, pruned, moments: tier_b(dense, pruned, moments[0].radius),
    "C": tier_c,
}


def layers_of(stack: LinearStack) -> list[Linear]:
    """The stack as the bounds take it."""
    activations = [RELU] * (len(stack.weights) - 1) + [IDENTITY]
    return [Linear(*layer) for layer in zip(stack.weights, stack.biases, activations, strict=True)]


def scored_layers(stack: LinearStack, x: Float64[np.ndarray, " n inputs"]) -> list[Layer]:
    """The stack as scores take it, with the root mean square of each input on x."""
    norms = [evaluate.root_mean_square(h) for h in evaluate.activations(stack, x)[:-1]]
    return [Layer(*layer) for layer in zip(stack.names, stack.weights, norms, strict=True)]


def sweep(
    stack: LinearStack,
    sample: Sample,
    methods: Sequence[Method],
    sparsities: Sequence[float],
    provenance: Provenance,
    setting: Mapping[str, Any],
    tiers: Mapping[str, Tier] = TIERS,
) -> Iterator[Record]:
    r"""Records for each method, sparsity, applicable tier and quantity, as they come.

    The quantities: `output_error` $\|f - \hat f\|_{L_2}$, trivially at most $\|f\|_{L_2}$ (what answering zero does);
    `changed_predictions`, the share of inputs that get another class; `harm`, the share that the dense network gets
    right and the pruned one wrong, which bounds the drop of accuracy. A tier that is only proved for
    magnitude truncation (A) is left out where a neuron does not keep its largest weights.
    """
    dense, layers = layers_of(stack), scored_layers(stack, sample.x)
    moments, before = second_moments(dense, sample.x), Outcome.of(evaluate.outputs(stack, sample.x), sample.y)
    for method in methods:
        for sparsity in sparsities:
            masks = method.masks(layers, sparsity)
            pruned = stack.masked(masks)
            after = Outcome.of(evaluate.outputs(pruned, sample.x), sample.y)
            largest = all(keeps_largest(layer.weight, masks[layer.name]) for layer in layers)
            about = {
                **setting,
                "data": sample.name,
                "samples": len(sample.y),
                "method": method.name,
                "kept": sum(int(mask.sum()) for mask in masks.values()),
                "weights": sum(mask.size for mask in masks.values()),
                "dense_accuracy": before.accuracy,
                "accuracy": after.accuracy,
            }
            after_layers = layers_of(pruned)  # their norms are computed once for all tiers
            for tier, bound_of in tiers.items():
                if tier == "A" and not largest:
                    continue
                bound = bound_of(dense, after_layers, moments)
                for quantity, pair in compare(bound, before, after).items():
                    yield _record(tier, sparsity, pair, {**about, "quantity": quantity, **pair.about}, provenance)


@dataclass(frozen=True)
class Outcome:
    """What a network answers on the sample, and on which inputs it is right."""

    logits: Float64[np.ndarray, " n classes"]
    correct: Bool[np.ndarray, " n"]

    @classmethod
    def of(cls, logits: Float64[np.ndarray, " n classes"], y: Int64[np.ndarray, " n"]) -> "Outcome":
        return cls(logits, logits.argmax(axis=1) == y)

    @property
    def accuracy(self) -> float:
        """Share of inputs that get their label."""
        return float(self.correct.mean())


@dataclass(frozen=True)
class Pair:
    """A bound, what was measured, and what would be true without any theory."""

    bound: Bound
    measured: float
    trivial: float
    certified_accuracy: float | None = None

    @property
    def about(self) -> dict[str, float]:
        """What the records say of it beyond the bound."""
        known = {"trivial": self.trivial, "certified_accuracy": self.certified_accuracy}
        return {key: value for key, value in known.items() if value is not None}


def compare(error: Bound, before: Outcome, after: Outcome) -> dict[str, Pair]:
    """The bound on the output error, and what follows from it for predictions, each beside its measurement."""
    gaps = margins(before.logits)
    harm = accuracy_drop(gaps, before.correct, error.value)
    return {
        "output_error": Pair(
            error,
            evaluate.output_error(before.logits, after.logits),
            evaluate.output_error(before.logits, np.zeros_like(before.logits)),
        ),
        "changed_predictions": Pair(
            changed_predictions_on_sample(gaps, error.value),
            evaluate.changed_predictions(before.logits, after.logits),
            1.0,
        ),
        "harm": Pair(
            harm,
            float(np.mean(before.correct & ~after.correct)),
            before.accuracy,
            certified_accuracy=max(before.accuracy - harm.value, 0.0),
        ),
    }


def _record(tier: str, sparsity: float, pair: Pair, setting: dict[str, Any], provenance: Provenance) -> Record:
    bound, measured = pair.bound, pair.measured
    return Record(
        tier=tier,
        source=bound.source,
        sparsity=sparsity,
        bound=float(bound.value),
        measured=measured,
        tightness=float(bound.tightness(measured)),
        vacuous=bool(bound.vacuous(pair.trivial)),
        violated=bool(bound.violated(measured)),
        setting=setting,
        **asdict(provenance),
    )
