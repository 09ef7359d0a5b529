"""How far a network can be pruned: the truth that indices are held against.

A sparsity passes when at most MOST_LOST of the test images fewer are classified correctly than by the dense network;
the truth is the largest that passes by the rule of Definition 38. Where accuracy falls monotonically that is the
largest of the grid; where it does not, islands of passing sparsities beyond the first failing coarse one do not count,
and of several crossings between two coarse ones bisection finds one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from lqtheory.prediction import largest_passing, sparsity_at
from lqtheory.pruning import Method, global_ranking, magnitude, uniform
from lqtheory.pruning.budgets import kept_total
from lqtheory.pruning.layers import layer_uniform
from lqtheory.pruning.observation import Observed, layers, observe
from lqtheory.pruning.parts import prunable
from lqtheory.pruning.recipe import copied
from lqtheory.pruning.refit import sequential

MOST_LOST = 0.01
REFIT_STEP = 4  # a re-fit is looked for on every fourth sparsity
SCOPES = {
    "global": Method("global", magnitude, global_ranking),
    "layer": Method("layer", magnitude, layer_uniform),
    "neuron": Method("neuron", magnitude, uniform),
}
"""Which weights compete for being kept: all, those of a layer, those of a neuron; each neuron keeps at least one."""


@dataclass(frozen=True, eq=False)
class Zoo:
    """What every network of the zoo is judged on: labelled images not trained on, and calibration images."""

    x: torch.Tensor
    y: torch.Tensor
    calibration: torch.Tensor

    def correct(self, network: nn.Module) -> int:
        """How many images it classifies correctly."""
        with torch.inference_mode():
            return sum(int((network(x).argmax(1) == y).sum()) for x, y in zip(*self.pieces, strict=True))

    @cached_property
    def pieces(self) -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
        """Images and labels in batches."""
        return self.x.split(500), self.y.split(500)


@dataclass(frozen=True, eq=False)
class Subject:
    """A network of the zoo with what is computed once for all its prunings."""

    network: nn.Module
    zoo: Zoo

    @cached_property
    def correct(self) -> int:
        """How many images the dense network classifies correctly."""
        return self.zoo.correct(self.network)

    @cached_property
    def dense(self) -> Mapping[str, Observed]:
        """What the dense network does on the calibration images."""
        return observe(self.network, prunable(self.network), self.zoo.calibration, answers=True)

    def pruned(self, scope: str, sparsity: float, refit: bool) -> nn.Module:
        """A copy with the smallest weights of the scope removed, and the others re-fitted by least squares if asked."""
        result = copied(self.network)
        parts = prunable(result)
        masks = SCOPES[scope].masks(layers(parts), sparsity)
        if refit:
            sequential(result, parts, masks, self.dense, self.zoo.calibration)
        for part in parts:
            part.masked(masks[part.name])
        return result

    def passes(self, scope: str, j: int, refit: bool = False) -> bool:
        """Whether the network still does at the j-th sparsity; not where a neuron would be left without a weight."""
        sparsity, rows = sparsity_at(j), [part.weight for part in prunable(self.network)]
        if kept_total(sum(w.size for w in rows), sparsity) < sum(len(w) for w in rows):
            return False
        pruned = self.pruned(scope, sparsity, refit)
        return self.correct - self.zoo.correct(pruned) <= MOST_LOST * len(self.zoo.y)

    def truth(self) -> dict[str, float]:
        """Truncated and re-fitted, for each scope; the search for the re-fitted one starts at the truncated one."""
        found = {}
        for scope in SCOPES:
            j = largest_passing(lambda j, scope=scope: self.passes(scope, j))
            found[scope] = sparsity_at(j)
            j = largest_passing(lambda j, scope=scope: self.passes(scope, j, refit=True), start=j, step=REFIT_STEP)
            found[f"{scope} re-fitted"] = sparsity_at(j)
        return found
