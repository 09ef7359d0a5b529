"""Which channels of a network go together: what has to go all over the network when a neuron or a filter goes.

The module is traced by torch.fx, and every channel is followed through the layers that keep channels apart. A residual
sum couples the channels it adds, a normalisation goes with the channel it scales, the columns of the next layer go with
the rows of the one before. What is not known here keeps its channels.
"""

import re
from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np
import torch
import torch.fx
from torch import nn
from torch.fx.passes.shape_prop import ShapeProp

from .coupling import Channels, Coupling, Labels
from .observation import CONVOLUTIONS
from .running import Inputs, batches, evaluating

TRANSPOSED = nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
PASSING_MODULES = tuple(f"torch.nn.modules.{name}" for name in ("activation", "dropout", "pooling", "padding"))
MIXING = nn.MultiheadAttention | nn.Softmax | nn.LogSoftmax | nn.Softmin | nn.Softmax2d | nn.GLU | nn.PReLU
PASSING = {
    *(
        "relu",
        "relu6",
        "leaky_relu",
        "elu",
        "selu",
        "celu",
        "gelu",
        "silu",
        "mish",
        "hardswish",
        "hardtanh",
        "softplus",
    ),
    *("sigmoid", "hardsigmoid", "tanh", "dropout", "dropout2d", "contiguous", "clone", "float", "neg", "abs"),
    *(f"{kind}_pool{k}d" for kind in ("max", "avg", "adaptive_avg", "adaptive_max") for k in (1, 2, 3)),
}
SUMS = {"add", "sub", "mul", "iadd", "isub", "imul", "truediv"}
SHAPES = {"flatten", "view", "reshape", "squeeze"}
ASKING = {"size", "dim", "getattr"}
Flow = tuple[Labels, int]
"""The channels of a tensor and the axis along which they lie."""


def channels(model: nn.Module, example: Inputs) -> Channels:
    """The channels of a module on inputs of the form of `example`, of which two samples are run.

    ValueError where torch.fx cannot trace the module.
    """
    with evaluating(model), torch.no_grad():
        try:
            traced = torch.fx.symbolic_trace(model)
        except Exception as error:  # whatever the code of the network raises when it is run on a proxy
            raise ValueError(
                f"a network must be traceable by torch.fx to have its channels pruned: {error}."
            ) from error
        sample = next(iter(batches(example, 2)))
        given = sample.values() if isinstance(sample, Mapping) else sample if isinstance(sample, tuple) else (sample,)
        ShapeProp(traced).propagate(*given)
    walk = _Walk(traced, {name for name, _ in model.named_parameters()})
    for node in traced.graph.nodes:
        walk.visit(node)
    used_apart = {str(node.target) for node in traced.graph.nodes if node.op == "get_attr"}
    return walk.coupling.channels(used_apart | tied(model))


