"""Indices of a set of weights and of its neurons: one row of the table that `lqtheory analyze` prints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial, reduce
from typing import Any

import numpy as np

from . import indices
from .histogram import GRIDS, Histogram, profile_of, signed_moments
from .neuron_sums import NeuronSums
from .neuron_table import NeuronTable, summary
from .norms import PowerSums, log_lq_norm, lq_norm
from .profile import Profile
from .shelf import Held, Shelf, Shelved

QS = (0.25, 0.5, 0.75)
"""Exponents q of the default table; 0.5 is the default of the seed paper's code."""

ERRORS = (0.01, 0.1, 0.5)
"""Relative l2 errors for which `weights_needed` is tabulated."""

FEW = 1 << 16
"""Up to here, the profile of the norms of neurons is exact."""

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


def neuron_table(neurons: NeuronSums, qs: Sequence[float], shelf: Shelf) -> NeuronTable:
    """The indices of every neuron of some sums, laid on a shelf."""
    rows = len(neurons.sums)
    columns = {name: np.broadcast_to(f(neurons), rows) for name, f in labelled(index_functions(qs))}
    return NeuronTable.of_block(log_lq_norm(neurons, 2), int(np.sum(neurons.nonzero == 0)), columns, shelf)


def group_norms(neurons: NeuronTable) -> Profile:
    r"""The profile of $\|w_i\|_2$ over neurons (rows, filters): its indices are the structured ones, Definition 17.

    Exact for up to `FEW` neurons, a histogram's otherwise.
    """
    scaled_down = max(neurons.log_top - 700, 0.0)  # what would overflow
    norms = (np.exp(piece() - scaled_down) for piece in neurons.log_norms)
    if neurons.rows <= FEW:
        return Profile.of(np.concatenate(list(norms)))
    grid = GRIDS["float64"]
    return profile_of([reduce(_both, (Histogram.of_bits(grid, each.view(np.uint64)) for each in norms))])


def _both(one: Histogram, other: Histogram) -> Histogram:
    return Histogram.merged([one, other])


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
    kept: Held[Profile | None] | Shelved[Profile | None] = field(default=Held(None), repr=False)
    indices: Table = field(default_factory=dict)
    structured: Table = field(default_factory=dict)
    neurons_summary: dict[str, dict[str, float]] = field(default_factory=dict)
    null: Table = field(default_factory=dict)
    flags: tuple[str, ...] = ("no weight is finite",)

    @property
    def profile(self) -> Profile | None:
        """The profile of all the weights, read anew by each call; None when no weight is finite."""
        return self.kept()

    def to_dict(self) -> dict[str, Any]:
        """Plain data under the names of the JSON."""
        return {name: value for name, value in vars(self).items() if name != "kept"}


def measure(histograms: Sequence[Histogram], neurons: NeuronTable, qs: Sequence[float] = QS) -> Measure:
    """Measure the weights of some histograms as one vector, and their neurons one by one."""
    # copies that share the arrays: what they cache on the way goes with them
    qs, finite = tuple(qs), [replace(h) for h in histograms if h.d]
    nonfinite = sum(h.nonfinite for h in histograms)
    if not finite:
        return Measure(nonfinite, nonfinite, neurons.rows)
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
        neurons=neurons.rows,
        kept=Held(profile),
        indices=profile_indices(profile, qs) | {"kurtosis": indices.kurtosis(values, counts, spreads)},
        structured=profile_indices(group_norms(neurons), qs),
        neurons_summary={label: summary(column) for label, column in neurons.columns.items()},
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


def _flags(profile: Profile, nonfinite: int, neurons: NeuronTable) -> Iterator[str]:
    """What is suspicious: entries that are not finite, nothing but zeros, zero neurons, one weight above all."""
    if nonfinite:
        yield f"{nonfinite} weights are NaN or infinite and left out"
    if profile.nonzero == 0:
        yield "all weights are zero"
        return
    if neurons.dead:
        yield f"{neurons.dead} of {neurons.rows} neurons have no weight but zeros"
    if profile.nonzero > 100 and indices.effective_number(profile, 2, np.inf) < 2:
        yield f"one weight of magnitude {profile.magnitudes[-1]:.4g} has more than half of the sum of squares"
