"""Which weights of a stored tensor belong to one neuron."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np


@dataclass(frozen=True)
class Layout:
    """How the flat C-order index of a stored tensor maps to neurons.

    The tensor is viewed as [batch, outer, neurons, inner]; neuron (b, n) owns the outer * inner weights with that
    b and n. `assumed` says that the neuron axis is a guess which nothing in the checkpoint settles.

    >>> by_columns((3, 2), "linear").as_rows(np.arange(6))
    array([[0, 2, 4],
           [1, 3, 5]])
    """

    batch: int
    outer: int
    neurons: int
    inner: int
    kind: str
    assumed: bool = False

    @property
    def rows(self) -> int:
        """How many neurons."""
        return self.batch * self.neurons

    @property
    def fan_in(self) -> int:
        """How many weights each neuron owns."""
        return self.outer * self.inner

    def as_rows(self, array: np.ndarray) -> np.ndarray:
        """The same entries with shape (rows, fan_in); a view when outer is 1, a copy otherwise."""
        stored = array.reshape(self.batch, self.outer, self.neurons, self.inner)
        return stored.transpose(0, 2, 1, 3).reshape(self.rows, self.fan_in)

    def blocks(self, rows: int, weights: int) -> Iterator["Layout"]:
        """The layouts of consecutive pieces of whole neurons, with at most so many rows and weights where that can be.

        >>> [block.rows for block in by_rows((7, 10), "linear").blocks(100, 30)]
        [3, 3, 1]
        """
        unit = replace(self, batch=1) if self.outer > 1 else replace(self, batch=1, neurons=1)
        units = self.rows // unit.rows
        step = max(min(rows // unit.rows, weights // max(unit.rows * unit.fan_in, 1)), 1)
        for first in range(0, units, step):
            size = min(step, units - first)
            yield replace(unit, batch=size) if self.outer > 1 else replace(unit, neurons=size)

    def guessed(self) -> "Layout":
        """The same layout, marked as a guess."""
        return replace(self, assumed=True)


def by_rows(shape: tuple[int, ...], kind: str) -> Layout:
    """Neurons on the first axis: nn.Linear [out, in], nn.Conv [out, in/groups, ...]."""
    return Layout(1, 1, shape[0], prod(shape[1:]), kind)


def by_columns(shape: tuple[int, ...], kind: str, axes: int = 1) -> Layout:
    """Neurons on the last axis, or the last `axes` together: GPT-2's Conv1D [in, out], Keras kernels [..., in, out]."""
    return Layout(1, prod(shape[:-axes]), prod(shape[-axes:]), 1, kind)


def transposed_convolution(shape: tuple[int, ...], groups: int = 1) -> Layout:
    """nn.ConvTranspose [in, out/groups, ...]: each group of inputs feeds its own outputs."""
    return Layout(groups, shape[0] // groups, shape[1], prod(shape[2:]), "transposed convolution")


def embedding(shape: tuple[int, ...]) -> Layout:
    """One row per token: [..., tokens, width]."""
    return Layout(1, 1, prod(shape[:-1]), shape[-1], "embedding")


def experts_by_rows(shape: tuple[int, ...]) -> Layout:
    """Fused experts [experts, out, in]."""
    return Layout(shape[0], 1, shape[1], shape[2], "experts")


def experts_by_columns(shape: tuple[int, ...]) -> Layout:
    """Fused experts [experts, in, out]."""
    return Layout(shape[0], shape[1], shape[2], 1, "experts")


def vector(shape: tuple[int, ...]) -> Layout:
    """A bias or norm vector taken as one row."""
    return Layout(1, 1, 1, prod(shape), "vector")
