"""Prune a module: score, budget, mask, and re-fit what is left."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache, partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn
from torch.nn.utils import prune as torch_prune

from .._checks import check_count
from . import budgets, layers as by_layers, scores
from .attention import heads
from .budgets import Budget, kept_total
from .channels import channels
from .coupling import Channels
from .gains import gains
from .heads import GroupScore, added, by_gain_of_neurons, eliminated, head_scores
from .masks import Method, n_of_m
from .observation import ROWS, layers, observe
from .parts import Prunable, prunable
from .refit import Fit, least_squares, sequential
from .running import Inputs
from .scores import Layer, Score
from .structured import channel_masks, channel_scores, channels_to_drop
from .support import support_search
from .surgeon import block_surgeon
from .tuning import RATE, answers, jittered, tune

SCORES: Mapping[str, Score] = {
    "magnitude": scores.magnitude,
    "wanda": scores.wanda,
    "variance": scores.variance,
    "surgeon": scores.surgeon,
    "lamp": scores.lamp,
    "bound": scores.by_gain(scores.wanda),
    "gain-surgeon": scores.by_gain(scores.surgeon),
    "random": scores.random(seed=0),
}
OF_HEADS: Mapping[Score, GroupScore] = {
    SCORES["surgeon"]: eliminated,
    SCORES["gain-surgeon"]: by_gain_of_neurons(eliminated),
}
"""Scores that know more of a whole head than of its weights one by one; the squares of the others are added."""
WITHOUT_DATA = ("magnitude", "lamp", "random")
BUDGETS: Mapping[str, Budget] = {
    "global": budgets.global_ranking,
    "uniform": budgets.uniform,
    "layer": by_layers.layer_uniform,
    "keep-rule": budgets.keep_rule_at_total,
    "erk": by_layers.erdos_renyi_kernel,
    "owl": by_layers.outlier_weighted,
    "effective-number": by_layers.by_effective_number,
}
FITS: Mapping[str, Fit] = {
    "least-squares": least_squares,
    "support-search": support_search,
    "block-surgeon": block_surgeon,
}
"""Names for the command line and for `prune`; wherever a name is taken, a function is taken as well."""

Masks = dict[str, Bool[np.ndarray, " out fan_in"]]


def named(choice: str | Callable[..., Any], table: Mapping[str, Any], what: str) -> Any:
    """The function of that name, or the function itself."""
    if callable(choice):
        return choice
    if choice not in table:
        raise ValueError(f"{what} must be one of {', '.join(table)}, or a function, got {choice!r}.")
    return table[choice]


@dataclass(frozen=True)
class Recipe:
    """How to prune: everything that decides which weights stay and what they become.

    `score` and `budget` are names of `SCORES` and `BUDGETS`, or functions. `pattern` (n, m) keeps n of every m
    consecutive inputs instead of following sparsity and budget; with "channels" whole neurons and filters go, with
    "heads" whole attention heads, of which the sparsity is the share, and `slim` and `without_heads` can remove them.
    With `steps` > 1 the network is pruned and re-fitted that many times, keeping $(1-s)^{k/steps}$ of the weights in
    step k. `fit` is a name of `FITS`, a function, or None; it reads `rows` positions for each input of a neuron.
    `epochs` of `tune` on the dense network's answers follow, at `rate`; with `jitter` on images that are mirrored and
    moved by up to so many pixels. `seed` is that of random scores and of the epochs.

    >>> Recipe(0.8, "wanda", "uniform")
    Recipe(sparsity=0.8, score='wanda', budget='uniform')
    """

    sparsity: float = 0.5
    score: str | Score = "magnitude"
    budget: str | Budget = "global"
    pattern: tuple[int, int] | Literal["channels", "heads"] | None = None
    steps: int = 1
    fit: str | Fit | None = "least-squares"
    epochs: int = 0
    rate: float = RATE
    jitter: int = 0
    rows: int = ROWS
    seed: int = 0
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()

    def __post_init__(self) -> None:
        kept_total(1, self.sparsity)
        named(self.score, SCORES, "score")
        named(self.budget, BUDGETS, "budget")
        if self.fit is not None:
            named(self.fit, FITS, "fit")
        check_count(self.steps, "steps", 1, 1000)
        check_count(self.epochs, "epochs", 0, 10**6)
        check_count(self.jitter, "jitter", 0, 1000)
        if isinstance(self.pattern, str) and self.pattern not in ("channels", "heads"):
            raise ValueError(f"pattern must be (n, m), 'channels' or 'heads', got {self.pattern!r}.")
        if self.pattern is not None and self.fit not in (None, "least-squares", least_squares):
            raise ValueError(f"a pattern must be re-fitted by least-squares, which keeps it, got fit={self.fit!r}.")

    def __repr__(self) -> str:
        plain = self.describe()
        given = [f.name for f in fields(self) if f.name == "sparsity" or getattr(self, f.name) != f.default]
        return f"Recipe({', '.join(f'{name}={plain[name]!r}' for name in given)})"

    def describe(self) -> dict[str, Any]:
        """The recipe for recipe.json and for records."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        plain = {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items()}
        return {name: getattr(value, "__name__", value) for name, value in plain.items()}

    def sparsities(self) -> list[float]:
        """The sparsity after each step."""
        if self.sparsity == 0:
            return [0.0]
        kept = 1 - self.sparsity
        return [1 - kept ** (k / self.steps) for k in range(1, self.steps)] + [self.sparsity]

    def __call__(
        self, model: nn.Module, refit: Inputs | None = None, data: Inputs | None = None, inplace: bool = False
    ) -> "Pruned":
        """Prune `model`. With calibration inputs `refit` what is left is re-fitted; `data` serves the scores only."""
        result = model if inplace else copied(model)
        settle(result)
        parts = prunable(result, self.include, self.exclude)
        masks: Masks = {part.name: np.ones((part.layout.rows, part.layout.fan_in), dtype=bool) for part in parts}
        if self.sparsity == 0 and not isinstance(self.pattern, tuple):
            return Pruned(result, parts, masks, self)
        calibration = data if refit is None else refit
        every, coupled = parts, self._coupled(result, parts, calibration)
        if coupled is not None and self.pattern == "heads":  # what reads them is all that is scored and re-fitted
            parts = [part for part in parts if part.name in {name for name, _ in coupled.reads}]
        refit = None if self.fit is None else refit
        if refit is None and self.score in WITHOUT_DATA:
            calibration = None
        seen = dense = {} if calibration is None else observe(result, parts, calibration, refit is not None, self.rows)
        # asked for the first time, if at all, while the network is dense
        gain = None if calibration is None else cache(partial(gains, result, parts, calibration, seed=self.seed))
        wanted = self._wanted(result, refit) if self.epochs and refit is not None else None
        left: list[str] = []
        for k, sparsity in enumerate(self.sparsities()):
            if k and calibration is not None:
                seen = observe(result, parts, calibration, rows=self.rows)
            masks = self._masks(layers(parts, seen, gain), sparsity, masks, every, coupled)
            if refit is not None:
                fit = named(self.fit or least_squares, FITS, "fit")
                left = sequential(result, parts, masks, dense, refit, fit, self.rows)
            for part in every:
                part.masked(masks[part.name])
        if wanted is not None and refit is not None:
            vary = partial(jittered, pixels=self.jitter) if self.jitter else None
            tune(result, every, masks, refit, wanted, self.epochs, rate=self.rate, seed=self.seed, vary=vary)
        return Pruned(result, every, masks, self, tuple(left))

    def _coupled(self, model: nn.Module, parts: Sequence[Prunable], calibration: Inputs | None) -> Channels | None:
        """What goes together, where whole channels or heads go."""
        if self.pattern == "heads":
            return heads(model, [part.name for part in parts])
        if self.pattern == "channels" and calibration is None:
            raise ValueError("pattern='channels' must have calibration inputs, to follow the channels, got none.")
        return channels(model, calibration) if self.pattern == "channels" and calibration is not None else None

    def _masks(
        self,
        found: Sequence[Layer],
        sparsity: float,
        before: Masks,
        parts: Sequence[Prunable],
        coupled: Channels | None,
    ) -> Masks:
        """The masks of one step; what an earlier step has pruned scores zero."""
        score = scores.random(self.seed) if self.score == "random" else named(self.score, SCORES, "score")
        budget = named(self.budget, BUDGETS, "budget")

        def left(layer: Layer) -> np.ndarray:
            return np.where(before[layer.name], score(layer), 0.0)

        if isinstance(self.pattern, tuple):
            return {each.name: n_of_m(score(each), *self.pattern) for each in found}
        if coupled is None:
            return Method(self.name, left, budget).masks(found, sparsity)
        if self.pattern == "heads":
            sizes = head_scores(coupled, {layer.name: layer for layer in found}, OF_HEADS.get(score, added(left)))
        else:
            sizes = channel_scores(coupled, parts, {layer.name: left(layer) for layer in found})
        return channel_masks(coupled, parts, channels_to_drop(coupled, sizes, budget, sparsity))

    def _wanted(self, dense: nn.Module, inputs: Inputs) -> torch.Tensor | nn.Module:
        """What to tune towards: the dense network's answers, or itself where the inputs will vary."""
        return copied(dense) if self.jitter else answers(dense, inputs)

    @property
    def name(self) -> str:
        """Score and budget in words."""
        return " ".join(str(getattr(choice, "__name__", choice)) for choice in (self.score, self.budget))


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned module with its masks, one row per neuron; `left` names what was pruned but could not be re-fitted."""

    model: nn.Module
    parts: Sequence[Prunable]
    masks: Masks
    recipe: Recipe
    left: tuple[str, ...] = ()

    @property
    def kept(self) -> int:
        """How many prunable weights are left."""
        return sum(int(mask.sum()) for mask in self.masks.values())

    @property
    def weights(self) -> int:
        """How many prunable weights there were."""
        return sum(mask.size for mask in self.masks.values())

    def stored_masks(self) -> dict[str, Bool[np.ndarray, "*shape"]]:
        """The masks in the shapes of their tensors."""
        return {part.name: part.shaped(self.masks[part.name]) for part in self.parts}

    def attach(self) -> nn.Module:
        """The module with its masks attached as torch.nn.utils.prune does it, for training with the zeros kept."""
        for part in self.parts:
            mask = torch.from_numpy(part.shaped(self.masks[part.name])).to(part.tensor.device)
            torch_prune.custom_from_mask(part.owner, part.name.rpartition(".")[2], mask)
        return self.model

    def __repr__(self) -> str:
        return f"Pruned({self.kept} of {self.weights} weights, {self.recipe})"


def prune(
    model: nn.Module,
    sparsity: float = 0.5,
    score: str | Score = "magnitude",
    budget: str | Budget = "global",
    refit: Inputs | None = None,
    data: Inputs | None = None,
    inplace: bool = False,
    **options: Any,
) -> nn.Module:
    """Set a share `sparsity` of the prunable weights to zero, and re-fit the others when calibration inputs are given.

    A new module unless `inplace`. `score` and `budget` are names of `SCORES` and `BUDGETS` or functions; `data` are
    inputs for scores that need them, `refit` inputs for those and for the re-fit. Exactly `kept_total` weights stay;
    at sparsity 0 not a bit changes. Further options are those of `Recipe`. ValueError says which rule was broken.
    """
    return Recipe(sparsity, score, budget, **options)(model, refit, data, inplace).model


def copied(model: nn.Module) -> nn.Module:
    """A copy of the module, also where torch.nn.utils.prune has left the results of its hooks."""
    for module, leaf in _torch_pruned(model):
        setattr(module, leaf, getattr(module, leaf).detach())
    return copy.deepcopy(model)


def settle(model: nn.Module) -> None:
    """Make masks of torch.nn.utils.prune permanent: the weights become what the network computes with."""
    for module, leaf in _torch_pruned(model):
        torch_prune.remove(module, leaf)


def _torch_pruned(model: nn.Module) -> list[tuple[nn.Module, str]]:
    masks = [(m, name.removesuffix("_mask")) for m in model.modules() for name, _ in m.named_buffers(recurse=False)]
    return [(module, leaf) for module, leaf in masks if hasattr(module, f"{leaf}_orig")]
