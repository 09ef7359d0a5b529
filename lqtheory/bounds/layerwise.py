r"""What pruning does to one layer by itself, relative to what the layer puts out: for networks of any kind.

A layer $z = Wh + b$ whose inputs h have known moments; its neurons may come in groups that see different inputs (a
convolution's), with moments each. No statement about the output of the network follows where the layers behind have no
Lipschitz constant, and none is made.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64

from .bound import Bound
from .moments import Moments, rms_response
from .operators import spectral_norm
from .rounding import EPS, LOW, norm_up, up

Weight = Float64[np.ndarray, "out d"]
Shift = Float64[np.ndarray, " out"]
Local = Callable[[Weight, Moments, Shift | None], float]


def layer_error(weight: Weight, change: Weight, moments: Sequence[Moments], shift: Shift | None = None) -> Bound:
    r"""$\sqrt{\mathrm{tr}\,\Delta WG\Delta W^\top/\mathrm{tr}\,WGW^\top}$, Theorem 36: exact but for rounding.

    `change` is $\Delta W=W-\hat W$ and `shift` $\Delta b$; one `Moments` for each group of rows.

    >>> moments = Moments.of([[3.0, 1.0], [1.0, 1.0]])
    >>> round(layer_error(np.array([[2.0, 0.0]]), np.array([[1.0, 0.0]]), [moments]).value, 12)
    0.5
    """
    return _relative(_exactly, weight, change, moments, shift, "second moments")


def layer_error_by_norms(
    weight: Weight, change: Weight, moments: Sequence[Moments], shift: Shift | None = None
) -> Bound:
    r"""The same from $m_j=\|h_j\|_{L_2}$ alone: rows of at most $\sum_j|\Delta w_{ij}|m_j$, Theorem 36."""
    return _relative(_by_norms, weight, change, moments, shift, "norms of inputs")


def layer_error_by_radius(
    weight: Weight, change: Weight, moments: Sequence[Moments], shift: Shift | None = None
) -> Bound:
    r"""The same from $\sqrt{E\|h\|^2}$ alone: $\|\Delta W\|_2\sqrt{E\|h\|^2}$, Theorem 36."""
    return _relative(_by_radius, weight, change, moments, shift, "size of inputs")


def _relative(
    local: Local, weight: Weight, change: Weight, moments: Sequence[Moments], shift: Shift | None, known: str
) -> Bound:
    groups = len(moments)
    offsets = [None] * groups if shift is None else np.split(shift, groups)
    blocks = zip(np.split(change, groups), moments, offsets, strict=True)
    error = norm_up(np.array([local(*block) for block in blocks]))
    size = np.hypot.reduce([response_down(w, m) for w, m in zip(np.split(weight, groups), moments, strict=True)])
    value = 0.0 if error == 0 else up(error / (size * (1 - 8 * groups * EPS)), 4) if size else np.inf
    return Bound(value, "upper", "Theorem 36", f"about all positions of the sample; {known} and size of outputs known")


def response_down(weight: Weight, moments: Moments) -> float:
    r"""$\sqrt{E\|Wh\|^2}$, rounded down: `rms_response` less twice what it allows for rounding."""
    if moments.radius < LOW:
        return 0.0  # squares may underflow, and then all of `rms_response` is what it allows for that
    above, size = rms_response(weight, moments), moments.radius * norm_up(weight)
    hidden = 2 * (moments.count + sum(weight.shape) + weight.shape[1] + 32) * EPS
    left = 1 - 64 * EPS - hidden * (size / above) ** 2 if above else 0.0
    return above * max(left, 0.0) ** 0.5 * (1 - 4 * EPS)


def _exactly(change: Weight, moments: Moments, shift: Shift | None) -> float:
    exact = rms_response(change, moments, shift)
    if shift is None:
        return exact
    # with inputs far from 1 in size, what rounding hides of (h, 1) is more than the triangle inequality loses
    return min(exact, _by_norms(change, moments, shift), up(rms_response(change, moments) + norm_up(shift), 2))


def _by_norms(change: Weight, moments: Moments, shift: Shift | None) -> float:
    rows = np.abs(change) @ moments.norms + (0.0 if shift is None else np.abs(shift))
    return up(norm_up(rows), change.shape[1] + 4)


def _by_radius(change: Weight, moments: Moments, shift: Shift | None) -> float:
    return up(spectral_norm(change) * moments.radius + (0.0 if shift is None else norm_up(shift)), 4)
