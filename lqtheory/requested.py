"""Indices that need a sort or a decomposition of every neuron: computed when asked for by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float64

from . import indices
from .measure import ERRORS, QS, profile_indices
from .neuron_table import summary
from .profile import Profile
from .shelf import Held

Rows = Float64[np.ndarray, " neurons fan_in"]


def stable_rank(rows: Rows, profile: Profile, seed: int) -> float:
    """`lqtheory.indices.stable_rank` of the tensor as a matrix of neurons."""
    return indices.stable_rank(rows)


def nm_pattern(rows: Rows, profile: Profile, seed: int) -> int:
    """`lqtheory.indices.nm_pattern` in groups of four along the fan-in."""
    return indices.nm_pattern(rows)


def hill_tail_index(rows: Rows, profile: Profile, seed: int) -> dict[str, float]:
    """`lqtheory.indices.hill_tail_index` over the largest 1 %, 5 % and 10 % of the non-zero weights."""
    top = {f"{share:g}": round(share * profile.nonzero) for share in (0.01, 0.05, 0.1)}
    return {key: indices.hill_tail_index(profile, k) if 1 <= k < profile.nonzero else np.nan for key, k in top.items()}


def barsbey_tail_index(rows: Rows, profile: Profile, seed: int) -> float:
    """`lqtheory.indices.barsbey_tail_index` of the tensor's weights."""
    return indices.barsbey_tail_index(rows, seed)


def neuron_gini(rows: Rows, profile: Profile, seed: int) -> dict[str, float]:
    """How the Gini index of single neurons is spread."""
    return _spread([indices.gini(Profile.of(row)) for row in rows])


def neuron_weights_needed(rows: Rows, profile: Profile, seed: int) -> dict[str, dict[str, float]]:
    """How many weights single neurons need for each relative error of `ERRORS`."""
    neurons = [Profile.of(row) for row in rows]
    return {f"{eps:g}": _spread([float(indices.weights_needed(n, eps)) for n in neurons]) for eps in ERRORS}


def weights_bracket(rows: Rows, profile: Profile, seed: int) -> dict[str, dict[str, float]]:
    """The tensor's exact k*(eps) between the bounds that only its quasi-norms give, Theorem 4."""
    from .bounds.vector import bracket  # whose package takes long to import

    return {
        f"{eps:g}": {"lower": lower.value, "exact": indices.weights_needed(profile, eps), "upper": upper.value}
        for eps in ERRORS
        for lower, upper in [bracket(profile, eps, 2, 0.5)]
    }


def input_groups(rows: Rows, profile: Profile, seed: int) -> dict[str, Any]:
    """The structured indices of the norms of the columns: input channels and positions, Definition 17."""
    return profile_indices(Profile.of(np.linalg.norm(rows, axis=0)), QS)


def _spread(values: list[float]) -> dict[str, float]:
    return summary((Held(np.array(values)),))


REQUESTED: dict[str, Callable[[Rows, Profile, int], Any]] = {
    f.__name__: f
    for f in (
        stable_rank,
        nm_pattern,
        hill_tail_index,
        barsbey_tail_index,
        neuron_gini,
        neuron_weights_needed,
        weights_bracket,
        input_groups,
    )
}
"""Name -> function(rows, profile, seed), in the order in which they are explained."""
