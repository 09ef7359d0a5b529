r"""Whole attention heads: what the projection behind them loses without them, and the smaller network.

A head is a group of inputs of that projection. The answer $Wh$ can do without a group T as far as the other inputs can
make it good: least squares on them alone (Theorem 9) loses
$\operatorname{tr} W_T\,([C^{-1}]_{TT})^{-1}\,W_T^\top$.
"""

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import replace

import numpy as np
from jaxtyping import Float64, Int64
from torch import nn

from .attention import heads
from .coupling import Channels
from .scores import Layer, Score, damped
from .structured import remove, unread

Groups = Sequence[Int64[np.ndarray, " n"]]
GroupScore = Callable[[Layer, Groups], Float64[np.ndarray, " groups"]]
"""How much each group of inputs of a layer matters."""


def added(score: Score) -> GroupScore:
    """The root of the sum of the squares of the scores of all weights that read the group.

    >>> added(lambda layer: layer.weight)(Layer("o", np.array([[3.0, 0.0, 1.0], [0.0, 4.0, 0.0]])), [[0, 1], [2]])
    array([5., 1.])
    """

    def grouped(layer: Layer, groups: Groups) -> Float64[np.ndarray, " groups"]:
        squares = (score(layer) ** 2).sum(axis=0)
        return np.sqrt([squares[group].sum() for group in groups])

    return grouped


def eliminated(layer: Layer, groups: Groups, ridge: float = 1e-2) -> Float64[np.ndarray, " groups"]:
    r"""What the layer's output loses, in L2, when the group goes after all that matter less, the others re-fitted.

    Backward elimination: the group with the least $\operatorname{tr} V_T\,([C_{SS}^{-1}]_{TT})^{-1}\,V_T^\top$ goes,
    V being the least-squares answer on the groups S that are left. So of two groups that say the same, one is worth
    nothing and the other what both were. No group scores below one that has gone before; of equal ones the later goes
    first. C gets ridge times its mean diagonal.

    >>> layer = Layer("o", np.array([[1.0, 2.0, 2.0]]), covariance=np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]]))
    >>> np.round(np.sort(eliminated(layer, [[0], [1], [2]], ridge=1e-9)), 3)
    array([0., 2., 3.])
    """
    inverse, v = np.linalg.inv(damped(layer.known("covariance"), ridge)), layer.weight
    scores, worst, left = np.zeros(len(groups)), 0.0, list(range(len(groups)))
    while left:
        losses = [_loss(v[:, groups[k]], inverse[np.ix_(groups[k], groups[k])]) for k in left]
        loss, place = min((loss, -k) for k, loss in enumerate(losses))
        gone = left.pop(-place)
        worst = max(worst, loss)
        scores[gone] = np.sqrt(worst)
        t = groups[gone]
        made_good = np.linalg.solve(inverse[np.ix_(t, t)], inverse[t])
        v, inverse = v - v[:, t] @ made_good, inverse - inverse[:, t] @ made_good
    return scores


def _loss(v: Float64[np.ndarray, " out n"], inverse: Float64[np.ndarray, "n n"]) -> float:
    """What the least-squares answer loses with the inputs whose weights are v."""
    return max(float(np.sum(v * np.linalg.solve(inverse, v.T).T)), 0.0)


def by_gain_of_neurons(score: GroupScore) -> GroupScore:
    """The score of the layer with every neuron times its gain: what is lost at the network's output, to first order."""

    def weighted(layer: Layer, groups: Groups) -> Float64[np.ndarray, " groups"]:
        return score(replace(layer, weight=layer.weight * layer.known("gain")()[:, None]), groups)

    return weighted


def head_scores(found: Channels, layers: Mapping[str, Layer], score: GroupScore) -> Float64[np.ndarray, " labels"]:
    """The scores of the heads, by label, where the projection behind them reads them."""
    scores = np.zeros(1 + max((int(block.max()) for block in found.blocks), default=-1))
    for read in found.reads:
        labels = found.axes[read]
        own = np.unique(labels[labels >= 0])
        if own.size:
            scores[own] = score(layers[read[0]], [np.flatnonzero(labels == label) for label in own])
    return scores


def without_heads(model: nn.Module) -> nn.Module:
    """A copy without the heads that nothing reads: a smaller network that computes the same function.

    Its modules know how many heads they have; one stays in each. Heads of `nn.MultiheadAttention` stay as zeros.
    """
    found = heads(model)
    gone = np.setdiff1d(unread(model, found), [*found.rigid])
    first = [block[0] for block in found.blocks if np.isin(block, gone).all()]
    return remove(deepcopy(model), found, np.setdiff1d(gone, first))
