"""Each layer by itself: all positions count, tied and grouped layers too, and the bounds are never violated."""

from copy import deepcopy
from typing import TypeVar

import numpy as np
import pytest
import torch
from torch import nn

from lqtheory.ladder import LAYER_TIERS, DenseLayers, layer_errors

M = TypeVar("M", bound=nn.Module)


class Small(nn.Module):
    """A transformer's block on tokens, one projection used twice."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.tokens = nn.Embedding(11, width)
        self.norm = nn.LayerNorm(width)
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.head = nn.Linear(width, 3)

    def forward(self, x):
        h = self.norm(self.tokens(x))
        scores = self.query(h) @ self.key(h).transpose(1, 2)
        h = self.norm(h + self.value(scores.softmax(-1) @ h) + self.value(h))
        return self.head(self.norm(h + self.down(nn.functional.gelu(self.up(h)))).mean(1))


def pruned(model: M, share: float = 0.5) -> M:
    other = deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in other.parameters():
            weight[torch.rand(weight.shape, generator=generator) < share] = 0
    return other


def convolutions() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.GELU(), nn.Flatten(), nn.Linear(6 * 9, 3))


@pytest.mark.parametrize("tier", LAYER_TIERS)
@pytest.mark.parametrize("kind", ["tokens", "pixels"])
def test_no_bound_is_violated(tier, kind, tolerance):
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = Small() if kind == "tokens" else convolutions()
    x = rng.integers(0, 11, (60, 5)) if kind == "tokens" else rng.normal(size=(60, 4, 6, 6))
    found = layer_errors(model, pruned(model), x, LAYER_TIERS[tier])
    assert set(found) == {n for n, p in model.named_parameters() if p.ndim > 1 and "tokens" not in n}
    for pair in found.values():
        assert pair.measured > 0
        assert not pair.bound.violated(pair.measured)
        assert (pair.bound.tightness(pair.measured) < 1 + tolerance["inequality"]) == (tier == "layer C")


def test_the_measurement_is_that_of_the_layer_at_all_positions():
    torch.manual_seed(0)
    model, x = convolutions().double(), np.random.default_rng(0).normal(size=(60, 4, 6, 6))
    other = pruned(model)
    with torch.no_grad():
        z, changed = model[0](torch.from_numpy(x)), other[0](torch.from_numpy(x))
        size = (z - model.state_dict()["0.bias"].view(-1, 1, 1)).square().sum().sqrt()
    expected = float((z - changed).square().sum().sqrt() / size)
    assert layer_errors(model, other, x)["0.weight"].measured == pytest.approx(expected, rel=1e-12)


def test_a_layer_that_runs_twice_is_judged_on_both_runs_and_one_that_never_runs_on_none():
    model, x = Small(), np.random.default_rng(0).integers(0, 11, (60, 5))
    layers = DenseLayers(model, x)
    assert layers.moments["value.weight"][0].count == 2 * layers.moments["query.weight"][0].count == 600
    assert layers.moments["head.weight"][0].count == 60
    model.idle = nn.Linear(2, 2)
    assert "idle.weight" not in layer_errors(model, pruned(model), x)


def test_a_network_that_does_nothing_differently_has_no_error():
    model, x = Small(), np.random.default_rng(0).integers(0, 11, (60, 5))
    for pair in layer_errors(model, deepcopy(model), x).values():
        assert pair.measured == pair.bound.value == 0
