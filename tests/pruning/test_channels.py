"""Whole channels: what goes together, exactly how many go, and that the smaller network computes the same."""

from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from prune_channels import Block
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from lqtheory.pruning import budgets, kept_total
from lqtheory.pruning.channels import channels
from lqtheory.pruning.coupling import STAYS, Channels, Coupling
from lqtheory.pruning.parts import prunable
from lqtheory.pruning.recipe import BUDGETS, SCORES, Recipe
from lqtheory.pruning.structured import channel_masks, channel_scores, channels_to_drop, resize, slim, unread


class Everything(nn.Module):
    """Residual sums, a gate, concatenation, a depthwise and a transposed convolution, padding, pooling, flattening."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.inner, self.back = nn.Conv2d(8, 5, 3, padding=1), nn.Conv2d(5, 8, 1)
        self.gate = nn.Linear(8, 8)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.side = nn.Conv2d(6, 4, 1)
        self.mixed = nn.Conv2d(10, 7, 1)
        self.grouped = nn.Conv2d(12, 6, 1, groups=2)
        self.hidden, self.layer_norm, self.out = nn.Linear(24, 9), nn.LayerNorm(9), nn.Linear(9, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = functional.silu(self.norm(self.stem(x)))
        h = h + self.back(torch.sigmoid(self.inner(h)))
        h = h * torch.sigmoid(self.gate(h.mean((2, 3))))[:, :, None, None]
        h = functional.max_pool2d(functional.gelu(self.depthwise(h)), 2)
        h = self.up(h)
        h = self.mixed(torch.cat([h, self.side(h)], 1)).relu()
        h = functional.pad(h[:, :, ::2, ::2], (0, 0, 0, 0, 2, 3))
        h = functional.adaptive_avg_pool2d(self.grouped(h), 2).flatten(1)
        return self.out(self.layer_norm(self.hidden(h)))


def everything() -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    model, x = Everything().double(), torch.randn(6, 3, 8, 8).double()
    model(x)  # statistics of the normalisation
    return model.eval(), x


def mlp() -> tuple[nn.Sequential, torch.Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    return model.eval(), torch.randn(20, 5).double()


def weights(model: nn.Module) -> int:
    return sum(part.weight.size for part in prunable(model))


def labels(found: Channels, name: str, axis: int) -> list[int]:
    return found.axes[name, axis].tolist()


def test_neurons_of_an_mlp_go_with_their_bias_and_with_the_columns_that_read_them():
    model, x = mlp()
    found = channels(model, x)
    assert [block.size for block in found.blocks] == [4, 3]
    assert labels(found, "0.weight", 0) == labels(found, "0.bias", 0) == labels(found, "2.weight", 1)
    assert labels(found, "2.weight", 0) == labels(found, "2.bias", 0) == labels(found, "4.weight", 1)
    assert set(labels(found, "0.weight", 1)) == {STAYS}  # inputs
    assert set(labels(found, "4.weight", 0)) == {STAYS}  # outputs
    assert found.reads == {("0.weight", 1), ("2.weight", 1), ("4.weight", 1)}


def test_what_is_added_multiplied_or_scaled_goes_together():
    found = channels(*everything())
    stream = labels(found, "stem.weight", 0)
    for name in ("norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "back.weight", "back.bias"):
        assert labels(found, name, 0) == stream, name
    assert labels(found, "inner.weight", 1) == stream
    assert labels(found, "inner.weight", 0) == labels(found, "back.weight", 1) != stream[:5]


def test_what_is_not_known_keeps_its_channels():
    found = channels(*everything())
    for name, axis in (("hidden.weight", 0), ("mixed.weight", 0), ("gate.weight", 0)):
        assert set(labels(found, name, axis)) == {STAYS}, name  # layer norm, groups, an index with None


def test_concatenated_channels_keep_their_order():
    found = channels(*everything())
    assert labels(found, "mixed.weight", 1) == labels(found, "up.weight", 1) + labels(found, "side.weight", 0)
    assert labels(found, "side.weight", 1) == labels(found, "up.weight", 1)


class Padded(nn.Module):
    """A shortcut with channels of zeros around the others, whose number is in the code."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.wide, self.out = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 7, 1), nn.Linear(7 * 4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.stem(x).relu()
        return self.out((self.wide(h) + functional.pad(h, (0, 0, 0, 0, 1, 2))).flatten(1))


