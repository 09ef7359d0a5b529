r"""Prune again and again with training in between: gradual schedules, lottery tickets, SAP.

Training is the user's: a callable that takes the module and trains it for a while, with an optimizer of its own. Pruned
weights are zero and get no gradient, so they stay zero under every optimizer that moves along gradients or decays.
"""

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float64
from torch import nn

from .._checks import check_count
from .layers import sap_pruned
from .masks import largest_scores
from .parts import Prunable, prunable
from .recipe import SCORES, Masks, Pruned, Recipe, copied, named, settle
from .running import Inputs, hooked
from .scores import Score, random

Train = Callable[[nn.Module], object]
State = Mapping[str, torch.Tensor]


def cubic(sparsity: float, steps: int, start: float = 0.0) -> list[float]:
    r"""$s + (s_0 - s)(1 - t/n)^3$ for t = 1..n [Zhu, Gupta 2017, eq. 1]: much at first, little at last.

    >>> cubic(0.5, 2)
    [0.4375, 0.5]
    """
    check_count(steps, "steps", 1, 10**6)
    return [sparsity + (start - sparsity) * (1 - t / steps) ** 3 for t in range(1, steps)] + [sparsity]


def geometric(sparsity: float, steps: int) -> list[float]:
    r"""$1-(1-s)^{t/n}$ for t = 1..n: the same share of what is left in every round, as for lottery tickets.

    >>> geometric(0.75, 2)
    [0.5, 0.75]
    """
    check_count(steps, "steps", 1, 10**6)
    return [1 - (1 - sparsity) ** (t / steps) for t in range(1, steps)] + [sparsity]


def iterate(
    model: nn.Module,
    recipe: Recipe,
    sparsities: Sequence[float],
    train: Train,
    rewind: State | None = None,
    refit: Inputs | None = None,
    data: Inputs | None = None,
) -> Pruned:
    """Prune the trained `model` to each sparsity in turn, and train after each; a new module.

    One sparsity is one shot, `cubic` the gradual schedule, `geometric` with `rewind` lottery tickets: before each
    training the kept weights and all else go back to that state, the one at initialisation [Frankle, Carbin, ICLR 2019]
    or after a few epochs. What was pruned stays pruned. The recipe's own sparsity and steps are not read; `refit` and
    `data` are for it. ValueError when the sparsities fall.
    """
    if not sparsities or any(b < a for a, b in itertools.pairwise(sparsities)):
        raise ValueError(f"sparsities must be given and not fall, got {[*sparsities]}.")
    result, masks = _started(model, recipe)
    for sparsity in sparsities:
        step = replace(recipe, sparsity=sparsity, steps=1, score=_left(recipe, masks))
        masks = step(result, refit, data, inplace=True).masks
        _trained(result, _parts(result, recipe), masks, train, rewind)
    return Pruned(result, _parts(result, recipe), masks, replace(recipe, sparsity=sparsities[-1]))


def sap(
    model: nn.Module,
    train: Train,
    rounds: int,
    rewind: State | None = None,
    recipe: Recipe | None = None,
    p: float = 1.0,
    q: float = 2.0,
    eta: float = 0.0,
    gamma: float = 1.0,
    beta: float = 0.9,
    scope: str = "layer",
) -> Pruned:
    r"""Sparsity-informed adaptive pruning [Diao et al., ICLR 2023, Algorithm 1] of the trained `model`; a new module.

    In each round every scope, a neuron, a layer or the whole network, loses its smallest left weights, as many as
    `sap_pruned` says of those that are left, and then the network is trained, from `rewind` where that is given. Their
    settings are (p, q) = (0.5, 1) or (1, 2) and the defaults here. Of `recipe` only include and exclude are read.
    """
    check_count(rounds, "rounds", 1, 10**6)
    shape = named(scope, SCOPES, "scope")
    chosen = recipe or Recipe(fit=None)
    result, masks = _started(model, chosen)
    for _ in range(rounds):
        parts = _parts(result, chosen)
        weights, left = shape([part.weight for part in parts]), shape([masks[part.name] for part in parts])
        kept = [_sap_kept(w, m, p, q, eta, gamma, beta).ravel() for w, m in zip(weights, left, strict=True)]
        ends = np.cumsum([masks[part.name].size for part in parts])[:-1]
        flat = np.split(np.concatenate(kept), ends)
        masks = {part.name: mask.reshape(masks[part.name].shape) for part, mask in zip(parts, flat, strict=True)}
        _trained(result, parts, masks, train, rewind)
    found = Pruned(result, _parts(result, chosen), masks, chosen)
    return replace(found, recipe=replace(chosen, sparsity=1 - found.kept / found.weights))


Rows = list[Float64[np.ndarray, " rows d"]]
SCOPES: Mapping[str, Callable[[Rows], Rows]] = {
    "neuron": lambda layers: layers,
    "layer": lambda layers: [layer.reshape(1, -1) for layer in layers],
    "network": lambda layers: [np.concatenate([layer.ravel() for layer in layers])[None, :]],
}


def _sap_kept(rows: np.ndarray, kept: np.ndarray, *settings: float) -> np.ndarray:
    """What stays of each row."""
    pruned = np.array([sap_pruned(np.abs(row[mask]), *settings) for row, mask in zip(rows, kept, strict=True)])
    return largest_scores(np.where(kept, np.abs(rows), -1.0), kept.sum(axis=1) - pruned)


def _started(model: nn.Module, recipe: Recipe) -> tuple[nn.Module, Masks]:
    """A copy of the module, and masks of all its prunable weights."""
    result = copied(model)
    settle(result)
    return result, {part.name: np.ones_like(part.weight, dtype=bool) for part in _parts(result, recipe)}


def _parts(model: nn.Module, recipe: Recipe) -> list[Prunable]:
    return prunable(model, recipe.include, recipe.exclude)


def _left(recipe: Recipe, masks: Masks) -> Score:
    """The recipe's score; zero for what is pruned already."""
    score = random(recipe.seed) if recipe.score == "random" else named(recipe.score, SCORES, "score")
    return lambda layer: np.where(masks[layer.name], score(layer), 0.0)


def _trained(model: nn.Module, parts: Sequence[Prunable], masks: Masks, train: Train, rewind: State | None) -> None:
    if rewind is not None:
        model.load_state_dict(dict(rewind))
    hooks = []
    for part in parts:
        part.masked(masks[part.name])
        if part.tensor.requires_grad:
            kept = torch.from_numpy(part.shaped(masks[part.name])).to(part.tensor.device)
            hooks.append(part.tensor.register_hook(partial(torch.mul, kept)))
    with hooked(hooks):
        train(model)
    for part in parts:
        part.masked(masks[part.name])
