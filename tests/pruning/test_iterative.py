"""Rounds of pruning and training, worked by hand: what is left, what it goes back to, and that zeros stay zero."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from lqtheory.pruning import kept_total
from lqtheory.pruning.iterative import SCOPES, cubic, geometric, iterate, sap
from lqtheory.pruning.layers import sap_pruned
from lqtheory.pruning.parts import prunable
from lqtheory.pruning.recipe import Recipe


def row(*weights: float) -> nn.Linear:
    """A neuron with these weights."""
    layer = nn.Linear(len(weights), 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([weights]))
    return layer


def grow(model: nn.Module) -> None:
    """Training in which every weight that may move grows by one."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    (-sum(p.sum() for p in model.parameters())).backward()
    optimizer.step()
    optimizer.zero_grad()


def still(model: nn.Module) -> None:
    """No training."""


PLAIN = Recipe(fit=None)


def test_pruned_weights_stay_zero_and_kept_ones_are_trained():
    model = row(4, 3, 2, 1)
    found = iterate(model, PLAIN, [0.25, 0.5], grow)
    assert found.model.weight.tolist() == [[6, 5, 0, 0]]
    assert found.masks["weight"].tolist() == [[True, True, False, False]]
    assert found.kept == 2
    assert model.weight.tolist() == [[4, 3, 2, 1]]
    assert not found.model.weight._backward_hooks


def test_tickets_go_back_to_where_they_came_from():
    start = {"weight": torch.tensor([[1.0, 2.0, 3.0, 4.0]])}
    found = iterate(row(4, 3, 2, 1), PLAIN, [0.25, 0.5], grow, rewind=start)
    # round 1 keeps 4, 3, 2, back to 1, 2, 3, trained to 2, 3, 4; round 2 keeps 3, 4, back to 2, 3, trained to 3, 4
    assert found.model.weight.tolist() == [[0, 3, 4, 0]]
    assert start["weight"].tolist() == [[1, 2, 3, 4]]


def test_what_is_pruned_stays_pruned_though_a_later_score_would_have_it_back():
    def first_it_is_small_then_large(module: nn.Module) -> None:
        with torch.no_grad():
            module.weight.fill_(9.0)  # also what is masked: the loop sets it to zero again

    found = iterate(row(4, 3, 2, 1), PLAIN, [0.25, 0.25, 0.5], first_it_is_small_then_large)
    assert found.model.weight.tolist() == [[9, 9, 0, 0]]
    drawn = [
        iterate(row(4, 3, 2, 1), Recipe(score="random", fit=None, seed=seed), [0.5, 0.75], still).masks["weight"]
        for seed in (1, 1, 2)
    ]
    assert (drawn[0] == drawn[1]).all()
    assert all(mask.sum() == 1 for mask in drawn)


@pytest.mark.parametrize("kind", ["sgd", "adam", "adamw"])
def test_zeros_stay_zero_under_momentum_and_decay(kind):
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(40, 6)
    seen = []

    def train(module: nn.Module) -> None:
        optimizer = {
            "sgd": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.1, nesterov=True),
            "adam": lambda p: torch.optim.Adam(p, lr=0.1, weight_decay=0.1),
            "adamw": lambda p: torch.optim.AdamW(p, lr=0.1),
        }[kind](module.parameters())
        for _ in range(5):
            optimizer.zero_grad()
            module(x).square().mean().backward()
            optimizer.step()
        seen.append(sum(int(np.count_nonzero(part.weight)) for part in prunable(module)))

    found = iterate(model, PLAIN, [0.3, 0.6, 0.8], train)
    assert seen == [kept_total(72, s) for s in (0.3, 0.6, 0.8)]
    assert found.kept == kept_total(72, 0.8)
    assert not torch.equal(found.model[0].bias, model[0].bias)
    again = iterate(model, PLAIN, [0.3, 0.6, 0.8], train)
    assert all(torch.equal(a, b) for a, b in zip(found.model.parameters(), again.model.parameters(), strict=True))


