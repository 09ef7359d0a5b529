r"""The $\ell_0$ norm in exponential form, and the step that pulls small weights to zero [OBS24, arXiv 2109.05075]."""

from collections.abc import Mapping

import torch

from .parameters import Weights, check_strength, promoted


def l0(weights: Weights, beta: float = 10.0) -> torch.Tensor:
    r"""$\sum_i (1-e^{-\beta|w_i|})$ in $[0, \|w\|_0)$, Definition 20: nearly the number of weights above $1/\beta$.

    The authors' code uses $\beta$ = 5 and 10. Not free of scale: the slope at zero is $\beta$, far from it 0.

    >>> l0({"w": torch.tensor([[0.0, 5.0], [-7.0, 0.0]])})
    tensor(2.)
    """
    check_strength(beta, "beta")
    return _total(-torch.expm1(-beta * w.abs()).sum() for w in promoted(weights).values())


def layer_factors(weights: Weights) -> dict[str, float]:
    r"""$\kappa_l = \sqrt{n_l/\max n}$ in (0, 1], Definition 21: larger layers are penalised more.

    For dense layers (two axes) n is the number of weights, for convolutions (more) that number over the first side
    of the kernel: the code takes the product of all axes but the first of kernels stored [height, width, in, out].
    The maximum is over layers of the same kind.

    >>> layer_factors({"fc": torch.zeros(4, 8), "head": torch.zeros(1, 8), "conv": torch.zeros(2, 3, 5, 5)})
    {'fc': 1.0, 'head': 0.5, 'conv': 1.0}
    """
    sizes = {name: w.numel() / (w.shape[2] if w.ndim > 2 else 1) for name, w in weights.items()}
    largest = {True: 0.0, False: 0.0}
    for name, w in weights.items():
        largest[w.ndim == 2] = max(largest[w.ndim == 2], sizes[name])
    return {name: (size / largest[weights[name].ndim == 2]) ** 0.5 for name, size in sizes.items()}


def l0_l2(
    weights: Weights,
    alpha0: float = 5e-7,
    alpha2: float = 1e-4,
    beta: float = 10.0,
    factors: Mapping[str, float] | None = None,
) -> torch.Tensor:
    r"""$\sum_l \kappa_l\,[\alpha_0 \sum_i (1-e^{-\beta|w_i|}) + \alpha_2 \sum_i w_i^2]$, Definition 22.

    What the paper adds to the loss; the defaults are those of its experiment 5, where $\alpha_0$ is one of 1e-7, 5e-7
    and 1e-6. `factors` are `layer_factors(weights)` unless given: pass ones (`dict.fromkeys(weights, 1.0)`) for none.

    >>> l0_l2({"w": torch.tensor([[0.0, 10.0]])}, alpha0=1.0, alpha2=0.5)
    tensor(51.)
    """
    factors = layer_factors(weights) if factors is None else factors
    check_strengths(alpha0, alpha2)
    return _total(
        factors[name] * (alpha0 * l0({name: w}, beta) + alpha2 * w.square().sum())
        for name, w in promoted(weights).items()
    )


@torch.no_grad()
def zero_attraction(
    weights: Weights,
    step: float,
    alpha0: float = 5e-7,
    alpha2: float = 1e-4,
    beta: float = 10.0,
    factors: Mapping[str, float] | None = None,
) -> None:
    r"""$w \leftarrow w - t\,\kappa_l(\alpha_0\beta\mathrm{sign}(w)e^{-\beta|w|} + 2\alpha_2w)$ in place, Definition 23.

    One gradient step of `l0_l2` of size t, to be taken after the optimiser's own step on the loss without penalty, so
    that no adaptive step size rescales it. A weight nearer to zero than $t\kappa_l\alpha_0\beta$ may step past zero.

    >>> w = torch.tensor([[1.0, 0.0]])
    >>> zero_attraction({"w": w}, step=0.1, alpha0=0.0, alpha2=1.0)
    >>> w
    tensor([[0.8000, 0.0000]])
    """
    factors = layer_factors(weights) if factors is None else factors
    check_strengths(alpha0, alpha2)
    check_strength(step, "step")
    check_strength(beta, "beta")
    for name, w in promoted(weights).items():
        attraction = alpha0 * beta * w.sign() * torch.exp(-beta * w.abs()) + 2 * alpha2 * w
        weights[name].copy_(w - step * factors[name] * attraction)


def check_strengths(alpha0: float, alpha2: float) -> None:
    """Refuse negative coefficients."""
    check_strength(alpha0, "alpha0")
    check_strength(alpha2, "alpha2")


def _total(terms) -> torch.Tensor:
    return torch.stack(list(terms)).sum()
