"""Definitions 20 to 35: against their definition, their gradients, the grid, the certificate, and what they do."""

import copy
import re
from itertools import pairwise
from pathlib import Path

import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint as run

from lqtheory import Profile, pq_index
from lqtheory.bounds import IDENTITY, RELU, SIGMOID, TANH, Linear, second_moments, tier_b, tier_c
from lqtheory.pruning import Layer, Method, global_ranking, magnitude, uniform, wanda
from lqtheory.pruning.parts import prunable
from lqtheory.regularizers import (
    FeatureFlow,
    LayerMap,
    LogTierB,
    LogTierC,
    SpectralNorms,
    absolute_curvature,
    absolute_length,
    by_magnitude,
    by_response,
    curvature,
    equal_shape_stages,
    group_lasso,
    group_soft_threshold,
    half_threshold,
    l0,
    l0_l2,
    l1,
    l2,
    layer_factors,
    length,
    lq,
    penalised,
    smallest_overall,
    smallest_per_neuron,
    soft_threshold,
    squared_curvature,
    squared_length,
    turning,
    zero_attraction,
)

ROOT = Path(__file__).parents[1]
PENALTIES = [l0, l0_l2, lq, l1, l2, group_lasso]
FLOWS = [length, curvature, squared_length, squared_curvature, absolute_length, absolute_curvature, turning]
ACTIVATIONS = {nn.ReLU: RELU, nn.Tanh: TANH, nn.Sigmoid: SIGMOID}


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


def drawn(*shape, seed=0, dtype=torch.float64):
    """Weights away from zero, where no penalty has a kink."""
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return values + values.sign() * 0.05


def mlp(*widths, activation=nn.ReLU, dtype=torch.float32):
    parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b, dtype=dtype), activation())]
    return nn.Sequential(*parts[:-1])


# --- which weights


def test_penalised_are_the_weights_that_pruning_prunes():
    net = nn.ModuleDict(
        {
            "table": nn.Embedding(7, 6),
            "conv": nn.Conv2d(3, 4, 3),
            "up": nn.ConvTranspose2d(4, 3, 2),
            "norm": nn.BatchNorm2d(4),
            "attention": nn.MultiheadAttention(6, 2),
            "layer_norm": nn.LayerNorm(6),
            "out": nn.Linear(6, 5),
        }
    )
    names = list(penalised(net))
    assert names == ["conv.weight", "up.weight", "attention.in_proj_weight", "attention.out_proj.weight", "out.weight"]
    assert set(names) == {part.name for part in prunable(net)}


def test_biases_and_norms_with_two_axes_are_not_penalised():
    net = nn.Sequential(nn.MultiheadAttention(6, 2, add_bias_kv=True), nn.LayerNorm([5, 6]))
    assert list(penalised(net)) == ["0.in_proj_weight", "0.out_proj.weight"]


def test_penalised_leaves_out_tied_heads_frozen_and_repeated_weights():
    net = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 5, bias=False))
    net[3].weight = net[0].weight
    net[2].weight = net[1].weight
    assert list(penalised(net)) == ["1.weight"]
    assert list(penalised(nn.Sequential(net[3], net[1], net[0]))) == ["1.weight"]  # the head before its table
    net[1].weight.requires_grad_(False)
    with pytest.raises(ValueError, match="must have weights with two or more axes, got none in Sequential"):
        penalised(net)


def test_weights_computed_from_others_are_refused():
    net = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    with pytest.raises(ValueError, match=r"must be a parameter itself, got 0\.parametrizations\.weight\.original0"):
        penalised(net)


# --- values


def exactly(penalty, w):
    """The definition at 50 digits, for one matrix."""
    rows = [[mp.mpf(x) for x in row] for row in w.tolist()]
    flat = [x for row in rows for x in row]
    smooth = sum(1 - mp.exp(-10 * abs(x)) for x in flat)
    return {
        l0: smooth,
        l0_l2: mp.mpf(5e-7) * smooth + mp.mpf(1e-4) * sum(x**2 for x in flat),
        lq: sum((x**2 + mp.mpf(1e-8)) ** mp.mpf("0.25") for x in flat),
        l1: sum(map(abs, flat)),
        l2: sum(x**2 for x in flat),
        group_lasso: sum(mp.sqrt(len(row)) * mp.sqrt(sum(x**2 for x in row)) for row in rows),
    }[penalty]


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda f: f.__name__)
@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e3])
def test_penalties_against_their_definition(penalty, scale, tolerance):
    w = scale * drawn(3, 4)
    w[0, 0] = 0
    with mp.workdps(50):
        assert float(penalty({"w": w})) == pytest.approx(float(exactly(penalty, w)), rel=tolerance["mpmath"])


