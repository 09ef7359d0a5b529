r"""$\ell_q$, $\ell_1$, $\ell_2$ and group penalties: the baselines, and the quasi-norm that the indices read."""

import torch

from .._checks import check_exponent
from .parameters import Weights, promoted


def lq(weights: Weights, q: float = 0.5, eps: float = 1e-8) -> torch.Tensor:
    r"""$\sum_i (w_i^2+\epsilon)^{q/2}$ for 0 < q <= 2 and $\epsilon > 0$, Definition 24: $\|w\|_q^q$, made smooth at 0.

    Above $\|w\|_q^q$ by at most $d\,\epsilon^{q/2}$. Its slope is at most $q\,\epsilon^{(q-1)/2}$ for q < 1, so that
    $\epsilon$ also says how hard small weights are pulled.

    >>> lq({"w": torch.tensor([[4.0, -9.0]])}, q=0.5, eps=1e-12)
    tensor(5.)
    """
    check_exponent(q, upper=2.0)
    check_exponent(eps, "eps", upper=1.0)
    return _total((w.square() + eps).pow(q / 2).sum() for w in promoted(weights).values())


def l1(weights: Weights) -> torch.Tensor:
    r"""$\sum_i |w_i|$, Definition 25.

    >>> l1({"w": torch.tensor([[3.0, -4.0]])})
    tensor(7.)
    """
    return _total(w.abs().sum() for w in promoted(weights).values())


def l2(weights: Weights) -> torch.Tensor:
    r"""$\sum_i w_i^2$, Definition 25: squared, as it is used in training.

    >>> l2({"w": torch.tensor([[3.0, -4.0]])})
    tensor(25.)
    """
    return _total(w.square().sum() for w in promoted(weights).values())


def group_lasso(weights: Weights) -> torch.Tensor:
    r"""$\sum_g \sqrt{d_g}\,\|w_g\|_2$ over the slices along the first axis, Definition 26: whole neurons and filters.

    $d_g$ is the size of the slice, as in Yuan and Lin (JRSS B 68, 2006). Of a transposed convolution the first axis
    is the input: pass `w.transpose(0, 1)` for its filters, and for input channels of other layers.

    >>> group_lasso({"w": torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]])})
    tensor(10.)
    """
    rows = (w.flatten(1) for w in promoted(weights).values())
    return _total(r.shape[1] ** 0.5 * torch.linalg.vector_norm(r, dim=1).sum() for r in rows)


def _total(terms) -> torch.Tensor:
    return torch.stack(list(terms)).sum()