def test_channels_that_the_code_counts_are_zeroed_and_stay():
    torch.manual_seed(0)
    model, x = Padded().double(), torch.randn(4, 3, 2, 2).double()
    found = channels(model, x)
    wide = labels(found, "wide.weight", 0)
    assert wide[1:5] == labels(found, "stem.weight", 0)
    assert found.rigid == {wide[0], wide[5], wide[6]}
    assert labels(found, "out.weight", 1) == np.repeat(wide, 4).tolist()
    masks = channel_masks(found, prunable(model), np.array([wide[0], wide[2]]))
    for part in prunable(model):
        part.masked(masks[part.name])
    smaller = slim(model, x)
    assert smaller.wide.weight.shape == (6, 3, 1, 1)
    assert smaller.stem.out_channels == 3
    torch.testing.assert_close(smaller(x), model(x), rtol=1e-12, atol=1e-12)


@settings(max_examples=8)
@given(st.sampled_from([everything, mlp]), st.floats(0, 0.6), st.sampled_from(["global", "uniform", "keep-rule"]))
def test_exactly_so_many_channels_go_and_the_smaller_network_computes_the_same(made, sparsity, budget):
    model, x = made()
    pruned = Recipe(sparsity, "magnitude", budget, pattern="channels", fit=None)(model, data=x)
    total = sum(block.size for block in channels(model, x).blocks)
    gone = unread(pruned.model, channels(pruned.model, x))
    assert len(gone) == total - kept_total(total, sparsity)
    smaller = slim(pruned.model, x)
    assert (weights(smaller) < weights(model)) == (len(gone) > 0)
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), pruned.model(x), rtol=1e-11, atol=1e-12)
    assert weights(slim(smaller, x)) == weights(smaller)


def test_the_score_of_a_channel_is_the_root_mean_square_of_its_rows_and_columns():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[1.0, 2.0], [0.0, 3.0]]))
        model[2].weight.copy_(torch.tensor([[4.0, 0.0]]))
    found, parts = channels(model, torch.zeros(2, 2)), prunable(model)
    scores = channel_scores(found, parts, {part.name: np.abs(part.weight) for part in parts})
    (block,) = found.blocks
    np.testing.assert_allclose(scores[block], [np.sqrt((1 + 4 + 16) / 3), np.sqrt(9 / 3)], rtol=1e-12)
    assert channels_to_drop(found, scores, budgets.global_ranking, 0.5).tolist() == [block[1]]


def test_ties_keep_the_first_channels_and_no_layer_is_emptied():
    model, x = mlp()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(0.5)
        model[2].weight.mul_(1e-6)
    found = channels(model, x)
    masks = Recipe(0.7, pattern="channels", fit=None)(model, data=x).masks
    assert [int(masks[name].any(axis=1).sum()) for name in ("0.weight", "2.weight")] == [1, 1]
    assert masks["0.weight"][0].all()
    with pytest.raises(ValueError, match=r"number of weights to keep must be a whole number in \[2, 7\]"):
        channels_to_drop(found, np.ones(9), budgets.global_ranking, 0.9)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("budget", BUDGETS)
def test_every_score_and_budget_prunes_channels(score, budget):
    model, x = mlp()
    pruned = Recipe(0.4, score, budget, pattern="channels", fit=None)(model, data=x)
    assert [int(mask.any(axis=1).sum()) for mask in list(pruned.masks.values())[:2]] in ([3, 1], [2, 2], [1, 3])


@pytest.mark.parametrize("steps", [1, 3])
def test_refitting_helps_and_what_is_left_can_be_removed(steps):
    model, x = everything()
    x = torch.randn(30, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    plain = Recipe(0.4, pattern="channels", fit=None, steps=steps)(model, data=x)
    fitted = Recipe(0.4, pattern="channels", steps=steps)(model, refit=x)
    total = sum(block.size for block in channels(model, x).blocks)
    assert len(unread(fitted.model, channels(model, x))) == total - kept_total(total, 0.4)
    with torch.no_grad():
        cut, mended = ((model(x) - each.model(x)).norm() for each in (plain, fitted))
        torch.testing.assert_close(slim(fitted.model, x)(x), fitted.model(x), rtol=1e-11, atol=1e-12)
    assert mended < 0.7 * cut


def test_the_original_code_loads_a_smaller_checkpoint():
    model, x = everything()
    smaller = slim(Recipe(0.5, pattern="channels", fit=None)(model, data=x).model, x)
    again = resize(Everything().double().eval(), smaller.state_dict())
    assert torch.equal(again(x), smaller(x))
    assert again.depthwise.groups == again.depthwise.in_channels == len(again.depthwise.weight)
    assert again.norm.num_features == again.stem.out_channels


def test_a_layer_that_runs_twice_keeps_both_ends_together():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.two(self.two(self.one(x)).relu()))

    found = channels(model := Twice(), x := torch.randn(5, 3))
    assert labels(found, "two.weight", 0) == labels(found, "two.weight", 1) == labels(found, "one.weight", 0)
    assert len(found.blocks) == 1
    pruned = Recipe(0.5, pattern="channels", fit=None)(model, data=x).model
    torch.testing.assert_close(slim(pruned, x)(x), pruned(x))


