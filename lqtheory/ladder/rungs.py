"""Rungs: a tier of bounds as a function of the dense and a pruned network, each bound beside its measurement.

Tiers A to F and H are exact about the sample at hand, tier G is about the population it was drawn from. Every bound is
compared with the very run that it speaks of, which is why tier H, that measures, has a rung of its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..bounds import (
    Bound,
    InputBounds,
    forward,
    harm,
    harm_rate,
    path_errors,
    row_tails,
    telescoped,
    tier_a,
    tier_b,
    tier_c,
    tier_c_weighted,
    tier_d,
    tier_d_uniform,
    tier_e_linear,
)
from ..bounds.graph import graph_per_input, graph_tier_b, graph_tier_c
from ..bounds.rounding import row_norms_up, up_each
from ..disagreement import disagreements
from ..evaluate import LinearStack, Sample
from ..verification import Outcome, Pair, compare
from .networks import Dense, DenseGraph, DenseModule, Network, Pruned

REGIONS = 100  # inputs around which tier E looks, the first of the sample

Pairs = Mapping[str, Pair]
Rung = Callable[[Any, Pruned], Pairs]  # the dense network is of the kind that the rung is for


def of_error(bound_of: Callable[[Any, Pruned], Bound]) -> Rung:
    """The rung of a bound on the output error, with what follows from it for predictions and accuracy."""
    return lambda dense, pruned: compare(bound_of(dense, pruned), dense.outcome, pruned.outcome)


def of_inputs(bounds_of: Callable[[Any, Pruned], InputBounds]) -> Rung:
    """The rung of a bound at every input: predictions are certified one by one."""

    def rung(dense: Dense | DenseGraph, pruned: Pruned) -> Pairs:
        bounds, before, after = bounds_of(dense, pruned), dense.outcome, pruned.outcome
        pairs = compare(bounds.rms(), before, after)
        unsure = ~bounds.certified()
        certified = {"certified_share": 1 - float(unsure.mean())}
        changed = Bound(float(unsure.mean()), "upper", bounds.source, bounds.assumptions)
        lost = Bound(float(np.mean(unsure & before.correct)), "upper", bounds.source, bounds.assumptions)
        accuracy = {"certified_accuracy": max(before.accuracy - lost.value, 0.0)}
        return {
            "output_error": pairs["output_error"],
            "changed_predictions": Pair(changed, pairs["changed_predictions"].measured, 1.0, certified),
            "harm": Pair(lost, pairs["harm"].measured, before.accuracy, accuracy),
        }

    return rung


def truncation(dense: Dense, pruned: Pruned) -> Pairs:
    """Tier A, which is proved where each neuron keeps its largest weights, and nowhere else."""
    if not dense.truncated(pruned):
        return {}
    bound = tier_a(dense.linears, pruned.linears, dense.moments[0].radius)
    return compare(bound, dense.outcome, pruned.outcome)


def paths(dense: Dense, pruned: Pruned) -> InputBounds:
    """Tier F at each input of the sample."""
    errors = path_errors(dense.linears, pruned.linears, dense.sample.x)
    about = "about each input; activations that are 0 at 0; both networks evaluated in float64 or exactly"
    return with_pairs(errors, row_norms_up(errors), dense.outcome, lambda a, b: a + b, "Theorem 21", about)


def by_norms(dense: DenseGraph, pruned: Pruned) -> InputBounds:
    r"""Tier D of a graph: norms of the error at each input; a gap of logits moves by at most $\sqrt2$ of them."""
    norms = graph_per_input(dense.graph, pruned.graph, dense.sample.x)
    about = "about each input; both networks evaluated in float64 or exactly"
    each = np.broadcast_to(norms[:, None], dense.outcome.logits.shape)
    return with_pairs(each, norms, dense.outcome, lambda a, _: a * 2**0.5, "Theorem 31", about)


def with_pairs(
    each: np.ndarray, norms: np.ndarray, before: Outcome, of_two: Callable[..., np.ndarray], source: str, about: str
) -> InputBounds:
    """Bounds at each input from those of logits; `of_two` bounds the difference of two, the predicted one last."""
    rows, predicted = np.arange(len(each)), before.logits.argmax(axis=1)
    pairs = up_each(of_two(each, each[rows, predicted][:, None]), 4)
    pairs[rows, predicted] = 0.0
    return InputBounds(each, norms, pairs, before.logits, source, about)


def telescope(dense: Dense, pruned: Pruned) -> Pairs:
    """Tier H, which runs the networks: an attribution of the error, of no use for promises.

    It is exact about the networks as it runs them, so the error is measured on the same run.
    """
    bound = telescoped(dense.linears, pruned.linears, dense.sample.x)
    before, after = (forward(layers, dense.sample.x) for layers in (dense.linears, pruned.linears))
    outcomes = (replace(dense.outcome, logits=before), replace(pruned.outcome, logits=after))
    return {"output_error": compare(bound, *outcomes)["output_error"]}


@dataclass(frozen=True, eq=False)
class Population:
    """Tier G: a rung about the population that `sample` was drawn from, at a confidence."""

    sample: Sample
    before: Outcome
    confidence: float = 0.95

    @classmethod
    def of(cls, network: Network, sample: Sample, confidence: float = 0.95) -> "Population":
        """With the dense network run on the held-out sample."""
        return cls(sample, Outcome.of(network, sample), confidence)

    def harmed(self, dense: Dense | DenseModule, pruned: Pruned) -> int:
        """How many held-out inputs the dense network has right and the pruned one wrong."""
        same = self.sample is dense.sample
        after = pruned.outcome if same else Outcome.of(pruned.network, self.sample)
        return harm(self.before.correct, after.correct)

    def __call__(self, dense: Dense | DenseModule, pruned: Pruned) -> Pairs:
        count, n = self.harmed(dense, pruned), len(self.sample.y)
        bound = harm_rate(count, n, self.confidence)
        about = {
            "certified_accuracy": max(self.before.accuracy - bound.value, 0.0),
            "held_out": n,
            "confidence": self.confidence,
        }
        return {"harm": Pair(bound, count / n, self.before.accuracy, about)}


@dataclass(frozen=True)
class Regions:
    """Tier E: at how many inputs both networks agree in a whole ball, beside how many an adversary leaves standing."""

    radius: float
    low: float = 0.0
    high: float = 1.0
    inputs: int = REGIONS
    seed: int = 0

    def __call__(self, dense: Dense, pruned: Pruned) -> Pairs:
        assert isinstance(pruned.network, LinearStack)
        x = dense.sample.x[: self.inputs]
        found = tier_e_linear(dense.linears, pruned.linears, x, self.radius, self.low, self.high)
        broken = disagreements(dense.network, pruned.network, x, self.radius, self.low, self.high, self.seed)
        bound = Bound(float(found.agreement().mean()), "lower", found.source, found.assumptions)
        about = {"radius": self.radius, "inputs": len(x)}
        return {"agreement": Pair(bound, float((~broken).mean()), 0.0, about)}


RUNGS: Mapping[str, Rung] = {
    "A": truncation,
    "B": of_error(lambda dense, pruned: tier_b(dense.linears, pruned.linears, dense.moments[0].radius)),
    "C": of_error(lambda dense, pruned: tier_c(dense.linears, pruned.linears, dense.moments)),
    "C weighted": of_error(lambda dense, pruned: tier_c_weighted(dense.linears, pruned.linears, dense.moments)),
    "D": of_inputs(lambda dense, pruned: tier_d(dense.linears, pruned.linears, dense.sample.x)),
    "D uniform": of_inputs(
        lambda dense, pruned: tier_d_uniform(dense.linears, row_tails(dense.linears, pruned.linears), dense.sample.x)
    ),
    "F": of_inputs(paths),
    "H": telescope,
}

GRAPH_RUNGS: Mapping[str, Rung] = {
    "B": of_error(
        lambda dense, pruned: graph_tier_b(dense.graph, pruned.graph, dense.seen[-1].radius, dense.seen[-1].shape)
    ),
    "C": of_error(lambda dense, pruned: graph_tier_c(dense.graph, pruned.graph, dense.seen)),
    "D": of_inputs(by_norms),
}


def rungs_for(dense: Dense | DenseModule) -> Mapping[str, Rung]:
    """The tiers of the kind that a network is of: for a module that cannot be traced none of those about its output."""
    if isinstance(dense, Dense):
        return RUNGS
    return GRAPH_RUNGS if isinstance(dense, DenseGraph) else {}