def test_one_sparsity_without_training_is_one_shot():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.randn(40, 6)
    for recipe in (Recipe(0.6), Recipe(0.6, "wanda", "uniform")):
        once, found = recipe(model, refit=x), iterate(model, recipe, [0.6], still, refit=x)
        assert all(torch.equal(a, b) for a, b in zip(once.model.parameters(), found.model.parameters(), strict=True))
        assert found.recipe == recipe


def test_schedules_end_where_they_should_and_rise():
    assert cubic(0.5, 1) == [0.5] == geometric(0.5, 1)
    np.testing.assert_allclose(cubic(0.8, 4, start=0.4), [0.63125, 0.75, 0.79375, 0.8], rtol=1e-12)
    np.testing.assert_allclose(geometric(0.875, 3), [0.5, 0.75, 0.875], rtol=1e-12)
    for steps in (cubic(0.9, 7), geometric(0.9, 7)):
        assert len(steps) == 7
        assert sorted(steps) == steps


def test_sap_by_hand():
    # N_{1,2}(3, 1, 1, 1) = 36/12 = 3, so one of four goes; N(3, 1, 1) = 25/11, rounded up to 3, so none of three
    found = sap(row(3, 1, 1, 1), still, rounds=2)
    assert found.model.weight.tolist() == [[3, 1, 1, 0]]
    # trained by 1 in between: N(4, 2, 2) = 64/24, rounded up to 3
    assert sap(row(3, 1, 1, 1), grow, rounds=2).model.weight.tolist() == [[5, 3, 3, 0]]
    # gamma 2 doubles what goes, and beta limits it to a quarter
    assert sap(row(3, 1, 1, 1), still, rounds=1, gamma=2.0).kept == 2
    assert sap(row(3, 1, 1, 1), still, rounds=1, gamma=2.0, beta=0.25).kept == 3
    assert sap(row(3, 1, 1, 1), still, 1, rewind={"weight": torch.tensor([[7.0, 8, 9, 6]])}).model.weight.tolist() == [
        [7, 8, 9, 0]
    ]


@pytest.mark.parametrize("scope", SCOPES)
def test_sap_counts_in_every_scope(scope):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(30, 10), nn.ReLU(), nn.Linear(10, 4))
    with torch.no_grad():
        model[0].weight.pow_(3)
    w, v = (part.weight for part in prunable(model))
    rows = {"neuron": [*w, *v], "layer": [w.ravel(), v.ravel()], "network": [np.concatenate([w.ravel(), v.ravel()])]}
    found = sap(model, still, rounds=1, p=0.5, q=1.0, scope=scope)
    pruned = sum(sap_pruned(np.abs(row), 0.5, 1.0, 0, 1, 0.9) for row in rows[scope])
    assert found.weights - found.kept == pruned > 0
    largest = np.abs(w) * found.masks["0.weight"]
    assert not np.any(np.abs(w)[~found.masks["0.weight"]] > largest.max())


def test_frozen_weights_and_shared_ones_are_masked():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    model[2].weight = model[0].weight
    found = iterate(model, PLAIN, [0.5], grow)
    assert found.model[2].weight is found.model[0].weight
    assert int((found.model[0].weight != 0).sum()) == 8
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert int((iterate(frozen, PLAIN, [0.5], still).model[0].weight != 0).sum()) == 8


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: iterate(row(1, 2), PLAIN, [0.5, 0.2], still),
            r"sparsities must be given and not fall, got \[0.5, 0.2\]",
        ),
        (lambda: iterate(row(1, 2), PLAIN, [], still), r"must be given and not fall, got \[\]"),
        (lambda: cubic(0.5, 0), r"steps must be a whole number in \[1, "),
        (lambda: sap(row(1, 2), still, 0), r"rounds must be a whole number in \[1, "),
        (lambda: sap(row(1, 2), still, 1, scope="filter"), "scope must be one of neuron, layer, network"),
    ],
)
def test_what_cannot_be_done_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()
