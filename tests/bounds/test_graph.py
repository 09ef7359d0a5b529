"""Theorem 31: random convolutional and residual networks without a violation, ties to the stack, tight cases."""

from collections import OrderedDict
from copy import deepcopy

import numpy as np
import pytest
import torch
from drawn import case, errors, masked
from hypothesis import given, settings, strategies as st

from lqtheory.bounds import IDENTITY, RELU, Linear, second_moments, tier_b, tier_c
from lqtheory.bounds.graph import Graph, Node, graph_per_input, graph_tier_b, graph_tier_c, observe
from lqtheory.bounds.nodes import Add, Affine, Concat, Pointwise
from lqtheory.bounds.trace import trace


def check(rms, dense, pruned, x):
    graphs = trace(dense, x), trace(pruned, x)
    inputs, observed = x.numpy(), errors(dense, pruned, x)
    seen = observe(graphs[0], inputs)
    b, c = graph_tier_b(*graphs, seen[-1].radius, inputs.shape[1:]), graph_tier_c(*graphs, seen)
    each = graph_per_input(*graphs, inputs)
    assert not b.violated(rms(observed)), (b, rms(observed))
    assert not c.violated(rms(observed)), (c, rms(observed))
    assert c.value <= b.value
    assert all(norm <= most for norm, most in zip(map(np.linalg.norm, observed), each, strict=True))
    grouped = any(isinstance(node.op, Affine) and node.op.groups > 1 for node in graphs[0].nodes)
    # of groups of channels tier C allows for the rounding of each, a single input for that of the whole layer
    rounding = rms(graph_per_input(graphs[0], graphs[0], inputs)[:, None]) if grouped else 0.0
    assert rms(each[:, None]) <= c.value * (1 + 1e-9) + rounding
    return b, c, each, rms(observed)


def test_no_violation_on_250_random_networks_with_four_masks_each(rms):
    for seed in range(250):
        dense, pruned, x = case(seed)
        check(rms, dense, pruned, x)
        graph, inputs, generator = trace(dense, x), x.numpy(), np.random.default_rng(seed)
        seen = observe(graph, inputs)
        for _ in range(3):
            hat = masked(graph, generator)
            bound = graph_tier_c(graph, hat, seen)
            assert not bound.violated(rms(graph(inputs) - hat(inputs)))


@pytest.mark.parametrize("seed", [21296, 62994])
def test_a_group_of_channels_that_sees_nothing(rms, seed):
    check(rms, *case(seed))


@pytest.mark.slow
@pytest.mark.parametrize("block", range(100))
def test_no_violation_on_100000_random_networks(rms, block):
    for seed in range(10_000 + 1000 * block, 11_000 + 1000 * block):
        check(rms, *case(seed))


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30)
def test_holds_for_any_second_network(seed, rms):
    dense, _, x = case(seed)
    other, generator = deepcopy(dense), np.random.default_rng(seed)
    with torch.no_grad():
        for p in other.parameters():
            p.add_(torch.from_numpy(generator.normal(size=tuple(p.shape)) * 0.1 * p.abs().max().item()))
    check(rms, dense, other, x)


@pytest.mark.parametrize("seed", range(5))
def test_graph_computes_what_the_module_does(seed):
    dense, _, x = case(seed)
    with torch.no_grad():
        np.testing.assert_allclose(trace(dense, x)(x.numpy()), dense(x).numpy(), rtol=1e-11, atol=1e-300)


@given(seed=st.integers(0, 10**6))
@settings(max_examples=40)
def test_a_stack_through_the_graph_is_the_stack(seed, random_case, tolerance):
    layers, pruned, x = random_case(seed)
    x = np.concatenate([x, x])
    graphs = _stack(layers), _stack(pruned)
    seen = observe(graphs[0], x)
    b, c = tier_b(layers, pruned, seen[-1].radius), tier_c(layers, pruned, second_moments(layers, x))
    assert graph_tier_c(*graphs, seen).value == pytest.approx(c.value, rel=1e-6, abs=1e-10 * scale(layers, x))
    assert graph_tier_b(*graphs, seen[-1].radius, x.shape[1:]).value == pytest.approx(
        b.value, rel=1e-6, abs=1e-10 * scale(layers, x)
    )