def test_tied_tensors_and_those_used_apart_keep_their_shapes():
    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.out = nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.two(self.one(x))) + self.two.weight.sum()

    model = Apart()
    assert [block.size for block in channels(model, torch.zeros(2, 3)).blocks] == []
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    model[2].weight = model[1].weight
    assert [block.size for block in channels(model, torch.zeros(2, 3)).blocks] == []


def test_sizes_that_the_code_counts_are_left():
    class Counted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.out = nn.Conv2d(1, 4, 1), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.out(self.one(x).view(-1, 4))

    assert channels(Counted(), torch.zeros(2, 1, 1, 1)).blocks == []


def test_couplings_by_hand():
    coupling = Coupling()
    a, b, c = (coupling.fresh(n) for n in (3, 3, 2))
    coupling.at("a", 0, a)
    coupling.at("b", 1, b)
    coupling.at("b", 1, a[[2, 1, 0]])  # the same axis again
    coupling.at("c", 0, c)
    coupling.stay(a[:1])
    found = coupling.channels(fixed=["c"])
    assert labels(found, "a", 0)[0] == STAYS == labels(found, "b", 1)[2]
    assert labels(found, "a", 0)[1:] == labels(found, "b", 1)[1::-1]
    assert set(labels(found, "c", 0)) == {STAYS}


def test_what_cannot_be_traced_and_what_has_no_channels_is_said():
    class Branching(nn.Linear):
        def forward(self, input: torch.Tensor) -> torch.Tensor:
            return super().forward(input) if input.sum() > 0 else input

    with pytest.raises(ValueError, match=r"must be traceable by torch.fx to have its channels pruned: .*control flow"):
        channels(Branching(3, 3), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="must have channels that can go, got none"):
        Recipe(0.5, pattern="channels")(nn.Sequential(nn.Linear(3, 2)), refit=torch.zeros(4, 3))
    with pytest.raises(ValueError, match="must have calibration inputs, to follow the channels, got none"):
        Recipe(0.5, pattern="channels")(mlp()[0])
    with pytest.raises(ValueError, match=r"pattern must be \(n, m\), 'channels' or 'heads', got 'rows'"):
        Recipe(0.5, pattern="rows")


def distiller() -> nn.Sequential:
    stages = {
        f"layer{k}": nn.Sequential(Block(before, after), Block(after, after), Block(after, after))
        for k, (before, after) in enumerate(((16, 16), (16, 32), (32, 64)), 1)
    }
    stem = {"conv1": nn.Conv2d(3, 16, 3, 1, 1, bias=False), "bn1": nn.BatchNorm2d(16), "relu": nn.ReLU()}
    head = {"avgpool": nn.AvgPool2d(8), "flatten": nn.Flatten(), "fc": nn.Linear(64, 10)}
    return nn.Sequential(OrderedDict({**stem, **stages, **head})).eval()


def test_a_network_with_dead_channels_is_thinned_as_its_authors_thinned_it(data):
    """Distiller's channel-regularised ResNet-20 and its thinned twin: the same shapes, the same weights."""
    folder = data / "models" / "distiller-resnet20"
    dense, thinned = (
        load_file(folder / f"{name}.safetensors") for name in ("ch_regularized_dense", "thinned_v2018-04")
    )
    model, x = distiller(), torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model.load_state_dict(dense)
    smaller = slim(model, x)
    assert weights(model) - weights(smaller) == 270_896 - 227_840
    state = smaller.state_dict()
    for name in thinned.keys() & state.keys():
        assert torch.equal(state[name], thinned[name]), name
    with torch.no_grad():
        torch.testing.assert_close(smaller(x), model(x), rtol=1e-5, atol=1e-5)
