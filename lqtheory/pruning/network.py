"""What of a module can be pruned, what it computes on calibration data, and the layers that scores look at."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import nn

from ..checkpoint import Layout, read
from .scores import Layer

CONVOLUTIONS = nn.Conv1d | nn.Conv2d | nn.Conv3d
ROWS = 32  # positions sampled per input of a neuron
Inputs = torch.Tensor | tuple | list | Mapping


@dataclass(frozen=True, eq=False)
class Prunable:
    """One weight tensor of a module, `shared` when it has several names; `module` is the layer's that owns it."""

    name: str
    module: str
    owner: nn.Module
    tensor: torch.Tensor
    layout: Layout
    shared: bool = False

    @property
    def weight(self) -> Float64[np.ndarray, " out fan_in"]:
        """The weights, one row per neuron."""
        values = self.tensor.detach().to("cpu", torch.float64).numpy()
        return np.ascontiguousarray(self.layout.as_rows(values))

    def shaped(self, rows: np.ndarray) -> np.ndarray:
        """Rows of neurons as the tensor stores them."""
        index = self.layout.as_rows(np.arange(rows.size))
        stored = np.empty(rows.size, rows.dtype)
        stored[index] = rows
        return stored.reshape(self.tensor.shape)

    def masked(self, mask: Bool[np.ndarray, " out fan_in"]) -> None:
        """Set the weights outside the mask to zero; the others keep every bit."""
        keep = torch.from_numpy(self.shaped(mask)).to(self.tensor.device)
        with torch.no_grad():
            self.tensor.masked_fill_(~keep, 0)

    def fill(self, rows: Float64[np.ndarray, " out fan_in"]) -> None:
        """Write new weights."""
        with torch.no_grad():
            self.tensor.copy_(torch.from_numpy(self.shaped(rows)))


NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._BatchNorm)


def prunable(model: nn.Module, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> list[Prunable]:
    """Weight matrices and convolution kernels, tied ones once, in the module's order.

    Embeddings, norms and biases only on demand, whatever their shape: with `include` exactly the tensors whose names
    match (globs, or regular expressions after `re:`). ValueError when nothing is left.
    """
    parameters, modules = dict(model.named_parameters(remove_duplicate=False)), dict(model.named_modules())
    names = Counter(id(parameter) for parameter in parameters.values())
    found = []
    for tensor in read(model, include=include, exclude=exclude).tensors:
        key = tensor.key or tensor.name
        owner, _, leaf = key.rpartition(".")
        layer, parameter = modules.get(owner, model), parameters[key]
        spared = tensor.layout.kind == "embedding" or isinstance(layer, NORMS) or leaf.startswith("bias")
        if include or not spared:
            shared = names[id(parameter)] > 1
            found.append(Prunable(key, owner, layer, parameter, tensor.layout, shared))
    if not found:
        raise ValueError(f"a network must have weight matrices to prune, got none in {type(model).__name__}.")
    return found


@dataclass(eq=False)
class Observed:
    r"""What a layer did on the calibration data.

    `second`: $E[(h,1)(h,1)^\top]$ of the inputs of each group of neurons, at sampled positions; `answers`: the outputs
    there without the bias, one row per position; `calls`: how often the layer ran; `norm`: the batch normalisation
    that takes its output, if one does.
    """

    second: Float64[np.ndarray, "groups d+1 d+1"] | None = None
    answers: torch.Tensor | None = None
    calls: int = 0
    norm: str | None = None
    output: Any = field(default=None, repr=False)


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
    with_one = torch.cat([inputs, torch.ones_like(inputs[..., :1])], -1).movedim(1, 0).to(torch.float64)
    return (with_one.mT @ with_one / inputs.shape[0]).cpu().numpy()


def observe(
    model: nn.Module, parts: Sequence[Prunable], inputs: Inputs, answers: bool = False, rows: int = ROWS
) -> dict[str, Observed]:
    """Run the module once on the calibration inputs and keep, for each layer, moments of what it saw.

    A layer that never runs by itself (inside fused attention, say) has no moments.
    """
    seen = {part.name: Observed() for part in parts}
    by_output: dict[int, Observed] = {}

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
                mine.output = output
                by_output[id(output)] = mine

        return hook

    def norm_of(name: str) -> Any:
        def hook(layer: nn.Module, given: tuple) -> None:
            before = by_output.get(id(given[0]))
            if before is not None and not layer.training and layer.running_mean is not None:
                before.norm = name

        return hook

    hooks = [part.owner.register_forward_hook(watch(part, k)) for k, part in enumerate(parts)]
    for name, layer in model.named_modules():
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            hooks.append(layer.register_forward_pre_hook(norm_of(name)))
    with hooked(hooks), evaluating(model), torch.no_grad():
        run(model, inputs)
    for each in seen.values():
        each.output = None
    return seen


def refittable(layer: nn.Module) -> bool:
    """Whether the layer is linear in its inputs in a way that is known here."""
    return isinstance(layer, nn.Linear | CONVOLUTIONS) or type(layer).__name__ == "Conv1D"


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
    with hooked(hooks), evaluating(model), torch.enable_grad():
        for piece in batches(inputs, batch):
            reached.clear()
            f = first_tensor(run(model, _requiring(piece)))
            f = f.flatten(1)
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


def _requiring(inputs: Inputs) -> Inputs:
    """The same with floating tensors that ask for gradients, so that frozen networks give some as well."""
    if isinstance(inputs, torch.Tensor):
        return inputs.clone().requires_grad_() if inputs.is_floating_point() else inputs
    if isinstance(inputs, Mapping):
        return {key: _requiring(value) for key, value in inputs.items()}
    return tuple(_requiring(value) for value in inputs)


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
