"""Training with zeros that stay zeros: the last re-fit of all kept coefficients together, and masked fine-tuning."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn

from .parts import Prunable
from .running import Inputs, batches, evaluating, first_tensor, run

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
BATCH, RATE = 50, 1e-3


def answers(model: nn.Module, inputs: Inputs) -> torch.Tensor:
    """What the module answers on the inputs, in evaluation mode."""
    with evaluating(model), torch.no_grad():
        return torch.cat([first_tensor(run(model, piece)) for piece in batches(inputs, BATCH)])


def squared_error(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    r"""$\frac1n\sum\|f-\hat f\|_2^2$ over the batch."""
    return (found - wanted).square().flatten(1).sum(1).mean()


def tune(
    model: nn.Module,
    parts: Sequence[Prunable],
    masks: Mapping[str, Bool[np.ndarray, " out fan_in"]],
    inputs: Inputs,
    wanted: torch.Tensor,
    epochs: int,
    loss: Loss = squared_error,
    rate: float = RATE,
    seed: int = 0,
) -> None:
    r"""Adam, with a rate that falls to zero along a cosine, on all parameters; what the masks drop stays zero.

    With the dense network's answers as `wanted` it minimises $E\|f-\hat f\|^2$ over all kept coefficients together;
    with labels and a cross-entropy it is masked fine-tuning. Normalisations keep their statistics.
    """
    dropped = [(p.tensor, torch.from_numpy(~p.shaped(masks[p.name])).to(p.tensor.device)) for p in parts]
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    asked = [p.requires_grad for p in parameters]
    generator = torch.Generator().manual_seed(seed)
    steps = -(-len(wanted) // BATCH) * epochs
    optimizer = torch.optim.Adam([p.requires_grad_() for p in parameters], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    with evaluating(model), torch.enable_grad():
        for _ in range(epochs):
            for chosen in torch.randperm(len(wanted), generator=generator).split(BATCH):
                optimizer.zero_grad()
                found = first_tensor(run(model, taken(inputs, chosen)))
                loss(found, wanted[chosen]).backward()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    for tensor, mask in dropped:
                        tensor.masked_fill_(mask, 0)
    for parameter, before in zip(parameters, asked, strict=True):
        parameter.requires_grad_(before).grad = None


def taken(inputs: Inputs, chosen: torch.Tensor) -> Inputs:
    """The samples with these numbers."""
    if isinstance(inputs, torch.Tensor):
        return inputs[chosen]
    if isinstance(inputs, Mapping):
        return {key: value[chosen] for key, value in inputs.items()}
    return tuple(value[chosen] for value in inputs)
