r"""Tier F: the difference of two networks measured along their paths from input to output.

A path is worth the product of the magnitudes of its weights; the error of a pruned network is at most the worth of
the paths that it has lost. Two passes with non-negative numbers, no data, no norms of matrices.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from .bound import Bound
from .layers import Linear, check_inputs
from .network import FLOAT64, check_pair
from .rounding import EPS, TINY, up, up_each


def path_errors(dense: Sequence[Linear], pruned: Sequence[Linear], x: ArrayLike) -> Float64[np.ndarray, "n out"]:
    r"""$|f-\hat f| \le t_L$ with $t_l = \rho_l(|\Delta W_l|p_{l-1} + |\Delta b_l| + |\hat W_l|t_{l-1})$, Theorem 21.

    $p_l = \rho_l(|W_l|p_{l-1}+|b_l|)$ from $p_0 = |x|$. For pruned networks $t_l = p_l - \hat p_l$: the paths lost.
    """
    check_pair(dense, pruned)
    path, lost = np.abs(check_inputs(dense, x)), np.zeros(1)
    for layer, hat in zip(dense, pruned, strict=True):
        if layer.activation.at_zero:
            raise ValueError(f"the path metric needs activations that are 0 at 0, got {layer.activation.name}.")
        slope, terms = layer.activation.lipschitz, layer.fan_in + 8
        change = path @ np.abs(layer.weight - hat.weight).T + np.abs(layer.offset - hat.offset)
        carried = np.broadcast_to(lost, path.shape) @ np.abs(hat.weight).T
        reach = up_each(path @ np.maximum(np.abs(layer.weight), np.abs(hat.weight)).T, terms)
        reach += np.maximum(np.abs(layer.offset), np.abs(hat.offset))
        # both evaluations, on inputs of magnitude at most path + lost
        rounding = 2 * (terms + 8) * EPS * up_each(reach + carried, terms) + 8 * terms * TINY
        path = up_each(slope * up_each(path @ np.abs(layer.weight).T + np.abs(layer.offset), terms) + rounding, 4)
        lost = up_each(slope * up_each(change + carried + rounding, terms), 4)
    return np.broadcast_to(lost, path.shape)


def tier_f(dense: Sequence[Linear], pruned: Sequence[Linear], box: float = 1.0) -> Bound:
    r"""$\sup_{\|x\|_\infty \le \mathrm{box}} \|f(x)-\hat f(x)\|_1$, hence in every norm above $\ell_1$, Theorem 21.

    With box = max(1, |x|) and the biases as further paths it is at most the bound of GBRG25.
    """
    if not 0 <= box < np.inf:
        raise ValueError(f"box must be finite and not negative, got box={box:g}.")
    errors = path_errors(dense, pruned, np.full((1, dense[0].fan_in), float(box)))
    about = f"every input with all |x_j| <= {box:g}; {FLOAT64}"
    return Bound(up(float(errors.sum()), errors.size), "upper", "Theorem 21", about)