@pytest.mark.parametrize("penalty", [l0, lq, l1, l2, group_lasso], ids=lambda f: f.__name__)
def test_penalties_add_over_tensors_and_take_any_float(penalty):
    a, b = drawn(3, 4), drawn(2, 3, 2, 2, seed=1)
    torch.testing.assert_close(penalty({"a": a, "b": b}), penalty({"a": a}) + penalty({"b": b}))
    half = {"w": torch.full((100, 100), 0.1, dtype=torch.bfloat16)}
    assert penalty(half).dtype == torch.float32
    torch.testing.assert_close(penalty(half).double(), penalty({"w": half["w"].double()}), rtol=1e-4, atol=0)
    with pytest.raises(ValueError, match="at least one tensor, got none"):
        penalty({})
    with pytest.raises(ValueError, match=r"w must have floating-point entries, got torch\.int64"):
        penalty({"w": torch.ones(2, 2, dtype=torch.int64)})


@given(st.floats(0, 50), st.floats(0.1, 2))
def test_l0_and_lq_lie_between_their_limits(beta, q):
    w = {"w": drawn(4, 5)}
    assert 0 <= l0(w, beta) <= min(20, beta * l1(w)) + 1e-12
    power = float((w["w"].abs() ** q).sum())
    assert power <= lq(w, q, eps=1e-6) + 1e-12 <= power + 20 * 1e-6 ** (q / 2) + 1e-9


