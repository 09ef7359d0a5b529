r"""The recursion of Theorem 13 for any graph of supported layers: convolutions, residual sums, branches, pooling.

`trace.trace` makes a `Graph` from a torch module. Errors are norms over everything but the sample axis: numbers for
root mean squares over a sample, arrays for every input by itself; the same walk serves both.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from jaxtyping import Bool, Float64
from numpy.typing import ArrayLike

from .._checks import check_finite
from .moments import Moments, rms_response
from .network import FLOAT64, NetworkBound
from .nodes import Affine, Concat, Hidden, Op, Pointwise, positions
from .rounding import EPS, TINY, norm_up, row_norms_up, up, up_each

Size = float | np.ndarray
BATCH = 20  # inputs at a time: what is kept of each is a norm or a sum


@dataclass(frozen=True, eq=False)
class Node:
    """One operation, on the values of earlier nodes; -1 is the input of the network."""

    name: str
    op: Op
    inputs: tuple[int, ...]

    def masked(self, mask: Bool[np.ndarray, " out fan_in"]) -> "Node":
        """The layer without the weights outside the mask, which has one row per neuron."""
        assert isinstance(self.op, Affine)
        weight = np.where(mask.reshape(self.op.weight.shape), self.op.weight, 0.0)
        return replace(self, op=replace(self.op, weight=weight))


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: nodes in an order in which they can be computed; the last one is the output."""

    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        if not self.nodes:
            raise ValueError("a network must have at least one node, got none.")
        if any(not -1 <= source < at for at, node in enumerate(self.nodes) for source in node.inputs):
            raise ValueError("each node must take earlier nodes, got a graph in another order.")

    def values(self, x: Hidden) -> list[Hidden]:
        """The value of every node, the input of the network last (so that index -1 finds it)."""
        found: list[Hidden] = []
        for node in self.nodes:
            found.append(node.op(*(x if source < 0 else found[source] for source in node.inputs)))
        return [*found, x]

    def __call__(self, x: ArrayLike) -> Hidden:
        inputs = check_finite(x, "x")
        return np.concatenate([self.values(part)[-2] for part in graph_batches(inputs)])

    def masked(self, masks: Mapping[str, Bool[np.ndarray, " out fan_in"]]) -> "Graph":
        """The network with the weights outside the masks, named as the layers are, set to zero."""
        return Graph(tuple(node.masked(masks[node.name]) if node.name in masks else node for node in self.nodes))

    @property
    def layers(self) -> tuple[str, ...]:
        """The names of the layers with weights: what `local`, `gains` and `shares` of a bound refer to."""
        return tuple(node.name for node in self.nodes if isinstance(node.op, Affine))


@dataclass(frozen=True, eq=False)
class Observed:
    """What one pass of the dense network leaves of a node: its shape and size, and for a layer its input's moments."""

    shape: tuple[int, ...]
    radius: float
    moments: tuple[Moments, ...] = ()


def observe(dense: Graph, x: ArrayLike) -> list[Observed]:
    """One pass of the dense network, enough for tier C of any number of pruned ones; the input itself comes last."""
    inputs = check_finite(x, "x")
    if len(inputs) < 2:
        raise ValueError(f"x must hold at least 2 samples, got {len(inputs)}.")
    norms = np.zeros(len(dense.nodes) + 1)
    sums: list[list[np.ndarray]] = [[] for _ in dense.nodes]
    for part in graph_batches(inputs):
        values = dense.values(part)
        norms = up_each(np.hypot(norms, [norm_up(value.reshape(1, -1)) for value in values]), 4)
        for at, node in enumerate(dense.nodes):
            if isinstance(node.op, Affine):
                found = [summed_squares(rows) for rows in node.op.patches(values[node.inputs[0]])]
                sums[at] = [a + b for a, b in zip(sums[at], found, strict=True)] if sums[at] else found
    count = len(inputs)
    radii = [up(norm / count**0.5, 4) for norm in norms]
    shapes = [value.shape[1:] for value in values]
    seen = [
        Observed(shape, radius, _moments(node.op, found, count, shape))
        for node, shape, radius, found in zip(dense.nodes, shapes, radii, sums, strict=False)
    ]
    return [*seen, Observed(shapes[-1], radii[-1])]


def graph_tier_b(dense: Graph, pruned: Graph, radius: float, shape: tuple[int, ...]) -> NetworkBound:
    r"""Theorem 31 from the weights alone: local errors $\|\Delta W\|R+\|\Delta b\|$, for inputs of `shape`."""
    check_graphs(dense, pruned)
    shapes = [value.shape[1:] for value in dense.values(np.zeros((1, *shape)))]
    sizes = graph_radii(dense, radius, shapes)
    local = [
        up(node.op.minus(hat.op).norm * float(sizes[node.inputs[0]]) + _shift(node.op.minus(hat.op), out), 4)
        if isinstance(node.op, Affine) and isinstance(hat.op, Affine)
        else 0.0
        for node, hat, out in zip(dense.nodes, pruned.nodes, shapes, strict=False)
    ]
    return _bound(dense, pruned, local, sizes, shapes, "Theorem 31", f"E||x||^2 <= radius^2; {FLOAT64}")


