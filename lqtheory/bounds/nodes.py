r"""What the nodes of a network graph do and how far they can stretch an error, in float64 and without torch.

Arrays have the sample as first axis and channels as second; a norm is that of everything behind the first axis. The
constants $\gamma$ count roundings for sums added directly, in any order (as in Theorem 13).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float64

from .._checks import check_finite
from .convolution import convolution_norm
from .layers import Activation
from .operators import spectral_norm
from .rounding import EPS, TINY, norm_up, up

Hidden = Float64[np.ndarray, "n *shape"]


@dataclass(frozen=True, eq=False)
class Affine:
    r"""$h \mapsto Wh+b$: a linear layer, or with a kernel [out, in / groups, *size] a convolution with zero padding."""

    weight: Float64[np.ndarray, "out in_ *size"]
    bias: Float64[np.ndarray, " out"]
    stride: tuple[int, ...] = ()
    padding: tuple[int, ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "weight", check_finite(self.weight, "weight"))
        object.__setattr__(self, "bias", check_finite(self.bias, "bias"))

    def __call__(self, *h: Hidden) -> Hidden:
        windows = self.patches(h[0])
        blocks = [part.reshape(len(part), -1) for part in np.split(self.weight, self.groups)]
        out = np.concatenate([rows @ block.T for rows, block in zip(windows, blocks, strict=True)], axis=-1) + self.bias
        return np.moveaxis(out, -1, 1) if self.axes else out

    @property
    def axes(self) -> int:
        """How many axes the convolution runs along; 0 for a linear layer."""
        return self.weight.ndim - 2

    @property
    def fan_in(self) -> int:
        """How many inputs each neuron has."""
        return self.weight[0].size

    def patches(self, h: Hidden) -> list[Float64[np.ndarray, "n *positions d"]]:
        """The inputs that each position's neurons see, per group."""
        if not self.axes:
            return [h]
        around = [(0, 0), (0, 0), *((p, p) for p in self.padding)]
        size = self.weight.shape[2:]
        reach = tuple((k - 1) * e + 1 for k, e in zip(size, self.dilation, strict=True))
        views = np.lib.stride_tricks.sliding_window_view(np.pad(h, around), reach, axis=tuple(range(2, h.ndim)))
        steps = tuple(slice(None, None, s) for s in (*self.stride, *self.dilation))
        views = np.moveaxis(views[(slice(None), slice(None), *steps)], 1, 1 + self.axes)
        lead = views.shape[: 1 + self.axes]
        return [part.reshape(*lead, -1) for part in np.split(views, self.groups, axis=1 + self.axes)]

    @cached_property
    def norm(self) -> float:
        if not self.axes:
            return spectral_norm(self.weight)
        return convolution_norm(self.weight, self.stride, self.dilation, self.groups)

    @cached_property
    def mass(self) -> float:
        r"""$\sum_t\||K_t|\|_F$ over the taps of the kernel: at least the norm of the map with $|W|$."""
        taps = self.weight.reshape(*self.weight.shape[:2], -1)
        return up(sum(norm_up(np.ascontiguousarray(taps[..., t])) for t in range(taps.shape[2])), taps.shape[2])

    @property
    def roundings(self) -> float:
        return self.fan_in + 16

    def scale(self, size: float | np.ndarray, shape: tuple[int, ...]) -> float | np.ndarray:
        # subnormal products lose TINY each, here in units of EPS
        underflow = 4 * prod(shape) * TINY / EPS
        return self.mass * size + up(norm_up(self.bias) * positions(self, shape) ** 0.5, 4) + underflow

    @property
    def signature(self) -> tuple:
        return "affine", self.weight.shape, self.stride, self.padding, self.dilation, self.groups

    def minus(self, other: "Affine") -> "Affine":
        """The layer of the differences, made once for each other, so that its norm is."""
        if other not in self._differences:
            weight, bias = self.weight - other.weight, self.bias - other.bias
            self._differences[other] = replace(self, weight=weight, bias=bias)
        return self._differences[other]

    @cached_property
    def _differences(self) -> WeakKeyDictionary["Affine", "Affine"]:
        return WeakKeyDictionary()


@dataclass(frozen=True)
class Pointwise:
    """An activation of each coordinate."""

    activation: Activation

    def __call__(self, *h: Hidden) -> Hidden:
        return self.activation.function(h[0])

    @property
    def norm(self) -> float:
        return self.activation.lipschitz

    @property
    def roundings(self) -> float:
        return 16.0

    def scale(self, size: float | np.ndarray, shape: tuple[int, ...]) -> float | np.ndarray:
        return self.activation.lipschitz * size + self.activation.at_zero * prod(shape) ** 0.5

    @property
    def signature(self) -> tuple:
        return ("pointwise", self.activation.name)


@dataclass(frozen=True)
class Fixed:
    """A map without weights: pooling (with its constant), or one that only moves, drops or adds zeros (1, exact)."""

    name: str
    function: Callable[[np.ndarray], np.ndarray]
    norm: float = 1.0
    roundings: float = 0.0
    mass: float = 1.0  # norm of the map with its coefficients made positive

    def __call__(self, *h: Hidden) -> Hidden:
        return self.function(h[0])

    def scale(self, size: float | np.ndarray, shape: tuple[int, ...]) -> float | np.ndarray:
        return self.mass * size + (4 * prod(shape) * TINY / EPS if self.roundings else 0.0)

    @property
    def signature(self) -> tuple:
        return ("fixed", self.name)


@dataclass(frozen=True)
class Add:
    """The sum of its inputs: their errors add."""

    norm: float = 1.0
    roundings: float = 1.0

    def __call__(self, *h: Hidden) -> Hidden:
        return sum(h[1:], start=h[0])

    def scale(self, size: float | np.ndarray, shape: tuple[int, ...]) -> float | np.ndarray:
        return size

    @property
    def signature(self) -> tuple:
        return ("add",)


@dataclass(frozen=True)
class Concat:
    """Its inputs side by side: the squares of their errors add."""

    axis: int = 1
    norm: float = 1.0
    roundings: float = 0.0

    def __call__(self, *h: Hidden) -> Hidden:
        return np.concatenate(h, axis=self.axis)

    def scale(self, size: float | np.ndarray, shape: tuple[int, ...]) -> float | np.ndarray:
        return size

    @property
    def signature(self) -> tuple:
        return "concat", self.axis


Op = Affine | Pointwise | Fixed | Add | Concat
"""A node: its value, `norm` (its certified Lipschitz constant for each input), `roundings` of one coordinate relative
to `scale` (for inputs of norm `size` and an output of `shape`), and the `signature` that two networks must share."""


def positions(op: Affine, shape: tuple[int, ...]) -> int:
    """How many positions an output of `shape` has, each with its copy of the bias."""
    return prod(shape) // len(op.bias)
