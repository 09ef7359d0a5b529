"""Masks by rank, never by threshold: ties and zeros keep exactly the weights that the budget gives."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64

from .._checks import check_count
from .budgets import Budget, kept_total
from .scores import Layer, Score


def largest_scores(
    scores: Float64[np.ndarray, " out fan_in"], counts: Int64[np.ndarray, " out"]
) -> Bool[np.ndarray, " out fan_in"]:
    """True for the `counts[i]` largest scores of row i; of equal scores the one with the lower index stays.

    >>> largest_scores(np.array([[2.0, 2.0, 3.0], [0.0, 0.0, 0.0]]), np.array([2, 1]))
    array([[ True, False,  True],
           [ True, False, False]])
    """
    if np.isnan(scores).any():
        raise ValueError(f"scores must be numbers, got {int(np.isnan(scores).sum())} NaN of {scores.size}.")
    order = np.argsort(-scores, axis=1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(scores.shape[1])[None, :], axis=1)
    return rank < counts[:, None]


@dataclass(frozen=True)
class Method:
    """A way of pruning: score each weight, give each neuron a budget, keep the best of each neuron."""

    name: str
    score: Score
    budget: Budget

    def masks(self, layers: Sequence[Layer], sparsity: float) -> dict[str, Bool[np.ndarray, " out fan_in"]]:
        """One mask per layer, which together keep exactly `kept_total` weights."""
        scores = [self.score(layer) for layer in layers]
        total = kept_total(sum(layer.weight.size for layer in layers), sparsity)
        counts = self.budget(scores, total, [layer.shape or layer.weight.shape for layer in layers])
        return {layer.name: largest_scores(s, c) for layer, s, c in zip(layers, scores, counts, strict=True)}


def n_of_m(scores: Float64[np.ndarray, " out fan_in"], n: int, m: int) -> Bool[np.ndarray, " out fan_in"]:
    """True for the n largest scores of each aligned group of m consecutive inputs, Definition 15.

    A last group of fewer than m inputs keeps n of them, or all. Of equal scores the one with the lower index stays.

    >>> n_of_m(np.array([[4.0, 1.0, 2.0, 3.0, 5.0]]), 2, 4)
    array([[ True, False, False,  True,  True]])
    """
    check_count(n, "n", 1, m)
    rows, fan_in = scores.shape
    groups = -(-fan_in // m)
    padded = np.full((rows, groups * m), -np.inf)
    padded[:, :fan_in] = scores
    kept = largest_scores(padded.reshape(rows * groups, m), np.full(rows * groups, n))
    return kept.reshape(rows, groups * m)[:, :fan_in]


def keeps_largest(weight: Float64[np.ndarray, " out fan_in"], mask: Bool[np.ndarray, " out fan_in"]) -> bool:
    """Whether each neuron keeps its largest magnitudes, in which case its error is the best s-term error.

    >>> keeps_largest(np.array([[3.0, -1.0]]), np.array([[True, False]]))
    True
    """
    size = np.abs(weight)
    kept = np.where(mask, size, np.inf).min(axis=1)
    dropped = np.where(mask, 0.0, size).max(axis=1)
    return bool(np.all(kept >= dropped))