def graph_tier_c(dense: Graph, pruned: Graph, seen: Sequence[Observed]) -> NetworkBound:
    r"""Theorem 31 from the moments that `observe` took: activation aware, local errors exact on that sample.

    Never above `graph_tier_b` with the radius of the sample.
    """
    check_graphs(dense, pruned)
    shapes, sizes, drifts = observed_sizes(dense, seen)
    local = [
        _local(node.op, hat.op, part, drifts[node.inputs[0]], sizes[node.inputs[0]])
        if isinstance(node.op, Affine) and isinstance(hat.op, Affine)
        else 0.0
        for node, hat, part in zip(dense.nodes, pruned.nodes, seen, strict=False)
    ]
    about = f"about the calibration sample; {FLOAT64}"
    return _bound(dense, pruned, local, sizes, shapes, "Theorem 31", about)


def graph_per_input(dense: Graph, pruned: Graph, x: ArrayLike) -> Float64[np.ndarray, " n"]:
    r"""Theorem 31 at every input by itself: $\|f(x_i)-\hat f(x_i)\|$ is at most the i-th number."""
    check_graphs(dense, pruned)
    return np.concatenate([_each(dense, pruned, part) for part in graph_batches(check_finite(x, "x"))])


def walk(
    dense: Graph, pruned: Graph, local: Sequence[Size], sizes: Sequence[Size], shapes: Sequence[tuple[int, ...]]
) -> tuple[list[Size], list[Size]]:
    r"""From the input, where there is no error, to the output: $\delta$ of every node, and its own error.

    Layers: local error + $\|\hat W\|\|\delta\|$. Sums: errors add. Concatenation: squares add.
    """
    deltas: list[Size] = [0.0 * sizes[-1]] * (len(dense.nodes) + 1)
    errors = []
    for at, (node, hat) in enumerate(zip(dense.nodes, pruned.nodes, strict=True)):
        before, size = joined(hat, deltas), joined(hat, sizes)
        own = rounding(node.op, size, shapes[at]) + rounding(hat.op, _up(size + before), shapes[at])
        errors.append(_up(local[at] + own, 4))
        deltas[at] = _up(errors[-1] + hat.op.norm * before, 4)
    return deltas, errors


def joined(node: Node, parts: Sequence[Size]) -> Size:
    """The error or the size of what a node takes in."""
    found = [parts[source] for source in node.inputs]
    if isinstance(node.op, Concat):
        return _up(np.sqrt(sum(part * part for part in found)), len(found) + 4)
    return _up(sum(found[1:], start=found[0]), len(found)) if len(found) > 1 else found[0]


def rounding(op: Op, size: Size, shape: tuple[int, ...]) -> Size:
    """How far float64, in any order, may be from the exact value of a node on its own input."""
    return _up(op.roundings * EPS * op.scale(size, shape), 8) if op.roundings else 0.0 * size


def gains(pruned: Graph) -> list[float]:
    """How much an error at each node can grow on its way to the output: sums over all paths of products of norms."""
    found = [0.0] * (len(pruned.nodes) + 1)
    found[len(pruned.nodes) - 1] = 1.0
    for at in reversed(range(len(pruned.nodes))):
        for source in pruned.nodes[at].inputs:
            found[source] = up(found[source] + found[at] * pruned.nodes[at].op.norm, 4)
    return found


def graph_radii(dense: Graph, radius: float, shapes: Sequence[tuple[int, ...]]) -> list[Size]:
    """Upper bounds of the sizes of all nodes from that of the input, which comes last."""
    if not 0 <= radius < np.inf:
        raise ValueError(f"radius must be finite and not negative, got radius={radius:g}.")
    sizes: list[Size] = [float(radius)] * (len(dense.nodes) + 1)
    for at, node in enumerate(dense.nodes):
        size = joined(node, sizes)
        shift = _shift(node.op, shapes[at])
        sizes[at] = _up(node.op.norm * size + shift + rounding(node.op, size, shapes[at]), 8)
    return sizes


def observed_sizes(dense: Graph, seen: Sequence[Observed]) -> tuple[list[tuple[int, ...]], list[Size], list[Size]]:
    """Shapes and sizes of all nodes as observed, and how far another order of summation may put them."""
    shapes = [part.shape for part in seen]
    most = graph_radii(dense, seen[-1].radius, shapes)
    drifts = drift(dense, [part.radius for part in seen], shapes)
    return shapes, [min(a, _up(part.radius + b)) for a, part, b in zip(most, seen, drifts, strict=True)], drifts


def drift(dense: Graph, sizes: Sequence[Size], shapes: Sequence[tuple[int, ...]]) -> list[Size]:
    """How far another order of summation may put each node."""
    drifts: list[Size] = [0.0 * sizes[-1]] * (len(dense.nodes) + 1)
    for at, node in enumerate(dense.nodes):
        before = joined(node, drifts)
        size = _up(joined(node, sizes) + before)
        drifts[at] = _up(node.op.norm * before + 2 * rounding(node.op, size, shapes[at]), 4)
    return drifts


