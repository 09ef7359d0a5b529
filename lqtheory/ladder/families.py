"""Families of pruned networks, from the dense one to the sparsest, in which the largest safe sparsity is looked for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..bounds.inverse import kept_at_error
from ..pruning import Method, largest_scores
from .curves import weights
from .networks import Dense, DenseModule, Masks

OCTAVE, OCTAVES = 64, 24  # steps of a doubling of the relative error, up to 1


@dataclass(frozen=True, eq=False)
class Family:
    """Pruned networks from the dense one, step 0, to the sparsest, step `last`; later ones keep no more."""

    name: str
    last: int
    masks: Callable[[int], Masks]


def by_count(dense: Dense | DenseModule, method: Method) -> Family:
    """What `method` makes of the network, weight by weight: step k drops k weights, every neuron keeps one."""
    total = weights(dense)
    neurons = sum(len(layer.weight) for layer in dense.layers)
    return Family(method.name, total - neurons, lambda step: method.masks(dense.layers, step / total))


def by_error(dense: Dense | DenseModule, scope: str) -> Family:
    r"""Every neuron (or tensor) drops its smallest weights up to one relative error $\epsilon$, that of the step.

    So each gets a sparsity of its own: $1-k^*(\epsilon)/d$, all of them under one certificate.
    """
    shape = {"neuron": lambda w: w, "tensor": lambda w: w.reshape(1, -1)}[scope]

    def masks(step: int) -> Masks:
        found = {}
        for layer in dense.layers:
            rows = np.abs(shape(layer.weight))
            found[layer.name] = largest_scores(rows, kept_at_error(rows, error_of(step))).reshape(layer.weight.shape)
        return found

    return Family(f"one error for every {scope}", OCTAVE * OCTAVES - 1, masks)


def error_of(step: int) -> float:
    r"""$\epsilon = 2^{k/64-24}$ of step k, 0 of step 0."""
    return 2.0 ** (step / OCTAVE - OCTAVES) if step else 0.0
