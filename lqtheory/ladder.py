"""The ladder of bounds of one network: every tier beside the measurement, and the same question turned round.

Tiers A to F and H are exact about the sample at hand, tier G is about the population it was drawn from. A rung takes
the dense and a pruned network and returns, for every quantity it bounds, the bound with its measurement.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import groupby
from typing import Any

import numpy as np
from jaxtyping import Bool

from . import evaluate
from .bounds import (
    Bound,
    InputBounds,
    Linear,
    NetworkBound,
    certified_sparsity,
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
from .bounds.inverse import kept_at_error, last_safe
from .bounds.rounding import row_norms_up, up_each
from .disagreement import disagreements
from .evaluate import LinearStack, Sample
from .pruning import Method, largest_scores
from .pruning.masks import keeps_largest
from .records import Provenance, Record
from .verification import TRUNCATION_ONLY, Dense, Outcome, Pair, compare, linears_of

Masks = Mapping[str, Bool[np.ndarray, " out fan_in"]]
REGIONS = 100  # inputs around which tier E looks, the first of the sample
OCTAVE, OCTAVES = 64, 24  # steps of a doubling of the relative error, up to 1
PATH = 100  # steps of the path that tier G tests, fixed beforehand


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned network on the sample of the dense one."""

    stack: LinearStack
    linears: list[Linear]
    outcome: Outcome
    kept: dict[str, list[int]]  # of every neuron of every layer
    truncation: bool

    @classmethod
    def of(cls, dense: Dense, masks: Masks) -> "Pruned":
        """The network without the weights outside the masks, run on the sample."""
        stack = dense.stack.masked(masks)
        kept = {name: mask.sum(axis=1).tolist() for name, mask in masks.items()}
        largest = all(keeps_largest(layer.weight, masks[layer.name]) for layer in dense.layers)
        return cls(stack, linears_of(stack), Outcome.of(stack, dense.sample), kept, largest)

    @property
    def sparsity(self) -> float:
        """Share of the weights that are dropped, exactly."""
        weights = sum(w.size for w in self.stack.weights)
        return (weights - sum(map(sum, self.kept.values()))) / weights


Pairs = Mapping[str, Pair]
Rung = Callable[[Dense, Pruned], Pairs]


def of_error(bound_of: Callable[[Dense, Pruned], Bound]) -> Rung:
    """The rung of a bound on the output error, with what follows from it for predictions and accuracy."""
    return lambda dense, pruned: compare(bound_of(dense, pruned), dense.outcome, pruned.outcome)


def of_inputs(bounds_of: Callable[[Dense, Pruned], InputBounds]) -> Rung:
    """The rung of a bound at every input: predictions are certified one by one."""

    def rung(dense: Dense, pruned: Pruned) -> Pairs:
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


def paths(dense: Dense, pruned: Pruned) -> InputBounds:
    """Tier F at each input of the sample."""
    errors, logits = path_errors(dense.linears, pruned.linears, dense.sample.x), dense.outcome.logits
    rows, predicted = np.arange(len(errors)), logits.argmax(axis=1)
    pairs = up_each(errors + errors[rows, predicted][:, None], 2)
    pairs[rows, predicted] = 0.0
    about = "about each input; activations that are 0 at 0; both networks evaluated in float64 or exactly"
    return InputBounds(errors, row_norms_up(errors), pairs, logits, "Theorem 21", about)


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
    def of(cls, stack: LinearStack, sample: Sample, confidence: float = 0.95) -> "Population":
        """With the dense network run on the held-out sample."""
        return cls(sample, Outcome.of(stack, sample), confidence)

    def harmed(self, dense: Dense, pruned: Pruned) -> int:
        """How many held-out inputs the dense network has right and the pruned one wrong."""
        same = self.sample is dense.sample
        after = pruned.outcome if same else Outcome.of(pruned.stack, self.sample)
        return harm(self.before.correct, after.correct)

    def __call__(self, dense: Dense, pruned: Pruned) -> Pairs:
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
        x = dense.sample.x[: self.inputs]
        found = tier_e_linear(dense.linears, pruned.linears, x, self.radius, self.low, self.high)
        broken = disagreements(dense.stack, pruned.stack, x, self.radius, self.low, self.high, self.seed)
        bound = Bound(float(found.agreement().mean()), "lower", found.source, found.assumptions)
        about = {"radius": self.radius, "inputs": len(x)}
        return {"agreement": Pair(bound, 1 - float(broken.mean()), 0.0, about)}


