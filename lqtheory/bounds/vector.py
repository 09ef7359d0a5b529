r"""What the $\ell_q$ quasi-norm of one weight vector promises about keeping s of its weights (Theorems 1 to 6)."""

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from .._checks import check_count, check_exponent, check_fraction, check_ordered
from ..indices import log_effective_number
from ..norms import log_lq_norm, log_tail_power_sum
from ..profile import Profile
from .bound import Bound
from .rounding import EPS, exp_down, exp_up, up

SPLITS = 2**14  # how many splits Theorem 6 tries at most: all of them up to that k, an even grid beyond


def stechkin(profile: Profile, s: int, q: float, p: float = 2.0) -> Bound:
    r"""$\sigma_s(w)_p \le \left[(q/p)^{q/p}(1-q/p)^{1-q/p}\right]^{1/q} s^{1/p-1/q}\,\|w\|_q$, s >= 1, Theorem 1.

    The best constant that depends on neither d nor w; attained by flat vectors whose length k has s = k(1 - q/p).

    >>> bound = stechkin(Profile.of([1, 1]), 1, q=1.0)  # 1/(2 sqrt(1)) * 2; the second weight is what remains
    >>> round(bound.value, 12), bound.tightness(1.0) < 1 + 1e-12
    (1.0, True)
    """
    q, p = check_ordered(q, p)
    check_count(s, "s", 1, profile.d)
    ratio = q / p
    log_constant = (ratio * np.log(ratio) if ratio else 0.0) / q + np.log1p(-ratio) * (1 / q - 1 / p)
    log_rate = (1 / p - 1 / q) * np.log(s)
    error = norm_error(profile, q) + 8 * EPS * (abs(log_constant) + abs(log_rate) + 1 / q)
    value = exp_up(log_constant + log_rate + log_lq_norm(profile, q), error)
    return Bound(float(value), "upper", "Theorem 1", about(profile))


def worst_case(profile: Profile, s: int, q: float, p: float = 2.0) -> Bound:
    r"""$\sigma_s(w)_p \le \|w\|_q \max_{s<k\le d} (k-s)^{1/p} k^{-1/q}$ for 0 < q <= p, Theorem 2.

    The best constant for the given s and d: no vector of d weights with this quasi-norm has a larger tail.

    >>> worst_case(Profile.of([1, 1, 1, 0]), 2, q=0.5).tightness(1.0) < 1 + 1e-12  # k = 3 is the worst of 3 and 4
    True
    """
    check_count(s, "s", 0, profile.d)
    log_constant = log_worst_case_constant(s, profile.d, q, p)
    error = norm_error(profile, q) + constant_error(profile.d, q)
    value = exp_up(log_constant + log_lq_norm(profile, q), error)
    return Bound(float(value), "upper", "Theorem 2", about(profile))


def log_worst_case_constant(s: ArrayLike, d: ArrayLike, q: ArrayLike, p: float) -> Float64[np.ndarray, "*shape"]:
    r"""$\log \max_{s<k\le d} (k-s)^{1/p} k^{-1/q}$ for every s in [0, d] and q at once; -inf at s = d, Theorem 2.

    In k the expression rises up to $sp/(p-q)$ and falls from there, so the whole numbers beside it decide.

    >>> np.exp(log_worst_case_constant([0, 1, 2], 2, 1.0, 2.0))
    array([1. , 0.5, 0. ])
    """
    for value in np.ravel(q).tolist():
        check_exponent(value, upper=p)
    s, d, q = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (s, d, q)))
    ratio = q / p
    with np.errstate(divide="ignore", invalid="ignore"):
        turn = np.where(s > 0, np.minimum(s / (1 - ratio), d), 0.0)
        # one more on each side: the quotient is rounded
        k = np.clip(np.floor(turn) + np.arange(-1, 3).reshape(-1, *[1] * s.ndim), np.minimum(s + 1, d), d)
        log_head = np.log(k - s) / p if np.isfinite(p) else np.where(k > s, 0.0, -np.inf)
        log_norm = np.where(k > 0, np.log(k), 0.0) / q
    return np.max(log_head - log_norm, axis=0)


def retention(profile: Profile, eta: float, p: float, q: float) -> Bound:
    r"""If $\sum_{i>s} a_i^p \le \eta \sum_{i\le s} a_i^p$ then $s \ge (1+\eta)^{-q/(q-p)} N_{p,q}(w)$, Theorem 3.

    For 0 < p < q <= inf, $\eta \ge 0$. With q = 1 it is the keep rule of YWDY22, in general that of DWZ23.

    >>> 3.99999999 < retention(Profile.of([1, 1, 1, 1, 0]), 0.0, p=0.5, q=1.0).value < 4
    True
    """
    if not eta >= 0:
        raise ValueError(f"eta must not be negative, got eta={eta:g}.")
    return _retention(profile, float(np.log1p(eta)), p, q, "Theorem 3")


def bracket(profile: Profile, eps: float, p: float, q: float, r: float = np.inf) -> tuple[Bound, Bound]:
    r"""Lower and upper bound on $k^*(\epsilon)$, the least s with $\sigma_s(w)_p \le \epsilon\|w\|_p$, Theorem 4.

    0 < q < p < r: the lower end is Theorem 3 with (p, r) and $\eta = \epsilon^p/(1-\epsilon^p)$, the upper end the
    least s for which Theorem 2 with (q, p) promises the error.

    >>> low, high = bracket(Profile.of(np.ones(100)), 0.55, p=2.0, q=1.0)  # k* = 70
    >>> round(low.value, 6), high.value
    (69.75, 70.0)
    """
    check_fraction(eps, "eps")
    check_ordered(q, p)
    with np.errstate(under="ignore"):
        log_kept = -np.log1p(-(eps**p))
    lower = _retention(profile, float(log_kept), p, r, "Theorem 4")
    return lower, Bound(float(_sufficient(profile, eps, p, q)), "upper", "Theorem 4", about(profile))


