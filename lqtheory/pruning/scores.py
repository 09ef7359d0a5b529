"""Scores: how much each weight of a layer matters. A score is any function of a `Layer` that returns its shape."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True, eq=False)
class Layer:
    r"""What a score may look at; what comes from calibration data is None where there is none.

    `weight`: one row per neuron. `input_norms`: $m_j = \|h_j\|_{L_2}$ of each input, `covariance`: their C, `gain`:
    how much the network's output answers to an error of each neuron, in L2, computed when called. `position`: the
    layer's number.
    """

    name: str
    weight: Float64[np.ndarray, " out fan_in"]
    input_norms: Float64[np.ndarray, " fan_in"] | None = None
    covariance: Float64[np.ndarray, " fan_in fan_in"] | None = None
    gain: Callable[[], Float64[np.ndarray, " out"]] | None = None
    shape: tuple[int, ...] = ()
    position: int = 0

    def known(self, what: str) -> Any:
        """The field `what`; ValueError where calibration data did not give it."""
        value = getattr(self, what)
        if value is None:
            raise ValueError(f"this score must have calibration data ({what}), got none for tensor {self.name!r}.")
        return value


Score = Callable[[Layer], Float64[np.ndarray, " out fan_in"]]


def magnitude(layer: Layer) -> Float64[np.ndarray, " out fan_in"]:
    """$|w_{ij}|$.

    >>> magnitude(Layer("fc", np.array([[1.0, -2.0]])))
    array([[1., 2.]])
    """
    return np.abs(layer.weight)


def wanda(layer: Layer) -> Float64[np.ndarray, " out fan_in"]:
    r"""$|w_{ij}|\,m_j$ [Sun, Liu, Bair, Kolter, ICLR 2024, eq. 1]: minimises $\sum_{j \in T} |w_j| m_j$.

    That sum bounds the change of the neuron's pre-activation in $L_2$ when the weights T are dropped.

    >>> wanda(Layer("fc", np.array([[1.0, -2.0]]), input_norms=np.array([4.0, 1.0])))
    array([[4., 2.]])
    """
    return np.abs(layer.weight) * layer.known("input_norms")


def variance(layer: Layer) -> Float64[np.ndarray, " out fan_in"]:
    r"""$|w_{ij}|\sqrt{C_{jj}}$: what is lost when the bias takes over $w_{ij}\mu_j$, Theorem 8.

    >>> variance(Layer("fc", np.array([[1.0, -2.0]]), covariance=np.diag([9.0, 1.0])))
    array([[3., 2.]])
    """
    return np.abs(layer.weight) * np.sqrt(np.maximum(np.diagonal(layer.known("covariance")), 0.0))


def surgeon(layer: Layer, ridge: float = 1e-2) -> Float64[np.ndarray, " out fan_in"]:
    r"""$|w_{ij}| / \sqrt{[C^{-1}]_{jj}}$: the error of dropping one weight when the others are re-fitted, Theorem 9.

    The saliency of Optimal Brain Surgeon [Hassibi, Stork, 1993] for one layer. C gets ridge times its mean diagonal.

    >>> np.round(surgeon(Layer("fc", np.array([[1.0, -2.0]]), covariance=np.diag([9.0, 1.0])), ridge=0), 9)
    array([[3., 2.]])
    """
    inverse = np.linalg.inv(damped(layer.known("covariance"), ridge))
    return np.abs(layer.weight) / np.sqrt(np.diagonal(inverse))


def damped(c: Float64[np.ndarray, "d d"], ridge: float) -> Float64[np.ndarray, "d d"]:
    """C with ridge times its mean diagonal added to the diagonal, and never nothing."""
    return c + max(ridge * float(np.trace(c)) / len(c), np.finfo(np.float64).tiny) * np.eye(len(c))


def by_gain(score: Score) -> Score:
    r"""The score times the gain of its neuron: what an error there does to the output, so that layers compare.

    >>> by_gain(magnitude)(Layer("fc", np.array([[1.0], [3.0]]), gain=lambda: np.array([4.0, 1.0])))
    array([[4.],
           [3.]])
    """

    def weighted(layer: Layer) -> Float64[np.ndarray, " out fan_in"]:
        return score(layer) * layer.known("gain")()[:, None]

    return weighted


def lamp(layer: Layer) -> Float64[np.ndarray, " out fan_in"]:
    r"""$w_u^2 / \sum_{v \ge u} w_v^2$ over the layer's weights in rising order [Lee et al., ICLR 2021].

    The largest weight of each layer has score 1. Of equal magnitudes the one with the lower index counts as larger.

    >>> lamp(Layer("fc", np.array([[1.0, 2.0], [2.0, 4.0]])))
    array([[0.04      , 0.2       ],
           [0.16666667, 1.        ]])
    """
    size = np.abs(layer.weight).ravel()
    largest = float(size.max())
    square = (size / largest if largest else size) ** 2
    order = np.argsort(-size, kind="stable")
    scores = np.zeros_like(square)
    scores[order] = square[order] / np.maximum(np.cumsum(square[order]), np.finfo(np.float64).tiny)
    return scores.reshape(layer.weight.shape)


def random(seed: int) -> Score:
    """Scores drawn uniformly, the same for the same seed and layer: what pruning does that looks at nothing."""

    def drawn(layer: Layer) -> Float64[np.ndarray, " out fan_in"]:
        return np.random.default_rng([seed, layer.position]).random(layer.weight.shape)

    return drawn
