"""Tensors that lie in checkpoints beside the weights: statistics, index tables, masks, scales."""

import re
from collections.abc import Mapping

from .tensor import Stored

_BUFFERS = {
    "running_mean": "running statistic of a normalisation",
    "running_var": "running statistic of a normalisation",
    "num_batches_tracked": "running statistic of a normalisation",
    "position_ids": "table of positions",
    "token_type_ids": "table of positions",
    "relative_position_index": "table of positions",
    "relative_coords_table": "table of positions",
    "inv_freq": "frequencies of the position encoding",
    "original_inv_freq": "frequencies of the position encoding",
    "cos_cached": "frequencies of the position encoding",
    "sin_cached": "frequencies of the position encoding",
    "masked_bias": "attention mask",
    "attn_mask": "attention mask",
    "causal_mask": "attention mask",
}
_SCALE = re.compile(r"(_scale|_scale_inv|_scales|_absmax|_g)$")


def buffer_reason(entry: Stored, dtypes: Mapping[str, str]) -> str:
    """Why a tensor is no parameter of the network, or ""."""
    last = entry.name.rpartition(".")[2]
    if _is_pruning_mask(entry.name, dtypes):
        return "mask of torch.nn.utils.prune"
    if entry.role == "buffer":
        return _BUFFERS.get(last, "buffer of the module")
    if entry.role == "parameter":
        return ""
    if re.search(r"(^|\.)(attn|attention)\.bias$", entry.name) and _is_square_mask(entry.shape):
        return "attention mask"
    return _BUFFERS.get(last, "")


def mask_notes(dtypes: Mapping[str, str]) -> list[str]:
    """What to know of weights that torch.nn.utils.prune keeps apart from their masks."""
    masks = [name for name in dtypes if _is_pruning_mask(name, dtypes)]
    return [
        f"{mask.removesuffix('mask')}orig is measured as stored, before {mask} of torch.nn.utils.prune"
        for mask in masks
    ]


def scale_reason(entry: Stored, dtypes: Mapping[str, str]) -> str:
    """Why a floating tensor with two or more dimensions holds no weights, or ""."""
    base = _SCALE.sub("", entry.name)
    if base + "_v" in dtypes and entry.name.endswith("_g"):
        return "norms of a weight-normalised tensor: one value per neuron"
    if entry.name.endswith(".original0") and entry.name[:-1] + "1" in dtypes and max(entry.shape) == entry.parameters:
        return "norms of a weight-normalised tensor: one value per neuron"
    if base != entry.name and base in dtypes:
        return f"scale of {base}"
    if entry.name.endswith(".scales") and entry.name.removesuffix("scales") + "qweight" in dtypes:
        return f"scale of {entry.name.removesuffix('scales')}qweight"
    return ""


def _is_pruning_mask(name: str, dtypes: Mapping[str, str]) -> bool:
    return name.endswith("_mask") and name.removesuffix("mask") + "orig" in dtypes


def _is_square_mask(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[:2] == (1, 1) and shape[2] == shape[3]
