r"""From an error of the logits to predictions, accuracy and risk."""

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from .._checks import check_finite
from .bound import Bound
from .rounding import EPS, up, up_each


def margins(logits: ArrayLike) -> Float64[np.ndarray, " n"]:
    r"""$g(x) = f_y - \max_{j\ne y} f_j$ for the predicted class y of each row: the lead of the largest logit.

    >>> margins([[1.0, 4.0, 2.5]])
    array([1.5])
    """
    f = check_finite(logits, "logits")
    if f.ndim != 2 or f.shape[1] < 2:
        raise ValueError(f"logits must have shape [n, classes] with at least 2 classes, got shape {f.shape}.")
    two = np.partition(f, -2, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def unchanged(margin: ArrayLike, error: ArrayLike) -> Bool[np.ndarray, " n"]:
    r"""Where $g(x) > \sqrt2\,\|\delta(x)\|_2$: the prediction cannot have changed, Theorem 23."""
    return np.asarray(_gap_down(_check_margins(margin)) > up_each(np.sqrt(2) * _check_errors(error), 4))


def unchanged_by_pairs(logits: ArrayLike, pair_error: ArrayLike) -> Bool[np.ndarray, " n"]:
    r"""Where $f_y - f_j > e_j \ge |\delta_y-\delta_j|$ for every class j other than the prediction y, Theorem 24.

    `pair_error` is [n, classes]; its entries at the predicted class are not read.
    """
    f, error = check_finite(logits, "logits"), _check_errors(pair_error)
    if f.ndim != 2 or error.shape != f.shape:
        raise ValueError(f"pair_error must have the shape of the logits {f.shape}, got shape {error.shape}.")
    rows, predicted = np.arange(len(f)), f.argmax(axis=1)
    # a subtraction is rounded relative to its result
    safe = _gap_down(f[rows, predicted][:, None] - f) > error
    safe[rows, predicted] = True
    return np.all(safe, axis=1, keepdims=True)[:, 0]


def changed_predictions(margin: ArrayLike, rms_error: float) -> Bound:
    r"""$P(\text{changed}) \le \min_c P(g < c) + 2E\|\delta\|^2/c^2$ over all c > 0, Theorem 25.

    The best c is one of the margins or infinite (the bound 1), so the minimum is exact. `rms_error` is a bound on
    $\sqrt{E\|\delta\|^2}$ over the inputs that the margins come from.

    >>> changed_predictions([1.0, 1.0, 1.0, 10.0], 0.1).value < 0.02001
    True
    """
    g = np.sort(_check_margins(margin))
    return Bound(_markov(g, len(g), _check_error(rms_error)), "upper", "Theorem 25", SAMPLE)


def changed_predictions_on_sample(margin: ArrayLike, rms_error: float) -> Bound:
    r"""The largest k with $g_{(1)}^2+\dots+g_{(k)}^2 \le 2n\,E\|\delta\|^2$, over n, Theorem 26.

    What the worst error of that size can change among these n inputs: changing one of margin g costs $g^2/2$. The
    best bound from these data, never above Theorem 25, and about the sample only.

    >>> changed_predictions_on_sample([1.0, 1.0, 1.0, 10.0], 0.8).value  # 4 * 2 * 0.64 = 5.12 pays for 3 of 4
    0.75
    """
    g = np.sort(_check_margins(margin))
    return _budget(g, len(g), _check_error(rms_error))


def accuracy_drop(margin: ArrayLike, correct: ArrayLike, rms_error: float) -> Bound:
    """Share of inputs that the dense network has right and the pruned one wrong, hence the drop of accuracy.

    Theorem 26 for the inputs that the dense network has right; the others have no accuracy to lose.
    """
    g, right = _check_margins(margin), np.asarray(correct)
    if right.dtype != bool or right.shape != g.shape:
        raise ValueError(f"correct must be {g.shape} booleans, got {right.dtype} of shape {right.shape}.")
    return _budget(np.sort(g[right]), len(g), _check_error(rms_error))


def regression_risk(risk: float, rms_error: float) -> Bound:
    r"""$\sqrt{\mathrm{risk}(\hat f)} \le \sqrt{\mathrm{risk}(f)} + \|f-\hat f\|_{L_2}$ by Minkowski, Theorem 27.

    For the squared loss; the bound is on the risk itself, not its root, over the inputs that `rms_error` is about.

    >>> 9.0 < regression_risk(4.0, 1.0).value < 9.000001
    True
    """
    if not 0 <= risk < np.inf:
        raise ValueError(f"risk must be finite and not negative, got risk={risk:g}.")
    with np.errstate(over="ignore"):
        value = up(np.square(np.sqrt(risk) + _check_error(rms_error)), 8)
    return Bound(value, "upper", "Theorem 27", "squared loss; the inputs that rms_error is about")


SAMPLE = "about the inputs of the margins; rms_error bounds the error of the logits on them"


def _markov(g: Float64[np.ndarray, " m"], n: int, error: float) -> float:
    """Both terms of Theorem 25 with every one of the sorted margins as the level."""
    below = np.searchsorted(g, g, side="left")
    level = _gap_down(g)
    with np.errstate(over="ignore"):
        relative = error / np.where(level > 0, level, 1.0)
        values = up_each(below / n + 2 * np.square(relative), 8)
    return float(np.min(np.where(level > 0, values, 1.0), initial=1.0))


def _budget(g: Float64[np.ndarray, " m"], n: int, error: float) -> Bound:
    """How many of the sorted margins the squared error can pay for, as a share of n."""
    scale = float(g.max(initial=0.0))
    if scale == 0 or not np.isfinite(error):
        return Bound(len(g) / n, "upper", "Theorem 26", SAMPLE)
    with np.errstate(over="ignore"):
        budget = up(2 * n * np.square(error / scale), 8)
    # rounded down: what seems too dear is not forbidden
    cost = np.cumsum(np.square(g / scale)) * (1 - (len(g) + 8) * EPS)
    share = np.count_nonzero(cost <= budget) / n
    return Bound(float(min(share, _markov(g, n, error))), "upper", "Theorem 26", SAMPLE)


def _gap_down(gap: Float64[np.ndarray, "*shape"]) -> Float64[np.ndarray, "*shape"]:
    """A lower end of a difference of two logits."""
    return np.nextafter(gap * (1 - 2 * EPS), -np.inf)


def _check_margins(margin: ArrayLike) -> Float64[np.ndarray, " n"]:
    g = check_finite(margin, "margins")
    if g.ndim != 1 or np.any(g < 0):
        raise ValueError(f"margins must be a vector without negative entries, got shape {g.shape}, least {g.min():g}.")
    return g


def _check_errors(error: ArrayLike) -> Float64[np.ndarray, "*shape"]:
    e = np.asarray(error, dtype=np.float64)
    if not np.all(e >= 0):
        raise ValueError(f"errors must not be negative or NaN, got {np.count_nonzero(~(e >= 0))} that are.")
    return e


def _check_error(rms_error: float) -> float:
    if not rms_error >= 0:
        raise ValueError(f"rms_error must not be negative, got rms_error={rms_error:g}.")
    return float(rms_error)