def scale(layers, x):
    """Where agreement means anything: rounding is charged for the activation in the stack, apart in the graph."""
    return np.prod([layer.frobenius for layer in layers]) * np.abs(x).max() + 1 + sum(la.bias_norm for la in layers)


def _stack(layers):
    nodes = []
    for layer in layers:
        nodes.append(Node("w", Affine(layer.weight, layer.offset), (len(nodes) - 1,)))
        nodes.append(Node("a", Pointwise(layer.activation), (len(nodes) - 1,)))
    return Graph(tuple(nodes))


def test_one_convolution_is_exact_in_tier_c(rms, tolerance):
    torch.manual_seed(0)
    dense = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, 2, 1, groups=1)).double()
    pruned = deepcopy(dense)
    with torch.no_grad():
        pruned[0].weight[:, 1] = 0
    _, c, each, observed = check(rms, dense, pruned, torch.randn(9, 3, 8, 8, dtype=torch.float64))
    assert c.tightness(observed) < 1 + tolerance["inequality"]
    assert rms(each[:, None]) / observed < 1 + tolerance["inequality"]


def test_a_residual_sum_is_attained_when_both_paths_agree(rms, tolerance):
    """x + relu(2x) for x > 0: an error made before the block grows by 3, and by no less."""
    one = np.eye(1)
    nodes = lambda w: Graph(  # noqa: E731
        (
            Node("w", Affine(w, np.zeros(1)), (-1,)),
            Node("relu", Pointwise(RELU), (0,)),
            Node("two", Affine(2 * one, np.zeros(1)), (1,)),
            Node("relu2", Pointwise(RELU), (2,)),
            Node("sum", Add(), (1, 3)),
        )
    )
    dense, pruned, x = nodes(one), nodes(0 * one), np.array([[1.0], [2.0]])
    bound = graph_tier_c(dense, pruned, observe(dense, x))
    assert bound.tightness(rms(dense(x) - pruned(x))) < 1 + tolerance["inequality"]
    assert bound.gains[0] == pytest.approx(3)
    assert sum(bound.shares) == pytest.approx(1)


def test_concatenation_adds_squares(rms, tolerance):
    w = np.eye(2)
    both = lambda a, b: Graph(  # noqa: E731
        (
            Node("a", Affine(a, np.zeros(2)), (-1,)),
            Node("b", Affine(b, np.zeros(2)), (-1,)),
            Node("cat", Concat(), (0, 1)),
        )
    )
    dense, pruned, x = both(w, w), both(0 * w, 0 * w), np.array([[3.0, 4.0], [3.0, 4.0]])
    bound = graph_tier_c(dense, pruned, observe(dense, x))
    assert bound.value == pytest.approx(50**0.5)
    assert bound.tightness(rms(dense(x) - pruned(x))) < 1 + tolerance["inequality"]


@pytest.mark.parametrize(
    ("module", "shape", "name"),
    [
        (torch.nn.Sequential(OrderedDict(norm=torch.nn.LayerNorm(4))), (2, 4), "LayerNorm at norm"),
        (torch.nn.Sequential(OrderedDict(act=torch.nn.GELU())), (2, 4), "GELU at act"),
        (torch.nn.Sequential(torch.nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect")), (2, 1, 5, 5), "reflect"),
        (torch.nn.Sequential(torch.nn.MaxPool2d(2, padding=1)), (2, 1, 4, 4), "pooling with padding"),
        (torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(2)), (2, 1, 5, 5), "unequal size"),
    ],
)
def test_what_has_no_certified_norm_is_refused_by_name(module, shape, name):
    with pytest.raises(ValueError, match=name) as caught:
        trace(module, torch.zeros(shape))
    assert "tier G still work" in str(caught.value)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: Graph(()), "at least one node"),
        (lambda g: Graph((Node("w", g.nodes[0].op, (3,)),)), "earlier nodes"),
        (lambda g: observe(g, np.ones((1, 3))), "at least 2 samples"),
        (lambda g: graph_tier_b(g, _stack([Linear(np.ones((2, 4)), None, IDENTITY)]), 1.0, (3,)), "same layers"),
        (lambda g: graph_tier_b(g, g, -1.0, (3,)), "radius must be"),
        (lambda g: g(np.array([[np.nan] * 3])), "finite"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call(_stack([Linear(np.ones((2, 3)), None, IDENTITY)]))
