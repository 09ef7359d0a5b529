"""An adversary for a pair of networks: inputs in a ball on which the two predict different classes."""

import numpy as np
import torch
from jaxtyping import Bool, Float64

from .evaluate import LinearStack

STEPS = 20


def disagreements(
    dense: LinearStack,
    pruned: LinearStack,
    x: Float64[np.ndarray, " n inputs"],
    radius: float,
    low: float = -np.inf,
    high: float = np.inf,
    seed: int = 0,
    steps: int = STEPS,
) -> Bool[np.ndarray, " n"]:
    r"""Where projected gradient steps in $\|x'-x\|_\infty\le$ radius, low <= x' <= high find two different answers.

    From x and from a random corner they climb the lead that the pruned network gives another class over the one that
    the dense network predicts, and the other way round. Finding nothing proves nothing.
    """
    f, g = dense.module(), pruned.module()
    center = torch.from_numpy(x)
    least, most = (center - radius).clamp(low, high), (center + radius).clamp(low, high)
    corner = torch.rand(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) < 0.5
    found = torch.zeros(len(x), dtype=torch.bool)
    for start in (center, torch.where(corner, least, most)):
        for one, other in ((f, g), (g, f)):
            point = start.clone()
            for _ in range(steps + 1):
                point.requires_grad_(True)
                answer, its = one(point), other(point)
                found |= answer.argmax(1) != its.argmax(1)
                (slope,) = torch.autograd.grad(lead(answer, its).sum(), point)
                point = torch.clamp(point.detach() + 2.5 * radius / steps * slope.sign(), least, most)
    return found.numpy()


def lead(answer: torch.Tensor, its: torch.Tensor) -> torch.Tensor:
    r"""$\max_{j\ne y}(\hat f_j-\hat f_y)$ with y what the other network predicts: positive where the two disagree.

    >>> lead(torch.tensor([[2.0, 1.0]]), torch.tensor([[0.0, 3.0]]))
    tensor([3.])
    """
    y = answer.argmax(1, keepdim=True)
    gaps = (its - its.gather(1, y)).scatter(1, y, -torch.inf)
    return gaps.max(1).values
