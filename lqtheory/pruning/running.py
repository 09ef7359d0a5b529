"""Run a module on inputs of any form, in evaluation mode and with hooks that are gone afterwards."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

Inputs = torch.Tensor | tuple | list | Mapping


def run(model: nn.Module, inputs: Inputs) -> Any:
    """The module on a tensor, on several arguments or on named ones."""
    if isinstance(inputs, Mapping):
        return model(**inputs)
    return model(*inputs) if isinstance(inputs, tuple | list) else model(inputs)


def batches(inputs: Inputs, size: int) -> Iterator[Inputs]:
    """Consecutive parts of at most `size` samples."""
    if isinstance(inputs, torch.Tensor):
        yield from inputs.split(size)
    elif isinstance(inputs, Mapping):
        for values in zip(*(value.split(size) for value in inputs.values()), strict=True):
            yield dict(zip(inputs, values, strict=True))
    else:
        yield from zip(*(value.split(size) for value in inputs), strict=True)


def first_tensor(output: Any) -> torch.Tensor:
    """The tensor that a module answers, or the first of several."""
    while not isinstance(output, torch.Tensor):
        output = next(iter(output.values())) if isinstance(output, Mapping) else output[0]
    return output


@contextmanager
def hooked(hooks: Sequence[Any]) -> Iterator[None]:
    """Hooks that are gone afterwards."""
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and each module's own mode afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
