"""Whole neurons and filters: their scores, their masks, and the smaller network without them."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import nn

from .attention import attentions
from .budgets import Budget, kept_total
from .channels import TRANSPOSED, channels
from .coupling import Channels
from .masks import largest_scores
from .observation import CONVOLUTIONS
from .parts import Prunable
from .running import Inputs


def channel_scores(
    found: Channels, parts: Sequence[Prunable], scores: Mapping[str, Float64[np.ndarray, " out fan_in"]]
) -> Float64[np.ndarray, " labels"]:
    r"""The root mean square of the scores of all weights that go with a channel, rows and columns, by label.

    The mean, not the sum: what is lost for each weight that is saved, so that narrow and wide layers compare.
    """
    n = 1 + max((int(block.max()) for block in found.blocks), default=-1)
    total, count = np.zeros(n), np.zeros(n)
    for part in parts:
        squares = part.shaped(scores[part.name]) ** 2
        for axis, labels in found.along(part.name).items():
            sums = np.moveaxis(squares, axis, 0).reshape(len(labels), -1).sum(axis=1)
            goes = labels >= 0
            total += np.bincount(labels[goes], sums[goes], minlength=n)
            count += np.bincount(labels[goes], np.full(int(goes.sum()), squares.size / len(labels)), minlength=n)
    return np.sqrt(total / np.maximum(count, 1))


def channels_to_drop(
    found: Channels, scores: Float64[np.ndarray, " labels"], budget: Budget, sparsity: float
) -> Int64[np.ndarray, " n"]:
    """The labels outside the budget: exactly `kept_total` of the channels stay, at least one of each block.

    A block of coupled channels takes the place of a neuron, its channels that of weights; ties go to the lower label.
    """
    if not found.blocks:
        raise ValueError("a network must have channels that can go, got none: all are inputs, outputs or unknown.")
    rows = [scores[block][None, :] for block in found.blocks]
    total = kept_total(sum(row.size for row in rows), sparsity)
    counts = budget(rows, total, [row.shape for row in rows])
    kept = [largest_scores(row, count)[0] for row, count in zip(rows, counts, strict=True)]
    return np.concatenate([block[~stays] for block, stays in zip(found.blocks, kept, strict=True)])


def channel_masks(
    found: Channels, parts: Sequence[Prunable], dropped: Int64[np.ndarray, " n"]
) -> dict[str, Bool[np.ndarray, " out fan_in"]]:
    """Masks without the rows and the columns of the channels `dropped`."""
    masks = {}
    for part in parts:
        stored = np.ones(part.tensor.shape, dtype=bool)
        for axis, labels in found.along(part.name).items():
            np.moveaxis(stored, axis, 0)[np.isin(labels, dropped)] = False
        masks[part.name] = np.ascontiguousarray(part.layout.as_rows(stored))
    return masks


def unread(model: nn.Module, found: Channels) -> Int64[np.ndarray, " n"]:
    """The labels of channels that have no effect: every column that reads them is zero."""
    state = model.state_dict()
    labels = np.concatenate([np.zeros(0, np.int64), *found.blocks])
    for name, axis in found.reads:
        alive = (state[name].detach().movedim(axis, 0).flatten(1) != 0).any(1).cpu().numpy()
        labels = np.setdiff1d(labels, found.axes[name, axis][alive])
    return labels


def slim(model: nn.Module, example: Inputs) -> nn.Module:
    """A copy without the channels that nothing reads: a smaller network that computes the same function.

    Those whose number is in the code of the network are left. ValueError where torch.fx cannot trace the module.
    """
    smaller = deepcopy(model)
    while True:
        found = channels(smaller, example)
        gone = np.setdiff1d(unread(smaller, found), [*found.rigid])
        if not gone.size:
            return smaller
        remove(smaller, found, gone)


def remove(model: nn.Module, found: Channels, gone: Int64[np.ndarray, " n"]) -> nn.Module:
    """Take the channels `gone` out of the module, in place."""
    state = model.state_dict()
    for (name, axis), labels in found.axes.items():
        keep = torch.from_numpy(np.flatnonzero(~np.isin(labels, gone))).to(state[name].device)
        state[name] = state[name].index_select(axis, keep)
    return resize(model, state)


def resize(model: nn.Module, state: Mapping[str, torch.Tensor]) -> nn.Module:
    """Give the layers of `model`, in place, the sizes of the tensors in `state`, and load them.

    So the original code loads the checkpoint of a smaller network: `resize(factory(), torch.load(path))`.
    """
    modules = dict(model.named_modules())
    for name, own in [*model.named_parameters(), *model.named_buffers()]:
        new = state.get(name)
        if new is None or new.shape == own.shape:
            continue
        path, _, leaf = name.rpartition(".")
        layer: Any = modules[path]
        if isinstance(own, nn.Parameter):
            setattr(layer, leaf, nn.Parameter(torch.empty_like(new).to(own), own.requires_grad))
        else:
            setattr(layer, leaf, torch.empty_like(new).to(own))
        _tell(layer)
    for attention in attentions(model):
        attention.tell()
    model.load_state_dict(dict(state))
    return model


def _tell(layer: Any) -> None:
    """What a layer says of its own size."""
    if isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, TRANSPOSED):
        layer.in_channels, layer.out_channels = layer.weight.shape[:2]
    elif isinstance(layer, CONVOLUTIONS):
        layer.out_channels, layer.in_channels = layer.weight.shape[:2]
        if layer.groups > 1:  # each channel by itself
            layer.groups = layer.in_channels = layer.out_channels
    elif type(layer).__name__ == "Conv1D":
        layer.nx, layer.nf = layer.weight.shape
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
        (layer.num_features,) = next(t for t in (layer.weight, layer.running_mean) if t is not None).shape
