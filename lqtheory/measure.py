"""Indices of a set of weights and of its neurons: one row of the table that `lqtheory analyze` prints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any

import numpy as np

from . import indices
from .histogram import Histogram, profile_of, signed_moments
from .neuron_sums import NeuronSums
from .norms import PowerSums, log_lq_norm, lq_norm
from .profile import Profile

QS = (0.25, 0.5, 0.75)
"""Exponents q of the default table; 0.5 is the default of the seed paper's code."""

ERRORS = (0.01, 0.1, 0.5)
"""Relative l2 errors for which `weights_needed` is tabulated."""

Table = dict[str, Any]


def index_functions(qs: Sequence[float]) -> Table:
    """Every index that needs power sums only, by name and exponents, as a function of them."""
    pairs = [*((q, 1.0) for q in qs), (1.0, 2.0)]
    return {
        "lq_norm": {f"{q:g}": partial(lq_norm, q=q) for q in (*qs, 1.0, 2.0)},
        "sparsity_index": {f"{q:g}": partial(indices.sparsity_index, q=q) for q in qs},
        "normalized_sparsity_index": {f"{q:g}": partial(indices.normalized_sparsity_index, q=q) for q in qs},
        "effective_number": {f"{q:g}": partial(indices.effective_number, p=q, q=1) for q in qs}
        | {f"1,{q:g}": partial(indices.effective_number, p=1, q=q) for q in (2, np.inf)},
        "pq_index": {f"{p:g},{q:g}": partial(indices.pq_index, p=p, q=q) for p, q in pairs},
        "hoyer": indices.hoyer,
        "hard_sparsity": indices.hard_sparsity,
    }


def power_sum_indices(sums: PowerSums, qs: Sequence[float]) -> Table:
    """The values of `index_functions` for one profile (numbers) or for all neurons of a tensor (arrays)."""
    functions = index_functions(qs)
    return {
        name: {k: g(sums) for k, g in f.items()} if isinstance(f, dict) else f(sums) for name, f in functions.items()
    }


def profile_indices(profile: Profile, qs: Sequence[float]) -> Table:
    """Every index that a profile gives: those of `power_sum_indices`, and those that need the order."""
    table = power_sum_indices(profile, qs)
    table["effective_number"]["1,1"] = indices.effective_number(profile, 1, 1)
    table["gini"] = indices.gini(profile)
    table["weights_needed"] = {f"{eps:g}": indices.weights_needed(profile, eps) for eps in ERRORS}
    return table


@lru_cache(maxsize=1024)
def gaussian_indices(d: int, qs: tuple[float, ...]) -> Table:
    """The indices of d Gaussian weights, Definition 18: what the same shape has without any structure."""
    return profile_indices(Profile.gaussian(d), qs) | {"kurtosis": 3.0}


def labelled(table: Table) -> Iterator[tuple[str, Any]]:
    """The entries of a table of indices under one name each.

    >>> dict(labelled({"gini": 0.4, "sparsity_index": {"0.5": 0.1}}))
    {'gini': 0.4, 'sparsity_index[0.5]': 0.1}
    """
    for name, value in table.items():
        if isinstance(value, dict):
            yield from ((f"{name}[{key}]", each) for key, each in value.items())
        else:
            yield name, value


def neuron_indices(neurons: Sequence[NeuronSums], qs: Sequence[float]) -> Iterator[tuple[str, np.ndarray]]:
    """Label and one value per neuron, over all the given tensors, index by index: all at once would be large."""
    for label, function in labelled(index_functions(qs)):
        parts = [np.broadcast_to(function(each), len(each.sums)) for each in neurons]
        yield label, np.concatenate(parts) if parts else np.empty(0)


def summary(values: np.ndarray) -> dict[str, float]:
    """Mean, median, least and greatest of the values that are defined, and how many are not."""
    known = values[~np.isnan(values)]
    names, functions = ("mean", "median", "min", "max"), (np.mean, np.median, np.min, np.max)
    spread = {name: float(f(known)) if known.size else np.nan for name, f in zip(names, functions, strict=True)}
    return spread | {"undefined": int(values.size - known.size)}


