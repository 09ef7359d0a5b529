r"""The $\ell_q$ quasi-norms of a profile and of its tails, in log space.

$(\sum |w_i|^q)^{1/q}$ overflows for small q (4096 ones at q = 0.01 give e^831), and "all minus head" loses the
tail; so every sum here is a logarithm, and tails are summed from the small end.

What only needs power sums takes anything with `d`, `nonzero`, `log_max` and `log_power_sum(p)`: a `Profile`, or
the table of all neurons of a tensor (`lqtheory.neuron_sums.NeuronSums`), which gives one value per neuron.
"""

from typing import Any, Protocol

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from ._checks import check_exponent
from .profile import Profile


class PowerSums(Protocol):
    """The magnitudes of one set of weights (numbers) or of many (arrays, one entry per set)."""

    @property
    def d(self) -> Any: ...
    @property
    def nonzero(self) -> Any: ...
    @property
    def log_max(self) -> Any: ...
    def log_power_sum(self, p: float) -> Any: ...


def log_power_sum(profile: PowerSums, p: float) -> Any:
    r"""$\log \sum_i |w_i|^p$ for 0 <= p < inf, with $0^0 = 0$ so that p = 0 counts the non-zeros, Definition 2.

    -inf for w = 0.

    >>> float(np.exp(log_power_sum(Profile.of([2, -7, 0, 1]), 0)))
    3.0
    """
    return profile.log_power_sum(check_exponent(p, "p", include_ends=True))


def log_lq_norm(profile: PowerSums, q: float) -> Any:
    r"""$\log \|w\|_q = \frac1q \log \sum_i |w_i|^q$ for 0 < q <= inf, Definition 2; -inf for w = 0.

    >>> log_lq_norm(Profile.of(np.ones(4096)), 0.01)
    831.776616672
    """
    check_exponent(q)
    return profile.log_max if np.isinf(q) else profile.log_power_sum(q) / q


def lq_norm(profile: PowerSums, q: float) -> Any:
    r"""$\|w\|_q = (\sum_i |w_i|^q)^{1/q}$ for 0 < q <= inf, Definition 2: a norm for q >= 1, a quasi-norm below.

    `inf` where the value leaves float64: use `log_lq_norm` there.

    >>> lq_norm(Profile.of([1, 4]), 0.5), lq_norm(Profile.of([3, 4]), 2), lq_norm(Profile.of([3, 4]), np.inf)
    (9.0, 5.0, 4.0)
    """
    with np.errstate(over="ignore"):
        return plain(np.exp(log_lq_norm(profile, q)))


def log_tail_power_sum(profile: Profile, s: ArrayLike, p: float) -> Float64[np.ndarray, "*s"]:
    r"""$\log \sum_{i>s} a_i^p$ over all but the s largest magnitudes, for each s in [0, d], Definition 3."""
    check_exponent(p, "p")
    rest = profile.d - np.asarray(s, dtype=np.float64)
    if np.any(rest < 0) or np.any(rest > profile.d):
        raise ValueError(f"s must lie in [0, {profile.d}], got values from {np.min(s)} to {np.max(s)}.")
    # smallest first: exact far tails
    group = np.clip(np.searchsorted(profile.below, rest, side="right") - 1, 0, profile.counts.size - 1)
    with np.errstate(divide="ignore"):
        part = np.log(rest - profile.below[group]) + p * profile.log_magnitudes[group]
    return np.logaddexp(profile.log_partial_sums(p)[group], part)


def tail_norm(profile: Profile, s: ArrayLike, p: float) -> Float64[np.ndarray, "*s"]:
    r"""Best s-term approximation error $\sigma_s(w)_p = (\sum_{i>s} a_i^p)^{1/p}$, 0 < p <= inf, Definition 3.

    What remains in the $\ell_p$ norm when the s largest weights are kept; s is a number or an array in [0, d].

    >>> tail_norm(Profile.of([5, -4, 3, 0]), [0, 1, 2, 3], 2)
    array([7.0710678, 5.       , 3.       , 0.       ])
    >>> float(tail_norm(Profile.of([5, -4, 3, 0]), 1, np.inf))
    4.0
    """
    if np.isinf(p):
        rest = profile.d - np.asarray(s, dtype=np.float64)
        group = np.searchsorted(profile.below, rest, side="left") - 1
        return np.where(group >= 0, profile.magnitudes[np.clip(group, 0, None)], 0.0)
    with np.errstate(over="ignore"):
        return np.exp(log_tail_power_sum(profile, s, p) / p)


def plain(x: Any) -> Any:
    """A Python float for a single value, an array for many."""
    return float(x) if np.ndim(x) == 0 else x
