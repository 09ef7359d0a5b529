"""Dense networks with all that is computed once for any number of pruned ones, and the pruned ones.

Three kinds, by what is known of them: a stack of linear layers, any graph that torch.fx can trace, any module.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float64
from torch import nn

from .. import evaluate
from ..bounds import IDENTITY, RELU, Linear, Moments, second_moments
from ..bounds.graph import Graph, Observed, check_graphs, observe
from ..bounds.network import check_pair
from ..bounds.trace import Traced
from ..evaluate import LinearStack, Sample
from ..pruning import Layer
from ..pruning.masks import keeps_largest
from ..pruning.observation import layers as scored, observe as sampled
from ..pruning.parts import prunable
from ..pruning.running import evaluating, first_tensor
from ..stacks import stack_in
from ..verification import Outcome

Masks = Mapping[str, Bool[np.ndarray, " out fan_in"]]
Network = Callable[[np.ndarray], Float64[np.ndarray, " n classes"]]
BATCH = 250


@dataclass(frozen=True, eq=False)
class Pruned:
    """A pruned network on the sample of the dense one; `kept` counts the weights of every neuron, where masks did."""

    network: Network
    outcome: Outcome
    kept: Mapping[str, list[int]] = field(default_factory=dict)

    @cached_property
    def linears(self) -> list[Linear]:
        """As the bounds take a stack."""
        assert isinstance(self.network, LinearStack)
        return linears_of(self.network)

    @property
    def graph(self) -> Graph:
        """As the bounds take any other network."""
        assert isinstance(self.network, Graph)
        return self.network


@dataclass(frozen=True, eq=False)
class Dense:
    """A stack of linear layers on a sample; `reason` says why a tier that it has not is not to be had."""

    network: LinearStack
    sample: Sample
    reason: str = "the layers of a stack are bounded within the whole, not by themselves."
    traced: Traced | None = None

    @cached_property
    def outcome(self) -> Outcome:
        """What it answers."""
        return Outcome.of(self.network, self.sample)

    @cached_property
    def layers(self) -> list[Layer]:
        """As scores take them."""
        return scored_layers(self.network, self.sample)

    @cached_property
    def linears(self) -> list[Linear]:
        """As the bounds take them."""
        return linears_of(self.network)

    @cached_property
    def moments(self) -> list[Moments]:
        """Of the inputs of all layers."""
        return second_moments(self.linears, self.sample.x)

    @property
    def parts(self) -> tuple[str, ...]:
        """What the shares of a bound belong to."""
        return self.network.names

    def masked(self, masks: Masks) -> Pruned:
        """The network without the weights outside the masks."""
        return self.pruned(self.network.masked(masks), counts(masks))

    def pruned(self, network: LinearStack, kept: Mapping[str, list[int]] | None = None) -> Pruned:
        """Another network with the same layers."""
        return Pruned(network, Outcome.of(network, self.sample), kept or {})

    def of_module(self, module: nn.Module) -> Pruned:
        """A module that is a stack of the same layers; ValueError for any other."""
        graph = self.traced.like(module) if self.traced else traced(module, self.sample.x).graph
        stack = stack_in(graph, self.sample.x.shape[1:])
        check_pair(self.linears, [] if stack is None else linears_of(stack))
        assert stack is not None
        return self.pruned(stack)

    def truncated(self, pruned: Pruned) -> bool:
        """Whether every neuron keeps its largest weights, all of them as they were, and its bias."""
        assert isinstance(pruned.network, LinearStack)
        before, after = self.network, pruned.network
        biases = zip(before.biases, after.biases, strict=True)
        return all(np.array_equal(a, b) for a, b in biases) and all(
            np.array_equal(np.where(v != 0, w, 0.0), v) and keeps_largest(w, v != 0)
            for w, v in zip(before.weights, after.weights, strict=True)
        )


@dataclass(frozen=True, eq=False)
class DenseModule:
    """Any module on a sample, in its own precision; `reason` says why it has no more tiers."""

    model: nn.Module
    sample: Sample
    reason: str = ""

    @cached_property
    def network(self) -> Network:
        """As it answers."""
        return Running(self.model)

    @cached_property
    def outcome(self) -> Outcome:
        """What it answers."""
        return Outcome.of(self.network, self.sample)

    @cached_property
    def layers(self) -> list[Layer]:
        """As scores take them."""
        parts = prunable(self.model)
        return scored(parts, sampled(self.model, parts, tensor(self.sample.x, self.model)))

    @property
    def parts(self) -> tuple[str, ...]:
        """What the shares of a bound belong to: no bound here has any."""
        return ()

    def masked(self, masks: Masks) -> Pruned:
        """The network without the weights outside the masks."""
        return self.pruned(Running(masked_module(self.model, masks)), counts(masks))

    def pruned(self, network: Network, kept: Mapping[str, list[int]] | None = None) -> Pruned:
        """Another network for the same inputs."""
        return Pruned(network, Outcome.of(network, self.sample), kept or {})

    def of_module(self, module: nn.Module) -> Pruned:
        """Any module for the same inputs."""
        return self.pruned(Running(module))


@dataclass(frozen=True, eq=False)
class DenseGraph(DenseModule):
    """A module that torch.fx can trace and whose layers all have a certified norm, in float64."""

    traced: Traced = field(kw_only=True)

    @property
    def graph(self) -> Graph:
        """As the bounds take it: batch norms folded, in float64."""
        return self.traced.graph

    @property
    def network(self) -> Network:
        """Evaluated as the bounds take it."""
        return self.graph

    @cached_property
    def seen(self) -> list[Observed]:
        """What the dense pass leaves of each node."""
        return observe(self.graph, self.sample.x)

    @property
    def parts(self) -> tuple[str, ...]:
        """What the shares of a bound belong to."""
        return (*self.graph.layers, "rounding elsewhere")

    def masked(self, masks: Masks) -> Pruned:
        """The network without the weights outside the masks."""
        named = {name.rpartition(".")[0]: mask for name, mask in masks.items()}
        return self.pruned(self.graph.masked(named), counts(masks))

    def of_module(self, module: nn.Module) -> Pruned:
        """A module with the same graph; ValueError for any other."""
        graph = self.traced.like(module)
        check_graphs(self.graph, graph)
        return self.pruned(graph)


def dense_of(model: nn.Module, sample: Sample) -> Dense | DenseModule:
    """The module as the kind of which most is known: a stack, a graph, or any module."""
    try:
        found = traced(model, sample.x)
        stack = None if folded(model) else stack_in(found.graph, sample.x.shape[1:])
    except ValueError as error:
        return DenseModule(model, sample, str(error))
    if stack is None:
        reason = f"tiers A, E, F and H are for stacks of linear layers with ReLU, got {type(model).__name__}."
        return DenseGraph(model, sample, reason, traced=found)
    flat = sample.x.reshape(len(sample.y), -1).astype(np.float64)
    return Dense(stack, replace(sample, x=flat), traced=found)


def folded(model: nn.Module) -> bool:
    """Whether the graph has other weights than the module."""
    return any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())


def traced(model: nn.Module, x: np.ndarray) -> Traced:
    """The module, seen on two inputs."""
    return Traced.of(model, torch.from_numpy(np.asarray(x[:2], dtype=np.float64)))


@dataclass(frozen=True, eq=False)
class Running:
    """A module as a function of arrays, in its own precision and in evaluation mode."""

    model: nn.Module

    def __call__(self, x: np.ndarray) -> Float64[np.ndarray, " n classes"]:
        with evaluating(self.model), torch.inference_mode():
            found = [first_tensor(self.model(part)) for part in tensor(x, self.model).split(BATCH)]
        return torch.cat(found).flatten(1).to("cpu", torch.float64).numpy()


def tensor(x: np.ndarray, model: nn.Module) -> torch.Tensor:
    """Inputs as the module takes them: numbers in its precision, token numbers as they are."""
    like = next((p for p in model.parameters() if p.is_floating_point()), torch.zeros(0))
    found = torch.from_numpy(np.ascontiguousarray(x)).to(like.device)
    return found.to(like.dtype) if found.is_floating_point() else found


def masked_module(model: nn.Module, masks: Masks) -> nn.Module:
    """A copy of the module without the weights outside the masks."""
    copy = deepcopy(model)
    for part in prunable(copy):
        if part.name in masks:
            part.masked(masks[part.name])
    return copy


def counts(masks: Masks) -> dict[str, list[int]]:
    """How many weights each neuron keeps."""
    return {name: mask.sum(axis=1).tolist() for name, mask in masks.items()}


def linears_of(stack: LinearStack) -> list[Linear]:
    """The stack as the bounds take it."""
    activations = [RELU] * (len(stack.weights) - 1) + [IDENTITY]
    return [Linear(*layer) for layer in zip(stack.weights, stack.biases, activations, strict=True)]


def scored_layers(stack: LinearStack, sample: Sample) -> list[Layer]:
    """The stack as scores take it, with the root mean square of each input."""
    norms = [evaluate.root_mean_square(h) for h in evaluate.activations(stack, sample.x)[:-1]]
    return [Layer(*layer) for layer in zip(stack.names, stack.weights, norms, strict=True)]
