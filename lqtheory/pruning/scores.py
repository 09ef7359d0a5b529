"""Scores: how much each weight of a layer matters. A score is any function of a `Layer` that returns its shape."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64


@dataclass(frozen=True, eq=False)
class Layer:
    r"""What a score may look at.

    `weight`: one row per neuron. `input_norms`: $m_j = \|h_j\|_{L_2}$ of each input on calibration data, or None
    where there is no data.
    """

    name: str
    weight: Float64[np.ndarray, " out fan_in"]
    input_norms: Float64[np.ndarray, " fan_in"] | None = None


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
    if layer.input_norms is None:
        raise ValueError(f"the score |w| x input norm must have calibration data, got none for tensor {layer.name!r}.")
    return np.abs(layer.weight) * layer.input_norms
