r"""Tier E: what holds for every input of a ball, by boxes and then by linear relaxation of the pair of networks.

The pair is followed as $(h,\delta)$, the dense activation and its difference from the pruned one: behind a ReLU
$\delta'$ lies between 0 and the difference of the pre-activations, however wide the box of h.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from .intervals import Box, affine, outwards
from .layers import IDENTITY, RELU, Linear, check_inputs, forward
from .network import check_pair
from .relaxation import Step, box_of, difference_lines, lowest, relu_lines
from .rounding import EPS, TINY, row_norms_up, up_each

Each = Float64[np.ndarray, "n out"]


@dataclass(frozen=True, eq=False)
class RegionBounds:
    r"""For every point of each region: $\delta$ in a box, and $f_y-f_j$ and $\hat f_y-\hat f_j$ above their margins.

    y is the class that the dense network predicts at the center.
    """

    delta: Box
    dense_margins: Float64[np.ndarray, "n classes"]
    pruned_margins: Float64[np.ndarray, "n classes"]
    predicted: np.ndarray
    source: str
    assumptions: str

    def agreement(self) -> Bool[np.ndarray, " n"]:
        """Where both networks predict y in the whole region, hence agree everywhere in it."""
        safe = (self.dense_margins > 0) & (self.pruned_margins > 0)
        safe[np.arange(len(safe)), self.predicted] = True
        return np.all(safe, axis=1, keepdims=True)[:, 0]

    def norms(self) -> Float64[np.ndarray, " n"]:
        r"""$\sup\|\delta\|_2$ over each region, rounded up."""
        return self.delta.size


def ball(x: Float64[np.ndarray, "n d"], radius: float, low: float = -np.inf, high: float = np.inf) -> Box:
    r"""$\{x' : \|x'-x\|_\infty \le \mathrm{radius},\ \mathrm{low} \le x'_j \le \mathrm{high}\}$ for each row of `x`."""
    if not 0 <= radius < np.inf or not low < high:
        raise ValueError(f"radius must be at least 0 and low below high, got {radius:g} and [{low:g}, {high:g}].")
    if np.any(x < low) or np.any(x > high):
        raise ValueError(f"x must lie in [{low:g}, {high:g}], got values from {x.min():g} to {x.max():g}.")
    box = outwards(x - radius, x + radius) if radius else Box(x, x)
    return Box(np.maximum(box.lower, low), np.minimum(box.upper, high))


def tier_e_interval(
    dense: Sequence[Linear],
    pruned: Sequence[Linear],
    x: ArrayLike,
    radius: float,
    low: float = -np.inf,
    high: float = np.inf,
) -> RegionBounds:
    r"""Boxes of $h$, of $\hat h$ and of $\delta$, each cut by what the others imply, Theorem 19."""
    check_pair(dense, pruned)
    inputs = check_inputs(dense, x)
    pair = Pair.at(ball(inputs, radius, low, high))
    for layer, hat in zip(dense[:-1], pruned[:-1], strict=True):
        pair = pair.affine(layer, hat).activated(layer)
    y = forward(dense, inputs).argmax(axis=1)
    out = pair.affine(dense[-1], pruned[-1])
    return RegionBounds(
        out.activated(dense[-1]).delta,
        _margins(dense[-1], pair.h, out.h, y),
        _margins(pruned[-1], pair.hat, out.hat, y),
        y,
        "Theorem 19",
        _about(radius),
    )


def tier_e_linear(
    dense: Sequence[Linear],
    pruned: Sequence[Linear],
    x: ArrayLike,
    radius: float,
    low: float = -np.inf,
    high: float = np.inf,
) -> RegionBounds:
    r"""The same with linear relaxation of $(h,\delta)$ and of $\hat h$, for stacks of ReLUs, Theorem 20.

    Every box is cut with that of Theorem 19, so it is never worse. Raises ValueError for other activations.
    """
    for layer in dense[:-1]:
        if layer.activation is not RELU:
            raise ValueError(f"linear relaxation is for ReLU layers, got {layer!r}; tier_e_interval works for it.")
    if dense[-1].activation is not IDENTITY:
        raise ValueError(f"linear relaxation needs a linear last layer, got {dense[-1]!r}.")
    coarse = tier_e_interval(dense, pruned, x, radius, low, high)
    pair = Pair.at(ball(check_inputs(dense, x), radius, low, high))
    both, alone = [], []
    for layer, hat in zip(dense, pruned, strict=True):
        out = pair.affine(layer, hat)
        both.append(_joint_step(layer, hat, pair, out, first=not both))
        alone.append(Step(hat.weight, hat.offset, pair.hat, out.hat, row_norms_up(_evaluation(hat, pair.hat.size))))
        if layer is dense[-1]:
            break
        joint, width = box_of(both), len(layer.weight)
        out = Pair(
            Box(joint.lower[:, :width], joint.upper[:, :width]),
            box_of(alone),
            Box(joint.lower[:, width:], joint.upper[:, width:]),
        ).tightened()
        pair = out.activated(layer)
        passed = (out.h.lower >= 0) & (out.hat.lower >= 0)
        lines = relu_lines(out.h).beside(difference_lines(out.delta, pair.delta, passed))
        both[-1] = replace(both[-1], after=out.joint, lines=lines)
        alone[-1] = replace(alone[-1], after=out.hat, lines=relu_lines(out.hat))
    y = coarse.predicted
    gaps = np.eye(len(dense[-1].weight))[y][:, None] - np.eye(len(dense[-1].weight))
    nothing = np.zeros_like(gaps)
    dense_margins = lowest(np.concatenate([gaps, nothing], axis=2), both)
    pruned_margins = np.maximum(lowest(gaps, alone), lowest(np.concatenate([gaps, -gaps], axis=2), both))
    delta = box_of(both)
    width = len(dense[-1].weight)
    return RegionBounds(
        coarse.delta & Box(delta.lower[:, width:], delta.upper[:, width:]),
        np.maximum(coarse.dense_margins, dense_margins),
        np.maximum(coarse.pruned_margins, pruned_margins),
        y,
        "Theorem 20",
        _about(radius),
    )


@dataclass(frozen=True, eq=False)
class Pair:
    r"""Boxes of $h$, of $\hat h$ and of $\delta = h - \hat h$."""

    h: Box
    hat: Box
    delta: Box

    @classmethod
    def at(cls, box: Box) -> "Pair":
        """At the input, which both networks share."""
        return cls(box, box, Box(np.zeros_like(box.lower), np.zeros_like(box.lower)))

    @property
    def joint(self) -> Box:
        r"""The box of $(h,\delta)$."""
        return Box(
            np.concatenate([self.h.lower, self.delta.lower], axis=1),
            np.concatenate([self.h.upper, self.delta.upper], axis=1),
        )

    def affine(self, layer: Linear, hat: Linear) -> "Pair":
        r"""Pre-activations as float64 may evaluate them; $\Delta W h + \hat W\delta = \Delta W\hat h + W\delta$."""
        change, shift = layer.weight - hat.weight, layer.offset - hat.offset
        own, its = _evaluation(layer, self.h.size), _evaluation(hat, self.hat.size)
        by_h = affine(change, shift, self.h) + affine(hat.weight, 0.0, self.delta)
        by_hat = affine(change, shift, self.hat) + affine(layer.weight, 0.0, self.delta)
        return Pair(
            affine(layer.weight, layer.offset, self.h).widened(own),
            affine(hat.weight, hat.offset, self.hat).widened(its),
            (by_h & by_hat).widened(own + its),
        ).tightened()

    def tightened(self) -> "Pair":
        """Each box cut by the other two."""
        delta = self.delta & (self.h - self.hat)
        return Pair(self.h & (self.hat + delta), self.hat & (self.h - delta), delta)

    def activated(self, layer: Linear) -> "Pair":
        """Behind a monotone activation: the difference lies between 0 and slope times that before it."""
        act = layer.activation
        if act is IDENTITY:
            return self
        h, hat = _monotone(layer, self.h), _monotone(layer, self.hat)
        room = 32 * EPS * (act.at_zero + act.lipschitz * (self.h.size + self.hat.size))[:, None] * (act is not RELU)
        between = outwards(
            np.minimum(act.lipschitz * self.delta.lower, 0.0), np.maximum(act.lipschitz * self.delta.upper, 0.0)
        ).widened(room)
        delta = between & (h - hat)
        if act is RELU:
            passed = (self.h.lower >= 0) & (self.hat.lower >= 0)
            delta = delta & Box(np.where(passed, self.delta.lower, -np.inf), np.where(passed, self.delta.upper, np.inf))
        return Pair(h, hat, delta)


def _monotone(layer: Linear, box: Box) -> Box:
    """The box behind the activation, which is exact for ReLU and off by units in the last place for others."""
    out = Box(layer.activation.function(box.lower), layer.activation.function(box.upper))
    return out if layer.activation is RELU else out.widened(16 * EPS * np.maximum(np.abs(out.lower), np.abs(out.upper)))


def _joint_step(layer: Linear, hat: Linear, pair: Pair, out: Pair, first: bool) -> Step:
    r"""The affine map of $(h,\delta)$; at the input there is no $\delta$."""
    change = layer.weight - hat.weight
    matrix = np.block([[layer.weight, np.zeros_like(change)], [change, hat.weight]])
    offset = np.concatenate([layer.offset, layer.offset - hat.offset])
    own, its = row_norms_up(_evaluation(layer, pair.h.size)), row_norms_up(_evaluation(hat, pair.hat.size))
    lost = up_each(2 * own + its, 2)
    if first:
        return Step(matrix[:, : layer.fan_in], offset, pair.h, out.joint, lost)
    return Step(matrix, offset, pair.joint, out.joint, lost)


def _margins(layer: Linear, before: Box, after: Box, y: np.ndarray) -> Each:
    """Lower bounds of output y minus each other one, from the differences of the rows of a linear last layer."""
    rows = np.arange(len(y))
    margins = np.nextafter(after.lower[rows, y][:, None] - after.upper, -np.inf)
    lost = _evaluation(layer, before.size)
    for label in np.unique(y) if layer.activation is IDENTITY else []:
        here = y == label
        part = Box(before.lower[here], before.upper[here])
        gap = affine(layer.weight[label] - layer.weight, layer.offset[label] - layer.offset, part)
        gap = gap.widened(lost[here] + lost[here][:, [label]])
        margins[here] = np.maximum(margins[here], gap.lower)
    return margins


def _evaluation(layer: Linear, size: Float64[np.ndarray, " n"]) -> Each:
    """How far float64 may be from the exact pre-activation, coordinate by coordinate and in any order (Theorem 13)."""
    scale = np.outer(size, row_norms_up(layer.weight)) + np.abs(layer.offset)
    return up_each((layer.fan_in + 16) * EPS * scale + 4 * layer.fan_in * TINY, 4)


def _about(radius: float) -> str:
    return f"all inputs within {radius:g} in every coordinate; both networks evaluated in float64 or exactly"