RUNGS: Mapping[str, Rung] = {
    "A": of_error(lambda dense, pruned: tier_a(dense.linears, pruned.linears, dense.moments[0].radius)),
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


def curve(
    dense: Dense,
    method: Method,
    sparsities: Iterable[float],
    provenance: Provenance,
    setting: Mapping[str, Any],
    rungs: Mapping[str, Rung] = RUNGS,
) -> Iterator[Record]:
    """The records of every rung at every sparsity, as they come; a rung that does not apply gives none."""
    for sparsity in sparsities:
        pruned = Pruned.of(dense, method.masks(dense.layers, sparsity))
        about = {**setting, **_about(dense, pruned), "method": method.name}
        for tier, rung in rungs.items():
            if pruned.truncation or tier not in TRUNCATION_ONLY:
                for quantity, pair in rung(dense, pruned).items():
                    more = {**about, "quantity": quantity, **shares(pair.bound, dense.stack.names)}
                    yield pair.record(tier, sparsity, more, provenance)


def shares(bound: Bound, names: Sequence[str]) -> dict[str, dict[str, float]]:
    """Which part of a bound each layer is to blame for, where the bound is a sum over layers."""
    if not isinstance(bound, NetworkBound):
        return {}
    return {"shares": dict(zip(names, bound.shares, strict=True))}


def _about(dense: Dense, pruned: Pruned) -> dict[str, Any]:
    return {
        "data": dense.sample.name,
        "samples": len(dense.sample.y),
        "kept": sum(map(sum, pruned.kept.values())),
        "weights": sum(w.size for w in pruned.stack.weights),
        "dense_accuracy": dense.outcome.accuracy,
        "accuracy": pruned.outcome.accuracy,
    }


@dataclass(frozen=True, eq=False)
class Family:
    """Pruned networks from the dense one, step 0, to the sparsest, step `last`; later ones keep no more."""

    name: str
    last: int
    masks: Callable[[int], Masks]


MEASURED: Mapping[str, Callable[[Outcome, Outcome], float]] = {
    "output_error": lambda before, after: evaluate.output_error(before.logits, after.logits),
    "changed_predictions": lambda before, after: evaluate.changed_predictions(before.logits, after.logits),
    "harm": lambda before, after: float(np.mean(before.correct & ~after.correct)),
}


def by_count(dense: Dense, method: Method) -> Family:
    """What `method` makes of the network, weight by weight: step k drops k weights, every neuron keeps one."""
    weights = sum(layer.weight.size for layer in dense.layers)
    neurons = sum(len(layer.weight) for layer in dense.layers)
    return Family(method.name, weights - neurons, lambda step: method.masks(dense.layers, step / weights))


def by_error(dense: Dense, scope: str) -> Family:
    r"""Every neuron (or tensor) drops its smallest weights up to one relative error $\epsilon$, that of the step.

    So each gets a sparsity of its own: $1-k^*(\epsilon)/d$, all of them under one certificate.
    """
    shape = {"neuron": lambda w: w, "tensor": lambda w: w.reshape(1, -1)}[scope]

    def masks(step: int) -> Masks:
        found = {}
        for layer in dense.layers:
            rows = np.abs(shape(layer.weight))
            found[layer.name] = largest_scores(rows, kept_at_error(rows, error_of(step))).reshape(layer.weight.shape)
        return found

    return Family(f"one error for every {scope}", OCTAVE * OCTAVES - 1, masks)


def error_of(step: int) -> float:
    r"""$\epsilon = 2^{k/64-24}$ of step k, 0 of step 0."""
    return 2.0 ** (step / OCTAVE - OCTAVES) if step else 0.0


def largest_sparsities(
    dense: Dense,
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
    at = lru_cache(maxsize=16)(lambda step: Pruned.of(dense, family.masks(step)))

    def keeps(step: int) -> bool:
        return MEASURED[quantity](dense.outcome, at(step).outcome) <= limit

    reached = last_safe(keeps, family.last)
    for tier, rung in rungs.items():
        if quantity not in rung(dense, at(0)) or (tier in TRUNCATION_ONLY and not at(family.last).truncation):
            continue
        if isinstance(rung, Population):
            step, bound = _along_path(dense, at, rung, family.last, limit)
        else:
            step = last_safe(partial(_promises, dense, at, rung, quantity, limit), family.last)
            base = rung(dense, at(step))[quantity].bound
            bound = Bound(at(step).sparsity, "lower", base.source, base.assumptions)
        best = max(reached, step) if isinstance(rung, Population) or keeps(step) else reached
        about = {
            **setting,
            **_about(dense, at(step)),
            "method": family.name,
            "quantity": f"sparsity at {quantity}",
            "limit": limit,
            "layers": _layer_sparsities(at(step), dense.stack),
            "neurons": at(step).kept,
        }
        yield Pair(bound, at(best).sparsity, 0.0, {}).record(tier, bound.value, about, provenance)


def _promises(dense: Dense, at: Callable[[int], Pruned], rung: Rung, quantity: str, limit: float, step: int) -> bool:
    return rung(dense, at(step))[quantity].bound.value <= limit


def _along_path(
    dense: Dense, at: Callable[[int], Pruned], rung: Population, last: int, limit: float
) -> tuple[int, Bound]:
    """Theorem 29 along evenly spaced steps, up to the first that fails."""
    path = np.unique(np.linspace(0, last, PATH + 1).astype(int))[1:].tolist()
    n, passed, sparsities, counts = len(rung.sample.y), 0, [], []
    for step in path:
        if sparsities and at(step).sparsity <= sparsities[-1]:
            continue
        sparsities.append(at(step).sparsity)
        counts.append(rung.harmed(dense, at(step)))
        if harm_rate(counts[-1], n, rung.confidence).value > limit:
            break
        passed = step
    return passed, certified_sparsity(sparsities, counts, n, limit, rung.confidence)


def _layer_sparsities(pruned: Pruned, stack: LinearStack) -> dict[str, float]:
    sizes = dict(zip(stack.names, (w.size for w in stack.weights), strict=True))
    return {name: (sizes[name] - sum(kept)) / sizes[name] for name, kept in pruned.kept.items()}


STEPS = {"A": "lq envelope", "B": "exact tail", "C": "moments", "D": "per input", "measured": "measured"}


def steps_of_proof(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Where the bound is lost: the factor between each rung and the next, down to what was measured.

    One row for every method and sparsity, `factors` in the order A, B, C, D, measured, as far as the records go. Their
    product is the tightness of the first.
    """
    mine = [r for r in records if r.setting.get("quantity") == "output_error" and r.tier in STEPS]
    rows = []
    for (method, sparsity), point in groupby(mine, key=lambda r: (r.setting["method"], r.sparsity)):
        at = {r.tier: r for r in point}
        tiers = [tier for tier in STEPS if tier in at]
        values = [at[tier].bound for tier in tiers] + [at[tiers[0]].measured]
        names = [STEPS[tier] for tier in (*tiers, "measured")]
        factors = {f"{names[k]} to {names[k + 1]}": _ratio(values[k], values[k + 1]) for k in range(len(names) - 1)}
        rows.append({"method": method, "sparsity": sparsity, "factors": factors})
    return rows


def _ratio(large: float, small: float) -> float:
    if large == small:
        return 1.0
    return large / small if small else float("inf")
