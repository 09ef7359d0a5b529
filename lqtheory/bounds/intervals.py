"""Boxes and what affine maps and monotone activations make of them, rounded outwards."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from .rounding import EPS, TINY, row_norms_up, up_each


@dataclass(frozen=True, eq=False)
class Box:
    """One box per row: every coordinate between `lower` and `upper`."""

    lower: Float64[np.ndarray, "n d"]
    upper: Float64[np.ndarray, "n d"]

    @property
    def center(self) -> Float64[np.ndarray, "n d"]:
        """The middle, up to rounding."""
        return self.lower + (self.upper - self.lower) / 2

    @property
    def radius(self) -> Float64[np.ndarray, "n d"]:
        """How far the box reaches from its center, rounded up."""
        center = self.center
        return up_each(np.maximum(self.upper - center, center - self.lower))

    @property
    def size(self) -> Float64[np.ndarray, " n"]:
        """The largest Euclidean norm of a point in the box, rounded up."""
        return row_norms_up(np.maximum(np.abs(self.lower), np.abs(self.upper)))

    def __and__(self, other: "Box") -> "Box":
        return Box(np.maximum(self.lower, other.lower), np.minimum(self.upper, other.upper))

    def __add__(self, other: "Box") -> "Box":
        return outwards(self.lower + other.lower, self.upper + other.upper)

    def __sub__(self, other: "Box") -> "Box":
        return outwards(self.lower - other.upper, self.upper - other.lower)

    def widened(self, by: Float64[np.ndarray, "n d"]) -> "Box":
        """The box with every side moved out."""
        return outwards(self.lower - by, self.upper + by)


def outwards(lower: Float64[np.ndarray, "n d"], upper: Float64[np.ndarray, "n d"]) -> Box:
    """A box whose ends have been rounded once."""
    return Box(np.nextafter(lower, -np.inf), np.nextafter(upper, np.inf))


def affine(weight: Float64[np.ndarray, "out d"], offset: Float64[np.ndarray, " out"] | float, box: Box) -> Box:
    r"""The box around $Wh+b$ for h in a box: $Wc+b \pm |W|r$."""
    center, radius = box.center, box.radius
    middle, reach = center @ weight.T + offset, radius @ np.abs(weight).T
    terms = weight.shape[1] + 8
    lost = terms * EPS * (np.outer(row_norms_up(center) + row_norms_up(radius), row_norms_up(weight)) + np.abs(offset))
    return outwards(middle, middle).widened(up_each(reach + lost + terms * TINY, terms))
