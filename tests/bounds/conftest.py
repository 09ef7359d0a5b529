"""Networks that the tests of the bounds share: drawn ones, real ones, and how they are pruned and compared."""

import gzip
from itertools import pairwise
from math import fsum

import numpy as np
import pytest
from safetensors.numpy import load_file

from lqtheory.bounds import IDENTITY, RELU, SIGMOID, TANH, Linear


def _rms(difference):
    scale = np.max(np.abs(difference), initial=0.0)
    return scale * (fsum(np.square(difference / scale).ravel()) / len(difference)) ** 0.5 if scale else 0.0


def _smallest(weights, share, scope):
    """Magnitude masks: which weights stay, decided per neuron, per layer or over all layers."""
    if scope == "neuron":
        return [np.argsort(np.argsort(np.abs(w), axis=1), axis=1) >= round(share * w.shape[1]) for w in weights]
    if scope == "layer":
        ranks = [np.argsort(np.argsort(np.abs(w).ravel())).reshape(w.shape) for w in weights]
        return [r >= round(share * r.size) for r in ranks]
    rank = np.argsort(np.argsort(np.concatenate([np.abs(w).ravel() for w in weights])))
    ends = np.cumsum([w.size for w in weights])[:-1]
    return [r.reshape(w.shape) >= round(share * rank.size) for r, w in zip(np.split(rank, ends), weights, strict=True)]


def _prune(layers, masks):
    return [
        Linear(np.where(m, layer.weight, 0.0), layer.bias, layer.activation)
        for layer, m in zip(layers, masks, strict=True)
    ]


def _random_case(seed):
    """A network, a magnitude-pruned copy, inputs: of many kinds, drawn from one seed."""
    generator = np.random.default_rng(seed)
    depth = generator.integers(1, 5)
    widths = generator.integers(1, 9, depth + 1)
    scale = 10.0 ** generator.choice([0, 0, 0, 0, -3, 3, -160])
    kind = generator.integers(4)
    layers = []
    for fan_in, fan_out in pairwise(widths):
        weight = generator.standard_t(generator.choice([1, 2, 30]), (fan_out, fan_in)) * scale
        if kind == 1:
            weight = np.full((fan_out, fan_in), scale)
        if kind == 2:
            weight = np.sign(weight) * scale
        layers.append(
            Linear(
                weight, generator.normal(size=fan_out) * generator.integers(2), generator.choice([RELU, TANH, SIGMOID])
            )
        )
    layers[-1] = Linear(layers[-1].weight, layers[-1].bias, IDENTITY)
    scope = generator.choice(["neuron", "layer", "global"])
    pruned = _prune(layers, _smallest([layer.weight for layer in layers], generator.random(), scope))
    x = generator.normal(size=(generator.integers(1, 6), widths[0])) * 10.0 ** generator.choice([0, 0, 2, -160])
    return layers, pruned, x


def mnist(data, n=500):
    with gzip.open(data / "datasets/mnist/t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16)
    return pixels.reshape(-1, 784)[:n] / 255.0


def stack(tensors, names):
    layers = [Linear(tensors[f"{name}.weight"], tensors[f"{name}.bias"], RELU) for name in names]
    return [*layers[:-1], Linear(layers[-1].weight, layers[-1].bias, IDENTITY)]


@pytest.fixture(scope="session", params=["hls4ml", "hls4ml pruned", "auto-lirpa"])
def real(request, data):
    folder = data / "models"
    if request.param == "auto-lirpa":
        torch = pytest.importorskip("torch")
        tensors = torch.load(folder / "auto-lirpa/mnist_fc_3layer.pth", weights_only=True)
        tensors = {name: value.double().numpy() for name, value in tensors.items()}
    else:
        name = "model_10P_best" if request.param.endswith("pruned") else "model_def_best"
        tensors = load_file(folder / f"hls4ml/mnist_mlp_784-512-512-10/{name}.safetensors")
    names = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    names.sort(key=lambda name: (name.startswith("dense"), name))
    layers = stack(tensors, names)
    return layers, mnist(data)


def _in_another_order(layers, x, generator):
    """The forward pass with the sums of every layer added in a random order, one after the other."""
    h = x
    for layer in layers:
        order = generator.permutation(layer.fan_in)
        z = np.zeros((len(h), len(layer.weight)))
        for j in order:
            z = z + np.outer(h[:, j], layer.weight[:, j])
        h = layer.activation.function(z + layer.offset)
    return h


@pytest.fixture(scope="session")
def in_another_order():
    """The forward pass with its sums in another order: `in_another_order(layers, x, generator)`."""
    return _in_another_order


@pytest.fixture(scope="session")
def rms():
    """Root mean square of the norms of the rows, added exactly."""
    return _rms


@pytest.fixture(scope="session")
def smallest():
    """Masks without the smallest weights: `smallest(weights, share, scope)`."""
    return _smallest


@pytest.fixture(scope="session")
def prune():
    """Layers with masked weights: `prune(layers, masks)`."""
    return _prune


@pytest.fixture(scope="session")
def random_case():
    """A network, a magnitude-pruned copy and inputs, drawn from a seed."""
    return _random_case
