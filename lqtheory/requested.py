"""Indices that need a sort or a decomposition of every neuron: computed when asked for by name."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64
from numpy.typing import ArrayLike

from . import indices
from .measure import ERRORS, QS, profile_indices
from .neuron_table import summary
from .profile import Profile
from .selection import weights_needed
from .shelf import Held

SVD = 256  # the singular values of smaller matrices cost nothing

Rows = Float64[np.ndarray, " neurons fan_in"]


def stable_rank(rows: Rows, profile: Profile, seed: int) -> float:
    r"""`lqtheory.indices.stable_rank` of the tensor as a matrix of neurons; of a large one to nine digits.

    Lanczos in float32 gives v with $W^T W v \approx \lambda v$, one more step in float64 gives $\|W\|_2^2$: the error
    of the Rayleigh quotient is the square of the error of v. It stays below, so that the index is rather too large.
    """
    if min(rows.shape) <= SVD or not profile.nonzero:
        return indices.stable_rank(rows)
    w = rows / np.max(np.abs(rows))
    u = w @ _top_singular_vector(w.astype(np.float32), seed)
    v = w.T @ u
    u = w @ (v / np.linalg.norm(v))
    return float(np.vdot(w, w) / np.vdot(u, u))


def _top_singular_vector(w: Float32[np.ndarray, " neurons fan_in"], seed: int) -> Float64[np.ndarray, " fan_in"]:
    from scipy.sparse.linalg import LinearOperator, eigsh  # takes long to import

    start = np.random.default_rng(seed).standard_normal(w.shape[1]).astype(np.float32)
    square = LinearOperator((w.shape[1],) * 2, matvec=lambda v: w.T @ (w @ v.ravel()), dtype=np.float32)
    # 100 steps reach the edge of a noise matrix of 4096 neurons, the slowest case, without a restart
    _, vectors = eigsh(square, k=1, v0=start, ncv=min(100, w.shape[1]), tol=1e-4)
    return vectors[:, 0].astype(np.float64)


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
    needed = weights_needed(rows, ERRORS).astype(np.float64)
    return {f"{eps:g}": _spread(column) for eps, column in zip(ERRORS, needed.T, strict=True)}


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


def _spread(values: ArrayLike) -> dict[str, float]:
    return summary((Held(np.asarray(values)),))


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
