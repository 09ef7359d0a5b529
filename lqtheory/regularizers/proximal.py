r"""Proximal operators $\mathrm{prox}_{tf}(w) = \arg\min_x \frac12\|x-w\|^2 + t f(x)$ that have a closed form.

Applied to the weights after a step of the optimiser on the loss without penalty, t being the step size times the
strength. They make exact zeros, which no gradient step does.
"""

import math

import torch

from .parameters import at_least_float32, check_strength


def soft_threshold(w: torch.Tensor, t: float) -> torch.Tensor:
    r"""$\mathrm{sign}(w)\max(|w|-t, 0)$ for each weight: the proximal operator of $t\|w\|_1$, Definition 27.

    >>> soft_threshold(torch.tensor([3.0, -1.0, 0.5]), 1.0)
    tensor([2., -0., 0.])
    """
    check_strength(t, "t")
    return w.sign() * (w.abs() - t).clamp_min(0)


def group_soft_threshold(w: torch.Tensor, t: float) -> torch.Tensor:
    r"""$\max(1-t\sqrt{d_g}/\|w_g\|_2, 0)\,w_g$ for each slice along the first axis, Definition 28.

    The proximal operator of t times `group_lasso`: a neuron or filter is shortened, or vanishes as a whole.

    >>> group_soft_threshold(torch.tensor([[3.0, 4.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]]), 1.0)
    tensor([[1.8000, 2.4000, 0.0000, 0.0000],
            [0.0000, 0.0000, 0.0000, 0.0000]])
    """
    check_strength(t, "t")
    rows = at_least_float32(w, "w").flatten(1)
    size = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    cut = t * rows.shape[1] ** 0.5
    kept = torch.where(size > cut, 1 - cut / size.clamp_min(torch.finfo(size.dtype).tiny), 0)
    return (kept * rows).reshape(w.shape).to(w.dtype)


def half_threshold(w: torch.Tensor, t: float) -> torch.Tensor:
    r"""The proximal operator of $t\sum_i|w_i|^{1/2}$, Definition 29: 0 up to $\frac32 t^{2/3}$, and above it

    $\frac23 w\,(1+\cos(\frac{2\pi}3-\frac23\varphi))$ with $\varphi = \arccos(\frac t4 (3/|w|)^{3/2})$. Xu, Chang, Xu
    and Zhang (IEEE TNNLS 23, 2012), whose $\lambda$ is 2t, there being no $\frac12$ before their square. It jumps:
    a weight that stays is at least $t^{2/3}$ large.

    >>> half_threshold(torch.tensor([1.4, -6.0]), 1.0)
    tensor([ 0.0000, -5.7922])
    """
    check_strength(t, "t")
    size = at_least_float32(w, "w").abs()
    stays = size > 1.5 * t ** (2 / 3)
    above = torch.where(stays, size, 3.0 * max(t, 1e-30) ** (2 / 3))  # keeps arccos in range where it is not used
    angle = torch.arccos(t / 4 * (3 / above) ** 1.5)
    shrunk = 2 / 3 * above * (1 + torch.cos(2 / 3 * (math.pi - angle)))
    return (w.sign() * torch.where(stays, shrunk, 0)).to(w.dtype)
