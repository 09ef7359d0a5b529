"""Which weights a target sparsity would drop, as the network is now: masks by rank, made anew at each training step."""

from collections.abc import Callable, Sequence

import torch

from ..pruning.budgets import kept_total

Drop = Callable[[Sequence[torch.Tensor], float], list[torch.Tensor]]
Score = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def smallest_per_neuron(scores: Sequence[torch.Tensor], sparsity: float) -> list[torch.Tensor]:
    r"""True for the dropped weights when each neuron keeps its $\lfloor(1-s)d+\frac12\rfloor$ (at least 1) best scores.

    >>> smallest_per_neuron([torch.tensor([[3.0, 1.0], [1.0, 2.0]])], 0.5)
    [tensor([[False,  True],
            [ True, False]])]
    """
    dropped = []
    for score in scores:
        rows = score.flatten(1)
        kept = max(1, kept_total(rows.shape[1], sparsity))
        dropped.append((_rank(rows) >= kept).reshape(score.shape))
    return dropped


def smallest_overall(scores: Sequence[torch.Tensor], sparsity: float) -> list[torch.Tensor]:
    """True for the dropped weights when all layers together keep the best scores; no neuron loses its best one.

    >>> smallest_overall([torch.tensor([[3.0, 4.0]]), torch.tensor([[1.0], [2.0]])], 0.25)
    [tensor([[ True, False]]), tensor([[False],
            [False]])]
    """
    spared = [s.flatten(1).scatter(1, s.flatten(1).argmax(1, keepdim=True), torch.inf) for s in scores]
    flat = torch.cat([s.flatten() for s in spared])
    kept = max(kept_total(flat.numel(), sparsity), sum(map(len, spared)))
    parts = (_rank(flat) >= kept).split([s.numel() for s in scores])
    return [part.reshape(s.shape) for part, s in zip(parts, scores, strict=True)]


def _rank(scores: torch.Tensor) -> torch.Tensor:
    """0 for the largest along the last axis; of equal ones the first is ahead."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    places = torch.arange(order.shape[-1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(-1, order, places)


def by_magnitude(weight: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    """|w|."""
    return weight.abs()


def by_response(weight: torch.Tensor, h: torch.Tensor) -> torch.Tensor:
    r"""$|w_{ij}|\,m_j$ with $m_j = \|h_j\|_{L_2}$, of a convolution over samples and positions of each channel.

    What the tier C error of a layer wants, and Wanda's score. With groups, every filter's channels are its group's.
    """
    channels = h.transpose(1, -1).reshape(-1, h.shape[1]) if weight.ndim > 2 else h.reshape(-1, h.shape[-1])
    size = channels.square().mean(0).sqrt()
    groups = len(size) // weight.shape[1]
    each = size.reshape(groups, 1, weight.shape[1]).expand(groups, len(weight) // groups, -1).reshape(len(weight), -1)
    return weight.abs() * each.reshape(each.shape + (1,) * (weight.ndim - 2))