def test_strengths_and_exponents_are_checked():
    w = {"w": drawn(2, 2)}
    for call, message in [
        (lambda: l0(w, beta=-1), "beta must be finite and not negative, got beta=-1"),
        (lambda: l0_l2(w, alpha0=float("nan")), "alpha0 must be finite"),
        (lambda: lq(w, q=0), r"q must lie in \(0, 2\], got q=0"),
        (lambda: lq(w, eps=0), r"eps must lie in \(0, 1\], got eps=0"),
        (lambda: soft_threshold(w["w"], -1), "t must be finite and not negative"),
        (lambda: zero_attraction(w, step=-1), "step must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()


def test_the_divisors_of_the_authors_code_for_resnet50():
    """2097152 and 524288 are in their code for ResNet-50 with a head 2048 -> 256 -> 100."""
    convolutions = {"stem": (64, 3, 7, 7)}
    into = 64
    for width, blocks in [(64, 3), (128, 4), (256, 6), (512, 3)]:
        for k in range(blocks):
            convolutions |= {f"{width}.{k}.a": (width, into, 1, 1), f"{width}.{k}.b": (width, width, 3, 3)}
            convolutions |= {f"{width}.{k}.c": (4 * width, width, 1, 1)}
            if k == 0:
                convolutions[f"{width}.shortcut"] = (4 * width, into, 1, 1)
            into = 4 * width
    shapes = convolutions | {"dense": (256, 2048), "head": (100, 256)}
    factors = layer_factors({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    assert factors["512.shortcut"] == 1.0
    assert factors["dense"] == 1.0
    assert factors["512.1.b"] == (512 * 512 * 3 / 2_097_152) ** 0.5
    assert factors["stem"] == (64 * 3 * 7 / 2_097_152) ** 0.5
    assert factors["head"] == (100 * 256 / 524_288) ** 0.5


# --- gradients and steps


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda f: f.__name__)
def test_gradients_of_penalties(penalty):
    parts = (drawn(3, 4).requires_grad_(), drawn(2, 3, 2, 2, seed=1).requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: penalty({"a": a, "b": b}), parts)


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda f: f.__name__)
def test_gradients_are_finite_at_zero(penalty):
    w = torch.zeros(3, 4, requires_grad=True)
    penalty({"w": w}).backward()
    assert w.grad is not None
    assert torch.all(w.grad == 0)


def test_zero_attraction_is_a_gradient_step_of_the_penalty():
    weights = {"a": drawn(3, 4).requires_grad_(), "b": drawn(5, 2, seed=1).requires_grad_()}
    before = {name: w.detach().clone() for name, w in weights.items()}
    strength = {"alpha0": 0.3, "alpha2": 0.2, "beta": 5.0}
    l0_l2(weights, **strength).backward()
    zero_attraction(weights, step=0.1, **strength)
    for name, w in weights.items():
        torch.testing.assert_close(w.detach(), before[name] - 0.1 * w.grad, rtol=1e-12, atol=0)


def lowest_on_a_grid(w, f, t):
    grid = np.linspace(-1.2 * abs(w), 1.2 * abs(w), 20001)
    return np.min(0.5 * (grid - w) ** 2 + t * f(grid))


@given(st.floats(-5, 5), st.floats(0, 4))
def test_thresholds_by_definition(w, t):
    """Nothing on a grid is lower."""
    for prox, f in [(soft_threshold, np.abs), (half_threshold, lambda x: np.sqrt(np.abs(x)))]:
        x = float(prox(torch.tensor([w], dtype=torch.float64), t))
        assert 0.5 * (x - w) ** 2 + t * f(x) <= lowest_on_a_grid(w, f, t) + 1e-12
        assert x * w >= 0


@given(st.floats(0.01, 4), st.sampled_from([0.999, 1.001]))
def test_half_threshold_jumps_where_it_should(t, side):
    x = float(half_threshold(torch.tensor([side * 1.5 * t ** (2 / 3)], dtype=torch.float64), t))
    assert x == 0 if side < 1 else x >= t ** (2 / 3)


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.floats(0, 2))
def test_group_threshold_by_definition(seed, t):
    """No shorter or longer vector of the same direction is lower, nor a random one nearby."""
    w = torch.randn(2, 3, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    objective = lambda x: float(0.5 * (x - w).square().sum() + t * group_lasso({"w": x}))  # noqa: E731
    best = group_soft_threshold(w, t)
    others = [torch.stack([w[0] * a, w[1] * b]) for a in np.linspace(0, 1.1, 23) for b in np.linspace(0, 1.1, 23)]
    others += [best + 0.1 * drawn(2, 3, 2, seed=k) for k in range(20)]
    assert objective(best) <= min(map(objective, others)) + 1e-12


def test_thresholds_keep_dtype_and_zeros():
    for prox in (soft_threshold, half_threshold, group_soft_threshold):
        w = torch.zeros(2, 3, dtype=torch.bfloat16)
        assert prox(w, 0.5).dtype == torch.bfloat16
        assert torch.all(prox(w, 0.5) == 0)
        torch.testing.assert_close(prox(drawn(2, 3), 0.0), drawn(2, 3))


# --- feature flow


class Residual(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.inner = nn.Linear(width, width)

    def forward(self, x):
        return x + self.inner(x).relu()


def residual_net(blocks=3, width=8):
    return nn.Sequential(nn.Linear(4, width), *(Residual(width) for _ in range(blocks)), nn.Linear(width, 2))


def test_flows_against_their_definition(tolerance):
    path = [drawn(5, 3, 2, seed=k) for k in range(4)]
    x = np.stack([p.numpy().reshape(5, 6) for p in path])
    first, second = np.diff(x, axis=0), np.diff(x, n=2, axis=0)
    cosines = np.sum(first[1:] * first[:-1], -1) / np.prod(
        [np.linalg.norm(f, axis=-1) for f in (first[1:], first[:-1])], 0
    )
    expected = {
        length: np.linalg.norm(first, axis=-1).mean(1).sum() / 6**0.5,
        curvature: np.linalg.norm(second, axis=-1).mean(1).sum() / 6**0.5,
        squared_length: (first**2).mean((1, 2)).sum(),
        squared_curvature: (second**2).mean((1, 2)).sum(),
        absolute_length: np.abs(first).mean((1, 2)).sum(),
        absolute_curvature: np.abs(second).mean((1, 2)).sum(),
        turning: np.arccos(cosines).mean(1).sum(),
    }
    for flow in FLOWS:
        assert float(flow([path])) == pytest.approx(expected[flow], rel=tolerance["mpmath"])
        assert float(flow([path, path])) == pytest.approx(2 * expected[flow], rel=tolerance["mpmath"])


@pytest.mark.parametrize("flow", FLOWS, ids=lambda f: f.__name__)
def test_gradients_of_flows(flow):
    path = tuple(drawn(3, 4, seed=k).requires_grad_() for k in range(4))
    assert torch.autograd.gradcheck(lambda *x: flow([x]), path)
    still = torch.ones(3, 4, requires_grad=True)
    flow([[still, still + 0, still + 0]]).backward()
    assert torch.isfinite(still.grad).all()
    assert float(flow([[still.detach(), still.detach()]])) == 0


def test_the_flow_through_a_network_has_the_gradient_of_finite_differences():
    net, x = residual_net().double(), drawn(6, 4)
    with FeatureFlow(net, [["0", "1", "2", "3"]]) as flow:

        def penalty(w):
            torch.func.functional_call(net, {"1.inner.weight": w}, x)
            return length(flow.trajectories) + 0.3 * curvature(flow.trajectories)

        assert torch.autograd.gradcheck(penalty, net[1].inner.weight.detach().clone().requires_grad_())


def test_hooks_are_there_inside_with_only():
    net = residual_net()
    flow = FeatureFlow(net, [["0", "1"], ["2", "3"]])
    with flow:
        net(torch.ones(2, 4))
        assert [len(path) for path in flow.trajectories] == [2, 2]
        with pytest.raises(ValueError, match="entered once at a time"):
            flow.__enter__()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), flow:
        net(torch.ones(2, 3))
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    with pytest.raises(ValueError, match="must run once per pass, got 0 of '0'"):
        _ = flow.trajectories
    with flow:
        net(torch.ones(2, 4))
        net(torch.zeros(3, 4))
        assert {len(x) for path in flow.trajectories for x in path} == {3}


def test_what_is_no_stage_is_refused_by_name():
    net = residual_net()
    for stages, message in [
        ([["0"]], r"at least two modules, got \[\['0'\]\]"),
        ([], "at least two modules"),
        ([["0", "9"]], "name modules of the network, got '9'"),
        ([["0", "1"], ["1", "2"]], "in one stage once, got '1' twice"),
    ]:
        with pytest.raises(ValueError, match=message):
            FeatureFlow(net, stages)
    with FeatureFlow(net, [["3", "4"]]) as flow:
        net(torch.ones(5, 4))
        with pytest.raises(ValueError, match=r"one shape, got \(5, 8\) of '3', \(5, 2\) of '4'"):
            _ = flow.trajectories
    repeated = nn.Sequential(nn.Linear(4, 4), net[1].inner)
    repeated.append(repeated[0])
    with FeatureFlow(nn.Sequential(repeated[0], repeated[0], nn.ReLU()), [["0", "2"]]) as flow:
        flow._net(torch.ones(1, 4))
        with pytest.raises(ValueError, match="must run once per pass, got 2 of '0'"):
            _ = flow.trajectories
    pair = nn.Sequential(nn.Linear(4, 4), nn.LSTM(4, 4))
    with FeatureFlow(pair, [["0", "1"]]) as flow:
        pair(torch.ones(1, 4))
        with pytest.raises(ValueError, match="features must be tensors, got tuple from '1'"):
            _ = flow.trajectories


def test_the_trajectory_is_broken_where_the_shape_changes():
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 8, 3, stride=2, padding=1), nn.ReLU()
    )
    assert equal_shape_stages(net, ["0", "1", "2", "3"], torch.ones(1, 1, 8, 8)) == [["0", "1"], ["2", "3"]]
    with pytest.raises(ValueError, match="two modules in a row must give one shape"):
        equal_shape_stages(net, ["0", "2"], torch.ones(1, 1, 8, 8))


