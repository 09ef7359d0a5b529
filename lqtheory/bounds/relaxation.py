r"""Linear relaxation: lower bounds of linear functions of a network's output over a box of inputs, going backwards.

Every activation is enclosed between two lines; a functional of the output becomes, layer by layer, one of the input,
and on a box that has its minimum in a corner (Zhang et al., CROWN, NeurIPS 2018).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from .intervals import Box
from .rounding import EPS, norm_up, row_norms_up, up_each

Each = Float64[np.ndarray, "n d"]
CELLS = 2**24  # entries of the running functional held at a time


@dataclass(frozen=True, eq=False)
class Lines:
    r"""$s\,v + t$ below and above an activation's output, in every coordinate, for v in a box."""

    below_slope: Each
    below: Each
    above_slope: Each
    above: Each

    @property
    def offsets(self) -> Float64[np.ndarray, " n"]:
        """Euclidean norms of the intercepts, rounded up."""
        return up_each(row_norms_up(self.below) + row_norms_up(self.above))

    def beside(self, other: "Lines") -> "Lines":
        """Both, for the concatenation of the coordinates."""
        mine, theirs = vars(self), vars(other)
        return Lines(*(np.concatenate([mine[name], theirs[name]], axis=1) for name in mine))


@dataclass(frozen=True, eq=False)
class Step:
    """An affine map, with what is known of its input and output, and the lines of the activation behind it."""

    matrix: Float64[np.ndarray, "out in_"]
    offset: Float64[np.ndarray, " out"]
    before: Box
    after: Box
    lost: Float64[np.ndarray, " n"]  # Euclidean norm of what evaluating it in float64 may add
    lines: Lines | None = None


def relu_lines(z: Box) -> Lines:
    """max(v, 0) between the chord of its box and the steeper of 0 and v that is closer."""
    low, high = np.minimum(z.lower, 0.0), np.maximum(z.upper, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(high > low, high / (high - low), 0.0)
    below = np.where(z.lower >= 0, 1.0, np.where(z.upper <= 0, 0.0, np.where(high > -low, 1.0, 0.0)))
    stable = (z.lower >= 0) | (z.upper <= 0)
    slope = np.where(stable, below, slope)
    above = np.where(stable, 0.0, -slope * low + 8 * EPS * (high - low))
    return Lines(below, np.zeros_like(low), slope, above)


def difference_lines(dz: Box, out: Box, passed: np.ndarray) -> Lines:
    r"""$\mathrm{relu}(z)-\mathrm{relu}(z-v)$ for v in the box `dz`, which lies between 0 and v, and in the box `out`.

    `passed` marks where both are surely active, and it is v.
    """
    a, b = np.minimum(dz.lower, 0.0), np.maximum(dz.upper, 0.0)
    width = np.where(b > a, b - a, 1.0)
    rounding = 8 * EPS * (b - a)
    # above: 0 for v <= 0, else v; its chord. below: v for v <= 0, else 0
    above_slope, below_slope = b / width, -a / width
    above, below = -above_slope * a + rounding, -below_slope * b - rounding
    # a flat line does better where the ends of the box say more
    flat_above, flat_below = out.upper < 0.5 * b, out.lower > 0.5 * a
    above_slope, above = np.where(flat_above, 0.0, above_slope), np.where(flat_above, out.upper, above)
    below_slope, below = np.where(flat_below, 0.0, below_slope), np.where(flat_below, out.lower, below)
    return Lines(
        np.where(passed, 1.0, below_slope),
        np.where(passed, 0.0, below),
        np.where(passed, 1.0, above_slope),
        np.where(passed, 0.0, above),
    )


def lowest(rows: Float64[np.ndarray, "n m out"], steps: Sequence[Step]) -> Float64[np.ndarray, "n m"]:
    """Lower bounds of `rows` times the output of the last affine map, for every input in the first one's box."""
    widest = max(max(step.matrix.shape) for step in steps)
    chunk = max(1, CELLS // (rows.shape[1] * widest))
    parts = [_lowest(rows[i : i + chunk], steps, slice(i, i + chunk)) for i in range(0, len(rows), chunk)]
    return np.concatenate(parts)


def box_of(steps: Sequence[Step]) -> Box:
    """The box of the last affine map's output that the relaxation gives, cut with the one that is known."""
    known = steps[-1].after
    unit = np.broadcast_to(np.eye(known.lower.shape[1]), (len(known.lower), *[known.lower.shape[1]] * 2))
    return known & Box(lowest(unit, steps), -lowest(-unit, steps))


def _lowest(rows: Float64[np.ndarray, "n m out"], steps: Sequence[Step], part: slice) -> Float64[np.ndarray, "n m"]:
    functional, constant = rows, np.zeros(rows.shape[:2])
    lost = np.zeros(rows.shape[:2])
    for step, earlier in zip(reversed(steps), [*reversed(steps[:-1]), None], strict=True):
        size = norm_up(step.matrix) * step.before.size[part] + norm_up(step.offset)
        rounding = (sum(step.matrix.shape) + 16) * EPS * size + step.lost[part]
        lost = up_each(lost + _lengths(functional) * rounding[:, None], 4)
        constant = constant + functional @ step.offset
        functional = functional @ step.matrix
        if earlier is None:
            break
        lines = earlier.lines
        assert lines is not None
        positive, negative = np.maximum(functional, 0.0), np.minimum(functional, 0.0)
        rounding = (functional.shape[2] + 16) * EPS * (earlier.after.size[part] + lines.offsets[part])
        lost = up_each(lost + _lengths(functional) * rounding[:, None], 4)
        constant = constant + np.einsum("nmk,nk->nm", positive, lines.below[part])
        constant = constant + np.einsum("nmk,nk->nm", negative, lines.above[part])
        functional = positive * lines.below_slope[part, None] + negative * lines.above_slope[part, None]
    box = steps[0].before
    center, radius = box.center[part], box.radius[part]
    value = np.einsum("nmk,nk->nm", functional, center) - np.einsum("nmk,nk->nm", np.abs(functional), radius) + constant
    lost += _lengths(functional) * (functional.shape[2] + 16) * EPS * 2 * box.size[part][:, None]
    # the sums of constants and of lost itself
    return np.nextafter(value - up_each(lost + 16 * len(steps) * EPS * (np.abs(constant) + np.abs(value)), 4), -np.inf)


def _lengths(functional: Float64[np.ndarray, "n m k"]) -> Float64[np.ndarray, "n m"]:
    """Euclidean norms of the functionals, rounded up."""
    return row_norms_up(functional.reshape(-1, functional.shape[2])).reshape(functional.shape[:2])
