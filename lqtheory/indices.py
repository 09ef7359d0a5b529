r"""Indices of compressibility: one formula, one function.

Unless it says otherwise, an index is larger for sparser weights, ignores their scale, and is nan for w = 0. Those
built on power sums alone also take a table of neurons and then return one value per neuron (`lqtheory.norms`).
"""

from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from ._checks import check_count, check_exponent, check_finite, check_ordered
from .norms import PowerSums, log_lq_norm, log_power_sum, log_tail_power_sum, plain
from .profile import Profile


def log_effective_number(profile: PowerSums, p: float, q: float) -> Any:
    r"""$\log N_{p,q}(w) = \frac{q \log S_p - p \log S_q}{q - p}$ with $S_p = \sum |w_i|^p$, Definition 4.

    0 <= p <= q <= inf. The limits: p = 0 gives $\log \|w\|_0$, q = inf gives $\log S_p - p \log \max|w|$, and q = p
    the entropy of the shares $|w_i|^p / S_p$. nan for w = 0.
    """
    check_exponent(p, "p", include_ends=True)
    check_exponent(q, "q", lower=p, include_ends=True)
    with np.errstate(invalid="ignore"):
        if np.isinf(q):
            return log_power_sum(profile, p) - p * profile.log_max
        if isinstance(profile, Profile) and (q == p or (q - p) * profile.log_range < 0.5):
            return _log_effective_number_near(profile, p, q)
        return (q * log_power_sum(profile, p) - p * log_power_sum(profile, q)) / (q - p)


def _log_effective_number_near(profile: Profile, p: float, q: float) -> float:
    r"""The same for q near p, without the cancellation, down to q = p.

    With shares $s_i = |w_i|^p / S_p$, c their mean of $\log|w_i|$ and $\delta = q - p$,
    $\log N = \log S_p - p\,c - \frac p\delta \log(1 + \sum s_i (e^{\delta(\log|w_i| - c)} - 1))$.
    """
    kept = profile.magnitudes > 0
    if not kept.any():
        return np.nan
    logs, log_sum, delta = profile.log_magnitudes[kept], log_power_sum(profile, p), q - p
    share = profile.counts[kept] * np.exp(p * logs - log_sum)
    share /= share.sum()
    centre = float(np.sum(share * (logs - logs[-1]))) + float(logs[-1])
    excess = np.log1p(np.sum(share * np.expm1(delta * (logs - centre)))) / delta if delta else 0.0
    return float(log_sum - p * (centre + excess))


def effective_number(profile: PowerSums, p: float, q: float) -> Any:
    r"""Effective number of weights $N_{p,q}(w) = (\|w\|_p / \|w\|_q)^{pq/(q-p)}$ in [1, d], Definition 4.

    The Hill number of order q/p of the shares $|w_i|^p / \|w\|_p^p$, for 0 <= p <= q <= inf: 1 for a single
    weight, d for a flat vector; SMALLER is sparser. p = 0 counts non-zeros, p = q = 1 is the exponential of
    Shannon's entropy.

    >>> effective_number(Profile.of([5, 5, 5, 0]), 1, 2)
    3.0
    """
    return plain(np.exp(log_effective_number(profile, p, q)))


def log_flatness(profile: PowerSums, p: float, q: float) -> Any:
    r"""$\log\big(d^{1/q-1/p}\,\|w\|_p/\|w\|_q\big) = (\frac1p - \frac1q) \log \frac{N_{p,q}}{d} \le 0$, Definition 7.

    Bounds read this and never the displayed index: 1 - I cancels, and a large power follows.
    """
    check_ordered(p, q)
    with np.errstate(invalid="ignore"):
        log_share = log_effective_number(profile, p, q) - np.log(profile.d)
        return (1 / p - 1 / q) * np.minimum(log_share, 0.0)  # N <= d up to rounding


def sparsity_index(profile: PowerSums, q: float) -> Any:
    r"""$\mathrm{SI}_q(w) = \|w\|_1 / \|w\|_q$ for 0 < q < 1, in $[d^{1-1/q}, 1]$, Definition 5.

    The index of the seed paper: 1 for a single weight, $d^{1-1/q}$ for a flat vector.

    >>> sparsity_index(Profile.of([0, 0, 7]), 0.5), sparsity_index(Profile.of([7, 7]), 0.5)
    (1.0, 0.5)
    """
    check_ordered(q, 1)
    with np.errstate(invalid="ignore"):
        return plain(np.exp(log_lq_norm(profile, 1) - log_lq_norm(profile, q)))


def normalized_sparsity_index(profile: PowerSums, q: float) -> Any:
    r"""$d^{1/q-1}\,\|w\|_1/\|w\|_q$ for 0 < q < 1, in $[1, d^{1/q-1}]$, Definition 6: 1 for a flat vector.

    >>> normalized_sparsity_index(Profile.of([0, 0, 7]), 0.5), normalized_sparsity_index(Profile.of([7, 7]), 0.5)
    (3.0, 1.0)
    """
    check_ordered(q, 1)
    with np.errstate(over="ignore"):
        return plain(np.exp(-log_flatness(profile, q, 1)))


