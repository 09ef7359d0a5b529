"""Stacks of layers as the bounds see them: linear and convolutional layers, and what stands between two of them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ..bounds.convolution import average_pool_norm, max_pool_lipschitz
from .parameters import at_least_float32
from .spectral import CONVOLUTIONS


@dataclass(eq=False)
class Affine:
    """A linear or convolutional layer with what follows it up to the next one."""

    layer: Any
    after: nn.Sequential
    lipschitz: float
    at_zero: float
    positions: int


def bias_norm(part: Affine) -> torch.Tensor | float:
    """Norm of the bias at all positions."""
    if part.layer.bias is None:
        return 0.0
    return torch.linalg.vector_norm(at_least_float32(part.layer.bias, "bias")) * part.positions**0.5


@torch.no_grad()
def affine_stack(net: nn.Sequential, x: torch.Tensor) -> tuple[list[Affine], list[tuple[int, ...]]]:
    """The layers of a stack with what follows each, and the shapes of their inputs; ValueError for what is no stack."""
    stack, shapes = [], []
    for name, module in flat(net):
        if type(module) in (nn.Linear, *CONVOLUTIONS):
            if isinstance(module, nn.Linear) and x.ndim != 2:
                raise ValueError(f"a linear layer of a stack must take [n, d], got {tuple(x.shape)} at {name!r}.")
            shapes.append(tuple(x.shape[1:]))
            x = module(x)
            positions = x[0].numel() // x.shape[1]
            stack.append(Affine(module, nn.Sequential(), 1.0, 0.0, positions))
            zeros = torch.zeros_like(x[:1])
        elif not stack and isinstance(module, nn.Flatten):
            x = module(x)
        elif not stack:
            raise ValueError(f"a stack must start with a linear or convolutional layer, got {type(module).__name__}.")
        else:
            last = stack[-1]
            last.lipschitz *= lipschitz(module, name)
            if not isinstance(module, nn.Dropout):
                last.after.append(module)
                x, zeros = module(x), module(zeros)
                last.at_zero = float(torch.linalg.vector_norm(zeros.double()))
    if not stack:
        raise ValueError(f"a stack must have linear or convolutional layers, got none in {type(net).__name__}.")
    return stack, shapes


def flat(net: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """The modules of nested `nn.Sequential` in order, one that is used twice being there twice."""
    if not isinstance(net, nn.Sequential) or type(net).forward is not nn.Sequential.forward:
        return [(prefix, net)]
    children = [(f"{prefix}.{name}".lstrip("."), child) for name, child in net._modules.items() if child is not None]
    return [each for name, child in children for each in flat(child, name)]


def lipschitz(module: nn.Module, name: str = "") -> float:
    """Lipschitz constant of what may stand between the layers of a stack; dropout is left out, as when evaluated.

    >>> lipschitz(nn.Sigmoid()), lipschitz(nn.LeakyReLU(0.1)), lipschitz(nn.AvgPool2d(2))
    (0.25, 1.0, 0.5)
    """
    match module:
        case nn.ReLU() | nn.Identity() | nn.Flatten() | nn.Dropout() | nn.Tanh():
            return 1.0
        case nn.LeakyReLU():
            return max(1.0, abs(module.negative_slope))
        case nn.Sigmoid():
            return 0.25
        case nn.MaxPool1d() | nn.MaxPool2d() if not module.ceil_mode:
            return max_pool_lipschitz(module.kernel_size, module.stride, module.dilation, _axes(module))
        case nn.AvgPool1d() | nn.AvgPool2d() if not module.ceil_mode and averages(module):
            return average_pool_norm(module.kernel_size, module.stride, _axes(module))
    raise ValueError(
        f"between the layers of a stack may stand ReLU, LeakyReLU, tanh, sigmoid, dropout, flattening and pooling "
        f"(no ceil_mode, padding counted), got {type(module).__name__} {name!r}."
    )


def averages(module: nn.AvgPool1d | nn.AvgPool2d) -> bool:
    """Whether the pool divides by the size of its window everywhere."""
    return module.count_include_pad and getattr(module, "divisor_override", None) is None


def _axes(module: nn.Module) -> int:
    return 1 if isinstance(module, nn.MaxPool1d | nn.AvgPool1d) else 2
