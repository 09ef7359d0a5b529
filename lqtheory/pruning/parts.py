"""What of a module can be pruned."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import nn

from ..checkpoint import Layout, read

NORMS = (nn.LayerNorm, nn.RMSNorm, nn.GroupNorm, nn.modules.batchnorm._NormBase)


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
        spared = tensor.layout.kind == "embedding" or isinstance(layer, NORMS) or re.search("^bias|bias$", leaf)
        if include or not spared:
            shared = names[id(parameter)] > 1
            found.append(Prunable(key, owner, layer, parameter, tensor.layout, shared))
    if not found:
        raise ValueError(f"a network must have weight matrices to prune, got none in {type(model).__name__}.")
    return found
