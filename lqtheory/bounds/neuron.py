r"""One neuron with data: what dropping, shifting or re-fitting its weights does to its pre-activation in L2.

`kept` marks the weights that stay; T is the dropped set. Each function returns a bound on $\|(w-w')\cdot h-c\|_{L_2}$
over the sample of the moments.
"""

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from .._checks import check_finite
from ..profile import Profile
from .bound import Bound
from .moments import Moments, rms_response
from .rounding import norm_up, up
from .vector import worst_case

SAMPLE = "about the sample of the moments"


def truncation(w: ArrayLike, kept: ArrayLike, moments: Moments) -> Bound:
    r"""$\sqrt{w_T^\top G_{TT} w_T}$: the exact error of dropping T, Theorem 7.

    >>> truncation([1.0, 2.0], [True, False], Moments.of([[5.0, 1.0], [5.0, -1.0]])).tightness(2.0) < 1 + 1e-12
    True
    """
    dropped = _dropped(w, kept, moments)
    return Bound(rms_response(dropped[None], moments), "upper", "Theorem 7", SAMPLE)


def truncation_by_norms(w: ArrayLike, kept: ArrayLike, moments: Moments) -> Bound:
    r"""$\sum_T |w_j|\,m_j$ with $m_j=\|h_j\|_{L_2}$, Theorem 7: least when the largest $|w_j|m_j$ are kept."""
    terms = np.abs(_dropped(w, kept, moments)) * moments.norms
    return Bound(up(float(terms.sum()), len(terms) + 4), "upper", "Theorem 7", SAMPLE)


def truncation_by_spectrum(w: ArrayLike, kept: ArrayLike, moments: Moments) -> Bound:
    r"""$\sqrt{\lambda_{\max}(G)}\,\|w_T\|_2$, Theorem 7: least when the largest $|w_j|$ are kept."""
    value = up(moments.spectral * norm_up(_dropped(w, kept, moments)), 2)
    return Bound(value, "upper", "Theorem 7", SAMPLE)


def truncation_envelope(profile: Profile, s: int, q: float, moments: Moments) -> Bound:
    r"""$\min\{\max_j m_j\,E_1,\ \sqrt{\lambda_{\max}(G)}\,E_2\}$, $E_p$ Theorem 2 at p = 1, 2; 0 < q <= 1, Theorem 7.

    The data-aware closed form: of the weights it reads the quasi-norm, s and d only, the s largest being kept.
    """
    by_norms = worst_case(profile, s, q, 1.0).value * float(np.max(moments.norms))
    by_spectrum = worst_case(profile, s, q, 2.0).value * moments.spectral
    return Bound(up(min(by_norms, by_spectrum), 2), "upper", "Theorem 7", f"the s largest kept; {SAMPLE}")


def bias_moved(w: ArrayLike, kept: ArrayLike, moments: Moments) -> tuple[float, Bound]:
    r"""The shift $\sum_T w_j\mu_j$ of the bias and the error $\sqrt{w_T^\top C_{TT} w_T}$ that is left, Theorem 8.

    Never worse than truncation, and the best shift there is.

    >>> shift, bound = bias_moved([1.0, 2.0], [True, False], Moments.of([[5.0, 3.0], [5.0, 3.0]]))
    >>> round(shift, 12), bound.value < 1e-5
    (6.0, True)
    """
    dropped = _dropped(w, kept, moments)
    shift = float(dropped @ moments.mean)
    return shift, Bound(rms_response(dropped[None], moments, np.array([-shift])), "upper", "Theorem 8", SAMPLE)


def refitted(w: ArrayLike, kept: ArrayLike, moments: Moments, ridge: float = 0.0) -> tuple[np.ndarray, Bound]:
    r"""The best weights on the support, $w_S + (G_{SS}+\lambda I)^+G_{ST}w_T$, and their error, Theorem 9.

    The error is that of the weights returned, whatever the solver did; for $\lambda=0$ it is
    $w_T^\top(G_{TT}-G_{TS}G_{SS}^+G_{ST})w_T$ squared up to rounding. $\lambda$ = ridge times the mean of $m_j^2$.

    >>> weights, bound = refitted([1.0, 2.0], [True, False], Moments.of([[1.0, 1.0], [3.0, 3.0]]))
    >>> np.round(weights, 9), bound.value < 1e-5
    (array([3., 0.]), True)
    """
    dropped, keep = _dropped(w, kept, moments), np.asarray(kept)
    if not 0 <= ridge < np.inf:
        raise ValueError(f"ridge must be finite and not negative, got ridge={ridge:g}.")
    gram = moments.G[np.ix_(keep, keep)]
    gram = gram + ridge * np.trace(moments.G) / moments.d * np.eye(len(gram))
    weights = np.where(keep, check_finite(w), 0.0)
    if keep.any():
        weights[keep] += np.linalg.lstsq(gram, moments.G[keep] @ dropped, rcond=None)[0]
    return weights, Bound(rms_response((check_finite(w) - weights)[None], moments), "upper", "Theorem 9", SAMPLE)


def _dropped(w: ArrayLike, kept: ArrayLike, moments: Moments) -> Float64[np.ndarray, " d"]:
    """The weights with those that stay set to zero."""
    weights, keep = check_finite(w), np.asarray(kept)
    if weights.shape != (moments.d,):
        raise ValueError(f"w must have one weight per input, {moments.d}, got shape {weights.shape}.")
    return np.where(_check_mask(keep, weights.shape), 0.0, weights)


def _check_mask(kept: np.ndarray, shape: tuple[int, ...]) -> Bool[np.ndarray, " d"]:
    if kept.dtype != bool or kept.shape != shape:
        raise ValueError(f"kept must be {shape} booleans, got {kept.dtype} of shape {kept.shape}.")
    return kept
