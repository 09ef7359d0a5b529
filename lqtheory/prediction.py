r"""Predict how far a network can be pruned from gains, activations and margins.

A law says what accuracy is left after a change of the weights; the predicted sparsity is the largest one, on a grid, at
which no more is lost than allowed. `first_order` is the index of this package, `independent_errors` the formula that
reads moments only, and `measured` runs the changed network. None of them is a guarantee: for those, see the bounds.
"""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import nn
from torch.func import functional_call, jvp

from ._checks import check_count, check_fraction
from .pruning.budgets import Budget, kept_total
from .pruning.gains import gains
from .pruning.masks import Method
from .pruning.observation import Observed, layers, observe
from .pruning.parts import Prunable, prunable
from .pruning.recipe import BUDGETS, SCORES, WITHOUT_DATA, named
from .pruning.refit import RIDGE, Regression, least_squares
from .pruning.running import evaluating, first_tensor
from .pruning.scores import Layer, Score

OCTAVE, COARSE, OCTAVES = 64, 32, 8
BATCH = 500
Changes = Mapping[str, torch.Tensor]
"""What is added to parameters, by name."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A network in evaluation mode with labelled inputs, and what is computed once for all its prunings.

    Without labels the network's own answers take their place: then every changed prediction counts as lost.
    """

    model: nn.Module
    inputs: torch.Tensor
    labels: torch.Tensor | None = None

    @cached_property
    def parts(self) -> list[Prunable]:
        """The tensors that are pruned."""
        return prunable(self.model)

    @cached_property
    def seen(self) -> Mapping[str, Observed]:
        """Second moments of what enters the layers."""
        return observe(self.model, self.parts, self.inputs)

    @cached_property
    def gains(self) -> Mapping[str, Float64[np.ndarray, " out"]]:
        """What an error of each neuron does to the output."""
        return gains(self.model, self.parts, self.inputs)

    def layers(self, score: str | Score) -> list[Layer]:
        """The layers as the score takes them."""
        return layers(self.parts) if score in WITHOUT_DATA else layers(self.parts, self.seen, lambda: self.gains)

    @cached_property
    def logits(self) -> torch.Tensor:
        """What the network answers."""
        return torch.cat([first_tensor(self.model(x)) for x in self.inputs.split(BATCH)])

    @cached_property
    def wanted(self) -> torch.Tensor:
        """The labels."""
        return self.logits.argmax(1) if self.labels is None else self.labels

    @cached_property
    def accuracy(self) -> float:
        """Share of the inputs that get their label."""
        return self.share_right(self.logits)

    def share_right(self, logits: torch.Tensor) -> float:
        """Share of the inputs that these logits give their label."""
        return float((logits.argmax(1) == self.wanted).double().mean())

    @cached_property
    def margins(self) -> torch.Tensor:
        """The logit of the label minus the largest other one."""
        at = self.wanted[:, None]
        return (self.logits.gather(1, at) - self.logits.scatter(1, at, -torch.inf).amax(1, keepdim=True))[:, 0].double()

    def changes(self, masks: Mapping[str, Bool[np.ndarray, " out fan_in"]], refit: bool = False) -> Changes:
        """What pruning adds to the parameters; with `refit` the others answer by least squares, Theorem 9."""
        found = {}
        for part in self.parts:
            mask, rows = masks[part.name], part.weight
            if not refit:
                new = np.where(mask, rows, 0.0)
            else:
                new, shift = self._refitted(part, rows, mask)
                if shift is not None:
                    found[f"{part.module}.bias"] = torch.from_numpy(shift).to(part.tensor)
            found[part.name] = torch.from_numpy(part.shaped(new - rows)).to(part.tensor)
        return found

    def _refitted(
        self, part: Prunable, rows: Float64[np.ndarray, " out d"], mask: Bool[np.ndarray, " out d"]
    ) -> tuple[Float64[np.ndarray, " out d"], Float64[np.ndarray, " out"] | None]:
        """Weights and what the bias gains, from the moments of the dense network's inputs."""
        second = self.seen[part.name].second
        if second is None:
            raise ValueError(f"a layer to be re-fitted must run once by itself, got {part.name!r}.")
        free = getattr(part.owner, "bias", None) is not None
        fitted = [
            least_squares(w, m, Regression(g, w @ g[:-1], free), RIDGE)
            for w, m, g in zip(np.split(rows, len(second)), np.split(mask, len(second)), second, strict=True)
        ]
        return np.concatenate([v for v, _ in fitted]), np.concatenate([b for _, b in fitted]) if free else None


Law = Callable[[Judged, Changes], float]


