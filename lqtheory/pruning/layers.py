r"""Budgets of whole layers: a density for each layer, its weights then going to the largest scores of the layer.

Densities are relative: they are scaled by one number so that the total is met to the weight, layers that would get
more than they have being dense and neurons never empty.
"""

import numpy as np
from jaxtyping import Float64

from .._checks import check_exponent
from ..indices import log_effective_number
from ..profile import Profile
from .budgets import Counts, Scores, Shapes, global_ranking

Densities = Float64[np.ndarray, " layers"]


def within_layers(scores: Scores, total: int, densities: Densities, least: int = 1) -> Counts:
    """Each layer's share of the total, in proportion to density times size, and its largest scores.

    Of equal remainders the earlier layer's is rounded up.

    >>> within_layers([np.array([[4.0, 3.0, 2.0, 1.0]]), np.array([[1.0, 1.0]])], 3, np.array([0.25, 1.0]))
    [array([1]), array([2])]
    """
    sizes = np.array([layer.size for layer in scores])
    lows = np.array([np.minimum(least, layer.shape[1]) * layer.shape[0] for layer in scores])
    wanted = _scaled(np.maximum(densities, 0.0) * sizes, lows, sizes, total)
    whole = np.floor(wanted).astype(np.int64)
    order = np.lexsort((np.arange(len(sizes)), -(wanted - whole)))
    room = [k for k in order if whole[k] < sizes[k]]
    whole[room[: total - int(whole.sum())]] += 1
    return [global_ranking([layer], int(k), least=least)[0] for layer, k in zip(scores, whole, strict=True)]


def _scaled(shares: Densities, lows: np.ndarray, sizes: np.ndarray, total: int) -> Densities:
    """`shares` times one number, clipped to [lows, sizes], with sum `total`, from below."""
    if not lows.sum() <= total <= sizes.sum():
        raise ValueError(f"the number of weights to keep must lie in [{lows.sum()}, {sizes.sum()}], got {total}.")
    if total == sizes.sum():
        return sizes.astype(np.float64)
    shares = np.maximum(shares, 1e-12 * sizes)
    low, high = 0.0, float(np.max(sizes / shares))
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if np.clip(middle * shares, lows, sizes).sum() <= total else (low, middle)
    return np.clip(low * shares, lows, sizes)


def layer_uniform(scores: Scores, total: int, shapes: Shapes = ()) -> Counts:
    """The same density in every layer, and the largest scores of the layer.

    >>> layer_uniform([np.array([[4.0, 3.0], [2.0, 1.0]]), np.array([[1.0, 5.0]])], 3)
    [array([1, 1]), array([1])]
    """
    return within_layers(scores, total, np.ones(len(scores)))


def erdos_renyi_kernel(scores: Scores, total: int, shapes: Shapes) -> Counts:
    r"""Density proportional to the sum of the tensor's sides over their product [Evci et al., ICML 2020, RigL].

    $(n_{in}+n_{out}+k_w+k_h)/(n_{in} n_{out} k_w k_h)$ for a convolution, $(n_{in}+n_{out})/(n_{in} n_{out})$ for a
    linear layer. Layers that would be more than dense are dense, and the others share the rest.

    >>> square, thin = np.ones((4, 4)), np.ones((2, 1))
    >>> [int(c.sum()) for c in erdos_renyi_kernel([square, thin], 10, [(4, 4), (2, 1)])]
    [8, 2]
    """
    return within_layers(scores, total, np.array([sum(shape) / np.prod(shape, dtype=float) for shape in shapes]))


def outlier_weighted(scores: Scores, total: int, shapes: Shapes = (), m: float = 5.0, spread: float = 0.08) -> Counts:
    r"""OWL [Yin et al., ICML 2024]: density $1-S+D_l-\bar D$, $D_l$ the scaled share of scores above m times the mean.

    The shares of outliers are scaled to [0, 2 `spread`]; their defaults are m = 5 and 0.08, their scores Wanda's. They
    take layers of equal size; here all densities are shifted by one number until the total is met.
    """
    outliers = np.array([np.mean(layer > m * layer.mean()) for layer in scores])
    width = float(np.ptp(outliers))
    tilt = (outliers - outliers.min()) * (2 * spread / width) if width else np.zeros(len(scores))
    sizes = np.array([layer.size for layer in scores], dtype=float)
    low, high = -2.0, 2.0
    while low < (middle := (low + high) / 2) < high:
        kept = (np.clip(tilt + middle, 0.0, 1.0) * sizes).sum()
        low, high = (middle, high) if kept <= total else (low, middle)
    return within_layers(scores, total, np.clip(tilt + low, 0.0, 1.0))


def by_effective_number(scores: Scores, total: int, shapes: Shapes = (), q: float = 0.5) -> Counts:
    r"""Density proportional to $N_{q,1}/d$ of the layer's scores, Definition 4: what the keep rule reads, by layers."""
    check_exponent(q, upper=np.nextafter(1.0, 0.0))
    logs = np.array([log_effective_number(Profile.of(layer), q, 1) - np.log(layer.size) for layer in scores])
    return within_layers(scores, total, np.exp(np.nan_to_num(logs, nan=-np.inf)))


def sap_pruned(w: Float64[np.ndarray, " d"], p: float, q: float, eta: float, gamma: float, beta: float) -> int:
    r"""How many of d weights a round of SAP prunes: $\lfloor d\min(\gamma(1-r/d),\beta)\rfloor$ [DWZ23, Algorithm 1].

    $r = d(1+\eta)^{-q/(q-p)}(1-I_{p,q})^{pq/(q-p)} = (1+\eta)^{-q/(q-p)}N_{p,q}(w)$, rounded up as in their code.

    >>> sap_pruned(np.ones(8), 1, 2, 0, 1, 0.9), sap_pruned(np.array([1.0, 0, 0, 0]), 1, 2, 0, 1, 0.9)
    (0, 3)
    """
    kept = np.exp(-q / (q - p) * np.log1p(eta) + log_effective_number(Profile.of(w), p, q))
    kept = np.ceil(kept * (1 - 1e-12)) if np.isfinite(kept) else 0.0
    return int(np.floor(w.size * min(max(gamma * (1 - kept / w.size), 0.0), beta) * (1 + 1e-15)))