def tied(model: nn.Module) -> set[str]:
    """The names of parameters that have several."""
    names: dict[int, list[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    return {name for several in names.values() if len(several) > 1 for name in several}


class _Walk:
    """One pass over the traced nodes; a rule returns the channels of the node, or None where they must stay."""

    def __init__(self, module: torch.fx.GraphModule, parameters: set[str]) -> None:
        self.module, self.parameters = module, parameters
        self.coupling = Coupling()
        self.flows: dict[torch.fx.Node, Flow] = {}

    def visit(self, node: torch.fx.Node) -> None:
        sources = [source for source in node.all_input_nodes if self.shape(source)]
        name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "").strip("_")
        flow = None
        if node.op == "call_module" and len(sources) == 1:
            flow = self.layer(node, sources[0], self.module.get_submodule(str(node.target)))
        elif node.op in ("call_function", "call_method"):
            flow = self.function(node, sources, name)
        if flow is not None and self.shape(node)[flow[1] : flow[1] + 1] == flow[0].shape:
            self.flows[node] = flow
        elif name not in ASKING:
            for source in sources:
                self.coupling.stay(self.flows.get(source, (np.zeros(0, np.int64), 0))[0])

    def shape(self, node: torch.fx.Node) -> tuple[int, ...]:
        return tuple(getattr(node.meta.get("tensor_meta"), "shape", ()))

    def argument(self, node: torch.fx.Node, name: str, default: Any) -> Any:
        """What a function is given after its input, by name or by position."""
        return node.kwargs.get(name, node.args[1] if len(node.args) > 1 else default)

    def along(self, node: torch.fx.Node, axis: int) -> Labels:
        """The channels of a node along `axis`; those along another axis must stay."""
        stay = np.zeros(self.shape(node)[axis], np.int64)
        labels, own = self.flows.get(node, (stay, axis))
        if own == axis:
            return labels
        self.coupling.stay(labels)
        return stay

    def layer(self, node: torch.fx.Node, source: torch.fx.Node, layer: Any) -> Flow | None:
        name, last = str(node.target), len(self.shape(source)) - 1
        if isinstance(layer, nn.Flatten):
            return self.reshaped(node, source)
        if isinstance(layer, nn.Identity) or type(layer).__module__ in PASSING_MODULES:
            return None if isinstance(layer, MIXING) else self.passed(source, type(layer).__name__)
        if isinstance(layer, nn.modules.batchnorm._BatchNorm):
            return self.scaled(name, [*layer.named_parameters(), *layer.named_buffers()], self.along(source, 1))
        if f"{name}.weight" not in self.parameters:
            return None
        if isinstance(layer, nn.Linear):
            return self.affine(name, layer, self.along(source, last), 1, 0), last
        if isinstance(layer, CONVOLUTIONS | TRANSPOSED) and layer.groups == 1:
            before, after = (0, 1) if isinstance(layer, TRANSPOSED) else (1, 0)
            return self.affine(name, layer, self.along(source, 1), before, after), 1
        if isinstance(layer, CONVOLUTIONS) and layer.groups == layer.in_channels == layer.out_channels:
            return self.scaled(name, list(layer.named_parameters()), self.along(source, 1))
        return None

    def scaled(self, name: str, tensors: list[tuple[str, torch.Tensor]], labels: Labels) -> Flow:
        """A layer that treats each channel by itself."""
        for leaf, tensor in tensors:
            if tensor.ndim:
                self.coupling.at(f"{name}.{leaf}", 0, labels)
        return labels, 1

    def affine(self, name: str, layer: Any, entering: Labels, before: int, after: int) -> Labels:
        """A layer that reads all its inputs: columns along axis `before` of its weight, rows along `after`."""
        self.coupling.at(f"{name}.weight", before, entering)
        self.coupling.reads.add((f"{name}.weight", before))
        leaving = self.coupling.at(f"{name}.weight", after, self.coupling.fresh(layer.weight.shape[after]))
        if layer.bias is not None:
            self.coupling.at(f"{name}.bias", 0, leaving)
        return leaving

    def passed(self, source: torch.fx.Node, name: str) -> Flow | None:
        """Entry by entry, or by pixels, of which 2d has two axes: not where these reach the channels."""
        spatial = re.search(r"(\d)d$", name)
        flow = self.flows.get(source)
        inside = flow is not None and flow[1] < len(self.shape(source)) - (int(spatial[1]) if spatial else 0)
        return flow if inside else None

    def function(self, node: torch.fx.Node, sources: list[torch.fx.Node], name: str) -> Flow | None:
        rules: dict[str, Callable[..., Flow | None]] = {
            **dict.fromkeys(SHAPES, self.reshaped),
            **{"pad": self.padded, "mean": self.averaged, "getitem": self.sliced},
        }
        if name in SUMS:
            return self.summed(node, sources)
        if name in ("cat", "concat"):
            return self.concatenated(node, sources)
        if len(sources) != 1 or sources[0] not in self.flows:
            return None
        if name in PASSING:
            return self.passed(sources[0], name)
        return rules[name](node, sources[0]) if name in rules else None

    def summed(self, node: torch.fx.Node, sources: list[torch.fx.Node]) -> Flow | None:
        """Channels that are added or multiplied entry by entry go together."""
        axis = next((self.flows[s][1] for s in sources if s in self.flows), 0)
        shape = self.shape(node)
        if not axis or any(self.shape(s)[axis:][:1] != shape[axis:][:1] for s in sources):
            return None
        if any(len(self.shape(s)) != len(shape) for s in sources):
            return None
        first, *rest = [self.along(s, axis) for s in sources]
        for other in rest:
            self.coupling.together(first, other)
        return first, axis

    def concatenated(self, node: torch.fx.Node, sources: list[torch.fx.Node]) -> Flow | None:
        axis, parts = self.argument(node, "dim", 0) % len(self.shape(node)), node.args[0]
        if not axis or not isinstance(parts, list | tuple):
            return None
        return np.concatenate([self.along(part, axis) for part in parts if isinstance(part, torch.fx.Node)]), axis

    def reshaped(self, node: torch.fx.Node, source: torch.fx.Node) -> Flow | None:
        """Pixels of a channel that become features go with it; not where the code has their number."""
        sizes = node.args[1:] if str(node.target) in ("view", "reshape") or node.target is torch.reshape else ()
        listed = [a for size in sizes for a in (size if isinstance(size, tuple | list) else (size,))]
        counted = any(isinstance(a, int) and a > 1 for a in listed)
        if source not in self.flows or counted:
            return None
        (labels, axis), before, after = self.flows[source], self.shape(source), self.shape(node)
        if axis == 1 and len(after) == 2 and after[0] == before[0]:
            return np.repeat(labels, prod(before[2:])), 1
        if before[: axis + 1] == after[: axis + 1]:
            return labels, axis
        return (labels, len(after) - 1) if axis == len(before) - 1 and after[-1:] == before[-1:] else None

    def padded(self, node: torch.fx.Node, source: torch.fx.Node) -> Flow:
        """Channels of zeros beside the others can be zeroed with what they meet, but the code has their number."""
        labels, axis = self.flows[source]
        pads = self.argument(node, "pad", ())
        around = [(0, 0)] * (len(self.shape(source)) - len(pads) // 2) + [*zip(pads[-2::-2], pads[::-2], strict=True)]
        before, after = (self.coupling.fresh(int(n)) for n in around[axis])
        self.coupling.rigid += [*before.tolist(), *after.tolist()]
        return np.concatenate([before, labels, after]), axis

    def averaged(self, node: torch.fx.Node, source: torch.fx.Node) -> Flow | None:
        labels, axis = self.flows[source]
        wanted = self.argument(node, "dim", None)
        ndim = len(self.shape(source))
        axes = {int(a) % ndim for a in ((wanted,) if isinstance(wanted, int) else wanted or range(ndim))}
        before = 0 if len(self.shape(node)) == ndim else sum(a < axis for a in axes)
        return None if axis in axes else (labels, axis - before)

    def sliced(self, node: torch.fx.Node, source: torch.fx.Node) -> Flow | None:
        (labels, axis), at = self.flows[source], self.argument(node, "index", ())
        whole = isinstance(at, tuple) and all(isinstance(a, slice) for a in at)
        return (labels, axis) if whole and (axis >= len(at) or at[axis] == slice(None)) else None
