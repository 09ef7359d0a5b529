"""Which tensors a penalty counts, and in what precision."""

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils import parametrize

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)

Weights = Mapping[str, torch.Tensor]


def penalised(module: nn.Module) -> dict[str, nn.Parameter]:
    """Name and tensor of every trained weight with two or more axes: what all penalties here act on.

    Not embeddings (nor a head that shares one's tensor), norms, biases or frozen parameters; a shared tensor is there
    once. Leave out what a penalty should not touch, or pass any other mapping of names to tensors. ValueError when
    nothing is left, and for a weight computed from others (weight norm), whose parts are no weights.

    >>> list(penalised(nn.Sequential(nn.Embedding(9, 4), nn.Linear(4, 4), nn.LayerNorm(4), nn.Linear(4, 2))))
    ['1.weight', '3.weight']
    """
    layers = dict(module.named_modules())
    tables = {id(layer.weight) for layer in layers.values() if isinstance(layer, EMBEDDINGS)}
    found: dict[str, nn.Parameter] = {}
    for name, parameter in module.named_parameters():
        owner, _, own = name.rpartition(".")
        layer = layers[owner]
        if parameter.ndim < 2 or not parameter.requires_grad or id(parameter) in tables:
            continue
        if isinstance(layer, (*NORMS, *EMBEDDINGS)) or own.startswith("bias") or own.endswith("bias"):
            continue
        is_part = own[-2:] in ("_g", "_v") and {own[:-1] + "g", own[:-1] + "v"} <= set(dict(layer.named_parameters()))
        if is_part or isinstance(layer, parametrize.ParametrizationList):
            raise ValueError(f"a penalised weight must be a parameter itself, got {name}, from which one is computed.")
        found[name] = parameter
    if not found:
        raise ValueError(f"a module must have weights with two or more axes, got none in {type(module).__name__}.")
    return found


def promoted(weights: Weights) -> dict[str, torch.Tensor]:
    """The tensors in float32 at least, so that sums of bfloat16 weights do not stall; ValueError for none."""
    if not weights:
        raise ValueError("weights must have at least one tensor, got none.")
    return {name: at_least_float32(w, name) for name, w in weights.items()}


def at_least_float32(x: torch.Tensor, name: str) -> torch.Tensor:
    """`x` in float32, or in float64 if it is."""
    if not x.is_floating_point():
        raise ValueError(f"{name} must have floating-point entries, got {x.dtype}.")
    return x.to(torch.promote_types(x.dtype, torch.float32))


def check_strength(value: float, name: str) -> float:
    """Return `value` when it is finite and not negative."""
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{name} must be finite and not negative, got {name}={value:g}.")
    return value
