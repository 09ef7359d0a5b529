r"""Theorem 33: what pruning does to a residual convolutional network, each local error at its own certified cost.

Norm recursions multiply the worst gain of every layer. Here the network behind a layer is one operator (Theorem 32),
and the local error, known on the sample, is charged what it costs as it is, not the worst of its norm.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from jaxtyping import Float64
from numpy.typing import ArrayLike

from .._checks import check_finite
from .graph import Graph, Size, check_graphs, drift, graph_batches, rounding, walk
from .layers import RELU
from .network import FLOAT64, NetworkBound
from .nodes import Add, Affine, Fixed, Op, Pointwise
from .quadratic import Certificate, Multipliers, Residual, certificate
from .rounding import norm_up, row_norms_up, up, up_each


@dataclass(frozen=True, eq=False)
class Chain:
    """A stem, residual blocks, the mean over all pixels and a linear layer; `places` are its layers' nodes."""

    blocks: tuple[Residual, ...]
    head: Affine
    places: tuple[int, ...]
    mean: str  # name of the node that takes it

    @classmethod
    def of(cls, graph: Graph) -> "Chain":
        """Read a graph as a chain; raises ValueError at the first node that does not fit."""
        reader = _Reader(graph)
        reader.layer()
        reader.relu()
        blocks = []
        while reader.more():
            blocks.append(reader.block())
        head = reader.head()
        return cls(tuple(blocks), head, tuple(reader.places), reader.mean)


def residual_bound(dense: Graph, pruned: Graph, x: ArrayLike, multipliers: Multipliers) -> NetworkBound:
    r"""$\|f-\hat f\|_{L_2}\le\sum_l\sqrt{E\,e_l^\top U_le_l}$, $e_l$ the local errors on the sample `x`, Theorem 33.

    `multipliers` as `quadratic.certificate` has them; the last share is that of rounding in both outputs.
    """
    return mean_bound(residual_terms(dense, pruned, x, residual_certificate(dense, pruned, x, multipliers)))


def residual_certificate(dense: Graph, pruned: Graph, x: ArrayLike, multipliers: Multipliers) -> Certificate:
    """Theorem 32 for the pruned network and inputs of the shape of `x`: what takes long, and depends on no input."""
    check_graphs(dense, pruned)
    inputs, chain = check_finite(x, "x"), Chain.of(pruned)
    last = _square(chain, [value.shape[1:] for value in dense.values(inputs[:1])])
    return certificate(chain.blocks, chain.head.weight, prod(last[1:]), last[1], multipliers)


def residual_terms(
    dense: Graph, pruned: Graph, x: ArrayLike, found: Certificate
) -> Float64[np.ndarray, "layers_and_rounding n"]:
    r"""Theorem 33 at each input: bounds of what the error of each layer does to the output, rounding in it last.

    The sums over the first axis bound $\|f(x_i)-\hat f(x_i)\|$.
    """
    chain = Chain.of(pruned)
    return np.concatenate(
        [_terms(dense, pruned, part, chain, found) for part in graph_batches(check_finite(x, "x"))], 1
    )


def mean_bound(terms: Float64[np.ndarray, "layers_and_rounding n"]) -> NetworkBound:
    """Root mean squares of the terms and their sum, by Minkowski."""
    local = [up(norm_up(row[None]) / len(row) ** 0.5, 4) for row in terms]
    value = up(sum(local), len(local) + 2)
    about = f"about the calibration sample; {FLOAT64}"
    return NetworkBound(value, "upper", "Theorem 33", about, tuple(local), (1.0,) * len(local))


