"""Re-fitting is least squares on the support, layer by layer, with what the pruned network itself computes."""

import copy
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn

from lqtheory.bounds import Moments, refitted
from lqtheory.pruning.gains import gains
from lqtheory.pruning.observation import observe, sampled_inputs, sampled_outputs
from lqtheory.pruning.parts import Prunable, prunable
from lqtheory.pruning.refit import Regression, least_squares, sequential
from lqtheory.pruning.support import support_search
from lqtheory.pruning.surgeon import block_surgeon


def regression(seed: int, d: int = 6, out: int = 3, n: int = 200) -> tuple[np.ndarray, torch.Tensor, Regression]:
    """Dense weights, correlated inputs, and what least squares reads of them."""
    rng = np.random.default_rng(seed)
    h = torch.from_numpy(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d))
    w = rng.normal(size=(out, d))
    return w, h, Regression.of(h, h @ torch.from_numpy(w).T)


def mask_of_size(seed: int, kept: int, shape=(3, 6)) -> np.ndarray:
    chosen = np.random.default_rng(seed).permutation(shape[0] * shape[1])[:kept]
    return np.isin(np.arange(shape[0] * shape[1]), chosen).reshape(shape)


def error(w, v, b, h) -> float:
    difference = h.numpy() @ (w - v).T - b
    return float(np.mean(np.sum(difference**2, axis=1)))


@given(st.integers(0, 500), st.integers(0, 18))
def test_least_squares_is_the_regression_of_numpy(seed, kept):
    w, h, data = regression(seed)
    mask = mask_of_size(seed, kept)
    v, b = least_squares(w, mask, data, ridge=0)
    assert not v[~mask].any()
    for i in range(3):
        columns = np.column_stack([h.numpy()[:, mask[i]], np.ones(len(h))])
        best = np.linalg.lstsq(columns, h.numpy() @ w[i], rcond=None)[0]
        np.testing.assert_allclose(np.append(v[i, mask[i]], b[i]), best, rtol=1e-4, atol=1e-6)


def test_without_intercept_it_is_theorem_9():
    w, h, data = regression(1)
    mask = mask_of_size(1, 9)
    v, b = least_squares(w, mask, Regression(data.second, data.cross, intercept=False), ridge=0)
    np.testing.assert_array_equal(b, 0)
    for i in range(3):
        np.testing.assert_allclose(v[i], refitted(w[i], mask[i], Moments.of(h.numpy()))[0], rtol=1e-6, atol=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 500), st.integers(3, 17))
def test_support_search_is_never_worse_than_least_squares_on_the_first_support(seed, kept):
    w, h, data = regression(seed)
    mask = mask_of_size(seed, kept)
    v, b = support_search(w, mask, data, ridge=1e-9)
    assert np.count_nonzero(v) == kept
    first = least_squares(w, mask, data, ridge=1e-9)
    assert error(w, v, b, h) <= error(w, *first, h) * (1 + 1e-6) + 1e-9


def test_support_search_finds_the_weights_that_matter():
    """Input 1 is input 0 again, twice as large: one of them can carry both weights, whatever their magnitudes say."""
    h = torch.randn(500, 3, generator=torch.Generator().manual_seed(0)).double()
    h[:, 1] = 2 * h[:, 0]
    w = np.array([[3.0, 3.0, 1.0]])
    data = Regression.of(h, h @ torch.from_numpy(w).T)
    by_magnitude = np.array([[True, True, False]])
    v, b = support_search(w, by_magnitude, data)
    assert v[0, 2] != 0
    assert error(w, v, b, h) < 1e-3 < 0.5 < error(w, *least_squares(w, by_magnitude, data), h)


def naive_sparsegpt(w: np.ndarray, g: np.ndarray, kept: int, damping: float) -> np.ndarray:
    """One block: Algorithm 1 word for word, with the inverse of the remaining Hessian at every column."""
    w, d = w.copy(), w.shape[1]
    hessian = g + damping * np.trace(g) / d * np.eye(d)
    u = np.linalg.cholesky(np.linalg.inv(hessian)).T
    saliency = (w / np.diag(u)) ** 2
    mask = np.zeros(w.size, dtype=bool)
    mask[np.argsort(-saliency.ravel(), kind="stable")[:kept]] = True
    mask = mask.reshape(w.shape)
    for j in range(d):
        inverse = np.linalg.inv(hessian[j:, j:])
        lost = np.where(mask[:, j], 0, w[:, j])
        w[:, j:] -= np.outer(lost / inverse[0, 0], inverse[0])
    return np.where(mask, w, 0)


@pytest.mark.parametrize("kept", [1, 7, 12, 18])
def test_block_surgeon_is_sparsegpt(kept):
    w, _, data = regression(3)
    v, b = block_surgeon(w, mask_of_size(0, kept), data)
    np.testing.assert_allclose(v, naive_sparsegpt(w, data.second[:-1, :-1], kept, 1e-2), rtol=1e-8, atol=1e-12)
    assert not b.any()


def test_block_surgeon_in_blocks_keeps_the_share_of_each_block():
    w, _, data = regression(3)
    v, _ = block_surgeon(w, mask_of_size(0, 9), data, block=2)
    assert np.count_nonzero(v) == 9
    assert [np.count_nonzero(v[:, k : k + 2]) for k in (0, 2, 4)] == [3, 3, 3]


