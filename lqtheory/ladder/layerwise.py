"""The per-layer part of tier C: what pruning does to each layer by itself, for networks of any kind.

Nothing is sampled: the moments are those of every position (token or pixel) of every input, so that the bounds are
about all the data. The layer's inputs are those of the dense network.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import fsum
from sys import maxsize
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from ..bounds import Bound, Moments
from ..bounds.graph import summed_moments, summed_squares
from ..bounds.layerwise import layer_error, layer_error_by_norms, layer_error_by_radius
from ..pruning import Method
from ..pruning.observation import refittable, sampled_inputs
from ..pruning.parts import Prunable, prunable
from ..pruning.running import evaluating, hooked
from ..records import Provenance, Record
from ..verification import Pair
from .curves import about
from .networks import DenseModule, tensor

BATCH = 25
Rows = Float64[np.ndarray, "out fan_in"]
Each = Float64[np.ndarray, "positions groups fan_in"]
LayerBound = Callable[[Rows, Rows, Sequence[Moments], Float64[np.ndarray, " out"] | None], Bound]

LAYER_TIERS: Mapping[str, LayerBound] = {
    "layer C": layer_error,
    "layer norms": layer_error_by_norms,
    "layer B": layer_error_by_radius,
}


@dataclass(frozen=True, eq=False)
class Change:
    r"""$\Delta W$, one row per neuron, and $\Delta b$ where the bias changes too."""

    weight: Rows
    shift: Float64[np.ndarray, " out"] | None = None

    def energy(self, h: Each) -> float:
        r"""$\|\Delta Wh+\Delta b\|^2$, summed over positions."""
        blocks = np.split(self.weight, h.shape[1])
        offsets = np.split(np.zeros(len(self.weight)) if self.shift is None else self.shift, h.shape[1])
        parts = ((h[:, g] @ w.T + b).ravel() for g, (w, b) in enumerate(zip(blocks, offsets, strict=True)))
        return fsum(float(part @ part) for part in parts)


@dataclass(frozen=True, eq=False)
class DenseLayers:
    """The layers of a module that can be pruned and run by themselves, on inputs that the module takes."""

    model: nn.Module
    x: np.ndarray

    @cached_property
    def parts(self) -> dict[str, Prunable]:
        """The layers by the names of their weights."""
        return {part.name: part for part in prunable(self.model) if refittable(part.owner)}

    @cached_property
    def moments(self) -> dict[str, list[Moments]]:
        """Of each layer's inputs, for each group of its neurons; a layer that never runs has none."""
        totals: dict[str, list[np.ndarray]] = {}
        positions: dict[str, int] = defaultdict(int)

        def add(name: str, h: Each) -> None:
            found = [summed_squares(h[:, group]) for group in range(h.shape[1])]
            totals[name] = [a + b for a, b in zip(totals[name], found, strict=True)] if name in totals else found
            positions[name] += len(h)

        visit_inputs(self.model, list(self.parts.values()), self.x, add)
        return {name: [summed_moments(t, positions[name]) for t in total] for name, total in totals.items()}

    def bound(self, name: str, change: Change, tier: LayerBound = layer_error) -> Bound:
        """How much a change of a layer moves its output, relative to that output."""
        return tier(self.parts[name].weight, change.weight, self.moments[name], change.shift)

    def measured(self, changes: Mapping[str, Change]) -> dict[str, float]:
        """What the bounds speak of, from the inputs themselves, which takes a run of the module."""
        parts = [self.parts[name] for name in changes if name in self.moments]
        whole = {part.name: Change(part.weight) for part in parts}
        sums = {name: ([], []) for name in whole}

        def add(name: str, h: Each) -> None:
            sums[name][0].append(changes[name].energy(h))
            sums[name][1].append(whole[name].energy(h))

        visit_inputs(self.model, parts, self.x, add)
        return {name: _root(fsum(error), fsum(size)) for name, (error, size) in sums.items()}


def visit_inputs(
    model: nn.Module, parts: Sequence[Prunable], x: np.ndarray, visit: Callable[[str, Each], None]
) -> None:
    """Show what the neurons of each layer see at every position, batch by batch: one run of the module."""

    def watch(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, given: tuple) -> None:
            h, _ = sampled_inputs(layer, given[0].detach().to("cpu", torch.float64), maxsize, 0)
            visit(name, h.numpy())

        return hook

    hooks = [part.owner.register_forward_pre_hook(watch(part.name)) for part in parts]
    with hooked(hooks), evaluating(model), torch.no_grad():
        for piece in tensor(x, model).split(BATCH):
            model(piece)


def layer_errors(model: nn.Module, pruned: nn.Module, x: np.ndarray, tier: LayerBound = layer_error) -> dict[str, Pair]:
    r"""For each layer the bound on $\|\Delta Wh+\Delta b\|/\|Wh\|$, h its input in `model`, beside the measurement.

    About every position of the inputs x; 1 is what dropping a layer does. Both modules have the same layers.
    """
    layers, others = DenseLayers(model, x), {part.name: part for part in prunable(pruned)}
    changes = {name: _difference(part, others[name]) for name, part in layers.parts.items() if name in layers.moments}
    measured = layers.measured(changes)
    return {name: Pair(layers.bound(name, changes[name], tier), value, 1.0, {}) for name, value in measured.items()}


def layer_curve(
    dense: DenseModule,
    layers: DenseLayers,
    method: Method,
    sparsities: Iterable[float],
    provenance: Provenance,
    setting: Mapping[str, Any],
    tiers: Mapping[str, LayerBound] = LAYER_TIERS,
) -> Iterator[Record]:
    """A record for each layer, tier and sparsity; a layer that never runs by itself gives none."""
    for sparsity in sparsities:
        masks = method.masks(dense.layers, sparsity)
        mine = {**setting, **about(dense, dense.masked(masks)), "method": method.name, "quantity": "layer_error"}
        changes = {n: Change(np.where(masks[n], 0.0, part.weight)) for n, part in layers.parts.items() if n in masks}
        measured = layers.measured(changes)
        for tier, bound_of in tiers.items():
            for name, value in measured.items():
                more = {"layer": name, "positions": layers.moments[name][0].count}
                pair = Pair(layers.bound(name, changes[name], bound_of), value, 1.0, more)
                yield pair.record(tier, sparsity, mine, provenance)


def _difference(part: Prunable, other: Prunable) -> Change:
    biases = [getattr(each.owner, "bias", None) for each in (part, other)]
    shift = [b.detach().to("cpu", torch.float64).numpy() for b in biases if b is not None]
    return Change(part.weight - other.weight, shift[0] - shift[1] if len(shift) == 2 else None)


def _root(error: float, size: float) -> float:
    return (error / size) ** 0.5 if size else 0.0 if error == 0 else np.inf