def test_feature_flow_survives_gradient_checkpoints():
    """A checkpoint runs its modules again, in the backward pass."""
    net = residual_net()
    with FeatureFlow(net, [["1", "2", "3"]]) as flow:
        net.forward = lambda x: net[4](
            run(net[3], run(net[2], net[1](net[0](x)), use_reentrant=False), use_reentrant=False)
        )
        loss = net(torch.ones(2, 4)).sum() + length(flow.trajectories)
        loss.backward()


# --- norms and bounds


def matrix_of(layer, shape):
    """The matrix of a layer without bias on inputs of a shape, column by column."""
    size = int(np.prod(shape))
    eye = torch.eye(size, dtype=layer.weight.dtype).reshape(size, *shape)
    with torch.no_grad():
        out = layer(eye)
        zero = layer(torch.zeros(1, *shape, dtype=layer.weight.dtype))
    return (out - zero).reshape(size, -1).T.numpy()


LAYERS = {
    "linear": lambda: (nn.Linear(7, 5), (7,)),
    "1d": lambda: (nn.Conv1d(3, 4, 3, stride=2, padding=1), (3, 9)),
    "2d": lambda: (nn.Conv2d(2, 4, 3, padding=1), (2, 5, 6)),
    "2d strided": lambda: (nn.Conv2d(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2), (4, 7, 8)),
    "2d valid": lambda: (nn.Conv2d(2, 3, 2, padding="valid"), (2, 4, 4)),
    "3d": lambda: (nn.Conv3d(2, 2, 2), (2, 3, 3, 4)),
}


