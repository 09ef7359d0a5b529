r"""Re-fit what is left: the sparse linear approximation that the theorems speak of (Theorem 9).

Layer by layer in the order in which they run, the kept weights and an intercept become the least-squares answer to
the dense layer's output, from the inputs that the pruned network itself gives the layer. So each layer also mends
what the layers before it have spoilt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import nn

from .observation import ROWS, Observed, sampled_inputs, with_one
from .parts import Prunable
from .running import Inputs, evaluating, hooked, run

RIDGE = 1e-3
Weights = Float64[np.ndarray, " out d"]
Mask = Bool[np.ndarray, " out d"]


@dataclass(frozen=True, eq=False)
class Regression:
    r"""What least squares reads: $E[(h,1)(h,1)^\top]$ of the inputs and $E[z(h,1)]$ of the wanted outputs with them.

    Without `intercept` no constant may be added to the answer, and moments take the place of covariances.
    """

    second: Float64[np.ndarray, "d+1 d+1"]
    cross: Float64[np.ndarray, " out d+1"]
    intercept: bool = True

    @classmethod
    def of(cls, h: torch.Tensor, z: torch.Tensor, intercept: bool = True) -> "Regression":
        """From rows of inputs [n, d] and of wanted outputs [n, out]."""
        rows = with_one(h)
        second, cross = rows.T @ rows / len(rows), z.double().T @ rows / len(rows)
        return cls(second.cpu().numpy(), cross.cpu().numpy(), intercept)

    @property
    def mean(self) -> Float64[np.ndarray, " d"]:
        """The mean of the inputs, zero where no intercept may use it."""
        return self.second[:-1, -1] * self.intercept

    @cached_property
    def covariance(self) -> Float64[np.ndarray, "d d"]:
        """C, or G without intercept."""
        return self.second[:-1, :-1] - np.outer(self.mean, self.mean)

    def normal(self, w: Weights, ridge: float) -> tuple[Float64[np.ndarray, "d d"], Weights]:
        r"""$C+\lambda I$ and $E[(z-\bar z)(h-\mu)^\top]+\lambda w$, $\lambda$ being ridge times the mean $C_{jj}$."""
        c = self.covariance
        penalty = max(ridge * float(np.trace(c)) / len(c), 1e-12 * float(np.trace(self.second)), TINY)
        return c + penalty * np.eye(len(c)), self.cross[:, :-1] - np.outer(self.cross[:, -1], self.mean) + penalty * w

    def offset(self, v: Weights) -> Float64[np.ndarray, " out"]:
        """The best intercept for the weights v."""
        return (self.cross[:, -1] - v @ self.mean) * self.intercept


TINY = float(np.finfo(np.float64).tiny)
Fitted = tuple[Weights, Float64[np.ndarray, " out"]]
Fit = Callable[[Weights, Mask, Regression], Fitted]
"""From dense weights, mask and data to new weights, zero outside a mask of that many weights, and what to add."""


def least_squares(w: Weights, mask: Mask, data: Regression, ridge: float = RIDGE) -> Fitted:
    r"""For each neuron the v on its support, and the b, with the least $E(v\cdot h + b - z)^2 + \lambda\|v - w\|^2$.

    >>> data = Regression(np.diag([1.0, 1.0, 1.0]), np.array([[3.0, 2.0, 5.0]]))
    >>> least_squares(np.array([[1.0, 2.0]]), np.array([[True, False]]), data, ridge=0)
    (array([[3., 0.]]), array([5.]))
    """
    c, k = data.normal(w, ridge)
    v = np.zeros_like(w)
    for i, kept in enumerate(mask):
        support = np.flatnonzero(kept)
        if support.size:
            v[i, support] = np.linalg.solve(c[np.ix_(support, support)], k[i, support])
    return v, data.offset(v)


def sequential(
    model: nn.Module,
    parts: Sequence[Prunable],
    masks: dict[str, Mask],
    dense: Mapping[str, Observed],
    inputs: Inputs,
    fit: Fit = least_squares,
    rows: int = ROWS,
) -> list[str]:
    """Prune and re-fit `model` in place, in one run; `dense` is what `observe` saw of it with `answers=True`.

    The intercept goes into the layer's bias, or into the running mean of the batch normalisation behind it; a layer
    with neither has none. `masks` is updated where `fit` has chosen another support. Returns the names of the tensors
    that are pruned but not re-fitted: those of layers that run more than once or never by themselves, and those that
    several layers share.
    """
    able = [part for part in parts if refitted_here(part, dense[part.name])]
    modules, before = dict(model.named_modules()), {part.name: part.weight for part in able}
    for part in parts:
        part.masked(masks[part.name])

    def fitting(part: Prunable, seed: int) -> Any:
        def hook(layer: nn.Module, given: tuple) -> None:
            seen = dense[part.name]
            assert seen.answers is not None
            taken, _ = sampled_inputs(layer, given[0], rows * part.layout.fan_in, seed)
            place, sign = intercept_of(layer, modules.get(seen.norm or ""))
            w = before[part.name].copy()
            for out, h in zip(np.split(np.arange(len(w)), taken.shape[1]), taken.unbind(1), strict=True):
                data = Regression.of(h, seen.answers[:, out], place is not None)
                w[out], shift = fit(w[out], masks[part.name][out], data)
                if place is not None and seen.constant is not None:  # what an earlier step has added goes
                    place[out] = seen.constant[out] + sign * torch.from_numpy(shift).to(place)
            part.fill(w)
            masks[part.name] = mask_of(w, masks[part.name])

        return hook

    hooks = [part.owner.register_forward_pre_hook(fitting(part, k)) for k, part in enumerate(parts) if part in able]
    with hooked(hooks), evaluating(model), torch.no_grad():
        run(model, inputs)
    return [part.name for part in parts if part not in able]


def mask_of(w: Weights, before: Mask) -> Mask:
    """The support of w, as large as `before`: that mask itself where w lies on it."""
    kept = w != 0
    if not np.any(kept & ~before):
        return before
    free = np.flatnonzero(~kept.ravel())
    kept.ravel()[free[: np.count_nonzero(before) - np.count_nonzero(kept)]] = True
    return kept


def refitted_here(part: Prunable, seen: Observed) -> bool:
    """Whether the layer ran once, its inputs are known, and its weights are its own."""
    return seen.calls == 1 and seen.answers is not None and not part.shared


def intercept_of(layer: nn.Module, norm: nn.Module | None) -> tuple[torch.Tensor | None, float]:
    """Where a constant can be added to the layer's output, and with which sign."""
    bias = getattr(layer, "bias", None)
    if isinstance(bias, torch.Tensor):
        return bias, 1.0
    mean = getattr(norm, "running_mean", None)
    return (mean, -1.0) if isinstance(mean, torch.Tensor) else (None, 0.0)
