"""What pruning saves: multiplications and bytes."""

import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .export import weight_files
from .observation import CONVOLUTIONS
from .parts import Prunable, prunable
from .recipe import Pruned
from .running import Inputs, batches, evaluating, first_tensor, hooked, run


def positions(model: nn.Module, parts: list[Prunable], inputs: Inputs) -> dict[str, int]:
    """How often each weight of a layer is used for one sample: tokens of a linear layer, pixels of a convolution."""
    used = {part.name: 0 for part in parts}

    def count(name: str, layer: nn.Module, output: torch.Tensor) -> None:
        inner = output.shape[2:] if isinstance(layer, CONVOLUTIONS) else output.shape[1:-1]
        used[name] += int(np.prod(inner))

    hooks = [p.owner.register_forward_hook(lambda m, _, z, name=p.name: count(name, m, first_tensor(z))) for p in parts]
    with hooked(hooks), evaluating(model), torch.no_grad():
        run(model, next(iter(batches(inputs, 1))))
    return used


def macs(dense: nn.Module, pruned: Pruned, inputs: Inputs) -> tuple[int, int]:
    """Multiplications for one sample, before and after, in the layers that can be pruned."""
    parts = prunable(dense, pruned.recipe.include, pruned.recipe.exclude)
    used = positions(dense, parts, inputs)
    before = sum(used[name] * mask.size for name, mask in pruned.masks.items())
    return before, sum(used[name] * int(mask.sum()) for name, mask in pruned.masks.items())


def stack_of_linears(model: nn.Module) -> bool:
    """Whether any row of numbers is an input of the module."""
    return isinstance(model, nn.Sequential) and all(isinstance(m, nn.Linear | nn.ReLU | nn.Flatten) for m in model)


def compressed(path: Path) -> int:
    """Bytes of the file after zlib."""
    return len(zlib.compress(path.read_bytes(), 6))


def sizes(dense: nn.Module, pruned: Pruned, source: Path, target: Path, inputs: Inputs | None) -> Iterator[str]:
    """Lines for a terminal; multiplications need a sample, of which linear networks have one without data."""
    sample = inputs
    if sample is None and stack_of_linears(dense):
        sample = torch.zeros(1, prunable(dense)[0].weight.shape[1])
    if sample is not None:
        before, after = macs(dense, pruned, sample)
        yield f"multiplications per input {before:,} -> {after:,} ({after / before:.2%})"
    before, after = weight_files(source), weight_files(target)
    total = sum(path.stat().st_size for path in before)
    small, smaller = (sum(map(compressed, files)) for files in (before, after))
    yield f"file {total:,} bytes, compressed {small:,} -> {smaller:,}"
