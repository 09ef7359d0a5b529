"""How much the output of a module answers to an error of each neuron."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from .parts import Prunable
from .running import Inputs, batches, evaluating, first_tensor, hooked, run


def gains(
    model: nn.Module, parts: Sequence[Prunable], inputs: Inputs, batch: int = 100, seed: int = 0
) -> dict[str, Float64[np.ndarray, " out"]]:
    r"""$\sqrt{E\sum_{\text{positions}}\|\partial f/\partial z_i\|^2}$ of each neuron's pre-activation z.

    By random projections. To first order, an error of size $\epsilon$ at every position of $z_i$, independent between
    them, moves the output by gain times $\epsilon$ in L2. The common part of all logits, which changes
    no prediction, is left out.
    """
    generator = torch.Generator().manual_seed(seed)
    total = {part.name: np.zeros(part.layout.rows) for part in parts}
    reached: dict[str, torch.Tensor] = {}
    hooks = [
        part.owner.register_forward_hook(lambda _, __, z, name=part.name: reached.update({name: z})) for part in parts
    ]
    count = 0
    with hooked(hooks), evaluating(model), _unfrozen(model), torch.enable_grad():
        for piece in batches(inputs, batch):
            reached.clear()
            f = first_tensor(run(model, piece)).flatten(1)
            direction = torch.randn(f.shape, generator=generator).to(f)
            direction -= direction.mean(1, keepdim=True)
            names = [name for name, z in reached.items() if isinstance(z, torch.Tensor) and z.requires_grad]
            found = torch.autograd.grad((f * direction).sum(), [reached[n] for n in names], allow_unused=True)
            count += len(f)
            for name, gradient in zip(names, found, strict=True):
                if gradient is not None:
                    axis = 1 if gradient.ndim > 3 or total[name].size != gradient.shape[-1] else -1
                    square = gradient.detach().double().square().movedim(axis, -1)
                    total[name] += square.reshape(-1, square.shape[-1]).sum(0).cpu().numpy()
    return {name: np.sqrt(value / count) for name, value in total.items()}


@contextmanager
def _unfrozen(model: nn.Module) -> Iterator[None]:
    """All parameters ask for gradients, those that did not only so long."""
    frozen = [p for p in model.parameters() if p.is_floating_point() and not p.requires_grad]
    try:
        for parameter in frozen:
            parameter.requires_grad_()
        yield
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
