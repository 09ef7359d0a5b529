"""Prune, evaluate, and set each bound beside what really happened: the only place that knows both sides.

Every comparison is exact about the sample at hand: the bounds take their averages over the very inputs on which
the pruned networks are measured, in float64. What they say about a population is the statistical tier's business.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float64

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
    tier_d,
    tier_f,
)
from .evaluate import LinearStack, Sample
from .pruning import Layer, Method
from .pruning.masks import keeps_largest
from .records import Provenance, Record

Tier = Callable[["Dense", list[Linear]], Bound]

TIERS: Mapping[str, Tier] = {
    "A": lambda dense, pruned: tier_a(dense.linears, pruned, dense.moments[0].radius),
    "B": lambda dense, pruned: tier_b(dense.linears, pruned, dense.moments[0].radius),
    "C": lambda dense, pruned: tier_c(dense.linears, pruned, dense.moments),
}
# tier H measures rather than promises, and needs the measurement of its own run (`lqtheory.ladder.telescope`)
LADDER: Mapping[str, Tier] = {
    **TIERS,
    "D": lambda dense, pruned: tier_d(dense.linears, pruned, dense.sample.x).rms(),
    "F": lambda dense, pruned: tier_f(dense.linears, pruned, float(np.abs(dense.sample.x).max())),
}
TRUNCATION_ONLY = {"A"}  # proved where each neuron keeps its largest weights, and nowhere else


def sweep(
    stack: LinearStack,
    sample: Sample,
    methods: Sequence[Method],
    sparsities: Sequence[float],
    provenance: Provenance,
    setting: Mapping[str, Any],
    tiers: Mapping[str, Tier] = TIERS,
) -> Iterator[Record]:
    """The records of each method at each sparsity, as they come; `setting` is added to what each says of itself."""
    dense = Dense.of(stack, sample)
    for method in methods:
        for sparsity in sparsities:
            yield from point(dense, method, sparsity, provenance, setting, tiers)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a network answers on the sample, and on which inputs it is right."""

    logits: Float64[np.ndarray, " n classes"]
    correct: Bool[np.ndarray, " n"]

    @classmethod
    def of(cls, stack: LinearStack, sample: Sample) -> "Outcome":
        logits = evaluate.outputs(stack, sample.x)
        return cls(logits, logits.argmax(axis=1) == sample.y)

    @property
    def accuracy(self) -> float:
        """Share of inputs that get their label."""
        return float(self.correct.mean())


@dataclass(frozen=True, eq=False)
class Dense:
    """The dense network on a sample: all that is computed once for any number of pruned ones."""

    stack: LinearStack
    sample: Sample
    layers: list[Layer]
    linears: list[Linear]
    moments: list[Moments]
    outcome: Outcome

    @classmethod
    def of(cls, stack: LinearStack, sample: Sample) -> "Dense":
        linears = linears_of(stack)
        moments = second_moments(linears, sample.x)
        return cls(stack, sample, scored_layers(stack, sample), linears, moments, Outcome.of(stack, sample))


def linears_of(stack: LinearStack) -> list[Linear]:
    """The stack as the bounds take it."""
    activations = [RELU] * (len(stack.weights) - 1) + [IDENTITY]
    return [Linear(*layer) for layer in zip(stack.weights, stack.biases, activations, strict=True)]


def scored_layers(stack: LinearStack, sample: Sample) -> list[Layer]:
    """The stack as scores take it, with the root mean square of each input."""
    norms = [evaluate.root_mean_square(h) for h in evaluate.activations(stack, sample.x)[:-1]]
    return [Layer(*layer) for layer in zip(stack.names, stack.weights, norms, strict=True)]


