"""The dense pass and its moments by torch in float64, on any device; what the bounds read of them stays in numpy.

Sound for the reason that the numpy pass is: the error of a sum of products is bounded whatever the order of its terms
and whether they are fused, so no library's order matters. That leaves out arithmetic that is not float64 inside, such
as emulated products, which no version of torch uses unless asked to.
"""

from collections.abc import Callable, Sequence
from math import fsum

import numpy as np
import torch
from numpy.typing import ArrayLike

from .layers import Linear, check_inputs
from .moments import Moments
from .rounding import up

BATCH = 2**14  # inputs at a time
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": torch.relu,
    "identity": torch.as_tensor,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
}


@torch.inference_mode()
def device_moments(layers: Sequence[Linear], x: ArrayLike, device: str) -> list[Moments]:
    """The moments of every layer's input, as `second_moments` has them, from one pass on `device`."""
    inputs = check_inputs(layers, x)
    if unknown := {layer.activation.name for layer in layers} - set(ACTIVATIONS):
        raise ValueError(f"activations on a device must be one of {', '.join(ACTIVATIONS)}, got {unknown.pop()}.")
    tensors = [tuple(torch.from_numpy(a).to(device) for a in (layer.weight.T, layer.offset)) for layer in layers]
    sums = [_Sum(layer.fan_in) for layer in layers]
    for start in range(0, len(inputs), BATCH):
        h = torch.from_numpy(inputs[start : start + BATCH]).to(device)
        for total, layer, (weight, offset) in zip(sums, layers, tensors, strict=True):
            total.add(h)
            h = ACTIVATIONS[layer.activation.name](h @ weight + offset)
    return [total.moments(len(inputs)) for total in sums]


class _Sum:
    """The sum of $(h,1)(h,1)^T$, and the squared norms of all h on the scale of the largest number of their batch."""

    def __init__(self, d: int) -> None:
        self.second, self.norms = np.zeros((d + 1, d + 1)), []

    def add(self, h: torch.Tensor) -> None:
        scale = float(h.abs().max())
        if not np.isfinite(scale):
            raise ValueError("h must be finite, got an activation that is not.")
        scale = scale or 1.0
        squares = torch.sum(torch.square(h / scale), dim=1).cpu().tolist()
        self.norms.append(up(scale * up(fsum(squares) ** 0.5, h.shape[1] + 8)))
        with_one = torch.cat([h, h.new_ones(len(h), 1)], dim=1)
        self.second += (with_one.T @ with_one).cpu().numpy()

    def moments(self, count: int) -> Moments:
        return Moments(
            self.second / count, up(float(np.hypot.reduce(self.norms)) / count**0.5, len(self.norms) + 8), count
        )