@pytest.mark.parametrize("kind", LAYERS)
def test_power_iteration_finds_the_norm_of_the_layer_as_it_is_applied(kind, tolerance):
    layer, shape = LAYERS[kind]()
    layer = layer.double()
    norm = LayerMap(layer, shape, iterations=4000)
    truth = np.linalg.norm(matrix_of(layer, shape), 2)
    estimate = norm(layer.weight).item()
    assert estimate == pytest.approx(truth, rel=1e-6)
    assert estimate <= truth * (1 + tolerance["tight"])
    x, y = drawn(1, *shape), drawn(*norm.respond(layer.weight, norm.vector).shape, seed=3)
    left, right = (norm.respond(layer.weight, x) * y).sum(), (x * norm.adjoint(layer.weight, y)).sum()
    torch.testing.assert_close(left, right)


def test_the_vector_moves_on_in_training_only_and_survives_zero():
    norm = LayerMap(nn.Linear(60, 40), (60,))
    weight = drawn(40, 60, dtype=torch.float32)
    values = [float(norm(weight)) for _ in range(40)]
    assert all(b >= a * (1 - 1e-6) for a, b in pairwise(values))
    assert values[0] < 0.95 * values[-1]
    before = norm.vector.clone()
    norm(torch.zeros(40, 60))
    assert torch.equal(norm.vector, before)
    norm.eval()(weight + 1)
    assert torch.equal(norm.vector, before)


def small_mlp(seed=0, activation=nn.Tanh):
    torch.manual_seed(seed)
    return mlp(6, 8, 7, 3, activation=activation, dtype=torch.float64), drawn(20, 6, seed=seed)


def small_cnn(seed=0):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.ReLU(), nn.Conv2d(3, 4, 3, stride=2), nn.ReLU())
    return nn.Sequential(*net, nn.Flatten(), nn.Linear(16, 3)).double(), drawn(20, 2, 5, 5, seed=seed)


def settled(penalty, *x, times=300):
    """The penalty after so many power iterations, its vectors then left as they are."""
    maps = [part for part in penalty.modules() if isinstance(part, LayerMap)]
    for part in maps:
        part.iterations = times
    with torch.no_grad():
        penalty.train()(*x)
    return penalty.eval()


PENALTY_MODULES = {
    "norms": lambda net, x: (SpectralNorms(net, x[:1]), ()),
    "tier b": lambda net, x: (LogTierB(net, x), ()),
    "tier b overall": lambda net, x: (LogTierB(net, x, 0.7, smallest_overall), ()),
    "tier c": lambda net, x: (LogTierC(net, x), (x,)),
    "tier c overall": lambda net, x: (LogTierC(net, x, 0.7, smallest_overall, by_magnitude), (x,)),
}


@pytest.mark.parametrize(
    ("small", "kind"),
    [(small_mlp, kind) for kind in PENALTY_MODULES] + [(small_cnn, kind) for kind in ("norms", "tier b", "tier c")],
)
def test_gradients_of_bounds_against_finite_differences(kind, small):
    net, x = small(9)  # no two singular values of a layer are closer than 1 %
    penalty, given = PENALTY_MODULES[kind](net, x)
    settled(penalty, *given, times=800)(*given).backward()
    generator, h = torch.Generator().manual_seed(5), 1e-6
    for parameter in (p for p in net.parameters() if p.ndim > 1):
        start = parameter.detach().clone()
        way = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        ends = []
        for side in (h, -h):
            parameter.data = start + side * way
            ends.append(settled(penalty, *given, times=800)(*given).item())
        parameter.data = start
        assert float((parameter.grad * way).sum()) == pytest.approx((ends[0] - ends[1]) / (2 * h), rel=2e-4, abs=2e-5)


def certificates(net, x, dropped):
    """Tiers B and C of the network and of it without the dropped weights; convolutions as matrices."""
    dense, pruned, shapes, h = [], [], [], x
    layers = [m for m in net if isinstance(m, nn.Linear | nn.Conv2d)]
    for module in net:
        if module in layers:
            shapes.append(tuple(h.shape[1:]))
        h = module(h)
    for layer, shape, mask in zip(layers, shapes, dropped, strict=True):
        after = net[list(net).index(layer) + 1 :]
        activation = ACTIVATIONS.get(type(after[0]), IDENTITY) if len(after) else IDENTITY
        without = copy.deepcopy(layer)
        without.weight.data = torch.where(mask, 0.0, layer.weight.data)
        bias = layer(torch.zeros(1, *shape, dtype=x.dtype)).detach().numpy().ravel()
        dense.append(Linear(matrix_of(layer, shape), bias, activation))
        pruned.append(Linear(matrix_of(without, shape), bias, activation))
    moments = second_moments(dense, x.flatten(1).numpy())
    return tier_b(dense, pruned, moments[0].radius).value, tier_c(dense, pruned, moments).value