def check_graphs(dense: Graph, pruned: Graph) -> None:
    """Refuse networks that are not one and the same graph with other weights."""
    kinds = [[(node.op.signature, node.inputs) for node in network.nodes] for network in (dense, pruned)]
    if kinds[0] != kinds[1]:
        names = [a.name for a, b, c in zip(dense.nodes, *kinds, strict=False) if b != c] or ["the number of nodes"]
        raise ValueError(f"both networks must have the same layers, got a difference at {names[0]}.")


def _bound(
    dense: Graph,
    pruned: Graph,
    local: Sequence[Size],
    sizes: Sequence[Size],
    shapes: Sequence[tuple[int, ...]],
    source: str,
    assumptions: str,
) -> NetworkBound:
    """The walk with its shares: those of layers, then one for the rounding of everything else."""
    deltas, errors = walk(dense, pruned, local, sizes, shapes)
    to_output = gains(pruned)
    layers = [at for at, node in enumerate(dense.nodes) if isinstance(node.op, Affine)]
    rest = sum(float(errors[at]) * to_output[at] for at in range(len(errors)) if at not in layers)
    return NetworkBound(
        float(deltas[len(errors) - 1]),
        "upper",
        source,
        assumptions,
        (*(float(errors[at]) for at in layers), up(rest, len(errors))),
        (*(to_output[at] for at in layers), 1.0),
    )


def _local(layer: Op, hat: Op, seen: Observed, moved: Size, size: Size) -> float:
    """The exact local error of a layer on the sample, all positions together, or the worst for its size if less."""
    assert isinstance(layer, Affine)
    assert isinstance(hat, Affine)
    change = layer.minus(hat)
    weights = np.split(change.weight.reshape(len(change.weight), -1), change.groups)
    shifts = np.split(change.bias, change.groups)
    parts = [rms_response(w, m, b) for w, m, b in zip(weights, seen.moments, shifts, strict=True)]
    exact = norm_up(np.array([parts])) * positions(layer, seen.shape) ** 0.5
    worst = up(change.norm * float(size) + _shift(change, seen.shape), 4)
    return min(up(exact + change.norm * float(moved), 8), worst)


def _each(dense: Graph, pruned: Graph, x: Hidden) -> Float64[np.ndarray, " n"]:
    """The walk for a few inputs, each by itself."""
    values = dense.values(x)
    shapes = [value.shape[1:] for value in values]
    seen: list[Size] = [row_norms_up(value.reshape(len(x), -1)) for value in values]
    drifts = drift(dense, seen, shapes)
    sizes: list[Size] = [_up(a + b) for a, b in zip(seen, drifts, strict=True)]
    local: list[Size] = [np.zeros(len(x))] * len(dense.nodes)
    for at, (node, hat) in enumerate(zip(dense.nodes, pruned.nodes, strict=True)):
        if isinstance(node.op, Affine) and isinstance(hat.op, Affine):
            change, before = node.op.minus(hat.op), node.inputs[0]
            measured = row_norms_up(change(values[before]).reshape(len(x), -1))
            local[at] = _up(measured + change.norm * drifts[before] + rounding(change, sizes[before], shapes[at]), 4)
    return np.asarray(walk(dense, pruned, local, sizes, shapes)[0][len(local) - 1])


def _shift(op: Op, shape: tuple[int, ...]) -> float:
    """Norm of the value at zero."""
    if isinstance(op, Affine):
        return up(norm_up(op.bias) * positions(op, shape) ** 0.5, 4)
    return up(op.activation.at_zero * prod(shape) ** 0.5, 4) if isinstance(op, Pointwise) else 0.0


def _up(x: Size, roundings: float = 1) -> Size:
    """`up` for numbers and arrays alike."""
    return up_each(x, roundings) if isinstance(x, np.ndarray) else up(float(x), roundings)


def summed_squares(rows: Float64[np.ndarray, "*positions d"]) -> Float64[np.ndarray, "d+1 d+1"]:
    """The sum of $(h,1)(h,1)^T$ over all positions."""
    flat = rows.reshape(-1, rows.shape[-1])
    with_one = np.column_stack([flat, np.ones(len(flat))])
    return with_one.T @ with_one


def _moments(op: Op, totals: Sequence[np.ndarray], samples: int, shape: tuple[int, ...]) -> tuple[Moments, ...]:
    """Those of a layer's groups over samples and positions."""
    if not isinstance(op, Affine):
        return ()
    return tuple(summed_moments(total, samples * positions(op, shape)) for total in totals)


def summed_moments(total: Float64[np.ndarray, "d+1 d+1"], count: int) -> Moments:
    """Moments from the sum of $(h,1)(h,1)^T$ over `count` rows h; the radius from its trace, a sum of squares."""
    trace = float(np.sum(np.diagonal(total)[:-1])) / count + 4 * len(total) * TINY
    return Moments(total / count, up(trace**0.5, count + len(total) + 8), count)


def graph_batches(x: Hidden) -> Iterator[Hidden]:
    for start in range(0, len(x), BATCH):
        yield x[start : start + BATCH]
