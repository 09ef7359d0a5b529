"""What is worth drawing of a profile in a few hundred numbers: Lorenz curve, effective shares, magnitudes, tail."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from .indices import effective_number, hill_tail_index, lorenz
from .profile import Profile

ORDERS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Exponents q at which the effective share N_{q,1}/d is kept: from the share of non-zeros to the entropy."""

CORNERS = 32  # along each axis of the Lorenz curve of a tensor
FINE = 128  # of that of a network
DECADES, BINS_PER_DECADE = 6, 10
TAIL = 0.05  # share of the non-zero weights that the fit of the tail reads


def outline(profile: Profile, corners: int = CORNERS) -> dict[str, Any]:
    """Plain data that `lqtheory report` draws, rounded to six digits; empty for w = 0.

    `lorenz`: some corners, `corners` of them along each axis (share of the weights, share of the l1 norm),
    Definition 11. `effective_share`: q -> N_{q,1}/d, Definition 4. `magnitudes`: counts in bins of a tenth of a
    decade up to 10**top, and how many weights lie below them or are zero. `tail`: Hill's estimate over the largest
    5 % of the non-zero weights, Definition 12.

    >>> outline(Profile.of([3, 1]))["lorenz"]
    {'weights': [0.0, 0.5, 1.0], 'norm': [0.0, 0.75, 1.0]}
    """
    if not profile.nonzero:
        return {}
    weights, norm = thinned(*lorenz(profile), corners)
    shares = {f"{q:g}": _rounded(effective_number(profile, q, 1) / profile.d) for q in ORDERS}
    return {
        "lorenz": {"weights": [_rounded(x) for x in weights], "norm": [_rounded(y) for y in norm]},
        "effective_share": shares,
        "magnitudes": magnitudes(profile),
        "tail": tail(profile),
    }


def magnitudes(profile: Profile) -> dict[str, Any]:
    """How many weights fall into each tenth of a decade, over the six decades that end above the largest.

    >>> magnitudes(Profile.of([0.5, 0.5, 0])) | {"counts": None}
    {'top': -0.3, 'step': 0.1, 'counts': None, 'below': 0, 'zeros': 1}
    """
    top = np.floor(profile.log_max / np.log(10) * BINS_PER_DECADE + 1) / BINS_PER_DECADE
    size = DECADES * BINS_PER_DECADE
    logs = profile.log_magnitudes[profile.magnitudes > 0] / np.log(10)
    weights = profile.counts[profile.counts.size - logs.size :]
    place = np.floor((logs - top) * BINS_PER_DECADE).astype(np.int64) + size
    inside = np.clip(place, -1, size - 1) + 1
    counts = np.rint(np.bincount(inside, weights, size + 1)).astype(np.int64)
    return {
        "top": float(top),
        "step": 1 / BINS_PER_DECADE,
        "counts": counts[1:].tolist(),
        "below": int(counts[0]),
        "zeros": profile.zeros,
    }


def tail(profile: Profile, share: float = TAIL) -> dict[str, float] | None:
    """The fit P(|w| > x) = share (x / start)^-alpha to the largest weights; None where too few or equal ones are.

    >>> tail(Profile.of([1, 1]))
    """
    k = round(share * profile.nonzero)
    if k < 10:
        return None
    alpha = hill_tail_index(profile, k)
    start = float(profile.magnitudes[np.searchsorted(profile.below, profile.d - k) - 1])
    if not np.isfinite(alpha):
        return None
    return {"share": _rounded(k / profile.d), "start": _rounded(start), "alpha": _rounded(alpha), "weights": k}


def bins(drawn: Mapping[str, Any]) -> tuple[list[float], list[float]]:
    """The edges of an outline's bins, from the smallest magnitude in them, and the share of all weights in each."""
    found = drawn["magnitudes"]
    counts = found["counts"]
    total = sum(counts) + found["below"] + found["zeros"]
    first = next((k for k, count in enumerate(counts) if count), 0)
    edges = [10 ** (found["top"] + found["step"] * (k - len(counts))) for k in range(first, len(counts) + 1)]
    return edges, [count / total for count in counts[first:]]


def fitted(drawn: Mapping[str, Any]) -> list[tuple[float, float]]:
    """What the fitted tail puts into each whole bin above its start: (middle of the bin, share of all weights)."""
    tail, edges = drawn["tail"], bins(drawn)[0]
    if not tail:
        return []

    def beyond(x: float) -> float:
        return tail["share"] * (x / tail["start"]) ** -tail["alpha"]

    return [((a * b) ** 0.5, beyond(a) - beyond(b)) for a, b in pairwise(edges) if a >= tail["start"]]


def thinned(x: np.ndarray, y: np.ndarray, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Some corners of a rising curve from (0, 0) to (1, 1), dense along both axes, the ends among them."""
    grid = np.linspace(0, 1, points)
    taken = np.unique(np.concatenate([np.searchsorted(x, grid), np.searchsorted(y, grid), [0, x.size - 1]]))
    taken = taken[taken < x.size]
    return x[taken], y[taken]


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