def pq_index(profile: PowerSums, p: float, q: float) -> Any:
    r"""$I_{p,q}(w) = 1 - d^{1/q-1/p}\,\|w\|_p/\|w\|_q$ for 0 < p < q, in $[0, 1 - d^{1/q-1/p}]$, Definition 7.

    0 for a flat vector, the maximum for a single weight. Robin Hood's axiom holds only where p <= 1 <= q.

    >>> pq_index(Profile.of([0, 0, 0, 7]), 0.5, 1), pq_index(Profile.of([7, 7]), 0.5, 1)
    (0.75, 0.0)
    """
    return plain(-np.expm1(log_flatness(profile, p, q)) + 0.0)


def hoyer(profile: PowerSums) -> Any:
    r"""$(\sqrt d - \|w\|_1/\|w\|_2)/(\sqrt d - 1)$ in [0, 1], Definition 9; nan for d = 1.

    >>> hoyer(Profile.of([0, 0, 0, 7])), hoyer(Profile.of([7, -7]))
    (1.0, 0.0)
    """
    root = np.sqrt(profile.d)
    with np.errstate(invalid="ignore"):
        return plain(-np.expm1(log_flatness(profile, 1, 2)) * root / (root - 1) if profile.d > 1 else np.nan + root)


def hard_sparsity(profile: PowerSums) -> Any:
    r"""Share of weights that are exactly zero, $1 - \|w\|_0/d$ in [0, 1], Definition 10.

    >>> hard_sparsity(Profile.of([0, 0, 0, 7]))
    0.75
    """
    return plain(1 - profile.nonzero / profile.d)


def gini(profile: Profile) -> float:
    r"""Gini index $\sum_k a_{(k)} (2k - d - 1) / (d \|w\|_1)$, ascending, in [0, 1 - 1/d], Definition 8.

    Equal to Hurley and Rickard's $1 - 2\sum_k \frac{a_{(k)}}{\|w\|_1}\frac{d-k+1/2}{d}$.

    >>> gini(Profile.of([0, 0, 0, 7])), gini(Profile.of([7, 7]))
    (0.75, 0.0)
    """
    if profile.magnitudes[-1] == 0:
        return np.nan
    a = profile.magnitudes / profile.magnitudes[-1]
    total, d = float(np.sum(profile.counts * a)), profile.below[-1]
    rank = profile.below[:-1] + profile.below[1:] - d
    # the ranks sum to zero: centring changes nothing but the rounding
    return float(np.sum(profile.counts * (a - total / d) * rank) / (d * total))


def lorenz(profile: Profile) -> tuple[Float64[np.ndarray, " m+1"], Float64[np.ndarray, " m+1"]]:
    r"""Corners (s/d, L(s)) of the Lorenz curve $L(s) = \sum_{i \le s} a_i/\|w\|_1$, largest first, Definition 11.

    From (0, 0) to (1, 1), concave; the diagonal for a flat vector; higher everywhere means more compressible by
    every index that respects the transfer principle. nan for w = 0.

    >>> lorenz(Profile.of([3, 1]))
    (array([0. , 0.5, 1. ]), array([0.  , 0.75, 1.  ]))
    """
    top = profile.magnitudes[-1]
    with np.errstate(invalid="ignore"):
        tail = np.concatenate([[0.0], np.cumsum(profile.counts * (profile.magnitudes / top))])
        return 1 - profile.below[::-1] / profile.below[-1], 1 - tail[::-1] / tail[-1]


def weights_needed(profile: Profile, eps: float, p: float = 2) -> int:
    r"""$k^*(\epsilon) = \min\{s : \sigma_s(w)_p \le \epsilon \|w\|_p\}$ in [0, d], Definition 14; 0 for w = 0.

    >>> weights_needed(Profile.of([3, 4, 0, 0]), 0.7)
    1
    """
    check_exponent(eps, "eps", include_ends=True)
    limit = p * (np.log(eps) if eps else -np.inf) + log_tail_power_sum(profile, 0, p)
    group = int(np.searchsorted(profile.log_partial_sums(p), limit, side="right")) - 1
    # the error is small enough at high, too large at low: the crossing lies among weights of one magnitude
    high = int(profile.d - profile.below[group])
    low = int(profile.d - profile.below[group + 1]) if group + 1 < profile.counts.size else -1
    while high - low > 1:
        s = np.unique(np.linspace(low, high, 256).astype(np.int64))[1:]
        first = int(np.argmax(log_tail_power_sum(profile, s, p) <= limit))
        low, high = int(s[first - 1]) if first else low, int(s[first])
    return high


