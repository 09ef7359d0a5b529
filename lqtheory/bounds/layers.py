r"""Layers as the bounds see them: an affine map, then a Lipschitz activation, in float64."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from .._checks import check_finite
from .operators import spectral_norm
from .rounding import norm_up


@dataclass(frozen=True)
class Activation:
    """A function of each coordinate, with a Lipschitz constant that is an upper bound; constant below `flat_below`."""

    name: str
    lipschitz: float
    function: Callable[[np.ndarray], np.ndarray]
    flat_below: float = -np.inf

    @property
    def at_zero(self) -> float:
        """|activation(0)|."""
        return abs(float(self.function(np.zeros(1))[0]))


def sigmoid(z: np.ndarray) -> np.ndarray:
    r"""$1/(1+e^{-z})$, by tanh, which does not overflow."""
    return 0.5 * (1 + np.tanh(0.5 * z))


IDENTITY = Activation("identity", 1.0, np.asarray)
RELU = Activation("relu", 1.0, lambda z: np.maximum(z, 0.0), flat_below=0.0)
TANH = Activation("tanh", 1.0, np.tanh)
SIGMOID = Activation("sigmoid", 0.25, sigmoid)


@dataclass(frozen=True, eq=False, repr=False)
class Linear:
    r"""$h \mapsto \mathrm{act}(Wh + b)$; what the recursion reads of a layer are its norms, computed once."""

    weight: Float64[np.ndarray, "out in_"]
    bias: Float64[np.ndarray, " out"] | None = None
    activation: Activation = RELU

    def __post_init__(self) -> None:
        weight = check_finite(self.weight, "weight")
        if weight.ndim != 2:
            raise ValueError(f"weight must have two axes [out, in], got shape {weight.shape}.")
        bias = np.zeros(len(weight)) if self.bias is None else check_finite(self.bias, "bias")
        if bias.shape != weight.shape[:1]:
            raise ValueError(f"bias must have one entry per row of weight {weight.shape}, got shape {bias.shape}.")
        object.__setattr__(self, "weight", weight)
        object.__setattr__(self, "bias", bias)

    @cached_property
    def norm(self) -> float:
        """Certified upper bound of the spectral norm of the weight."""
        return spectral_norm(self.weight)

    def distance(self, other: "Linear") -> float:
        """Certified upper bound of the spectral norm of the difference of the weights, computed once for each pair."""
        if other not in self._distances:
            self._distances[other] = spectral_norm(self.weight - other.weight)
        return self._distances[other]

    def log_norms(self, qs: tuple[float, ...]) -> Float64[np.ndarray, "qs out"]:
        r"""$\log\|w_i\|_q$ of every row, nearly: relative to the largest weight of the row; -inf for a row of zeros."""
        if qs not in self._log_norms:
            magnitudes = np.abs(self.weight)
            largest = np.max(magnitudes, axis=1)
            with np.errstate(divide="ignore"):
                log_ratio = np.log(magnitudes / np.where(largest > 0, largest, 1.0)[:, None])
                sums = [np.log(np.sum(np.exp(q * log_ratio), axis=1)) / q for q in qs]
                self._log_norms[qs] = np.log(largest) + np.array(sums)
        return self._log_norms[qs]

    @cached_property
    def _log_norms(self) -> dict[tuple[float, ...], np.ndarray]:
        return {}

    @cached_property
    def _distances(self) -> WeakKeyDictionary["Linear", float]:
        return WeakKeyDictionary()

    @cached_property
    def frobenius(self) -> float:
        """Frobenius norm of the weight, rounded up."""
        return norm_up(self.weight)

    @cached_property
    def bias_norm(self) -> float:
        """Euclidean norm of the bias, rounded up."""
        return norm_up(self.offset)

    @property
    def offset(self) -> Float64[np.ndarray, " out"]:
        """The bias, zeros where none was given."""
        assert self.bias is not None
        return self.bias

    @property
    def fan_in(self) -> int:
        """How many inputs each neuron has."""
        return self.weight.shape[1]

    def __call__(self, h: Float64[np.ndarray, "n in_"]) -> Float64[np.ndarray, "n out"]:
        return self.activation.function(h @ self.weight.T + self.offset)

    def __repr__(self) -> str:
        return f"Linear({self.weight.shape[1]} -> {self.weight.shape[0]}, {self.activation.name})"


def check_inputs(layers: Sequence[Linear], x: ArrayLike) -> Float64[np.ndarray, "n d"]:
    """Return `x` as float64 [n, d] when it fits the first layer."""
    inputs = check_finite(x, "x")
    if inputs.ndim != 2 or inputs.shape[1] != layers[0].fan_in:
        raise ValueError(f"x must have shape [n, {layers[0].fan_in}], got shape {inputs.shape}.")
    return inputs


def forward(layers: Sequence[Linear], x: ArrayLike) -> Float64[np.ndarray, "n out"]:
    """The output of the stack on each row of `x`.

    >>> forward([Linear(np.array([[1.0, -1.0]]))], [[3.0, 1.0], [1.0, 3.0]])
    array([[2.], [0.]])
    """
    h = check_inputs(layers, x)
    for layer in layers:
        h = layer(h)
    return h
