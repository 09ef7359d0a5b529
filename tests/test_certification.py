"""Certificates: what they count, what they say, and that they cover what they promise."""

import json

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from torch import nn

from lqtheory.bounds import harm_rate, net_drop
from lqtheory.certification import certify
from lqtheory.models import Data
from lqtheory.pruning.recipe import Recipe, prune


def labelled(n: int = 400, seed: int = 0) -> tuple[nn.Module, Data]:
    """A network, and inputs with its own labels but for one in ten."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 4)).eval()
    x = torch.randn(n, 20, generator=torch.Generator().manual_seed(seed))
    y = model(x).argmax(1)
    y[::10] = (y[::10] + 1) % 4
    return model, Data("normal", x, y)


def test_a_certificate_counts_what_the_dense_network_gets_right_and_the_pruned_one_wrong():
    model, data = labelled()
    found = certify(model, data, limit=0.2, sparsities=[0.6, 0.2, 0.4], recipe=Recipe(fit=None))
    assert found.n == 360
    for sparsity, lost, rate in zip(found.sparsities, found.lost, found.rates, strict=True):
        after = prune(model, sparsity)(data.x).argmax(1)
        assert lost == int(((model(data.x).argmax(1) == data.y) & (after != data.y)).sum())
        assert rate == pytest.approx(harm_rate(lost, 360).value, abs=1e-11)
    passed = [s for s, rate in zip(found.sparsities, found.rates, strict=True) if rate <= 0.2]
    assert found.sparsity == max(passed, default=0.0)
    both = zip(found.rates[:-1], found.drops[:-1], strict=True)
    assert all(rate <= 0.2 or drop <= 0.2 for rate, drop in both)  # the walk ends where both have failed


def test_a_certificate_of_the_drop_sets_off_what_is_gained():
    model, data = labelled()
    found = certify(model, data, limit=0.1, sparsities=[0.1, 0.2, 0.3, 0.4, 0.5], recipe=Recipe(fit=None))
    right = model(data.x).argmax(1) == data.y
    counts = zip(found.sparsities, found.lost, found.gained, found.drops, strict=True)
    for sparsity, lost, gained, drop in counts:
        after = prune(model, sparsity)(data.x).argmax(1) == data.y
        assert lost - gained == int(right.sum()) - int(after.sum())
        assert gained == int((~right & after).sum())
        assert drop == pytest.approx(net_drop(lost, gained, 400).value, abs=1e-11)
    assert found.samples == 400
    assert any(found.gained)
    assert found.drop_sparsity == max((s for s, d in zip(found.sparsities, found.drops, strict=True) if d <= 0.1))
    assert found.drop_sparsity >= found.sparsity


def test_a_certificate_is_a_sentence():
    model, data = labelled()
    text = certify(model, data, limit=0.999, sparsities=[0.1, 0.62]).summary()
    share = "at most 99.9 % of inputs that the dense network gets right are lost"
    by_drop = "with 95 % confidence for this sentence, the accuracy falls by at most 99.9 percentage points (n = 400)"
    assert text == f"At 62 % sparsity, with 95 % confidence, {share} (n = 360). At 62 %, {by_drop}."
    none = certify(model, data, limit=1e-6, sparsities=[0.9])
    assert none.sparsity == 0
    assert none.summary().startswith("No sparsity of the path is certified: with 95 % confidence, at most 0.0001 %")
    assert none.summary().endswith(
        "No step is certified to lower the accuracy by at most 0.0001 percentage points (n = 400)."
    )
    assert json.loads(none.to_json())["n"] == 360


def test_promises_are_kept_as_often_as_they_say():
    """The harm rate of the population is known here; the certificate of a sample exceeds it at most 1 time in 5."""
    model, population = labelled(40_000, seed=1)
    right = model(population.x).argmax(1) == population.y
    truth = {}
    for sparsity in (0.3, 0.5):
        lost = right & (prune(model, sparsity)(population.x).argmax(1) != population.y)
        truth[sparsity] = float(lost.sum() / right.sum())
    limit, broken = (truth[0.3] + truth[0.5]) / 2, 0
    rng = np.random.default_rng(0)
    for _ in range(60):
        chosen = torch.from_numpy(rng.integers(0, 40_000, 150))
        sample = Data("sample", population.x[chosen], population.y[chosen])
        found = certify(model, sample, limit, 0.8, [0.3, 0.5], Recipe(fit=None))
        broken += truth.get(found.sparsity, 0.0) > limit
    assert binomtest(broken, 60, 0.2, alternative="greater").pvalue > 1e-3


def test_a_network_that_is_never_right_has_no_certificate():
    model, data = labelled()
    with pytest.raises(ValueError, match="needs inputs that the dense network gets right, got none"):
        certify(model, Data("wrong", data.x, torch.full_like(data.y, 9)))
