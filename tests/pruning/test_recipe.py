"""lq.prune: exactly so many weights, the same network at sparsity 0, a new module unless asked, masks of torch."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import nn
from torch.nn.utils import prune as torch_prune

from lqtheory.pruning import global_ranking, kept_total
from lqtheory.pruning.parts import prunable
from lqtheory.pruning.recipe import BUDGETS, FITS, SCORES, Pruned, Recipe, prune


class Encoder(nn.Module):
    """An embedding, layers of a transformer, a tied head, a neuron of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Embedding(11, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 11, bias=False)
        self.head.weight = self.tokens.weight
        self.single = nn.Linear(1, 3)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        h = self.layer(self.tokens(ids))
        return self.head(h) + self.single(h.mean(-1, keepdim=True)).sum(-1, keepdim=True)


def convolutions() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3), nn.Flatten(), nn.Linear(64, 5)
    ).eval()


def images(n: int = 40) -> torch.Tensor:
    return torch.randn(n, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def same_bits(a: nn.Module, b: nn.Module) -> bool:
    pairs = zip(a.state_dict().items(), b.state_dict().items(), strict=True)
    return all(n == m and s.dtype == t.dtype and torch.equal(s, t) for (n, s), (m, t) in pairs)


def nonzero(model: nn.Module) -> int:
    return sum(int(np.count_nonzero(part.weight)) for part in prunable(model))


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("score", SCORES)
def test_every_score_and_budget_keeps_exactly_the_total(score, budget):
    model, x = convolutions(), images()
    for sparsity in (0.31, 0.9):
        pruned = Recipe(sparsity, score, budget)(model, data=x)
        assert pruned.kept == kept_total(pruned.weights, sparsity) == nonzero(pruned.model)
        assert all(mask.any(axis=1).all() for mask in pruned.masks.values())


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("steps", [1, 3])
def test_every_refit_keeps_exactly_the_total_and_helps(fit, steps):
    model, x = convolutions(), images(200)
    pruned = Recipe(0.6, fit=fit, steps=steps)(model, refit=x)
    assert pruned.kept == kept_total(pruned.weights, 0.6) == nonzero(pruned.model)
    with torch.no_grad():
        change, plain = ((model(x) - other(x)).norm() for other in (pruned.model, prune(model, 0.6)))
    assert change < plain


def test_sparsity_zero_is_the_same_network_bit_for_bit():
    model = convolutions()
    assert same_bits(prune(model, 0.0, refit=images()), model)
    assert same_bits(prune(model.half(), 0.0), model.half())


@pytest.mark.parametrize("sparsity", [0.0, 0.2, 0.5, 0.75])
def test_ties_zeros_single_weights_and_tied_tensors(sparsity):
    pruned = Recipe(sparsity)(odd(), refit=torch.arange(60).view(10, 6) % 11)
    names = [part.name for part in pruned.parts]
    assert "tokens.weight" not in names  # neither the embedding nor the head that is tied to it
    assert "head.weight" not in names
    assert "single.weight" in names
    assert pruned.kept == kept_total(pruned.weights, sparsity)
    for part in pruned.parts:
        assert not part.weight[~pruned.masks[part.name]].any()


def odd() -> Encoder:
    """Ties, zeros, neurons of one weight, a tied head."""
    torch.manual_seed(0)
    model = Encoder().eval()
    with torch.no_grad():
        model.layer.linear1.weight.fill_(0.25)
        model.layer.linear2.weight.zero_()
    return model


def may_be_empty(scores, total, shapes):
    return global_ranking(scores, total, least=0)


@settings(max_examples=20)
@given(st.floats(0, 1, exclude_max=True), st.sampled_from(["global", "uniform", "keep-rule", "layer", "erk"]))
def test_any_sparsity_is_met_to_the_weight_and_empties_no_neuron_unless_asked(sparsity, budget):
    model = odd()
    parts = prunable(model)
    kept, neurons = kept_total(sum(p.weight.size for p in parts), sparsity), sum(len(p.weight) for p in parts)
    if kept < neurons:
        with pytest.raises(ValueError, match="the number of weights to keep must"):
            Recipe(sparsity, budget=budget, fit=None)(model)
        budget = may_be_empty
    pruned = Recipe(sparsity, budget=budget, fit=None)(model)
    assert pruned.kept == kept
    assert all(not part.weight[~pruned.masks[part.name]].any() for part in pruned.parts)
    assert kept < neurons or all(mask.any(axis=1).all() for mask in pruned.masks.values())
    if sparsity == 0:
        assert same_bits(pruned.model, model)


def test_a_new_module_unless_in_place():
    model = convolutions()
    before = copy.deepcopy(model)
    assert prune(model, 0.5) is not model
    assert same_bits(model, before)
    assert prune(model, 0.5, inplace=True) is model
    assert nonzero(model) == kept_total(sum(p.weight.size for p in prunable(model)), 0.5)


def test_kept_weights_are_not_touched_without_a_refit():
    model = convolutions()
    for name, tensor in prune(model, 0.5).state_dict().items():
        kept = tensor != 0
        assert torch.equal(tensor[kept], model.state_dict()[name][kept])


def test_include_and_exclude_choose_the_tensors():
    model = convolutions()
    only = Recipe(0.5, include=["5.*weight"])(model)
    assert list(only.masks) == ["5.weight"]
    assert "5.weight" not in Recipe(0.5, exclude=["5.weight"])(model).masks


def test_patterns_keep_n_of_m():
    pruned = Recipe(pattern=(2, 4))(convolutions(), refit=images())
    for mask in pruned.masks.values():
        whole = mask[:, : mask.shape[1] // 4 * 4].reshape(-1, 4)
        assert np.all(whole.sum(axis=1) == 2)


def test_masks_of_torch_are_read_and_written():
    model = convolutions()
    torch_prune.l1_unstructured(model[5], "weight", 0.5)
    before = model[5].weight.detach().clone()
    pruned = Recipe(0.6)(model)
    assert not pruned.model[5].weight[before == 0].any()
    assert torch_prune.is_pruned(model)
    assert not torch_prune.is_pruned(pruned.model)
    attached = pruned.attach()
    assert torch_prune.is_pruned(attached)
    buffers = dict(attached.named_buffers())
    for part, mask in pruned.stored_masks().items():
        assert torch.equal(buffers[f"{part}_mask"].bool(), torch.from_numpy(mask))
    assert same_bits(Recipe(0.0)(attached).model, Recipe(0.0)(pruned.model).model)


def test_functions_take_the_place_of_names():
    def smallest(layer):
        return -np.abs(layer.weight)

    pruned = Recipe(0.5, score=lambda layer: 9 + smallest(layer), budget="layer")(convolutions())
    for part in pruned.parts:
        mask, size = pruned.masks[part.name], np.abs(prunable(convolutions())[0].weight)
        if part.name == "0.weight":
            assert size[mask].mean() < size[~mask].mean()


def test_what_a_recipe_and_its_result_say():
    assert repr(Recipe(0.8, "wanda", "uniform")) == "Recipe(sparsity=0.8, score='wanda', budget='uniform')"
    pruned = Recipe(0.5)(nn.Linear(4, 2))
    assert isinstance(pruned, Pruned)
    assert repr(pruned) == "Pruned(4 of 8 weights, Recipe(sparsity=0.5))"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sparsity": 1.0}, r"sparsity must lie in \[0, 1\), got sparsity=1"),
        ({"score": "wander"}, "score must be one of magnitude, wanda, .* or a function, got 'wander'"),
        ({"budget": "even"}, "budget must be one of global, .* got 'even'"),
        ({"fit": "x"}, "fit must be one of least-squares, .* got 'x'"),
        ({"steps": 0}, r"steps must be a whole number in \[1, 1000\]"),
    ],
)
def test_recipes_that_cannot_be_followed(arguments, message):
    with pytest.raises(ValueError, match=message):
        Recipe(**arguments)


def test_a_network_without_matrices_and_a_score_without_data_are_refused():
    with pytest.raises(ValueError, match="got none in BatchNorm2d"):
        prune(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="must have calibration data"):
        prune(convolutions(), 0.5, score="wanda")


def test_norms_and_biases_with_two_axes_are_pruned_on_demand_only():
    model = torch.nn.ModuleDict(
        {
            "attention": torch.nn.MultiheadAttention(4, 1, add_bias_kv=True),
            "norm": torch.nn.LayerNorm((3, 4)),
            "table": torch.nn.Embedding(5, 4),
        }
    )
    assert {part.name for part in prunable(model)} == {"attention.in_proj_weight", "attention.out_proj.weight"}
    wanted = ("norm.weight", "attention.bias_k", "table.weight")
    assert {part.name for part in prunable(model, include=wanted)} == set(wanted)
