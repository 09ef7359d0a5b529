"""Theorems 32 and 33: quadratic certificates never broken, and refused when they should be."""

from copy import deepcopy

import numpy as np
import pytest

from lqtheory.bounds.graph import graph_tier_c, observe
from lqtheory.bounds.quadratic import SLACK, Lattice, Residual, check_positive
from lqtheory.bounds.residual import Chain, certificate, residual_bound, residual_certificate, residual_terms

torch = pytest.importorskip("torch")
trace = pytest.importorskip("lqtheory.bounds.trace").trace
F = torch.nn.functional


class Block(torch.nn.Module):
    def __init__(self, before, after):
        super().__init__()
        self.first = torch.nn.Conv2d(before, after, 3, after // before, 1)
        self.second = torch.nn.Conv2d(after, after, 3, 1, 1)
        self.added = (after - before) // 2

    def forward(self, x):
        out = self.second(F.relu(self.first(x)))
        if self.added:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))
        return F.relu(out + x)


class Small(torch.nn.Module):
    """8 x 8 images, a stem, a block, a down-sampling block, the mean, a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem, self.blocks = torch.nn.Conv2d(2, 2, 3, 1, 1), torch.nn.Sequential(Block(2, 2), Block(2, 4))
        self.head = torch.nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.blocks(F.relu(self.stem(x))).mean((2, 3)))


def drawn(seed):
    generator = torch.Generator().manual_seed(seed)
    dense = Small().double()
    with torch.no_grad():
        for p in dense.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64) * (0.6 if p.ndim > 1 else 0.3))
        pruned = deepcopy(dense)
        for p in pruned.parameters():
            if p.ndim > 1:
                p.mul_(torch.rand(p.shape, generator=generator) < (0.5 if seed % 2 else 0.95))
    x = torch.randn(6, 2, 8, 8, generator=generator, dtype=torch.float64)
    random = np.random.default_rng(seed)
    multipliers = [(random.normal(size=c), random.normal()) for c in (2, 2, 2, 4, 4)]
    return dense, pruned, x, multipliers


@pytest.mark.parametrize("seed", range(40))
def test_no_violation_whatever_the_multipliers(seed, rms):
    dense, pruned, x, multipliers = drawn(seed)
    graphs, inputs = (trace(dense, x), trace(pruned, x)), x.numpy()
    seen = observe(graphs[0], inputs)
    bound = residual_bound(*graphs, inputs, multipliers)
    observed = rms(graphs[0](inputs) - graphs[1](inputs))
    assert not bound.violated(observed)
    terms = residual_terms(*graphs, inputs, residual_certificate(*graphs, inputs, multipliers))
    assert np.all(np.linalg.norm(graphs[0](inputs) - graphs[1](inputs), axis=1) <= terms.sum(axis=0))
    assert np.all(np.array([rms(row[:, None]) for row in terms]) <= bound.local)
    assert sum(bound.shares) == pytest.approx(1)
    even = residual_bound(*graphs, inputs, [(0 * a, 0.0) for a, _ in multipliers])
    assert not even.violated(observed)
    assert even.value < graph_tier_c(*graphs, seen).value


def test_rounding_alone_is_covered():
    """A network and itself, by torch and by numpy: nothing is dropped, and the answers differ in their last bits."""
    seen = 0.0
    for seed in range(3):
        dense, _, x, multipliers = drawn(seed)
        graph, inputs = trace(dense, x), x.numpy()
        with torch.no_grad():
            apart = np.linalg.norm(dense(x).numpy() - graph(inputs), axis=1)
        terms = residual_terms(graph, graph, inputs, residual_certificate(graph, graph, inputs, multipliers))
        assert np.all(apart <= terms.sum(axis=0))
        assert np.all(terms.sum(axis=0) < 1e-7)
        seen = max(seen, float(apart.max()))
    assert seen > 0


@pytest.mark.parametrize("seed", range(20))
def test_forms_hold_for_errors_in_their_worst_directions(seed):
    """At the stem, with z and e arbitrary: gradient ascent on what an error costs never passes its form."""
    dense, _, _, multipliers = drawn(seed)
    chain = Chain.of(trace(dense, torch.zeros(2, 2, 8, 8)))
    found = certificate(chain.blocks, chain.head.weight, 16, 4, multipliers)

    def rest(z):
        return dense.head(dense.blocks(F.relu(z)).mean((2, 3)))

    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(8, 2, 8, 8, generator=generator, dtype=torch.float64) * 2
    e = torch.randn(z.shape, generator=generator, dtype=torch.float64).requires_grad_()
    for _ in range(10):
        effect = (rest(z) - rest(z - e)).norm(dim=1)
        cost = found.cost(0, e.detach().numpy())
        assert np.all(effect.detach().numpy() <= cost)
        (slope,) = torch.autograd.grad(effect.sum(), e)
        e = (e + 0.5 * slope / slope.norm() * e.norm()).detach().requires_grad_()


@pytest.mark.parametrize(("blocks", "share"), [(0, 0.92), (1, 0.68), (2, 0.55)])
def test_forms_are_nearly_attained_by_what_all_units_pass_on(blocks, share):
    """One channel, every ReLU active, averaging kernels, an error that is the same at every pixel."""
    network = torch.nn.Sequential(*(Block(1, 1) for _ in range(blocks))).double()
    head = torch.nn.Linear(1, 1).double()
    with torch.no_grad():
        for block in network:
            for layer in (block.first, block.second):
                layer.weight.fill_(1 / 9)
                layer.bias.fill_(100.0)
    chain = [Residual(*(affine(layer) for layer in (block.first, block.second))) for block in network]
    found = certificate(chain, head.weight.detach().numpy(), 64, 8, [(np.zeros(1), 0.0)] * (2 * blocks + 1))
    z, e = torch.full((1, 1, 8, 8), 50.0).double(), torch.ones(1, 1, 8, 8).double()
    with torch.no_grad():
        effect = (head(network(F.relu(z)).mean((2, 3))) - head(network(F.relu(z - e)).mean((2, 3)))).norm().item()
    cost = found.cost(0, e.numpy())[0]
    assert share * cost < effect <= cost


def affine(layer):
    (node,) = trace(layer, torch.zeros(1, 1, 8, 8)).nodes
    return node.op


def test_the_lattice_convolves_as_zero_padding_does():
    generator = np.random.default_rng(0)
    kernel, x, lattice = generator.normal(size=(4, 2, 3, 3)), generator.normal(size=(1, 2, 8, 8)), Lattice(5)
    out = F.conv2d(torch.from_numpy(x), torch.from_numpy(kernel), None, 2, 1).numpy()
    waves = lattice.convolution(kernel, 2, 2) @ lattice.spectrum(x)[:, 0, :, None]
    wide = np.zeros((1, 4, 5, 5))
    wide[..., :4, :4] = out
    inside = lattice.spectrum(out)[:, 0]
    # the circular output may be anything in the extra row and column; compare inside
    full = np.zeros((4, 5, 5), dtype=complex)
    for (a, b), column in zip(lattice.frequencies, waves[..., 0], strict=True):
        full[:, a, b], full[:, -a % 5, -b % 5] = column, np.conj(column)
    np.testing.assert_allclose(np.fft.ifft2(full, norm="ortho").real[:, :4, :4], out[0], atol=1e-12)
    energy = np.sum(np.abs(inside) ** 2 * lattice.weights[:, None])
    assert energy == pytest.approx(np.sum(out**2), rel=1e-12)


def test_what_is_not_positive_is_refused():
    one, zero = np.eye(2)[None].astype(complex), np.zeros((1, 2, 2))
    check_positive(one, 0.999 * one, one, zero)
    for side, lost in ((1.001, 0.0), (0.999, 0.01)):
        with pytest.raises(ValueError, match="certified"):
            check_positive(one, side * one, one, lost + zero)
    with pytest.raises(ValueError, match="diagonal"):
        check_positive(-one, 0 * one, one, zero)
    assert 0 < SLACK < 1e-4


def test_another_graph_is_refused_by_its_first_node_that_does_not_fit():
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 3, 1, 1), torch.nn.Tanh())
    with pytest.raises(ValueError, match="must have a ReLU next, got 1"):
        Chain.of(trace(module, torch.zeros(2, 2, 4, 4)))


@pytest.mark.parametrize(
    ("shape", "pool", "message"),
    [((2, 2, 8, 6), lambda x: x.mean((2, 3)), "square"), ((2, 2, 8, 8), lambda x: F.avg_pool2d(x, 4, 8), "over all")],
)
def test_a_mean_over_less_than_a_square_image_is_refused(shape, pool, message):
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 4, 3, 1, 1), torch.nn.ReLU(), Pool(pool), torch.nn.Linear(4, 3))
    graph, x = trace(module, torch.zeros(shape)), np.ones(shape)
    with pytest.raises(ValueError, match=message):
        residual_bound(graph, graph, x, [(np.zeros(4), 0.0)])


class Pool(torch.nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x).flatten(1)
