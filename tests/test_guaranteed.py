"""Pruning as far as a guarantee goes: the sparsity that comes of it, what it says, and that it is kept."""

import json

import pytest
import torch
from torch import nn

import lqtheory as lq
from lqtheory.bounds import accuracy_drop, margins, tier_c
from lqtheory.certification import certify
from lqtheory.guaranteed import Promise, largest, promise, prune
from lqtheory.ladder import Dense, dense_of
from lqtheory.models import Data
from lqtheory.pruning.recipe import Recipe, prune as plainly
from lqtheory.samples import sample_of


def labelled() -> tuple[nn.Module, Data]:
    """A network that is sure of itself, with few weights that matter, and inputs with its own labels."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.sign() * parameter.abs() ** 3 * 40)
    x = torch.randn(400, 20)
    return model, Data("normal", x, model(x).argmax(1))


def same(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(v, w) for v, w in zip(a.parameters(), b.parameters(), strict=True))


def harmed(before: nn.Module, after: nn.Module, data: Data) -> float:
    with torch.no_grad():
        right, still = (model(data.x).argmax(1) == data.y for model in (before, after))
    return float((right & ~still).float().mean())


def test_a_certificate_gives_the_sparsity():
    model, data = labelled()
    found = largest(model, data, 0.05, Recipe(fit=None))
    assert found == certify(model, data, 0.05, recipe=Recipe(fit=None))
    assert 0 < found.sparsity < 0.95
    pruned = prune(model, max_drop=0.05, held_out=data)
    assert same(pruned, plainly(model, found.sparsity))
    assert harmed(model, pruned, data) <= 0.05
    fitted = lq.prune(model, max_drop=0.05, held_out=data, refit=data.x[:200])
    at = certify(model, data, 0.05, recipe=Recipe(), calibration=data.x[:200]).sparsity
    assert same(fitted, plainly(model, at, refit=data.x[:200]))


@pytest.mark.parametrize("tier", ["A", "B", "C", "D"])
def test_a_tier_promises_without_running_the_pruned_network(tier):
    model, data = labelled()
    found = promise(model, data, 0.2, tier, Recipe(fit=None))
    passed = [s for s, bound in zip(found.sparsities, found.bounds, strict=True) if bound <= 0.2]
    assert found.sparsity == max(passed, default=0.0)
    for sparsity, bound in zip(found.sparsities, found.bounds, strict=True):
        assert harmed(model, plainly(model, sparsity), data) <= bound
    assert same(prune(model, max_drop=0.2, held_out=data, tier=tier), plainly(model, found.sparsity))


def test_the_promise_of_tier_c_is_its_bound():
    model, data = labelled()
    found = promise(model, data, 0.2, sparsities=[0.3])
    dense = dense_of(model, sample_of(data))
    assert isinstance(dense, Dense)
    error = tier_c(dense.linears, dense.of_module(plainly(model, 0.3)).linears, dense.moments)
    bound = accuracy_drop(margins(dense.outcome.logits), dense.outcome.correct, error.value)
    assert found.bounds == (pytest.approx(bound.value, rel=1e-12),)
    assert found.source == error.source or found.source == bound.source


def test_promises_are_sentences():
    found = Promise(0.4, 0.01, 2000, (0.4,), (0.005,), "C", "Theorem 13", "Recipe(sparsity=0.5)")
    assert found.summary() == (
        "At 40 % sparsity, at most 1 % of the 2,000 inputs at hand are lost, by Theorem 13 (tier C)."
    )
    nothing = Promise(0.0, 0.01, 50, (0.05,), (0.5,), "C", "Theorem 13", "")
    assert (
        nothing.summary()
        == "No sparsity of the path is promised: at most 1 % of the 50 inputs at hand would be lost (tier C)."
    )
    assert json.loads(found.to_json())["bounds"] == [0.005]


def test_where_nothing_is_guaranteed_nothing_is_pruned():
    model, data = labelled()
    assert same(prune(model, max_drop=1e-4, held_out=data.part(0, 20)), model)


def test_sparsity_is_one_half_if_nothing_is_said():
    model, _ = labelled()
    assert same(lq.prune(model), plainly(model, 0.5))
    assert same(lq.prune(model, 0.7, "lamp", "layer"), plainly(model, 0.7, "lamp", "layer"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_drop": 0.1}, "max_drop takes the place of a sparsity and must have held_out data, got no held_out"),
        ({"max_drop": 0.1, "sparsity": 0.5}, "must have held_out data, got a sparsity as well"),
        ({"max_drop": 2.0, "held": True}, r"limit must lie in \(0, 1\)"),
        ({"max_drop": 2.0, "held": True, "tier": "C"}, r"limit must lie in \[0, 1\)"),
        ({"max_drop": 0.1, "held": True, "tier": "Z"}, "tier must be one of A, B, C"),
        (
            {"max_drop": 0.1, "held": True, "tier": "A", "score": "random"},
            "holds only where every neuron keeps its largest",
        ),
    ],
)
def test_what_cannot_be_guaranteed_is_said(options, message):
    model, data = labelled()
    held_out = data if options.pop("held", False) else None
    with pytest.raises(ValueError, match=message):
        prune(model, held_out=held_out, **options)


def test_a_tier_that_a_network_has_not_is_refused():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)).eval()
    x = torch.randn(50, 3)
    data = Data("normal", x, model(x).argmax(1))
    with pytest.raises(ValueError, match=r"tier A must have .* stacks of linear layers with ReLU, got Sequential"):
        promise(model, data, 0.1, "A")
    assert promise(model, data, 0.5, "C", sparsities=[0.05]).bounds[0] < 1  # on its graph
    assert largest(model, data, 0.5).sparsity > 0  # tier G takes any