@pytest.mark.parametrize(
    "case", [lambda: small_mlp(), lambda: small_mlp(1, nn.ReLU), lambda: small_mlp(2, nn.Sigmoid), small_cnn]
)
def test_settled_surrogates_are_the_certificate_from_below(case):
    net, x = case()
    weights = [m.weight.detach() for m in net if isinstance(m, nn.Linear | nn.Conv2d)]
    dropped = smallest_per_neuron([w.abs() for w in weights], 0.5)
    b, c = certificates(net, x, dropped)
    surrogate_b = settled(LogTierB(net, x), times=1000)().exp().item()
    surrogate_c = settled(LogTierC(net, x, score=by_magnitude), x, times=1000)(x).exp().item()
    assert 0.99 * b < surrogate_b <= b
    assert 0.99 * c < surrogate_c <= c
    assert surrogate_c <= surrogate_b


@pytest.mark.parametrize(("drop", "budget"), [(smallest_per_neuron, uniform), (smallest_overall, global_ranking)])
@pytest.mark.parametrize(("score", "numpy_score"), [(by_magnitude, magnitude), (by_response, wanda)])
def test_masks_are_those_of_pruning(drop, budget, score, numpy_score):
    weights, h = [drawn(4, 6), drawn(3, 4, seed=1)], [drawn(9, 6, seed=2), drawn(9, 4, seed=3)]
    weights[0][1] = weights[0][1].sign()  # ties
    layers = [
        Layer(name=str(k), weight=w.numpy(), input_norms=x.square().mean(0).sqrt().numpy())
        for k, (w, x) in enumerate(zip(weights, h, strict=True))
    ]
    expected = Method("m", numpy_score, budget).masks(layers, 0.5)
    found = drop([score(w, x) for w, x in zip(weights, h, strict=True)], 0.5)
    for k, mask in enumerate(found):
        np.testing.assert_array_equal(~mask.numpy(), expected[str(k)])


def test_masks_never_empty_a_neuron():
    scores = [drawn(4, 6).abs(), drawn(3, 2, seed=1).abs() * 1e-6]
    for drop in (smallest_per_neuron, smallest_overall):
        assert all((~mask).any(1).all() for mask in drop(scores, 0.95))


def test_responses_of_convolutions_follow_their_channels():
    h = torch.ones(2, 4, 3, 3) * torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(4, 1, 1)
    assert by_response(torch.ones(4, 2, 1, 1), h)[..., 0, 0].tolist() == [[1, 2], [1, 2], [3, 4], [3, 4]]


def test_what_has_no_bound_is_refused_by_name():
    x, image = torch.ones(2, 4), torch.ones(2, 1, 6, 6)
    conv = nn.Conv2d(1, 2, 3)
    for build, message in [
        (lambda: LogTierB(nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 1)), x), "got GELU '1'"),
        (lambda: LogTierB(nn.Sequential(nn.ReLU(), nn.Linear(4, 1)), x), "must start with a linear .* got ReLU"),
        (lambda: LogTierB(nn.Sequential(nn.Flatten()), x), "got none in Sequential"),
        (lambda: LogTierC(nn.Sequential(conv, nn.Linear(4, 4)), image), r"must take \[n, d\]"),
        (lambda: LogTierC(nn.Sequential(conv, nn.MaxPool2d(2, ceil_mode=True)), image), "got MaxPool2d '1'"),
        (lambda: LogTierC(nn.Sequential(conv, nn.AvgPool2d(2, divisor_override=1)), image), "got AvgPool2d '1'"),
        (lambda: LogTierB(nn.Sequential(nn.Linear(4, 1)), x, sparsity=1.0), r"sparsity must lie in \[0, 1\)"),
        (lambda: SpectralNorms(nn.Sequential(conv, nn.BatchNorm2d(2)), image), "batch norm, got BatchNorm2d '1'"),
        (lambda: SpectralNorms(nn.ConvTranspose2d(1, 2, 3), image), "got ConvTranspose2d"),
        (lambda: SpectralNorms(nn.Conv2d(1, 2, 3, padding="same"), image), "got padding 'same'"),
        (lambda: SpectralNorms(nn.Conv2d(1, 2, 3, padding_mode="circular"), image), "got padding 'circular'"),
        (lambda: SpectralNorms(Idle(), x), "every penalised layer must run, got 'spare' that did not"),
    ]:
        with pytest.raises(ValueError, match=message):
            build()


