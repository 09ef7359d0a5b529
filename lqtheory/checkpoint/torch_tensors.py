"""Tensors of torch in memory, from state dicts and from modules whose classes tell the neuron axis."""

import re
from functools import partial

import numpy as np
import torch
from jaxtyping import UInt

from .layout import Layout, by_columns, by_rows, embedding, transposed_convolution
from .numpy_files import array_bits
from .tensor import BYTES, Stored

_PARAMETRIZED = re.compile(r"parametrizations\.(\w+)\.original[01]?$")
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def stored_tensor(name: str, tensor: torch.Tensor | np.ndarray, role: str = "", layout: Layout | None = None) -> Stored:
    """One tensor as the ledger wants it; nothing is copied before its bits are asked for."""
    dtype = _dtype(tensor)
    obstacle = _obstacle(tensor, dtype)
    shape = () if obstacle.startswith("no values yet") else tuple(tensor.shape)
    if obstacle:
        return Stored(name, shape, dtype, None, obstacle, role=role)
    if isinstance(tensor, np.ndarray):
        return Stored(name, shape, dtype, partial(array_bits, tensor), role=role, layout=layout)
    identity = (tensor.device, tensor.data_ptr(), shape, tensor.stride(), dtype) if tensor.numel() else None
    address = tensor.data_ptr() if tensor.is_cpu and tensor.is_contiguous() and not tensor.is_neg() else 0
    bits = partial(_bits, tensor)
    return Stored(name, shape, dtype, bits, identity=identity, role=role, layout=layout, address=address)


def module_tensors(module: torch.nn.Module) -> list[Stored]:
    """The parameters and buffers of a module, with the neuron axis that the class of each layer defines."""
    owners = dict(module.named_modules(remove_duplicate=False))
    stored = []
    for name, parameter in module.named_parameters(remove_duplicate=False):
        owner, _, leaf = _PARAMETRIZED.sub(r"\1", name).rpartition(".")
        layout = _class_layout(owners[owner], leaf, parameter) if owner in owners else None
        stored.append(stored_tensor(name, parameter, "parameter", layout))
    for name, buffer in module.named_buffers(remove_duplicate=False):
        stored.append(stored_tensor(name, buffer, "buffer"))
    return stored


def _dtype(tensor: torch.Tensor | np.ndarray) -> str:
    return tensor.dtype.name if isinstance(tensor, np.ndarray) else str(tensor.dtype).removeprefix("torch.")


def _obstacle(tensor: torch.Tensor | np.ndarray, dtype: str) -> str:
    """Why the entries cannot be read as floating numbers, or ""."""
    if isinstance(tensor, torch.Tensor):
        if torch.nn.parameter.is_lazy(tensor):
            return "no values yet: a lazy parameter"
        if tensor.is_quantized:
            return f"quantised tensor of type {dtype}"
        if tensor.layout != torch.strided or tensor.is_nested:
            return f"sparse or nested tensor ({tensor.layout})"
        if tensor.is_meta:
            return "no values: on the meta device"
        if type(tensor) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
            return f"tensor of the class {type(tensor).__name__}"
    if dtype not in BYTES:
        return f"{dtype} values are not floating numbers of 8 to 64 bits"
    if isinstance(tensor, torch.Tensor) and tensor.numel() * tensor.itemsize > tensor.untyped_storage().nbytes():
        return "expanded tensor: several entries share one stored number"
    return ""


def _bits(tensor: torch.Tensor) -> UInt[np.ndarray, " n"]:
    plain = tensor.detach().resolve_neg().cpu().reshape(-1)
    bits = plain.view(_INTEGERS[tensor.itemsize]).numpy().view(f"u{tensor.itemsize}")
    bits = np.require(bits, requirements="A")  # a file may have been packed again without alignment
    bits.flags.writeable = False
    return bits


def _class_layout(layer: torch.nn.Module, leaf: str, parameter: torch.Tensor) -> Layout | None:
    if torch.nn.parameter.is_lazy(parameter) or parameter.ndim < 2 or leaf not in ("weight", "weight_orig", "weight_v"):
        return None
    shape = tuple(parameter.shape)
    if isinstance(layer, _TRANSPOSED):
        return transposed_convolution(shape, layer.groups)
    if isinstance(layer, _CONVOLUTIONS):
        return by_rows(shape, "convolution")
    if isinstance(layer, torch.nn.Embedding | torch.nn.EmbeddingBag):
        return embedding(shape)
    if isinstance(layer, torch.nn.Linear | torch.nn.Bilinear):
        return by_rows(shape, "linear")
    if type(layer).__name__ == "Conv1D":  # of transformers, which may not be installed
        return by_columns(shape, "linear")
    return None


_TRANSPOSED = torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d | torch.nn.ConvTranspose3d
_CONVOLUTIONS = torch.nn.Conv1d | torch.nn.Conv2d | torch.nn.Conv3d