def kurtosis(values: ArrayLike, counts: ArrayLike = 1.0, spreads: ArrayLike = 0.0) -> float:
    r"""$n \sum (w_i - \bar w)^4 / (\sum (w_i - \bar w)^2)^2$ of signed weights, Definition 16: 3 for Gaussian ones.

    Each value stands for `counts` weights that lie around it with standard deviation `spreads`, half of them above
    and half below. nan for constant weights. Heavy tails make it large.

    >>> kurtosis([-1, 1, -1, 1]), kurtosis([0, 0], spreads=[1, 1])
    (1.0, 1.0)
    """
    x, n, s = np.broadcast_arrays(*(np.asarray(each, dtype=np.float64) for each in (values, counts, spreads)))
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = np.max(np.abs(x) + s)
        away, around = (x / unit - np.sum(n * (x / unit)) / np.sum(n)) ** 2, (s / unit) ** 2
        fourth = np.sum(n * (away * away + 6 * away * around + around * around))
        return float(np.sum(n) * fourth / np.sum(n * (away + around)) ** 2)


def hill_tail_index(profile: Profile, k: int) -> float:
    r"""Hill's $\hat\alpha = k / \sum_{i \le k} \log(a_i / a_{k+1})$ over the k largest, Definition 12; inf if they tie.

    SMALLER is heavier-tailed, hence more compressible. Needs k + 1 non-zero weights and an exact profile's order.

    >>> hill_tail_index(Profile.of([np.e, np.e, 1, 0]), 2)
    1.0
    """
    check_count(k, "k", 1, profile.nonzero - 1)
    log_tail = profile.log_magnitudes - profile.log_magnitudes[np.searchsorted(profile.below, profile.d - k) - 1]
    taken = np.clip(profile.below[1:] - (profile.d - k), 0, profile.counts)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(k / np.sum(np.where(taken > 0, taken * log_tail, 0.0)))


def block_tail_index(w: ArrayLike, m: int) -> float:
    r"""$1/\hat\alpha = \frac{1}{\log m}\big(\overline{\log|Y|} - \overline{\log|X|}\big)$, Y sums of m, Definition 12.

    The estimator of Mohammadi et al. (2014) for the index of a stable law, as Barsbey et al. (arXiv 2106.03795)
    use it: X are the non-zero weights in the order given, Y the sums of consecutive blocks of m.

    >>> block_tail_index(np.ones(8), 2)
    1.0
    """
    x = check_finite(w).ravel()
    x = x[x != 0]
    check_count(m, "m", 2, max(x.size, 2))
    blocks = x[: x.size // m * m].reshape(-1, m).sum(axis=1)
    blocks = blocks[blocks != 0]
    if not blocks.size:
        return np.nan
    with np.errstate(divide="ignore"):
        return float(np.log(m) / (np.mean(np.log(np.abs(blocks))) - np.mean(np.log(np.abs(x)))))


def barsbey_tail_index(w: ArrayLike, seed: int = 0) -> float:
    r"""Median of `block_tail_index` over block lengths 2 to 1000 and five orders, at most 2, Definition 12.

    Barsbey et al. take block lengths near {2, 5, 10, 20, 50, 100, 500, 1000} and five permutations of the
    weights, centred at their median. Needs at least 100 non-zero weights, otherwise nan.
    """
    x = check_finite(w).ravel()
    x = x - np.median(x)
    rng = np.random.default_rng(seed)
    lengths = [m for m in (2, 5, 10, 20, 50, 100, 500, 1000) if m * 10 <= np.count_nonzero(x)]
    if len(lengths) < 3:
        return np.nan
    orders = [rng.permutation(x) for _ in range(5)]
    return min(float(np.median([[block_tail_index(order, m) for m in lengths] for order in orders])), 2.0)


def stable_rank(matrix: ArrayLike) -> float:
    r"""$\|W\|_F^2 / \|W\|_2^2$ in [1, rank W], Definition 13; SMALLER is closer to low rank; nan for W = 0.

    >>> stable_rank(np.eye(3))
    3.0
    """
    w = check_finite(matrix, "matrix")
    values = np.linalg.svd(w.reshape(w.shape[0], -1) / (np.max(np.abs(w)) or 1), compute_uv=False)
    return float(np.sum(values**2) / values[0] ** 2) if values[0] else np.nan


def nm_pattern(rows: ArrayLike, m: int = 4) -> int:
    r"""Largest number of non-zeros in any aligned group of m consecutive inputs, in [0, m], Definition 15.

    The rows obey the N:M pattern for every N from this number on; m itself when the fan-in is no multiple of m.

    >>> nm_pattern([[1, 0, 0, 2, 0, 3, 0, 0]])
    2
    """
    w = np.atleast_2d(check_finite(rows, "rows"))
    if w.shape[1] % m:
        return m
    return int(np.max(np.count_nonzero(w.reshape(w.shape[0], -1, m), axis=2)))
