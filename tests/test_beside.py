"""Bounds beside pruned modules: for each kind of network the tiers that it has, about the first inputs."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch import nn

from lqtheory.bounds.trace import alike
from lqtheory.evaluate import Sample
from lqtheory.ladder import RUNGS, Beside, Dense, DenseGraph, DenseModule, dense_of
from lqtheory.ladder.beside import LEAST
from lqtheory.pruning.recipe import Recipe

F = nn.functional


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 4, 3, 1, 1), nn.Conv2d(4, 4, 3, 1, 1, bias=False)
        self.norm, self.head = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.first(x))
        return self.head(F.relu(x + self.norm(self.second(x))).mean((2, 3)))


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(50, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.b(self.a(x.flatten(1)).relu())


def stack():
    return nn.Sequential(nn.Flatten(), nn.Linear(50, 9), nn.ReLU(), nn.Linear(9, 3))


def attentive():
    return nn.Sequential(nn.Flatten(), nn.LayerNorm(50), nn.Linear(50, 9), nn.GELU(), nn.Linear(9, 3))


KINDS = {
    stack: (Dense, {"A", "B", "C", "D", "F", "H"}),
    Residual: (DenseGraph, {"B", "C", "D"}),
    attentive: (DenseModule, set()),
}


def case(make):
    torch.manual_seed(0)
    model, rng = make().eval(), np.random.default_rng(0)
    x = rng.normal(size=(250, 2, 5, 5)).astype(np.float32)
    with torch.no_grad():
        y = model(torch.from_numpy(x)).argmax(1).numpy()
    return model, Sample("noise", x, y)


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("recipe", [Recipe(0.2, fit=None), Recipe(0.7, score="random", fit=None)])
def test_each_kind_of_network_has_its_tiers(make, recipe):
    model, sample = case(make)
    kind, tiers = KINDS[make]
    beside = Beside.of(model, sample, tiers=list(RUNGS))
    assert type(beside.dense) is kind
    found = beside(recipe(model).model)
    wanted = tiers - {"A"} if recipe.score == "random" else tiers
    assert {tier for tier, _, _ in found} - {"C weighted", "D uniform"} == wanted
    for tier, quantity, pair in found:
        assert not pair.bound.violated(pair.measured), (tier, quantity)
        assert pair.about["inputs"] == LEAST


def test_what_is_measured_is_about_the_first_inputs():
    model, sample = case(Residual)
    pruned = Recipe(0.5, fit=None)(model).model
    found = {(t, q): pair for t, q, pair in Beside.of(model, sample, inputs=7)(pruned)}
    x = torch.from_numpy(sample.x[:7]).double()
    with torch.no_grad():
        error = deepcopy(model).double()(x) - deepcopy(pruned).double()(x)
    assert {t for t, _ in found} == {"B", "C"}
    assert found["C", "output_error"].measured == pytest.approx(float(error.square().sum(1).mean().sqrt()), rel=1e-9)
    assert found["C", "output_error"].about == {"inputs": 7}


def test_a_network_with_other_layers_has_no_bound():
    model, sample = case(Residual)
    other = Residual()
    other.second = nn.Conv2d(4, 4, 1)
    assert Beside.of(model, sample)(other) == []
    model, sample = case(stack)
    assert Beside.of(model, sample)(nn.Sequential(nn.Flatten(), nn.Linear(50, 8), nn.ReLU(), nn.Linear(8, 3))) == []


def test_a_stack_is_what_its_layers_do_and_not_what_they_are_called():
    _, sample = case(stack)
    assert type(dense_of(Functional(), sample)) is Dense
    for other in (nn.Tanh(), nn.Identity()):
        parts = nn.Flatten(), nn.Linear(50, 4), other, nn.Linear(4, 3)
        assert type(dense_of(nn.Sequential(*parts), sample)) is DenseGraph
    normed = nn.Sequential(nn.Flatten(), nn.Linear(50, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))
    assert type(dense_of(normed, sample)) is DenseGraph


class Skipping(nn.Module):
    """What it does is decided by a number."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(50, 50), nn.Linear(50, 3)
        self.register_buffer("skip", torch.tensor(False))

    def forward(self, x):
        return self.b(x.flatten(1) if self.skip else self.a(x.flatten(1)))


def leaning(layer):
    layer.slope = torch.ones(3)
    return layer


def test_a_module_of_torch_is_traced_once_and_any_other_each_time(monkeypatch):
    calls, honest = [], torch.fx.Tracer.trace
    monkeypatch.setattr(torch.fx.Tracer, "trace", lambda *args, **kwargs: calls.append(1) or honest(*args, **kwargs))
    for make, times in (stack, 1), (Residual, 3):
        model, sample = case(make)
        dense = dense_of(model, sample)
        found = [dense.of_module(Recipe(s, fit=None)(model).model) for s in (0.3, 0.6)]
        fresh = [dense_of(Recipe(s, fit=None)(model).model, sample) for s in (0.3, 0.6)]
        for one, other in zip(found, fresh, strict=True):
            np.testing.assert_array_equal(one.outcome.logits, other.outcome.logits)
        assert len(calls) == times + len(fresh)
        calls.clear()


def test_what_a_number_decides_is_seen():
    model, sample = case(Skipping)
    other = deepcopy(model)
    other.register_buffer("skip", torch.tensor(True))
    with pytest.raises(ValueError, match="same layers"):
        dense_of(model, sample).of_module(other)


@pytest.mark.parametrize(
    "other",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(9, 9), nn.Tanh()),
        nn.Sequential(nn.Flatten(), nn.Linear(9, 9), nn.LeakyReLU(0.2)),
        nn.Sequential(nn.Flatten(), nn.Linear(9, 9, bias=False), nn.LeakyReLU()),
        nn.Sequential(nn.Flatten(), nn.Linear(9, 8), nn.LeakyReLU()),
        nn.Sequential(nn.Flatten(), nn.Linear(9, 9), nn.LeakyReLU(), nn.Flatten()),
        nn.Sequential(nn.Flatten(), nn.Linear(9, 9), leaning(nn.LeakyReLU())),
    ],
)
def test_other_settings_are_other_layers(other):
    model = nn.Sequential(nn.Flatten(), nn.Linear(9, 9), nn.LeakyReLU())
    assert alike(model, nn.Sequential(nn.Flatten(), nn.Linear(9, 9), nn.LeakyReLU()).eval())
    assert not alike(model, other)
    assert not alike(deepcopy(other), model)
    assert alike(leaning(deepcopy(model)), leaning(deepcopy(model))) is False


def test_the_module_is_left_alone():
    model, sample = case(Residual)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Beside.of(model, sample)(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert next(model.parameters()).dtype is torch.float32
