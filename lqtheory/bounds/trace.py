"""From a torch module to the graph that the bounds walk: the one module of the bounds that knows torch.

The module is traced by torch.fx on an example input, batch norms in eval mode are folded into the layer before them,
and everything becomes float64. Only layers with a certified operator norm are let in.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property, partial
from math import prod
from typing import Any, NoReturn

import numpy as np
import torch
import torch.fx
from torch import nn
from torch.fx.node import map_arg

from .convolution import average_pool_norm, fold_batch_norm, max_pool_lipschitz, per_axis
from .graph import Graph, Node
from .layers import RELU, SIGMOID, TANH
from .nodes import Add, Affine, Concat, Fixed, Op, Pointwise
from .rounding import up

REMAINING = "the per-layer part of tier C and tier G still work for this model"
POINTWISE = {"relu": RELU, "tanh": TANH, "sigmoid": SIGMOID}
NOTHING = ("dropout", "identity", "contiguous", "clone", "dropout1d", "dropout2d", "alpha_dropout", "dropout3d")
NUMBERS = ("_parameters", "_buffers", "_modules", "training")  # where a module keeps what is not settings
SHAPES = ("flatten", "unflatten", "view", "reshape", "squeeze", "unsqueeze")


def trace(module: nn.Module, example: torch.Tensor) -> Graph:
    """The graph of a module in eval mode, in float64; `example` is a batch of inputs of the shape that is meant.

    Raises ValueError for a layer without a certified operator norm, and names it.
    """
    return Traced.of(module, example).graph


@dataclass(frozen=True, eq=False)
class Traced:
    """A copy of a module, in eval mode and in float64, with the value of every node that torch.fx finds in it."""

    module: nn.Module
    example: torch.Tensor
    values: Mapping[torch.fx.Node, Any]

    @classmethod
    def of(cls, module: nn.Module, example: torch.Tensor) -> "Traced":
        """Of a module on an example; ValueError where torch.fx cannot trace it."""
        if torch.fx.Tracer().is_leaf_module(module, ""):  # else its inside would be traced
            module = nn.Sequential(module)
        try:
            copy = deepcopy(module).to("cpu", torch.float64).eval()
            graph = torch.fx.Tracer().trace(copy)  # no GraphModule: its code is never run
            run = torch.fx.Interpreter(copy, garbage_collect_values=False, graph=graph)
            with torch.no_grad():
                run.run(example.to("cpu", torch.float64))
        except Exception as error:  # whatever the code of a network may do when it is given what stands for a tensor
            fault = str(error).strip().split("\n")[0].rstrip(".")
            raise ValueError(f"a network must be traceable by torch.fx, got {fault}; {REMAINING}.") from error
        return cls(copy, example, run.env)

    @cached_property
    def graph(self) -> Graph:
        """Its graph; ValueError as `trace` has it."""
        return _Translation(self.module, self.values, len(self.example)).graph()

    def like(self, module: nn.Module) -> Graph:
        """The graph of another module, which need not be traced where it can differ in numbers only."""
        if alike(self.module, module):
            return _Translation(module, self.values, len(self.example)).graph()
        return trace(module, self.example)


def alike(one: nn.Module, other: nn.Module) -> bool:
    """Whether both are the same layers of torch, whose code is known, with the same settings and other numbers."""
    try:
        return _settings(one) == _settings(other)
    except (RuntimeError, ValueError):  # a setting that is an array has no truth value
        return False


def _settings(module: nn.Module) -> list[tuple]:
    """All that decides what layers of torch do but numbers; what equals nothing where there is other code."""
    found = []
    for name, layer in module.named_modules():
        tensors = {**layer._parameters, **layer._buffers}
        shapes = {key: tensor is not None and tensor.shape for key, tensor in tensors.items()}
        rest = {key: value for key, value in vars(layer).items() if key not in NUMBERS}
        known = type(layer).__module__.startswith("torch.nn.")
        found.append((name, type(layer) if known else object(), shapes, rest))
    return found


class _Translation:
    """One pass over the traced nodes, in their order; those that are not tensors are known by their values."""

    def __init__(self, module: nn.Module, values: Mapping[torch.fx.Node, Any], samples: int) -> None:
        self.module, self.values, self.samples = module, values, samples
        self.nodes: list[Node] = []
        self.place: dict[torch.fx.Node, int] = {}

    def graph(self) -> Graph:
        for node in self.values:
            if node.op == "placeholder":
                if self.place:
                    raise ValueError(f"a network must have one input, got a second one, {node.name}.")
                self.place[node] = -1
            elif node.op == "output":
                (out,) = node.all_input_nodes
                if self.place[out] != len(self.nodes) - 1:
                    self.add(node, Fixed("identity", np.asarray), out)
            elif isinstance(self.values[node], torch.Tensor) and node.op != "get_attr":
                self.translate(node)
        return Graph(tuple(self.nodes))

    def translate(self, node: torch.fx.Node) -> None:
        if node.op == "call_module":
            self.layer(node, self.module.get_submodule(str(node.target)))
        else:
            name = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
            self.function(node, name.strip("_"))

    def layer(self, node: torch.fx.Node, layer: nn.Module) -> None:
        (source,) = node.all_input_nodes
        kind = type(layer).__name__.lower()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d):
            self.add(node, self.affine(node, layer), source)
        elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
            self.batch_norm(node, layer, source)
        elif kind in POINTWISE:
            self.add(node, Pointwise(POINTWISE[kind]), source)
        elif kind in NOTHING:
            self.place[node] = self.place[source]
        elif kind in ("flatten", "unflatten"):
            self.moved(node, source)
        elif kind.startswith(("avgpool", "maxpool", "adaptiveavgpool")):
            self.pool(node, source, kind, vars(layer))
        else:
            self.refuse(node, type(layer).__name__)

    def function(self, node: torch.fx.Node, name: str) -> None:
        args, sources = self.resolved(node.args), [s for s in node.all_input_nodes if s in self.place]
        kwargs = {key: self.resolved(value) for key, value in node.kwargs.items()}
        both = all(isinstance(self.values[s], torch.Tensor) for s in node.all_input_nodes)
        if name in POINTWISE:
            self.add(node, Pointwise(POINTWISE[name]), *sources)
        elif name in ("add", "iadd") and both and len(node.args) == 2 and not kwargs:
            terms = [a for a in node.args if isinstance(a, torch.fx.Node)]
            shapes = {self.values[term].shape for term in (*terms, node)}
            if len(terms) < 2 or len(shapes) > 1:
                self.refuse(node, "a sum that broadcasts or has a constant in it")
            self.add(node, Add(), *terms)
        elif name in ("cat", "concat") and len(sources):
            axis = int(kwargs.get("dim", args[1] if len(args) > 1 else 0)) % self.values[node].ndim
            if axis == 0:
                self.refuse(node, "concatenation of samples")
            parts: Any = node.args[0]
            self.add(node, Concat(axis), *parts)
        elif name in NOTHING:
            self.place[node] = self.place[sources[0]]
        elif name in SHAPES:
            self.moved(node, sources[0])
        elif name == "getitem" and isinstance(args[1], tuple) and all(isinstance(a, slice) for a in args[1]):
            self.fixed(node, sources[0], f"slice {args[1]}", lambda h, at=args[1]: h[at])
        elif name == "pad" and _zero_padding(args, kwargs):
            pads = list(kwargs.get("pad", args[1] if len(args) > 1 else ()))
            around = [(0, 0)] * (self.values[node].ndim - len(pads) // 2)
            around += [(a, b) for a, b in zip(pads[-2::-2], pads[::-2], strict=True)]
            if any(min(pair) < 0 for pair in around) or around[0] != (0, 0):
                self.refuse(node, "padding that is negative or adds samples")
            self.fixed(node, sources[0], f"pad {around}", partial(np.pad, pad_width=around))
        elif name == "mean":
            self.mean(node, sources[0], args, kwargs)
        elif any(word in name for word in ("avg_pool", "max_pool")):
            names = ("input", "kernel_size", "stride", "padding")
            settings = {**dict(zip(names, args, strict=False)), **kwargs}
            if "adaptive" in name:
                settings["output_size"] = settings.pop("kernel_size", None)
            self.pool(node, sources[0], name.replace("_", ""), settings)
        else:
            self.refuse(node, name)

    def resolved(self, argument: Any) -> Any:
        """An argument with every traced number replaced by its value."""
        return map_arg(argument, lambda n: n if n in self.place else self.values[n])

    def add(self, node: torch.fx.Node, op: Op, *sources: torch.fx.Node) -> None:
        self.nodes.append(Node(str(node.target) if node.op == "call_module" else node.name, op, self.at(sources)))
        self.place[node] = len(self.nodes) - 1

    def at(self, sources: tuple[torch.fx.Node, ...]) -> tuple[int, ...]:
        return tuple(self.place[source] for source in sources)

    def affine(self, node: torch.fx.Node, layer: Any) -> Affine:
        weight = _numbers(layer.weight)
        bias = np.zeros(len(weight)) if layer.bias is None else _numbers(layer.bias)
        if isinstance(layer, nn.Linear):
            return Affine(weight, bias)
        if layer.padding_mode != "zeros":
            self.refuse(node, f"a convolution with padding_mode={layer.padding_mode!r}")
        padding = layer.padding
        if isinstance(padding, str):
            total = [e * (k - 1) for e, k in zip(layer.dilation, layer.kernel_size, strict=True)]
            if padding == "same" and any(t % 2 for t in total):
                self.refuse(node, "a convolution with padding='same' that is not symmetric")
            padding = tuple(t // 2 if padding == "same" else 0 for t in total)
        return Affine(weight, bias, layer.stride, padding, layer.dilation, layer.groups)

    def batch_norm(self, node: torch.fx.Node, norm: Any, source: torch.fx.Node) -> None:
        if norm.running_mean is None or norm.running_var is None:
            self.refuse(node, "a batch norm without running statistics")
        size = norm.num_features
        mean, var = _numbers(norm.running_mean), _numbers(norm.running_var)
        gamma = _numbers(norm.weight) if norm.affine else np.ones(size)
        beta = _numbers(norm.bias) if norm.affine else np.zeros(size)
        before = self.nodes[self.place[source]] if self.place[source] >= 0 else None
        if before is not None and isinstance(before.op, Affine) and len(source.users) == 1:
            op = before.op
            weight, bias = fold_batch_norm(op.weight, op.bias, gamma, beta, mean, var, norm.eps)
            folded = Affine(weight, bias, op.stride, op.padding, op.dilation, op.groups)
            self.nodes[self.place[source]] = Node(before.name, folded, before.inputs)
            self.place[node] = self.place[source]
            return
        axes = self.values[node].ndim - 2
        ones = np.ones((size, 1, *[1] * axes)) if axes else np.eye(size)
        weight, bias = fold_batch_norm(ones, np.zeros(size), gamma, beta, mean, var, norm.eps)
        one = (1,) * axes
        self.add(node, Affine(weight, bias, one, (0,) * axes, one, size if axes else 1), source)

    def moved(self, node: torch.fx.Node, source: torch.fx.Node) -> None:
        shape = tuple(self.values[node].shape)
        if shape[0] != self.samples:
            self.refuse(node, "a change of shape that mixes samples")
        self.fixed(node, source, f"shape {shape[1:]}", lambda h: h.reshape(len(h), *shape[1:]))

    def fixed(self, node: torch.fx.Node, source: torch.fx.Node, name: str, function: Callable) -> None:
        self.add(node, Fixed(name, function), source)

    def mean(self, node: torch.fx.Node, source: torch.fx.Node, args: Any, kwargs: dict) -> None:
        before = self.values[source]
        axis = kwargs.get("dim", args[1] if len(args) > 1 else None)
        axes = tuple(a % before.ndim for a in ((axis,) if isinstance(axis, int) else tuple(axis or ())))
        if not axes or 0 in axes:
            self.refuse(node, "a mean over samples")
        keep = self.values[node].ndim == before.ndim
        cells = prod(before.shape[a] for a in axes)
        norm = up(cells**-0.5, 4)
        self.add(node, Fixed(f"mean {axes}", partial(np.mean, axis=axes, keepdims=keep), norm, cells + 8, norm), source)

    def pool(self, node: torch.fx.Node, source: torch.fx.Node, kind: str, settings: dict) -> None:
        shape = self.values[source].shape[2:]
        axes = len(shape)
        if "adaptive" in kind:
            out = self.values[node].shape[2:]
            if any(a % b for a, b in zip(shape, out, strict=True)):
                self.refuse(node, "adaptive pooling into windows of unequal size")
            size = tuple(a // b for a, b in zip(shape, out, strict=True))
            settings = {"kernel_size": size}
        size = per_axis(settings["kernel_size"], axes, "kernel_size")
        step = per_axis(settings.get("stride") or size, axes, "stride")
        plain = not any(np.atleast_1d(settings.get("padding", 0))) and not settings.get("ceil_mode")
        spread = settings.get("dilation", 1)
        if not plain or settings.get("divisor_override") or any(e != 1 for e in np.atleast_1d(spread)):
            self.refuse(node, "pooling with padding, ceil_mode, dilation or divisor_override")
        if "max" in kind:
            op = Fixed(
                f"max {size} {step}", partial(_pooled, np.max, size, step), max_pool_lipschitz(size, step, 1, axes)
            )
        else:
            norm = average_pool_norm(size, step, axes)
            op = Fixed(f"average {size} {step}", partial(_pooled, np.mean, size, step), norm, prod(size) + 8, norm)
        self.add(node, op, source)

    def refuse(self, node: torch.fx.Node, what: str) -> NoReturn:
        name = node.target if node.op == "call_module" else node.name
        raise ValueError(f"every layer must have a certified operator norm, got {what} at {name}; {REMAINING}.")


def _numbers(tensor: torch.Tensor) -> np.ndarray:
    """A copy in float64: what becomes of the module later is none of the graph's business."""
    return tensor.detach().to("cpu", torch.float64, copy=True).numpy()


def _pooled(reduce: Callable, size: tuple[int, ...], step: tuple[int, ...], h: np.ndarray) -> np.ndarray:
    axes = tuple(range(2, h.ndim))
    views = np.lib.stride_tricks.sliding_window_view(h, size, axis=axes)
    views = views[(slice(None), slice(None), *(slice(None, None, s) for s in step))]
    return reduce(views, axis=tuple(range(h.ndim, views.ndim)))


def _zero_padding(args: Any, kwargs: dict) -> bool:
    mode = kwargs.get("mode", args[2] if len(args) > 2 else "constant")
    value = kwargs.get("value", args[3] if len(args) > 3 else 0)
    return mode == "constant" and not value
