r"""Training against the bound: tiers B and C of `lqtheory.bounds.network` at a target sparsity, differentiable.

The same recursion (Theorem 13) with norms by power iteration and no rounding: it is what the certificate will be, to
a few percent, and never the certificate.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from .._checks import check_fraction
from .dropped import Drop, Score, by_response, smallest_per_neuron
from .parameters import at_least_float32
from .spectral import LayerMap
from .stack import affine_stack, bias_norm


class LogBound(nn.Module):
    """What both tiers share: a stack of layers, the maps of their weights, and the recursion to the output."""

    def __init__(self, net: nn.Sequential, x: torch.Tensor, sparsity: float, drop: Drop, iterations: int) -> None:
        super().__init__()
        self.sparsity = check_fraction(sparsity, "sparsity")
        self.drop = drop
        stack, shapes = affine_stack(net, x)
        self._stack = tuple(stack)  # in a tuple, so that they are no parts of this module
        self.kept, self.dropped, self.dense = (
            nn.ModuleList(
                LayerMap(part.layer, shape, iterations, seed=3 * k + kind)
                for k, (part, shape) in enumerate(zip(stack, shapes, strict=True))
            )
            for kind in range(3)
        )

    def weights(self) -> list[torch.Tensor]:
        """The weights of all layers, in float32 at least."""
        return [at_least_float32(part.layer.weight, "weight") for part in self._stack]

    def carry(self, local: Sequence[torch.Tensor], masked: Sequence[torch.Tensor]) -> torch.Tensor:
        r"""log of $\delta_L$, $\delta_l = \rho_l(\mathrm{local}_l+\|\hat W_l\|\delta_{l-1})$, $\delta_0=0$."""
        delta = torch.zeros_like(local[0])
        for k, (part, own, weight) in enumerate(zip(self._stack, local, masked, strict=True)):
            delta = part.lipschitz * (own + (self.kept[k](weight) * delta if k else 0.0))
        return log(delta)


class LogTierB(LogBound):
    r"""log of the tier B bound at a target sparsity, Definition 34: weights only, inputs in a ball.

    $\mathrm{local}_l = \|W_l-\hat W_l\|R_{l-1}$, with the radii of `lqtheory.bounds` from $R_0=\sqrt{E\|x\|^2}$ of the
    `x` given here. Masks are made anew at each call, of the scores |w|, by `drop`; no gradient flows through them.

    >>> net = nn.Sequential(nn.Linear(2, 1))
    >>> _ = nn.init.constant_(net[0].weight, 3.0)
    >>> penalty = LogTierB(net, torch.tensor([[2.0, 0.0]]), sparsity=0.5)
    >>> round(penalty().exp().item(), 4)  # one weight of 3 is dropped, on inputs of norm 2
    6.0
    """

    def __init__(
        self,
        net: nn.Sequential,
        x: torch.Tensor,
        sparsity: float = 0.5,
        drop: Drop = smallest_per_neuron,
        iterations: int = 1,
    ) -> None:
        super().__init__(net, x, sparsity, drop, iterations)
        self.radius = float(x.detach().double().flatten(1).square().sum(1).mean().sqrt())

    def forward(self) -> torch.Tensor:
        """The logarithm; its power iterations move on while training."""
        weights = self.weights()
        with torch.autocast(weights[0].device.type, enabled=False):
            masks = self.drop([w.detach().abs() for w in weights], self.sparsity)
            radius, local = torch.full_like(weights[0][(0,) * weights[0].ndim], self.radius).detach(), []
            for k, (part, weight, mask) in enumerate(zip(self._stack, weights, masks, strict=True)):
                local.append(self.dropped[k](weight * mask) * radius)
                radius = part.lipschitz * (self.dense[k](weight) * radius + bias_norm(part)) + part.at_zero
            return self.carry(local, [w * ~mask for w, mask in zip(weights, masks, strict=True)])


class LogTierC(LogBound):
    r"""log of the tier C bound at a target sparsity, Definition 35: errors of the layers as on the batch `x`.

    $\mathrm{local}_l = \sqrt{E\|(W_l-\hat W_l)h_{l-1}\|^2}$ with the dense activations h, through which gradients flow
    too. Masks are made anew at each call, of the scores `score(weight, h)`, by `drop`; no gradient flows through them.

    >>> net = nn.Sequential(nn.Linear(2, 1))
    >>> _ = nn.init.constant_(net[0].weight, 3.0)
    >>> x = torch.tensor([[2.0, 1.0]])
    >>> round(LogTierC(net, x, sparsity=0.5)(x).exp().item(), 4)  # the weight 3 of the smaller input is dropped
    3.0
    """

    def __init__(
        self,
        net: nn.Sequential,
        x: torch.Tensor,
        sparsity: float = 0.5,
        drop: Drop = smallest_per_neuron,
        score: Score = by_response,
        iterations: int = 1,
    ) -> None:
        super().__init__(net, x, sparsity, drop, iterations)
        self.score = score

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logarithm for a batch of inputs; its power iterations move on while training."""
        weights = self.weights()
        with torch.autocast(weights[0].device.type, enabled=False):
            inputs = self.inputs(weights, x.to(weights[0].dtype))
            scores = [self.score(w.detach(), h.detach()) for w, h in zip(weights, inputs, strict=True)]
            masks = self.drop(scores, self.sparsity)
            maps: Any = self.dense
            local = [
                root_mean_square(each.respond(weight * mask, h))
                for each, weight, mask, h in zip(maps, weights, masks, inputs, strict=True)
            ]
            return self.carry(local, [w * ~mask for w, mask in zip(weights, masks, strict=True)])

    def inputs(self, weights: Sequence[torch.Tensor], x: torch.Tensor) -> list[torch.Tensor]:
        """What enters each layer of the dense network."""
        maps: Any = self.dense
        x, entering = x.flatten(1) if weights[0].ndim == 2 else x, []
        for part, weight, each in zip(self._stack, weights, maps, strict=True):
            entering.append(x)
            x = each.respond(weight, x)
            if part.layer.bias is not None:
                x = x + part.layer.bias.reshape(-1, *[1] * (weight.ndim - 2)).to(x.dtype)
            x = part.after(x)
        return entering


def root_mean_square(x: torch.Tensor) -> torch.Tensor:
    r"""$\sqrt{E\|x\|^2}$ over the samples, with gradient 0 at 0."""
    return torch.linalg.vector_norm(x) / len(x) ** 0.5


def log(x: torch.Tensor) -> torch.Tensor:
    """The logarithm, of the least positive number for 0, with gradient 0 there."""
    return x.clamp_min(torch.finfo(x.dtype).tiny).log()