def point(
    dense: Dense,
    method: Method,
    sparsity: float,
    provenance: Provenance,
    setting: Mapping[str, Any],
    tiers: Mapping[str, Tier] = TIERS,
) -> Iterator[Record]:
    """One pruned network: a record for each applicable tier and each quantity of `compare`."""
    masks = method.masks(dense.layers, sparsity)
    pruned = dense.stack.masked(masks)
    linears, after = linears_of(pruned), Outcome.of(pruned, dense.sample)
    about = {
        **setting,
        "data": dense.sample.name,
        "samples": len(dense.sample.y),
        "method": method.name,
        "kept": sum(int(mask.sum()) for mask in masks.values()),
        "weights": sum(mask.size for mask in masks.values()),
        "dense_accuracy": dense.outcome.accuracy,
        "accuracy": after.accuracy,
    }
    truncation = all(keeps_largest(layer.weight, masks[layer.name]) for layer in dense.layers)
    for tier, bound_of in tiers.items():
        if truncation or tier not in TRUNCATION_ONLY:
            error = bound_of(dense, linears)
            for quantity, pair in compare(error, dense.outcome, after).items():
                yield pair.record(tier, sparsity, {**about, "quantity": quantity}, provenance)


def ladder(dense: Dense, pruned: LinearStack, tiers: Mapping[str, Tier] = LADDER) -> list[tuple[str, str, "Pair"]]:
    """Each applicable tier and each quantity of `compare`, for a pruned stack with the same layers, in float64."""
    linears, after = linears_of(pruned), Outcome.of(pruned, dense.sample)
    biases = zip(dense.stack.biases, pruned.biases, strict=True)
    truncation = all(np.array_equal(a, b) for a, b in biases) and all(
        np.array_equal(np.where(v != 0, w, 0.0), v) and keeps_largest(w, v != 0)
        for w, v in zip(dense.stack.weights, pruned.weights, strict=True)
    )
    applicable = {tier: bound for tier, bound in tiers.items() if truncation or tier not in TRUNCATION_ONLY}
    pairs = {tier: compare(bound(dense, linears), dense.outcome, after) for tier, bound in applicable.items()}
    return [(tier, quantity, pair) for tier, found in pairs.items() for quantity, pair in found.items()]


@dataclass(frozen=True)
class Pair:
    """A bound and what was measured; `trivial` would be true without any theory, `about` goes into the record."""

    bound: Bound
    measured: float
    trivial: float
    about: Mapping[str, float]

    def record(self, tier: str, sparsity: float, setting: Mapping[str, Any], provenance: Provenance) -> Record:
        """The pair as a record."""
        return Record(
            tier=tier,
            source=self.bound.source,
            sparsity=sparsity,
            bound=float(self.bound.value),
            measured=self.measured,
            tightness=float(self.bound.tightness(self.measured)),
            vacuous=bool(self.bound.vacuous(self.trivial)),
            violated=bool(self.bound.violated(self.measured)),
            setting={**setting, "trivial": self.trivial, **self.about},
            **asdict(provenance),
        )


def compare(error: Bound, before: Outcome, after: Outcome) -> dict[str, Pair]:
    r"""The bound on the output error, and what follows from it for predictions, each beside its measurement.

    `output_error`: $\|f - \hat f\|_{L_2}$, trivially $\|f\|_{L_2}$, what answering zero does. `changed_predictions`:
    the share of inputs that get another class. `harm`: the share that the dense network gets right and the pruned
    one wrong; the drop of accuracy is at most that, which certifies an accuracy.
    """
    f, g, gaps = before.logits, after.logits, margins(before.logits)
    harm = accuracy_drop(gaps, before.correct, error.value)
    lost = float(np.mean(before.correct & ~after.correct))
    certified = {"certified_accuracy": max(before.accuracy - harm.value, 0.0)}
    changed = changed_predictions_on_sample(gaps, error.value)
    return {
        "output_error": Pair(error, evaluate.output_error(f, g), evaluate.output_error(f, np.zeros_like(f)), {}),
        "changed_predictions": Pair(changed, evaluate.changed_predictions(f, g), 1.0, {}),
        "harm": Pair(harm, lost, before.accuracy, certified),
    }