class Idle(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.used(x)


def test_pooling_dropout_and_a_shared_activation_may_stand_between_layers():
    act = nn.ReLU()
    net = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), act, nn.MaxPool2d(2), nn.Dropout(0.5), nn.Conv2d(3, 2, 3), act)
    net = nn.Sequential(net, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2, 2)).double()
    x = drawn(8, 1, 9, 9)
    penalty = settled(LogTierC(net, x), x)
    with torch.no_grad():
        bound = penalty(x).exp().item()
        pruned = copy.deepcopy(net).eval()
        net.eval()
        layers = [m for m in pruned.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        inputs = penalty.inputs(penalty.weights(), x)
        masks = smallest_per_neuron([by_response(m.weight, h) for m, h in zip(layers, inputs, strict=True)], 0.5)
        for layer, mask in zip(layers, masks, strict=True):
            layer.weight.masked_fill_(mask, 0)
        error = float((net(x) - pruned(x)).square().sum(1).mean().sqrt())
    assert 0 < error <= bound * (1 + 1e-6)
    assert [part.lipschitz for part in penalty._stack] == pytest.approx([1.0, 0.5, 1.0])


def test_penalties_hold_no_parameters_of_the_network():
    net, x = small_mlp()
    for build in PENALTY_MODULES.values():
        assert not list(build(net, x)[0].parameters())


def test_a_network_without_dropped_weights_has_a_finite_penalty():
    net, x = small_mlp()
    penalty = LogTierC(net, x, sparsity=0.0)
    penalty(x).backward()
    assert torch.isfinite(penalty(x))
    assert all(torch.isfinite(p.grad).all() for p in net.parameters() if p.grad is not None)


# --- autocast and compile


def all_terms(net, flow, norms, tier, x):
    weights = penalised(net)
    answers = net(x)
    paths = [f(flow.trajectories) for f in FLOWS]
    return [answers.float().square().mean(), *(f(weights) for f in PENALTIES), *paths, norms(), tier(x)]


def a_whole_training_loss():
    torch.manual_seed(0)
    net, x = mlp(6, 8, 8, 8, 3), drawn(16, 6, dtype=torch.float32)
    return net, FeatureFlow(net, [["0", "2", "4"]]), SpectralNorms(net, x).eval(), LogTierC(net, x).eval(), x


def test_penalties_under_autocast_are_as_exact_as_without():
    net, flow, norms, tier, x = a_whole_training_loss()
    with flow:
        plain = all_terms(net, flow, norms, tier, x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = all_terms(net, flow, norms, tier, x)
    assert all(term.dtype == torch.float32 for term in cast)
    flows = slice(1 + len(PENALTIES), 1 + len(PENALTIES) + len(FLOWS))
    torch.testing.assert_close(cast[flows], plain[flows], rtol=0.1, atol=0)  # features themselves are bfloat16
    del cast[flows], plain[flows]
    torch.testing.assert_close(cast[1:], plain[1:], rtol=1e-6, atol=0)
    torch.stack(cast).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in net.parameters())


def some_terms(net, flow, norms, tier, x):
    return [net(x).square().mean(), l0_l2(penalised(net)), length(flow.trajectories), tier(x)]


@pytest.mark.parametrize(
    ("backend", "terms"),
    [
        ("eager", some_terms),
        pytest.param("eager", all_terms, marks=pytest.mark.slow),
        pytest.param("inductor", all_terms, marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_penalties_compile(backend, terms):
    net, flow, norms, tier, x = a_whole_training_loss()
    norms.train()
    tier.train()
    parts = copy.deepcopy((net, norms, tier))

    def loss(net, flow, norms, tier):
        return torch.stack(terms(net, flow, norms, tier, x)).sum()

    def train(net, flow, norms, tier, loss):
        values = []
        with flow:
            for _ in range(3):
                net.zero_grad()
                values.append(loss(net, flow, norms, tier))
                values[-1].backward()
        return torch.stack(values).detach(), [p.grad for p in net.parameters()]

    expected = train(net, flow, norms, tier, loss)
    torch._dynamo.reset()
    other = FeatureFlow(parts[0], flow.stages)
    found = train(parts[0], other, *parts[1:], torch.compile(loss, backend=backend))
    torch._dynamo.reset()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


# --- what they do: tiny networks, at equal loss


def task():
    """Four classes that depend on four of twenty inputs."""
    x = drawn(256, 20, seed=7, dtype=torch.float32)
    return x, (x[:, 0] > 0).long() + 2 * (x[:, 1] * x[:, 2] + x[:, 3] > 0).long()


def trained(net, penalty=lambda: 0.0, steps=300, until=0.0, after=lambda: None):
    """Train until the loss without penalty is below `until`, or for so many steps; return it."""
    x, y = task()
    optimiser = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.cross_entropy(net(x), y)
        if loss < until:
            break
        (loss + penalty()).backward()
        optimiser.step()
        after()
    with torch.no_grad():
        return nn.functional.cross_entropy(net(x), y).item()


def pair(build, **options):
    """A network trained with a penalty, and one from the same start trained without to a loss that is no lower."""
    torch.manual_seed(0)
    net = mlp(20, 32, 32, 4)
    plain = copy.deepcopy(net)
    loss = trained(net, **build(net), **options)
    reached = trained(plain, until=loss * 1.02, steps=2000)
    assert loss < 0.3
    assert reached == pytest.approx(loss, rel=0.1)
    return net, plain


def flat_weights(net):
    return np.concatenate([w.detach().numpy().ravel() for w in penalised(net).values()])


def near_zero(net):
    w = np.abs(flat_weights(net))
    return np.mean(w < 0.01 * w.max())


def pq(net):
    return pq_index(Profile.of(flat_weights(net)), 0.5, 1.0)


def attracted(net):
    weights = penalised(net)
    return {"after": lambda: zero_attraction(weights, step=1.0, alpha0=1e-4, alpha2=0.0)}


def shrunk(prox, t):
    def build(net):
        def after():
            with torch.no_grad():
                for w in penalised(net).values():
                    w.copy_(prox(w, t))

        return {"after": after}

    return build


SPARSE = {
    "l0": lambda net: {"penalty": lambda: l0_l2(penalised(net), alpha0=1e-3, alpha2=1e-4)},
    "zero attraction": attracted,
    "lq": lambda net: {"penalty": lambda: 1e-3 * lq(penalised(net))},
    "l1": lambda net: {"penalty": lambda: 2e-3 * l1(penalised(net))},
    "soft threshold": shrunk(soft_threshold, 1e-4),
    "half threshold": shrunk(half_threshold, 1e-5),
}


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_penalties_raise_near_zero_weights_and_the_pq_index_at_equal_loss(kind):
    net, plain = pair(SPARSE[kind], steps=600)
    assert near_zero(net) > 2 * near_zero(plain)
    assert pq(net) > 1.2 * pq(plain)


@pytest.mark.parametrize("kind", ["penalty", "threshold"])
def test_group_penalties_silence_whole_neurons_at_equal_loss(kind):
    build = {
        "penalty": lambda net: {"penalty": lambda: 1e-3 * group_lasso(penalised(net))},
        "threshold": shrunk(group_soft_threshold, 2e-3),
    }[kind]
    net, plain = pair(build, steps=600)
    silent, before = (
        sum(int((w.norm(dim=1) < 0.01 * w.norm(dim=1).max()).sum()) for w in penalised(n).values())
        for n in (net, plain)
    )
    assert before == 0
    assert silent >= 6


@pytest.mark.parametrize("flow", [length, curvature, turning], ids=lambda f: f.__name__)
def test_feature_flow_makes_the_trajectory_short_or_straight_at_equal_loss(flow):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(20, 16), *(Residual(16) for _ in range(4)), nn.Linear(16, 4))
    plain, stages = copy.deepcopy(net), [["0", "1", "2", "3", "4"]]
    with FeatureFlow(net, stages) as path:
        loss = trained(net, lambda: 0.05 * flow(path.trajectories), steps=300)
    trained(plain, until=loss * 1.02, steps=2000)
    sizes = []
    for each in (net, plain):
        with FeatureFlow(each, stages) as path, torch.no_grad():
            each(task()[0])
            sizes.append(flow(path.trajectories).item())
    assert loss < 0.3
    assert sizes[0] < 0.7 * sizes[1]


def against_the_bound(kind):
    def build(net):
        x = task()[0]
        penalty, strength = {
            "norms": (SpectralNorms(net, x), 0.2),
            "tier b": (LogTierB(net, x), 0.05),
            "tier c": (LogTierC(net, x), 0.05),
        }[kind]
        given = (x,) if kind == "tier c" else ()
        return {"penalty": lambda: strength * penalty(*given)}

    return build


@pytest.mark.parametrize("kind", ["norms", "tier b", "tier c"])
def test_training_against_the_bound_lowers_the_certificate_at_equal_loss(kind):
    found = []
    for net in pair(against_the_bound(kind), steps=400):
        net.double()
        dropped = smallest_per_neuron([w.detach().abs() for w in penalised(net).values()], 0.5)
        found.append(certificates(net, task()[0].double(), dropped))
    (b, c), (plain_b, plain_c) = found
    most = 0.8 if kind == "norms" else 0.5
    assert b < most * plain_b
    assert c < most * plain_c


# --- the page


def test_the_page_on_training_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "training.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        exec(block, names)