def _square(chain: Chain, shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The shape of the last image; all must be square and the mean must be over all of it."""
    last, image = shapes[chain.places[-2]], shapes[-1]
    if image[-1] != image[-2]:
        raise ValueError(f"images must be square, got shape {image}.")
    if not chain.mean.startswith(("mean (2, 3)", f"average {last[1:]}")):
        raise ValueError(f"the mean must be over all {last[1:]} pixels, got {chain.mean}.")
    return last


def _terms(dense: Graph, pruned: Graph, x: np.ndarray, chain: Chain, found: Certificate) -> np.ndarray:
    """The terms for a few inputs; what float64 adds to them and to both outputs goes by norms alone (Theorem 31)."""
    values = dense.values(x)
    shapes = [value.shape[1:] for value in values]
    seen: list[Size] = [row_norms_up(value.reshape(len(x), -1)) for value in values]
    drifts = drift(dense, seen, shapes)
    sizes: list[Size] = [up_each(np.add(a, b)) for a, b in zip(seen, drifts, strict=True)]
    local: list[Size] = [np.zeros(len(x))] * len(dense.nodes)
    terms = []
    for k, at in enumerate(chain.places):
        change, before = _change(dense, pruned, at), dense.nodes[at].inputs[0]
        e = change(values[before])
        plain = row_norms_up(e.reshape(len(e), -1))
        moved = up_each(change.norm * np.asarray(drifts[before]) + rounding(change, sizes[before], shapes[at]), 4)
        local[at] = up_each(plain + moved, 2)
        inside = k < len(found.forms)
        terms.append(up_each(found.cost(k, e) + found.largest(k) * moved if inside else plain + moved, 4))
    deltas, _ = walk(dense, pruned, local, sizes, shapes)
    hat_sizes: list[Size] = [up_each(np.add(a, b)) for a, b in zip(sizes, deltas, strict=True)]
    last = len(dense.nodes) - 1
    return np.array([*terms, up_each(np.add(drifts[last], drift(pruned, hat_sizes, shapes)[last]), 2)])


def _change(dense: Graph, pruned: Graph, at: int) -> Affine:
    before, after = dense.nodes[at].op, pruned.nodes[at].op
    assert isinstance(before, Affine)
    assert isinstance(after, Affine)
    return before.minus(after)


class _Reader:
    """Walks over the nodes of a graph in order, insisting on what comes next."""

    def __init__(self, graph: Graph) -> None:
        self.graph, self.at, self.places, self.mean = graph, 0, [], ""

    def more(self) -> bool:
        op = self.graph.nodes[self.at].op if self.at < len(self.graph.nodes) else None
        return isinstance(op, Affine) and op.axes == 2

    def layer(self) -> Affine:
        op = self._next("a 3 x 3 convolution", lambda op: isinstance(op, Affine) and _centered(op))
        self.places.append(self.at - 1)
        assert isinstance(op, Affine)
        return op

    def relu(self) -> None:
        self._next("a ReLU", lambda op: isinstance(op, Pointwise) and op.activation is RELU)

    def block(self) -> Residual:
        start = self.at - 1
        first = self.layer()
        self.relu()
        second = self.layer()
        behind = self.at - 1
        if first.stride == (2, 2):
            every = (
                "slice (slice(None, None, None), slice(None, None, None), slice(None, None, 2), slice(None, None, 2))"
            )
            self._next("every other pixel", lambda op: isinstance(op, Fixed) and op.name == every, (start,))
            added = (len(first.weight) - first.weight.shape[1]) // 2
            zeros = f"pad [(0, 0), ({added}, {added}), (0, 0), (0, 0)]"
            self._next("channels of zeros", lambda op: isinstance(op, Fixed) and op.name == zeros)
            start = self.at - 1
        if second.stride != (1, 1) or first.stride not in ((1, 1), (2, 2)):
            raise ValueError(f"the strides of a block must be 1 or 2 and then 1, got {first.stride}, {second.stride}.")
        self._next("a sum with the shortcut", lambda op: isinstance(op, Add), None, {behind, start})
        self.relu()
        return Residual(first, second)

    def head(self) -> Affine:
        self._next("the mean over all pixels", lambda op: isinstance(op, Fixed) and op.name.startswith(("av", "mean")))
        self.mean = self.graph.nodes[self.at - 1].op.signature[1]
        while isinstance(self.graph.nodes[self.at].op, Fixed):
            self._next("a change of shape", lambda op: isinstance(op, Fixed) and op.name.startswith("shape"))
        head = self._next("a linear layer", lambda op: isinstance(op, Affine) and not op.axes)
        self.places.append(self.at - 1)
        if self.at < len(self.graph.nodes):
            raise ValueError(f"a chain must end with a linear layer, got {self.graph.nodes[self.at].name}.")
        assert isinstance(head, Affine)
        return head

    def _next(
        self, what: str, fits: Callable[[Op], bool], inputs: tuple[int, ...] | None = None, either: set | None = None
    ) -> Op:
        node = self.graph.nodes[self.at]
        wanted = (self.at - 1,) if inputs is None else inputs
        right = set(node.inputs) == either if either is not None else node.inputs == wanted
        if not fits(node.op) or not right:
            raise ValueError(f"a chain of residual blocks must have {what} next, got {node.name}.")
        self.at += 1
        return node.op


def _centered(op: Affine) -> bool:
    odd = all(k % 2 and p == k // 2 <= 1 for k, p in zip(op.weight.shape[2:], op.padding, strict=True))
    return op.axes == 2 and odd and op.groups == 1 and op.dilation == (1, 1)
