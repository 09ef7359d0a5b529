"""Training with zeros that stay zeros: the last re-fit of all kept coefficients together, and masked fine-tuning."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn
from torch.nn import functional

from .parts import Prunable
from .running import Inputs, batches, evaluating, first_tensor, run

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
Vary = Callable[[Inputs, torch.Generator], Inputs]
BATCH, RATE = 20, 1e-3


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
    wanted: torch.Tensor | nn.Module,
    epochs: int,
    loss: Loss = squared_error,
    rate: float = RATE,
    seed: int = 0,
    vary: Vary | None = None,
) -> None:
    r"""Adam, with a rate that falls to zero along a cosine, on all parameters; what the masks drop stays zero.

    `wanted` has one row for each sample, or is the network whose answers they are. With the dense network or its
    answers $E\|f-\hat f\|^2$ is made small over all kept coefficients together; with labels and a cross-entropy it is
    masked fine-tuning. `vary` changes the inputs of each step, before the network `wanted` sees them. Normalisations
    keep their statistics.
    """
    dropped = [(p.tensor, torch.from_numpy(~p.shaped(masks[p.name])).to(p.tensor.device)) for p in parts]
    parameters = [p for p in model.parameters() if p.is_floating_point()]
    asked = [p.requires_grad for p in parameters]
    generator, samples = torch.Generator().manual_seed(seed), len(first_tensor(inputs))
    optimizer = torch.optim.Adam([p.requires_grad_() for p in parameters], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, -(-samples // BATCH) * epochs)
    with evaluating(model), torch.enable_grad():
        for _ in range(epochs):
            for chosen in torch.randperm(samples, generator=generator).split(BATCH):
                optimizer.zero_grad()
                piece = taken(inputs, chosen)
                piece = vary(piece, generator) if vary else piece
                target = answers(wanted, piece) if isinstance(wanted, nn.Module) else wanted[chosen]
                loss(first_tensor(run(model, piece)), target).backward()
                optimizer.step()
                schedule.step()
                with torch.no_grad():
                    for tensor, mask in dropped:
                        tensor.masked_fill_(mask, 0)
    for parameter, before in zip(parameters, asked, strict=True):
        parameter.requires_grad_(before).grad = None


def jittered(images: Inputs, generator: torch.Generator, pixels: int) -> torch.Tensor:
    """Each image mirrored or not, and moved by up to `pixels` along each axis; zeros come in from outside.

    >>> jittered(torch.tensor([[[[1.0, 2.0, 3.0]]]]), torch.Generator().manual_seed(0), pixels=0)
    tensor([[[[3., 2., 1.]]]])
    """
    if not isinstance(images, torch.Tensor) or images.ndim != 4 or not images.is_floating_point():
        what = list(images.shape) if isinstance(images, torch.Tensor) else type(images).__name__
        raise ValueError(f"jitter must have images [n, channels, height, width], got {what}.")
    height, width = images.shape[-2:]
    mirrored = torch.rand(len(images), generator=generator) < 0.5
    moved = torch.randint(2 * pixels + 1, (len(images), 2), generator=generator).tolist()
    turned = torch.where(mirrored.view(-1, 1, 1, 1).to(images.device), images.flip(-1), images)
    padded = functional.pad(turned, [pixels] * 4)
    found = torch.stack([x[:, a : a + height, b : b + width] for x, (a, b) in zip(padded, moved, strict=True)])
    return found.contiguous(memory_format=torch.channels_last)  # convolutions on a CPU are a fifth faster


def taken(inputs: Inputs, chosen: torch.Tensor) -> Inputs:
    """The samples with these numbers."""
    if isinstance(inputs, torch.Tensor):
        return inputs[chosen]
    if isinstance(inputs, Mapping):
        return {key: value[chosen] for key, value in inputs.items()}
    return tuple(value[chosen] for value in inputs)