class Small(nn.Module):
    """Every way an intercept can go: a norm behind, a bias, nothing; groups, stride, dilation, padding."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, padding=1, stride=2, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.grouped = nn.Conv2d(6, 4, 3, groups=2, dilation=2, padding="same", padding_mode="reflect")
        self.plain = nn.Linear(4, 5, bias=False)
        self.out = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.grouped(torch.relu(self.norm(self.conv(x)))).relu().mean((2, 3))
        return self.out(torch.relu(self.plain(h)))


@pytest.fixture
def small() -> tuple[Small, torch.Tensor]:
    torch.manual_seed(0)
    model, x = Small(), torch.randn(64, 3, 9, 9)
    model(x)
    return model.eval(), x


def test_sampled_patches_are_what_a_neuron_sees(small):
    model, x = small
    h = x
    for layer in (model.conv, model.grouped):
        taken, chosen = sampled_inputs(layer, h, 50, seed=1)
        weight = layer.weight.flatten(1)
        per_group = weight.unflatten(0, (taken.shape[1], -1))
        answers = torch.einsum("ngd,god->ngo", taken, per_group).flatten(1)
        if layer.bias is not None:
            answers = answers + layer.bias
        torch.testing.assert_close(answers, sampled_outputs(layer, layer(h), chosen), rtol=1e-4, atol=1e-5)
        h = torch.relu(model.norm(layer(h))) if layer is model.conv else h


def output_change(model: nn.Module, other: nn.Module, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((model(x) - other(x)).square().sum(1).mean())


def half(parts: list[Prunable]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {part.name: rng.random((part.layout.rows, part.layout.fan_in)) < 0.5 for part in parts}


def test_full_masks_change_nothing_and_half_masks_are_repaired(small):
    model, x = small
    parts = prunable(model)
    assert [part.name for part in parts] == ["conv.weight", "grouped.weight", "plain.weight", "out.weight"]
    dense = observe(model, parts, x, answers=True, rows=10**6)
    assert dense["conv.weight"].norm == "norm"
    again, cut, mended = (copy.deepcopy(model) for _ in range(3))
    full = {part.name: np.ones((part.layout.rows, part.layout.fan_in), dtype=bool) for part in parts}
    assert sequential(again, prunable(again), full, dense, x, rows=10**6) == []
    assert output_change(model, again, x) < 1e-8
    for part in prunable(cut):
        part.masked(half(parts)[part.name])
    masks = half(parts)
    sequential(mended, prunable(mended), masks, dense, x, rows=10**6)
    assert output_change(model, mended, x) < 0.5 * output_change(model, cut, x)
    for part in prunable(mended):
        assert not part.weight[~masks[part.name]].any()


def test_a_second_refit_replaces_the_intercept_of_the_first(small):
    model, x = small
    parts = prunable(model)
    dense = observe(model, parts, x, answers=True, rows=10**6)
    masks = half(parts)
    sequential(model, parts, masks, dense, x, rows=10**6)
    once = copy.deepcopy(model)
    sequential(model, parts, masks, dense, x, rows=10**6)  # the same masks: the same answer, but for the ridge
    assert output_change(model, once, x) < 1e-4 * output_change(model, nn.Sequential(nn.Flatten(), Zero()), x)


class Zero(nn.Module):
    """The answer that knows nothing."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.zeros(len(x), 3)


def test_layers_that_run_twice_or_share_weights_are_left():
    layer, tied = nn.Linear(4, 4), nn.Linear(2, 2)
    twice = nn.Sequential(layer, nn.ReLU(), layer, nn.Linear(4, 2), tied, nn.Linear(2, 2))
    twice[5].weight = tied.weight
    parts = prunable(twice)
    inputs = torch.randn(50, 4)
    dense = observe(twice, parts, inputs, answers=True)
    masks = half(parts)
    assert sequential(twice, parts, masks, dense, inputs) == ["0.weight", "4.weight"]
    for part in parts:
        assert not part.weight[~masks[part.name]].any()


def test_gains_of_a_linear_layer_are_the_norms_of_what_comes_behind():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3, bias=False))
    with torch.no_grad():
        model[1].weight -= model[1].weight.mean(0)  # no common part of the logits
    found = gains(model, prunable(model), torch.randn(4000, 3))["0.weight"]
    np.testing.assert_allclose(found, model[1].weight.detach().norm(dim=0), rtol=0.1)


def test_what_is_shaped_as_rows_comes_back_as_stored():
    transposed = nn.ConvTranspose2d(4, 6, 2, groups=2)
    part = prunable(transposed)[0]
    before = transposed.weight.detach().clone()
    part.fill(part.weight)
    assert torch.equal(transposed.weight, before)


def test_outputs_are_gone_once_the_next_layer_has_them():
    model, outputs, alive = nn.Sequential(*(nn.Linear(4, 4) for _ in range(9))), [], []

    def count(layer: nn.Module, given: tuple, output: torch.Tensor) -> None:
        outputs.append(weakref.ref(output))
        alive.append(sum(each() is not None for each in outputs))

    for layer in model:
        layer.register_forward_hook(count)
    observe(model, prunable(model), torch.zeros(3, 4), answers=True)
    assert alive == [1] + 8 * [2]


def test_gains_of_a_frozen_network_on_tokens_are_those_of_the_same_one_in_training():
    torch.manual_seed(0)
    model, tokens = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)), torch.arange(5)
    parts = prunable(model)
    free, frozen = gains(model, parts, tokens), gains(model.requires_grad_(False), parts, tokens)
    assert all(np.array_equal(free[part.name], frozen[part.name]) for part in parts)
    assert all(free[part.name].min() > 0 for part in parts)
    assert not any(parameter.requires_grad for parameter in model.parameters())