def group_norms(neurons: Sequence[NeuronSums]) -> Profile:
    r"""The profile of $\|w_i\|_2$ over neurons (rows, filters): its indices are the structured ones, Definition 17."""
    logs = np.concatenate([log_lq_norm(each, 2) for each in neurons])
    return Profile.of(np.exp(logs - max(float(logs.max()) - 700, 0.0)))  # what would overflow is scaled down


@dataclass(frozen=True, eq=False)
class Measure:
    """A set of weights, measured: one tensor, or all tensors of a network together.

    `indices` are those of all the weights as one vector, `structured` those of the norms of the neurons,
    `neurons_summary` says how the indices of single neurons are spread, `null` what as many Gaussian weights have,
    and `flags` what a user should look at. All empty when no weight is finite.
    """

    parameters: int
    nonfinite: int
    neurons: int
    zeros: int = 0
    mean: float = np.nan
    std: float = np.nan
    mean_abs: float = np.nan
    max_abs: float = np.nan
    profile: Profile | None = None
    indices: Table = field(default_factory=dict)
    structured: Table = field(default_factory=dict)
    neurons_summary: dict[str, dict[str, float]] = field(default_factory=dict)
    null: Table = field(default_factory=dict)
    flags: tuple[str, ...] = ("no weight is finite",)

    def to_dict(self) -> dict[str, Any]:
        """Plain data under the names of the JSON."""
        return {name: value for name, value in vars(self).items() if name != "profile"}


def measure(histograms: Sequence[Histogram], neurons: Sequence[NeuronSums], qs: Sequence[float] = QS) -> Measure:
    """Measure the weights of some histograms as one vector, and their neurons one by one."""
    # copies that share the arrays: what they cache on the way goes with them, or a large model would keep it all
    histograms, neurons = [replace(h) for h in histograms], [replace(n) for n in neurons]
    qs, finite = tuple(qs), [h for h in histograms if h.d]
    nonfinite, count = sum(h.nonfinite for h in histograms), sum(len(each.sums) for each in neurons)
    if not finite:
        return Measure(nonfinite, nonfinite, count)
    profile, (values, spreads, counts) = profile_of(finite), signed_moments(finite)
    mean, std = mean_and_std(values, spreads, counts)
    top = float(profile.magnitudes[-1])
    return Measure(
        parameters=profile.d + nonfinite,
        nonfinite=nonfinite,
        zeros=profile.zeros,
        mean=mean,
        std=std,
        mean_abs=float(np.sum(counts * (np.abs(values) / (top or 1.0)))) / profile.d * top,
        max_abs=top,
        neurons=count,
        profile=replace(profile),
        indices=profile_indices(profile, qs) | {"kurtosis": indices.kurtosis(values, counts, spreads)},
        structured=profile_indices(group_norms(neurons), qs),
        neurons_summary={label: summary(each) for label, each in neuron_indices(neurons, qs)},
        null=gaussian_indices(profile.d, qs),
        flags=tuple(_flags(profile, nonfinite, neurons)),
    )


def mean_and_std(values: np.ndarray, spreads: np.ndarray, counts: np.ndarray) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1) of weights, `counts` of them around each value with a spread."""
    n = float(np.sum(counts))
    unit = float(np.max(np.abs(values))) or 1.0
    x, s = values / unit, spreads / unit
    mean = float(np.sum(counts * x) / n)
    variance = float(np.sum(counts * ((x - mean) ** 2 + s**2))) / (n - 1) if n > 1 else np.nan
    return mean * unit, float(np.sqrt(variance)) * unit


def _flags(profile: Profile, nonfinite: int, neurons: Sequence[NeuronSums]) -> Iterator[str]:
    """What is suspicious: entries that are not finite, nothing but zeros, zero neurons, one weight above all."""
    if nonfinite:
        yield f"{nonfinite} weights are NaN or infinite and left out"
    if profile.nonzero == 0:
        yield "all weights are zero"
        return
    dead, total = sum(int(np.sum(each.nonzero == 0)) for each in neurons), sum(len(each.sums) for each in neurons)
    if dead:
        yield f"{dead} of {total} neurons have no weight but zeros"
    if profile.nonzero > 100 and indices.effective_number(profile, 2, np.inf) < 2:
        yield f"one weight of magnitude {profile.magnitudes[-1]:.4g} has more than half of the sum of squares"
