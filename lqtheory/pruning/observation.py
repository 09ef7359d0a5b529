"""What the layers of a module see and answer on calibration data, and what scores read of it."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from .parts import Prunable
from .running import Inputs, evaluating, hooked, run
from .scores import Layer

CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d
ROWS = 32  # positions sampled per input of a neuron


@dataclass(eq=False)
class Observed:
    r"""What a layer did on the calibration data.

    `second`: $E[(h,1)(h,1)^\top]$ of the inputs of each group of neurons, at sampled positions; `answers`: the outputs
    there without the bias, one row per position; `calls`: how often the layer ran; `norm`: the batch normalisation
    that takes its output, if one does; `constant`: the bias, or the running mean of `norm` where there is none.
    """

    second: Float64[np.ndarray, "groups d+1 d+1"] | None = None
    answers: torch.Tensor | None = None
    calls: int = 0
    norm: str | None = None
    constant: torch.Tensor | None = None


def sampled_inputs(layer: nn.Module, h: torch.Tensor, rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The inputs of every neuron at up to `rows` positions, [rows, groups, d], and the flat index of each position.

    A position is a token of a linear layer, a pixel of a convolution's output; the same seed samples the same ones.
    """
    if not isinstance(layer, CONVOLUTIONS):
        flat = h.reshape(-1, h.shape[-1])
        chosen = _chosen(len(flat), rows, seed)
        return flat[chosen.to(h.device)][:, None], chosen
    patches = _patches(layer, h)
    axes = len(layer.kernel_size)
    shape = (patches.shape[0], *patches.shape[2 : 2 + axes])
    chosen = _chosen(int(np.prod(shape)), rows, seed)
    n, *at = torch.unravel_index(chosen.to(h.device), shape)
    taken = patches[(n, slice(None), *at)]
    return taken.reshape(len(chosen), layer.groups, -1), chosen


def sampled_outputs(layer: nn.Module, z: torch.Tensor, chosen: torch.Tensor) -> torch.Tensor:
    """The outputs at these positions, [rows, out]."""
    if isinstance(layer, CONVOLUTIONS):
        z = z.movedim(1, -1)
    return z.reshape(-1, z.shape[-1])[chosen.to(z.device)]


def _chosen(positions: int, rows: int, seed: int) -> torch.Tensor:
    if positions <= rows:
        return torch.arange(positions)
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(positions, (rows,), generator=generator)


def _patches(layer: Any, h: torch.Tensor) -> torch.Tensor:
    """A view [n, channels, *positions, *kernel] of the padded input; a patch in C order is what a neuron sees."""
    axes = len(layer.kernel_size)
    if layer.padding != "valid" and (isinstance(layer.padding, str) or any(layer.padding)):
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        h = nn.functional.pad(h, layer._reversed_padding_repeated_twice, mode=mode)
    steps = tuple(zip(layer.kernel_size, layer.stride, layer.dilation, strict=True))
    places = [(h.shape[2 + k] - e * (size - 1) - 1) // s + 1 for k, (size, s, e) in enumerate(steps)]
    strides = h.stride()[2:]
    along = [stride * s for stride, (_, s, _) in zip(strides, steps, strict=True)]
    inside = [stride * e for stride, (_, _, e) in zip(strides, steps, strict=True)]
    shape = (*h.shape[:2], *places, *layer.kernel_size)
    assert len(shape) == 2 + 2 * axes
    return h.as_strided(shape, (*h.stride()[:2], *along, *inside), h.storage_offset())


def second_moment(inputs: torch.Tensor) -> Float64[np.ndarray, "groups d+1 d+1"]:
    """The mean of $(h,1)(h,1)^T$ for each group, in float64."""
    rows = with_one(inputs).movedim(1, 0)
    return (rows.mT @ rows / inputs.shape[0]).cpu().numpy()


def with_one(h: torch.Tensor) -> torch.Tensor:
    """Rows in float64, each with a 1 after it."""
    rows = h.new_ones((*h.shape[:-1], h.shape[-1] + 1), dtype=torch.float64)
    rows[..., :-1] = h
    return rows


def observe(
    model: nn.Module, parts: Sequence[Prunable], inputs: Inputs, answers: bool = False, rows: int = ROWS
) -> dict[str, Observed]:
    """Run the module once on the calibration inputs and keep, for each layer, moments of what it saw.

    A layer that never runs by itself (inside fused attention, say) has no moments.
    """
    seen = {part.name: Observed() for part in parts}
    outputs: dict[int, tuple[weakref.ref[torch.Tensor], Observed]] = {}  # that a norm may take; gone with their readers

    def watch(part: Prunable, seed: int) -> Any:
        def hook(layer: nn.Module, given: tuple, output: Any) -> None:
            mine = seen[part.name]
            mine.calls += 1
            if mine.calls == 1 and isinstance(output, torch.Tensor) and refittable(layer):
                fan_in = part.layout.fan_in
                taken, chosen = sampled_inputs(layer, given[0], rows * fan_in, seed)
                mine.second = second_moment(taken)
                if answers:
                    bias = getattr(layer, "bias", None)
                    z = sampled_outputs(layer, output, chosen)
                    mine.answers = z if bias is None else z - bias
                    mine.constant = None if bias is None else bias.detach().clone()
                outputs[id(output)] = weakref.ref(output), mine

        return hook

    def norm_of(name: str) -> Any:
        def hook(layer: Any, given: tuple) -> None:
            output, before = outputs.get(id(given[0]), (None, None))
            if output and before and output() is given[0] and not layer.training and layer.running_mean is not None:
                before.norm = name
                if before.constant is None:
                    before.constant = layer.running_mean.clone()

        return hook

    hooks = [part.owner.register_forward_hook(watch(part, k)) for k, part in enumerate(parts)]
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            hooks.append(layer.register_forward_pre_hook(norm_of(name)))
    with hooked(hooks), evaluating(model), torch.no_grad():
        run(model, inputs)
    return seen


def refittable(layer: nn.Module) -> bool:
    """Whether the layer is linear in its inputs in a way that is known here."""
    return isinstance(layer, nn.Linear | CONVOLUTIONS) or type(layer).__name__ == "Conv1D"


def layers(
    parts: Sequence[Prunable],
    seen: Mapping[str, Observed] | None = None,
    gain: Callable[[], Mapping[str, Float64[np.ndarray, " out"]]] | None = None,
) -> list[Layer]:
    """The layers as scores take them; groups of neurons that see different inputs have the mean of their moments."""
    found = []
    for k, part in enumerate(parts):
        norms = covariance = None
        mine = seen.get(part.name) if seen else None
        if mine is not None and mine.second is not None:
            second = mine.second.mean(axis=0)
            mean = second[-1, :-1]
            norms = np.sqrt(np.diagonal(second)[:-1])
            covariance = second[:-1, :-1] - np.outer(mean, mean)
        mine_gain = None if gain is None else lambda name=part.name: gain()[name]
        found.append(Layer(part.name, part.weight, norms, covariance, mine_gain, tuple(part.tensor.shape), k))
    return found