def first_order(judged: Judged, changes: Changes) -> float:
    r"""The accuracy of $f+\delta f$, $\delta f(x) = \sum_l \partial_{W_l} f(x)[\Delta W_l]$, Definition 36.

    The derivative of every output along the pruning direction: each weight that goes, times the gain of its neuron,
    times its input, for each x, with all signs and correlations. Errors of second order are left out.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit.script` is deprecated")  # torch's own, by its forward mode
        return _accuracy(judged, changes, lambda answer, w: sum(jvp(answer, (w,), ({n: changes[n] for n in w},))))


def measured(judged: Judged, changes: Changes) -> float:
    """The accuracy of the changed network: what the laws predict, on the inputs at hand."""
    return _accuracy(judged, changes, lambda answer, w: answer({n: t + changes[n] for n, t in w.items()}))


def _accuracy(judged: Judged, changes: Changes, changed: Callable[..., Any]) -> float:
    """The accuracy of what `changed` makes of the network as a function of its parameters, and of them."""
    weights = {n: p.detach() for n, p in judged.model.named_parameters() if n in changes}

    def answer(x: torch.Tensor, w: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return first_tensor(functional_call(judged.model, dict(w), (x,)))

    with torch.no_grad():
        logits = [changed(partial(answer, x), weights) for x in judged.inputs.split(BATCH)]
    return judged.share_right(torch.cat(logits))


def independent_errors(judged: Judged, changes: Changes) -> float:
    r"""$E\,\Phi(g/\tau)$, $\tau^2 = \frac2{K-1}\sum_l\sum_i \gamma_i^2\,\delta_i^\top G_l\,\delta_i$, Definition 37.

    In layer l, $\delta_i$ is the change of neuron i, $\gamma_i$ its gain and $G_l$ the second moments of its inputs; g
    are the margins, K is the number of classes. What the errors would do if they were Gaussian, without mean,
    independent between neurons and of the input, and alike in all directions of the output that change a prediction.
    """
    squared = 0.0
    for part in judged.parts:
        second, rows = judged.seen[part.name].second, _rows(part, changes)
        if second is None:
            raise ValueError(f"a layer whose error is predicted must run once by itself, got {part.name!r}.")
        for w, gain, g in zip(
            np.split(rows, len(second)), np.split(judged.gains[part.name], len(second)), second, strict=True
        ):
            squared += float(gain**2 @ ((w @ g) * w).sum(1))
    tau = (2 / (judged.logits.shape[1] - 1) * squared) ** 0.5
    return float(torch.special.ndtr(judged.margins / tau).mean()) if tau else judged.accuracy


def _rows(part: Prunable, changes: Changes) -> Float64[np.ndarray, " out d+1"]:
    """The changes of the weights and of the bias, one row per neuron."""
    change = part.layout.as_rows(changes[part.name].double().cpu().numpy())
    bias = changes.get(f"{part.module}.bias")
    shift = np.zeros(len(change)) if bias is None else bias.double().cpu().numpy()
    return np.concatenate([change, shift[:, None]], axis=1)


def sparsity_at(j: int) -> float:
    r"""$s_j = 1 - 2^{-j/64}$, to six digits: the sparsities that are tried, Definition 38.

    >>> sparsity_at(0), sparsity_at(64), sparsity_at(128)
    (0.0, 0.5, 0.75)
    """
    return round(1 - 2 ** (-j / OCTAVE), 6)


def largest_passing(passes: Callable[[int], bool], start: int = 0, step: int = 1) -> int:
    """The j of Definition 38, among the multiples of `step`; coarse ones before `start` are taken to pass.

    The coarse j (multiples of 32) are tried in rising order up to the first that does not pass; between it and the one
    before, bisection finds a j that passes while the next one does not. Where what passes is an interval from 0 on,
    that is its end.

    >>> largest_passing(lambda j: j <= 100), largest_passing(lambda j: j <= 100, start=64, step=8)
    (100, 96)
    """
    low = start // COARSE * COARSE
    while low and not passes(low):
        low -= COARSE
    high = low + COARSE
    while high <= OCTAVE * OCTAVES and passes(high):
        low, high = high, high + COARSE
    while high - low > step and low < OCTAVE * OCTAVES:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low


@dataclass(frozen=True)
class Prediction:
    """The predicted largest sparsity, the accuracy of the dense network, and the drop at each sparsity tried."""

    sparsity: float
    accuracy: float
    drops: Mapping[float, float]


def predict_sparsity(
    model: nn.Module,
    inputs: torch.Tensor,
    labels: torch.Tensor | None = None,
    budget: str | Budget = "global",
    score: str | Score = "magnitude",
    most_lost: float = 0.01,
    law: Law = first_order,
    refit: bool = False,
    step: int = 1,
) -> Prediction:
    r"""The largest sparsity at which the law predicts an accuracy lower by at most `most_lost`, Definition 38.

    `budget` and `score` choose what is removed, as in `lqtheory.prune`; with `refit` the other weights answer by least
    squares. Inputs should not be those trained on, and their number sets the noise: of n inputs of which a share c
    changes sides, the drop has a standard error of $\sqrt{c/n}$. `step` makes the search coarser, in 64ths of octaves.

    >>> net = nn.Sequential(nn.Linear(4, 2, bias=False))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[-2.0, -1.0, 0.1, 0.1], [2.0, 1.0, 0.1, 0.1]]))
    >>> predict_sparsity(net, torch.eye(4)[:2], torch.tensor([1, 1])).sparsity  # keeps 2, -2 and 1 or -1, three of 8
    0.686155
    """
    with evaluating(model):
        return predicted(Judged(model, inputs, labels), budget, score, most_lost, law, refit, step)


@torch.no_grad()
def predicted(
    judged: Judged,
    budget: str | Budget = "global",
    score: str | Score = "magnitude",
    most_lost: float = 0.01,
    law: Law = first_order,
    refit: bool = False,
    step: int = 1,
) -> Prediction:
    """The same for a network in evaluation mode of which more than one thing is asked."""
    check_fraction(most_lost, "most_lost")
    check_count(step, "step", 1, COARSE)
    drops: dict[float, float] = {}
    found = judged.layers(score)
    method = Method("predicted", named(score, SCORES, "score"), named(budget, BUDGETS, "budget"))
    weights, neurons = sum(each.weight.size for each in found), sum(len(each.weight) for each in found)

    def passes(j: int) -> bool:
        s = sparsity_at(j)
        if kept_total(weights, s) < neurons:
            return False
        drops[s] = judged.accuracy - law(judged, judged.changes(method.masks(found, s), refit))
        return drops[s] <= most_lost

    best = sparsity_at(largest_passing(passes, step=step))
    return Prediction(best, judged.accuracy, dict(sorted(drops.items())))
