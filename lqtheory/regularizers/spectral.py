r"""Spectral norms of layers while they train: power iteration that goes on from step to step.

$\|T_Wv\|$ for a unit vector v is a lower bound of the norm and has the gradient of it once v has converged. It trains;
it certifies nothing: that is for `lqtheory.bounds`, afterwards.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import grad

from .parameters import at_least_float32, check_strength, penalised

CONVOLUTIONS = {
    nn.Conv1d: (nn.functional.conv1d, grad.conv1d_input),
    nn.Conv2d: (nn.functional.conv2d, grad.conv2d_input),
    nn.Conv3d: (nn.functional.conv3d, grad.conv3d_input),
}


class LayerMap(nn.Module):
    r"""The linear map $T_W$ of a linear layer or of a zero-padded convolution on inputs of one size, for any weight W.

    Its norm is estimated by power iteration, from a vector that is kept between calls: one step per call in training.

    >>> layer = nn.Linear(2, 2)
    >>> norm = LayerMap(layer, (2,), iterations=50)
    >>> norm(torch.tensor([[3.0, 0.0], [0.0, 1.0]]))
    tensor(3.)
    """

    vector: torch.Tensor

    def __init__(self, layer: nn.Module, input_shape: tuple[int, ...], iterations: int = 1, seed: int = 0) -> None:
        super().__init__()
        if type(layer) not in (nn.Linear, *CONVOLUTIONS):
            raise ValueError(f"a spectral norm is known of Linear and Conv1d to Conv3d, got {type(layer).__name__}.")
        self.iterations = int(check_strength(iterations, "iterations"))
        self.geometry = () if isinstance(layer, nn.Linear) else geometry(layer)
        self.kind = type(layer)
        start = torch.randn(1, *input_shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        weight: Any = layer.weight
        dtype = torch.promote_types(weight.dtype, torch.float32)
        self.register_buffer("vector", (start / start.norm()).to(weight.device, dtype))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        r"""$\|T_Wv\| \le \|T_W\|$, differentiable in W; in training v first moves on."""
        with torch.autocast(weight.device.type, enabled=False):
            weight = at_least_float32(weight, "weight")
            if self.training:
                self.iterate(weight.detach())
            return torch.linalg.vector_norm(self.respond(weight, self.vector.clone()))

    @torch.no_grad()
    def iterate(self, weight: torch.Tensor) -> None:
        r"""$v \leftarrow T_W^\top T_Wv$, normalised; v stays where that is 0."""
        v = self.vector
        for _ in range(self.iterations):
            image = self.adjoint(weight, self.respond(weight, v))
            size = torch.linalg.vector_norm(image)
            v = torch.where(size > 0, image / size.clamp_min(torch.finfo(size.dtype).tiny), v)
        self.vector.copy_(v)

    def respond(self, weight: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        r"""$T_Wx$ for each sample, without bias."""
        if self.kind is nn.Linear:
            return nn.functional.linear(x, weight)
        return CONVOLUTIONS[self.kind][0](x, weight, None, *self.geometry)

    def adjoint(self, weight: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        r"""$T_W^\top y$ for one sample."""
        if self.kind is nn.Linear:
            return y @ weight
        return CONVOLUTIONS[self.kind][1](self.vector.shape, weight, y, *self.geometry)


class SpectralNorms(nn.Module):
    r"""$\sum_l \|T_{W_l}\|$ over all linear and convolutional layers of a module, Definition 33.

    The gain from any layer to the output is at most a product of these, so it makes every bound of `lqtheory.bounds`
    smaller. Their sum and not the sum of their logarithms, which has no lower end: nothing would keep the weights from
    vanishing. `x` is one batch (any), for the sizes of the inputs. ValueError where a weight belongs to
    a layer whose norm is not known, and for batch norm, which rescales the norms that are penalised: fold it, or leave
    it out.

    >>> net = nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))
    >>> _ = nn.init.constant_(net[0].weight, 2.0), nn.init.constant_(net[2].weight, 0.5)
    >>> SpectralNorms(net, torch.ones(1, 1))().item()
    2.5
    """

    def __init__(self, net: nn.Module, x: torch.Tensor, iterations: int = 1) -> None:
        super().__init__()
        shapes = input_shapes(net, x)
        self._layers = tuple(
            layer for layer, _ in shapes.values()
        )  # in a tuple, so that they are no parts of this module
        self.maps = nn.ModuleList(
            LayerMap(layer, shape, iterations, seed) for seed, (layer, shape) in enumerate(shapes.values())
        )

    def forward(self) -> torch.Tensor:
        """The sum; its power iterations move on while training."""
        return torch.stack([norm(layer.weight) for norm, layer in zip(self.maps, self._layers, strict=True)]).sum()


@torch.no_grad()
def input_shapes(net: nn.Module, x: torch.Tensor) -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """Every layer that has a penalised weight, with the shape of its input without the batch axis, by running `net`."""
    shapes: dict[str, tuple[nn.Module, tuple[int, ...]]] = {}
    modules = dict(net.named_modules())
    for name, layer in modules.items():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            raise ValueError(f"spectral norms mean nothing before batch norm, got {type(layer).__name__} {name!r}.")
    owners = [name.rpartition(".")[0] for name in penalised(net)]
    for name in owners:
        if type(modules[name]) not in (nn.Linear, *CONVOLUTIONS):
            raise ValueError(
                f"a spectral norm is known of Linear and Conv1d to Conv3d, got {type(modules[name]).__name__} {name!r}."
            )

    def note(name: str) -> Any:
        def hook(layer: nn.Module, given: tuple) -> None:
            rest = given[0].shape[-1:] if isinstance(layer, nn.Linear) else given[0].shape[1:]
            shapes[name] = (layer, tuple(rest))

        return hook

    hooks = [modules[name].register_forward_pre_hook(note(name)) for name in owners]
    try:
        net(x)
    finally:
        for hook in hooks:
            hook.remove()
    if idle := [name for name in owners if name not in shapes]:
        raise ValueError(f"every penalised layer must run, got {idle[0]!r} that did not.")
    return {name: shapes[name] for name in owners}


def geometry(layer: Any) -> tuple[Any, ...]:
    """Stride, padding, dilation and groups of a convolution, as its function takes them."""
    if layer.padding_mode != "zeros" or layer.padding == "same":
        kind = layer.padding if layer.padding_mode == "zeros" else layer.padding_mode
        raise ValueError(f"a convolution must be padded with a stated number of zeros, got padding {kind!r}.")
    return layer.stride, 0 if layer.padding == "valid" else layer.padding, layer.dilation, layer.groups
