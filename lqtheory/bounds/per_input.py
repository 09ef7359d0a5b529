r"""Tier D: the error at each input by itself, coordinate by coordinate, with the signs of ReLUs that are known.

For one perturbation of the weights it is an exercise: at a known input one can run the pruned network. Its worth is
that the same walk holds for every perturbation with the same row tails at once (any mask, any quantisation).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from .._checks import check_finite
from .accuracy import unchanged_by_pairs
from .bound import Bound
from .layers import IDENTITY, Linear, check_inputs
from .network import FLOAT64, check_pair
from .rounding import EPS, TINY, norm_up, row_norms_up, up, up_each

Rows = Float64[np.ndarray, " out"]
Each = Float64[np.ndarray, "n out"]


@dataclass(frozen=True, eq=False)
class InputBounds:
    r"""At each input $|\delta_j| \le$ `elementwise`, $\|\delta\|_2 \le$ `norms` and $|\delta_y-\delta_j| \le$ `pairs`.

    y is the class that the dense network predicts there, `logits` its output.
    """

    elementwise: Float64[np.ndarray, "n classes"]
    norms: Float64[np.ndarray, " n"]
    pairs: Float64[np.ndarray, "n classes"]
    logits: Float64[np.ndarray, "n classes"]
    source: str
    assumptions: str

    def rms(self) -> Bound:
        r"""The bound on $\sqrt{\frac1n\sum\|\delta(x_i)\|^2}$, to be held against tier C."""
        value = up(norm_up(self.norms) / len(self.norms) ** 0.5, 4)
        return Bound(value, "upper", self.source, self.assumptions)

    def certified(self) -> Bool[np.ndarray, " n"]:
        """At which inputs the pruned network predicts the same class as the dense one, Theorem 24."""
        return unchanged_by_pairs(self.logits, self.pairs)


@dataclass(frozen=True, eq=False)
class Front:
    """What is known at the input of a layer, at each of n inputs of the network."""

    h: Each
    error: Each  # of each coordinate
    delta: Rows  # its Euclidean norm
    drift: Rows  # how far another order of summation may put h

    @property
    def size(self) -> Rows:
        """Norm of h, whatever the order of summation."""
        return up_each(row_norms_up(self.h) + self.drift)


class Change(Protocol):
    """What is known of the perturbation of a layer."""

    @property
    def rows(self) -> Rows:
        """Norms of the rows of the perturbed weight."""
        ...

    @property
    def tails(self) -> Rows:
        """Norms of the rows of the perturbation."""
        ...

    @property
    def norm(self) -> float:
        """Spectral norm of the perturbed weight."""
        ...

    @property
    def offset(self) -> Rows:
        """The perturbed bias."""
        ...

    def own(self, at: Front) -> Each:
        r"""$|\Delta W h + \Delta b|$."""
        ...

    def carried(self, at: Front) -> Each:
        r"""$|\hat W\delta|$."""
        ...

    def between(self, y: int, at: Front) -> Each:
        """The sum of both, for the difference of output y and every other."""
        ...


def tier_d(dense: Sequence[Linear], pruned: Sequence[Linear], x: ArrayLike) -> InputBounds:
    r"""$|\delta_l| \le \rho_l(|\Delta W_l h_{l-1}+\Delta b_l| + |\hat W_l||\delta_{l-1}|)$, Theorem 17."""
    check_pair(dense, pruned)
    changes = [Given.of(layer, hat) for layer, hat in zip(dense, pruned, strict=True)]
    return _walk(dense, changes, check_inputs(dense, x), "Theorem 17", f"about each input; {FLOAT64}")


def tier_d_uniform(dense: Sequence[Linear], tails: Sequence[ArrayLike], x: ArrayLike) -> InputBounds:
    r"""The same for EVERY $\hat W$ whose rows have $\|w_i-\hat w_i\|_2 \le$ tails, the biases unchanged, Theorem 18.

    `tails` has one vector per layer, one entry per neuron.
    """
    check_pair(dense, dense)
    if len(tails) != len(dense):
        raise ValueError(f"tails must have one vector per layer, got {len(tails)} for {len(dense)} layers.")
    changes = [Tails.of(layer, tail) for layer, tail in zip(dense, tails, strict=True)]
    about = f"about each input; every perturbation with these row tails; {FLOAT64}"
    return _walk(dense, changes, check_inputs(dense, x), "Theorem 18", about)


def row_tails(dense: Sequence[Linear], pruned: Sequence[Linear]) -> list[Rows]:
    r"""$\|w_i-\hat w_i\|_2$ of every neuron, rounded up: the smallest tails that cover this pruned network."""
    check_pair(dense, pruned)
    return [row_norms_up(layer.weight - hat.weight) for layer, hat in zip(dense, pruned, strict=True)]


@dataclass(frozen=True, eq=False)
class Given:
    """The perturbed layer is known."""

    layer: Linear
    hat: Linear
    tails: Rows
    rows: Rows
    norm: float
    offset: Rows

    @classmethod
    def of(cls, layer: Linear, hat: Linear) -> "Given":
        tails = row_norms_up(layer.weight - hat.weight)
        return cls(layer, hat, tails, row_norms_up(hat.weight), hat.norm, hat.offset)

    def own(self, at: Front) -> Each:
        return up_each(np.abs(self._signed(at)) + self._lost(at), 4)

    def carried(self, at: Front) -> Each:
        return _response(self.hat.weight, at)

    def between(self, y: int, at: Front) -> Each:
        signed, lost = self._signed(at), self._lost(at)
        own = np.abs(signed - signed[:, [y]]) + lost + lost[:, [y]]
        return up_each(own + _response(self.hat.weight - self.hat.weight[y], at), 8)

    def _signed(self, at: Front) -> Each:
        return at.h @ (self.layer.weight - self.hat.weight).T + (self.layer.offset - self.hat.offset)

    def _lost(self, at: Front) -> Each:
        """What the product above has lost to rounding."""
        shift = np.abs(self.layer.offset - self.hat.offset)
        return (self.layer.fan_in + 8) * EPS * (np.outer(at.size, self.tails) + shift) + self.layer.fan_in * TINY


@dataclass(frozen=True, eq=False)
class Tails:
    """Of the perturbation only the norms of its rows are known."""

    layer: Linear
    tails: Rows
    rows: Rows
    norm: float
    offset: Rows

    @classmethod
    def of(cls, layer: Linear, tails: ArrayLike) -> "Tails":
        tail = check_finite(tails, "tails")
        if tail.shape != (len(layer.weight),) or np.any(tail < 0):
            raise ValueError(f"tails must be {len(layer.weight)} numbers of at least 0, got shape {tail.shape}.")
        rows = up_each(row_norms_up(layer.weight) + tail)
        return cls(layer, tail, rows, up(layer.norm + norm_up(tail), 2), layer.offset)

    def own(self, at: Front) -> Each:
        return up_each(np.outer(at.size, self.tails), 2)

    def carried(self, at: Front) -> Each:
        return up_each(_response(self.layer.weight, at) + np.outer(at.delta, self.tails), 4)

    def between(self, y: int, at: Front) -> Each:
        both = np.where(np.arange(len(self.tails)) == y, 0.0, self.tails + self.tails[y])
        seen = up_each(at.size + at.delta)  # the perturbation acts on the perturbed input
        return up_each(np.outer(seen, both) + _response(self.layer.weight - self.layer.weight[y], at), 8)


def _response(weight: Float64[np.ndarray, "out in_"], at: Front) -> Each:
    r"""$|W\delta|$ from $|\delta|$ by coordinates or by norms, whichever is less."""
    by_coordinates = up_each(at.error @ np.abs(weight).T, weight.shape[1] + 4)
    return np.minimum(by_coordinates, up_each(np.outer(at.delta, row_norms_up(weight)), 4))


def _walk(dense: Sequence[Linear], changes: Sequence[Change], x: Each, source: str, about: str) -> InputBounds:
    """From the inputs, where there is no error, to the logits and the differences between them."""
    at = Front(x, np.zeros_like(x), np.zeros(len(x)), np.zeros(len(x)))
    for layer, change in zip(dense[:-1], changes[:-1], strict=True):
        at = _through(layer, change, at)
    out = _through(dense[-1], changes[-1], at)
    rows, predicted = np.arange(len(x)), out.h.argmax(axis=1)
    pairs = up_each(out.error + out.error[rows, predicted][:, None], 2)
    if dense[-1].activation is IDENTITY:
        pairs = np.minimum(pairs, _between(dense[-1], changes[-1], at, predicted))
    pairs[rows, predicted] = 0.0
    return InputBounds(out.error, out.delta, pairs, out.h, source, about)


def _through(layer: Linear, change: Change, at: Front) -> Front:
    """The error behind a layer, both by coordinates and by norms."""
    act = layer.activation
    own = up_each(change.own(at) + _extra(layer, change, at), 4)
    own_rows = row_norms_up(layer.weight)
    lost = _evaluation(layer, at.size, own_rows, layer.offset)
    whole = up_each(row_norms_up(own) + change.norm * at.delta, 4)
    z = at.h @ layer.weight.T + layer.offset
    # below this the activation is constant, for every order of summation
    unsure = up_each(np.outer(at.drift, own_rows) + 2 * lost, 4)
    dead = np.maximum((act.flat_below - z - unsure) * (1 - 8 * EPS), 0.0)
    own_rounding = 32 * EPS * act.at_zero
    error = up_each(act.lipschitz * np.maximum(own + change.carried(at) - dead, 0.0) + own_rounding, 8)
    by_norm = up_each(act.lipschitz * whole + own_rounding * len(layer.weight) ** 0.5, 4)
    delta = np.minimum(by_norm, row_norms_up(error))
    drift = up_each(act.lipschitz * (layer.norm * at.drift + 2 * row_norms_up(lost)) + own_rounding, 4)
    return Front(act.function(z), np.minimum(error, delta[:, None]), delta, drift)


def _between(layer: Linear, change: Change, at: Front, predicted: np.ndarray) -> Each:
    """Theorem 24's numbers from the differences of the last layer's rows."""
    extra = _extra(layer, change, at)
    pairs = up_each(extra + extra[np.arange(len(extra)), predicted][:, None], 2)
    for y in np.unique(predicted):
        here = predicted == y
        part = Front(at.h[here], at.error[here], at.delta[here], at.drift[here])
        pairs[here] = up_each(pairs[here] + change.between(int(y), part), 2)
    return pairs


def _extra(layer: Linear, change: Change, at: Front) -> Each:
    """What rounding adds to the local error: both evaluations, and a drift of h that the perturbation sees."""
    seen = np.outer(at.drift, change.tails)
    rounded = _evaluation(layer, at.size, row_norms_up(layer.weight), layer.offset)
    rounded += _evaluation(layer, up_each(at.size + at.delta), change.rows, change.offset)
    return up_each(seen + rounded, 8)


def _evaluation(layer: Linear, size: Rows, rows: Rows, offset: Rows) -> Each:
    """How far float64 may be from an exact output, coordinate by coordinate and in any order (Theorem 13)."""
    scale = np.outer(size, rows) + np.abs(offset) + layer.activation.at_zero
    return up_each((layer.fan_in + 16) * EPS * scale + 4 * layer.fan_in * TINY, 4)