def maurey(profile: Profile, k: int, q: float, feature_norm: float = 1.0) -> Bound:
    r"""Some w' with at most k non-zeros has $\|(w-w')\cdot h\| \le M\,2^{1/q-1/2}k^{1/2-1/q}\|w\|_q$, Theorem 5.

    For 0 < q <= 1 when every feature has $\|h_j\|_{L_2} \le M$. The coefficients of w' are re-weighted: this is no
    bound on the error of truncation.
    """
    check_exponent(q, upper=1.0)
    check_count(k, "k", 1, profile.d)
    log_rate = (1 / q - 0.5) * (np.log(2) - np.log(k))
    error = norm_error(profile, q) + 8 * EPS * (abs(log_rate) + 1 / q)
    value = up(float(exp_up(log_rate + log_lq_norm(profile, q), error)) * _feature_norm(feature_norm), 2)
    return Bound(value, "upper", "Theorem 5", REWEIGHTED + about(profile))


def maurey_split(profile: Profile, k: int, feature_norm: float = 1.0) -> Bound:
    r"""Some w' with at most k non-zeros has $\|(w-w')\cdot h\| \le M \min_{s\le k}\sigma_s(w)_1/\sqrt{k-s}$, Theorem 6.

    The s largest weights stay as they are and k - s of the others are drawn; at s = k the divisor is 1, nothing being
    drawn. Never worse than keeping the k largest, and re-weighted like Theorem 5.

    >>> maurey_split(Profile.of([1, 1, 1, 1]), 4).value
    0.0
    """
    check_count(k, "k", 1, profile.d)
    s = np.unique(np.linspace(0, k, min(k + 1, SPLITS)).round())
    log_tail = log_tail_power_sum(profile, s, 1.0)
    drawn = np.maximum(k - s, 1.0)
    values = exp_up(log_tail - 0.5 * np.log(drawn), tail_error(profile))
    return Bound(
        up(float(np.min(values)) * _feature_norm(feature_norm), 2) if np.min(values) else 0.0,
        "upper",
        "Theorem 6",
        REWEIGHTED + about(profile),
    )


REWEIGHTED = "every feature has L2 norm at most feature_norm; coefficients re-weighted, an existence result; "


def about(profile: Profile) -> str:
    """What a bound read from this profile is about."""
    return "none on w" if profile.exact else "w is the binned profile, not each weight"


def norm_error(profile: Profile, q: float) -> float:
    """How far `log_lq_norm` may be off: one rounding per term, and exponents rounded on the scale of the logarithms."""
    return EPS * (4 * (profile.magnitudes.size + 16) * max(1.0, 1 / q) + 16 * largest_log(profile))


def tail_error(profile: Profile) -> float:
    """How far `log_tail_power_sum` at p = 1 may be off: each step rounds a logarithm."""
    return EPS * (profile.magnitudes.size + 16) * (4 + largest_log(profile))


def constant_error(d: float, q: float) -> float:
    """How far `log_worst_case_constant` may be off."""
    return 8 * EPS * (1 + np.log(d)) * (1 + 1 / q)


def largest_log(profile: Profile) -> float:
    """The largest |log a| over the non-zero magnitudes."""
    logs = profile.log_magnitudes[profile.magnitudes > 0]
    return float(np.max(np.abs(logs))) if logs.size else 0.0


def _retention(profile: Profile, log_ratio: float, p: float, q: float, source: str) -> Bound:
    """Theorem 3 with `log_ratio` = log(1 + eta)."""
    p, q = check_ordered(p, q)
    power = 1 / (1 - p / q)  # q/(q-p), 1 for q = inf
    if not profile.nonzero:
        return Bound(0.0, "lower", source, about(profile))
    log_number = float(log_effective_number(profile, p, q))
    error = p * power * (norm_error(profile, p) + norm_error(profile, q)) + 8 * EPS * power * (1 + log_ratio)
    # 1 - p/q cancels when the exponents are close
    relative = 4 * EPS / (1 - p / q)
    error += relative * (abs(log_number) + power * log_ratio)
    return Bound(exp_down(log_number - power * log_ratio, error), "lower", source, about(profile))


def _sufficient(profile: Profile, eps: float, p: float, q: float) -> int:
    """The least s at which Theorem 2 promises a relative error eps, found by halving; the promise falls in s."""
    if not profile.nonzero:
        return 0
    error = norm_error(profile, q) + norm_error(profile, p) + constant_error(profile.d, q)
    allowed = (np.log(eps) if eps else -np.inf) + log_lq_norm(profile, p) - log_lq_norm(profile, q) - error
    low, high = -1, profile.d
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if log_worst_case_constant(middle, profile.d, q, p) <= allowed else (middle, high)
    return high


def _feature_norm(feature_norm: float) -> float:
    if not 0 <= feature_norm < np.inf:
        raise ValueError(f"feature_norm must be finite and not negative, got feature_norm={feature_norm:g}.")
    return float(feature_norm)
