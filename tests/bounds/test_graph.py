"""Theorem 31: random convolutional and residual networks without a violation, ties to the stack, tight cases."""

from collections import OrderedDict
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from lqtheory.bounds import IDENTITY, RELU, Linear, second_moments, tier_b, tier_c
from lqtheory.bounds.graph import Graph, Node, graph_per_input, graph_tier_b, graph_tier_c, observe
from lqtheory.bounds.nodes import Add, Affine, Concat, Pointwise

torch = pytest.importorskip("torch")
trace = pytest.importorskip("lqtheory.bounds.trace").trace
F = torch.nn.functional


class Drawn(torch.nn.Module):
    """A convolution, then a residual, a shortcut or a branched block, pooling, and a linear layer."""

    def __init__(self, generator):
        super().__init__()
        pick = generator.integers
        c, wide = 2 * int(pick(1, 3)), 2 * int(pick(1, 3))
        self.kind, self.pool = int(pick(4)), int(pick(4))
        size, groups, dilation, stride = int(pick(0, 2)) * 2 + 1, int(pick(1, 3)), int(pick(1, 3)), int(pick(1, 3))
        self.first = torch.nn.Conv2d(2, c, 3, int(pick(1, 3)), int(pick(2)), bias=bool(pick(2)))
        self.norm = torch.nn.BatchNorm2d(c) if pick(2) else torch.nn.Identity()
        self.left = torch.nn.Conv2d(c, wide, size, 1, dilation * (size - 1) // 2, dilation, groups)
        self.right = torch.nn.Conv2d(wide, c, 3, 1, 1)
        self.down = torch.nn.Conv2d(c, 2 * c, 3, 2, 1, bias=False)
        self.after = torch.nn.BatchNorm2d(2 * c)
        self.one = torch.nn.Conv2d(c, wide, 1, stride)
        self.three = torch.nn.Conv2d(c, 2, 3, stride, 1)
        self.drop = torch.nn.Dropout(0.5)
        self.act = [torch.relu, torch.tanh, torch.sigmoid][int(pick(3))] if pick(3) == 0 else torch.relu
        channels = {0: c, 1: 2 * c, 2: wide + 2, 3: c}[self.kind]
        self.head = torch.nn.Linear(channels, 3)

    def forward(self, x):
        x = F.relu(self.norm(self.first(x)))
        if self.kind == 0:
            x = F.relu(x + self.right(self.act(self.left(x))))
        if self.kind == 1:
            c = x.shape[1]
            x = F.relu(F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, c // 2, c // 2)) + self.after(self.down(x)))
        if self.kind == 2:
            x = torch.cat([self.act(self.one(x)), self.three(x)], dim=1)
        x = self.drop(x)
        if self.pool == 0:
            x = F.max_pool2d(x, 2, 1)
        if self.pool == 1:
            x = F.avg_pool2d(x, 2)
        return self.head(F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1) if self.pool else x.mean((2, 3)))


def case(seed):
    """A network, a pruned copy, inputs; weights from tiny to huge."""
    generator = np.random.default_rng(seed)
    torch.manual_seed(seed)
    while True:
        dense = _tractable(Drawn(generator).double().eval())
        if dense is not None:
            break
    scale = 10.0 ** generator.choice([0, 0, 0, -3, 3, -100])
    with torch.no_grad():
        for module in dense.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.normal_()
                module.running_var.uniform_(0.3, 3)
                module.weight.normal_()
                module.bias.normal_()
            elif isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
                module.weight.copy_(torch.from_numpy(generator.standard_t(3, module.weight.shape)) * scale)
    pruned = deepcopy(dense)
    share = generator.random()
    with torch.no_grad():
        for p in pruned.parameters():
            if p.ndim > 1:
                mask = generator.random(p.shape) >= share
                p.mul_(
                    torch.from_numpy(mask if generator.random() < 0.5 else p.abs().numpy() > p.abs().median().item())
                )
    x = generator.normal(size=(int(generator.integers(2, 5)), 2, 7, 7)) * 10.0 ** generator.choice([0, 0, 2, -100])
    return dense, pruned, torch.from_numpy(x)


def _tractable(network):
    try:
        network(torch.zeros(2, 2, 7, 7, dtype=torch.float64))
    except RuntimeError:  # shapes that do not fit together
        return None
    return network


def errors(dense, pruned, x):
    with torch.no_grad():
        return (dense(x) - pruned(x)).flatten(1).numpy()


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
    assert rms(each[:, None]) <= c.value * (1 + 1e-9)
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


def masked(graph, generator):
    """A copy of a graph with random weights of random layers dropped."""
    nodes, share = [], generator.random()
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Affine) and generator.random() < 0.7:
            weight = np.where(generator.random(op.weight.shape) < share, 0.0, op.weight)
            op = replace(op, weight=weight)
        nodes.append(Node(node.name, op, node.inputs))
    return Graph(tuple(nodes))


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
