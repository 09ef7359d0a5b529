"""A traced network as the stack of linear layers with ReLU between them that it may be."""

from math import prod

from .bounds.graph import Graph, Node
from .bounds.layers import RELU
from .bounds.nodes import Affine, Fixed, Pointwise
from .evaluate import LinearStack


def stack_in(graph: Graph, shape: tuple[int, ...]) -> LinearStack | None:
    """The stack that takes inputs of `shape`, flattened, or None where the graph is something else."""
    if any(node.inputs != (at - 1,) for at, node in enumerate(graph.nodes)):
        return None
    nodes = [node for node in graph.nodes if not _reshapes(node)]
    layers = [(node.name, node.op) for node in nodes[::2] if isinstance(node.op, Affine) and not node.op.axes]
    between = [node.op for node in nodes[1::2] if isinstance(node.op, Pointwise) and node.op.activation is RELU]
    if not layers or len(layers) != len(between) + 1 or len(nodes) != len(layers) + len(between):
        return None
    if layers[0][1].fan_in != prod(shape):
        return None
    names = tuple(f"{name}.weight" for name, _ in layers)
    return LinearStack(names, tuple(op.weight for _, op in layers), tuple(op.bias for _, op in layers))


def _reshapes(node: Node) -> bool:
    return isinstance(node.op, Fixed) and node.op.name.startswith("shape")
