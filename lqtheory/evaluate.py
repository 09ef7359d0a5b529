"""Run a network on data: outputs, activations, accuracy. Knows no theory.

The networks here are stacks of linear layers with ReLU between them, recognised from a checkpoint by the names and
shapes of its tensors. float64 by default, because bounds are compared with what is measured here.
"""

import itertools
import math
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64, Shaped
from numpy.typing import ArrayLike

from .checkpoint import read


@dataclass(frozen=True, eq=False)
class Sample:
    """Labelled inputs in the shape that the network takes, and a name for the records."""

    name: str
    x: Shaped[np.ndarray, " n *inputs"]
    y: Int64[np.ndarray, " n"]

    def first(self, n: int) -> "Sample":
        """The first n inputs, or all when there are no more."""
        if n >= len(self.y):
            return self
        return Sample(f"{self.name}, the first {n:,} inputs", self.x[:n], self.y[:n])


def read_sample(path: Path) -> Sample:
    """The arrays `x` and `y` of an .npz file; whole-numbered inputs (pixels) are divided by 255.

    ValueError where an array is missing, a label is no whole number, or the two do not have the same length.
    """
    x, y = read_npz(path)
    if len(x) != len(y) or not len(x):
        raise ValueError(f"data must have one label per input, got {len(x)} inputs and {len(y)} labels in {path}.")
    scale = 255.0 if np.issubdtype(x.dtype, np.integer) else 1.0
    return Sample(path.name, x.reshape(len(x), -1) / scale, whole_labels(path.name, y))


def read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The arrays x and y of an .npz file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if absent := {"x", "y"} - set(arrays.files):
                raise ValueError(f"data must have the arrays x and y, got no {min(absent)} in {path}.")
            return arrays["x"], arrays["y"]
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ValueError(f"an .npz file must be whole, got {error} in {path}.") from error


def whole_labels(name: str, y: np.ndarray) -> Int64[np.ndarray, " n"]:
    """Labels of any type as integers; ValueError where one is no whole number."""
    if y.dtype.kind not in "biuf":
        raise ValueError(f"labels must be whole numbers, got {y.dtype} in {name}.")
    with np.errstate(invalid="ignore"):  # NaN and infinity, which the comparison refuses
        labels = y.astype(np.int64)
    if odd := y[labels != y].tolist():
        raise ValueError(f"labels must be whole numbers, got {odd[0]} in {name}.")
    return labels


@dataclass(frozen=True, eq=False)
class LinearStack:
    """Linear layers with ReLU between them; `names` are the checkpoint's names of the weight matrices."""

    names: tuple[str, ...]
    weights: tuple[Float64[np.ndarray, " out fan_in"], ...]
    biases: tuple[Float64[np.ndarray, " out"], ...]

    def __call__(self, x: Float64[np.ndarray, " n inputs"]) -> Float64[np.ndarray, " n classes"]:
        return outputs(self, x)

    def masked(self, masks: Mapping[str, Bool[np.ndarray, " out fan_in"]]) -> "LinearStack":
        """The stack with every weight outside the masks set to zero."""
        pairs = zip(self.names, self.weights, strict=True)
        return replace(self, weights=tuple(np.where(masks[n], w, 0.0) if n in masks else w for n, w in pairs))

    def module(self, dtype: torch.dtype = torch.float64, device: str = "cpu") -> torch.nn.Sequential:
        """The stack in torch."""
        layers: list[torch.nn.Module] = []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            shape = weight.shape[1], weight.shape[0]
            linear = torch.nn.utils.skip_init(torch.nn.Linear, *shape, dtype=dtype, device=device)
            linear.load_state_dict({"weight": torch.from_numpy(weight), "bias": torch.from_numpy(bias)})
            layers += [linear, torch.nn.ReLU()]
        return torch.nn.Sequential(*layers[:-1]).requires_grad_(False).eval()


def read_stack(path: Path) -> LinearStack:
    """The stack of linear layers in a checkpoint; CheckpointError or ValueError where it is none."""
    found = read(path, include=["*"])
    return linear_stack({tensor.name: tensor.values() for tensor in found.tensors})


def linear_stack(tensors: Mapping[str, ArrayLike]) -> LinearStack:
    """Recognise a stack of linear layers: matrices [out, in], each taking what another gives, and their biases.

    The layers come in the natural order of their names (`fc9` before `fc10`) where that chains, in the first
    permutation of it that chains otherwise. The bias of `x.weight` is `x.bias` [out], or absent. ValueError
    names the tensor that does not fit. That ReLU lies between the layers is an assumption: no file states it.

    >>> linear_stack({"fc10.weight": np.ones((1, 2)), "fc9.weight": np.ones((2, 5)), "fc9.bias": np.zeros(2)}).names
    ('fc9.weight', 'fc10.weight')
    """
    arrays = {name: np.array(tensors[name], dtype=np.float64) for name in sorted(tensors, key=_natural)}
    matrices = {name: array for name, array in arrays.items() if array.ndim == 2}
    biases = {_bias(name): array.shape[0] for name, array in matrices.items()}
    for name, array in arrays.items():
        if name not in matrices and array.shape != (biases.get(name),):
            raise ValueError(f"{RULE}, got tensor {name!r} {list(array.shape)}.")
    orders = itertools.islice(itertools.permutations(matrices), 50_000)
    names = next((order for order in orders if order and _chained([matrices[name] for name in order])), None)
    if names is None:
        shapes = ", ".join(f"{name!r} {list(array.shape)}" for name, array in matrices.items())
        raise ValueError(f"{RULE}, got {shapes or 'no matrix'}.")
    vectors = [arrays.get(_bias(name), np.zeros(len(matrices[name]))) for name in names]
    return LinearStack(names, tuple(matrices[name] for name in names), tuple(vectors))


RULE = "a stack of linear layers has only chained matrices [out, in] and their biases [out]"


def _bias(name: str) -> str:
    return re.sub(r"weight$", "bias", name) if name.endswith("weight") else f"{name}.bias"


def _chained(matrices: Sequence[Float64[np.ndarray, " out fan_in"]]) -> bool:
    return all(after.shape[1] == before.shape[0] for before, after in itertools.pairwise(matrices))


def _natural(name: str) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", name)
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def activations(
    stack: LinearStack, x: Float64[np.ndarray, " n inputs"], dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> list[Float64[np.ndarray, " n width"]]:
    """What enters each layer, and last what the network answers."""
    seen = [torch.from_numpy(x).to(device, dtype)]
    layers = list(stack.module(dtype, device))
    for linear in layers[::2]:
        seen.append(linear(seen[-1].relu() if len(seen) > 1 else seen[-1]))
    entering = [seen[0], *[z.relu() for z in seen[1:-1]], seen[-1]]
    return [h.to("cpu", torch.float64).numpy() for h in entering]


def outputs(
    stack: LinearStack, x: Float64[np.ndarray, " n inputs"], dtype: torch.dtype = torch.float64, device: str = "cpu"
) -> Float64[np.ndarray, " n classes"]:
    """What the network answers, computed in `dtype` on `device`."""
    h = torch.from_numpy(x).to(device, dtype)
    for layer, (weight, bias) in enumerate(zip(stack.weights, stack.biases, strict=True)):
        parts = (torch.from_numpy(part).to(device, dtype) for part in (weight, bias))
        h = torch.nn.functional.linear(h.relu_() if layer else h, *parts)
    return h.to("cpu", torch.float64).numpy()


def accuracy(logits: Float64[np.ndarray, " n classes"], y: Int64[np.ndarray, " n"]) -> float:
    """Share of samples whose largest logit is that of their label."""
    return float(np.mean(logits.argmax(axis=1) == y))


def root_mean_square(x: Float64[np.ndarray, " n columns"]) -> Float64[np.ndarray, " columns"]:
    r"""$\|x_j\|_{L_2} = \sqrt{\frac1n \sum_i x_{ij}^2}$ of each column, without overflow.

    >>> root_mean_square(np.array([[3e200, 0.0], [4e200, 0.0], [0.0, 0.0], [0.0, 0.0]]))
    array([2.5e+200, 0.0e+000])
    """
    largest = np.max(np.abs(x), axis=0)
    scale = np.where(largest > 0, largest, 1.0)
    return scale * np.sqrt(np.mean((x / scale) ** 2, axis=0))


def output_error(f: Float64[np.ndarray, " n classes"], g: Float64[np.ndarray, " n classes"]) -> float:
    r"""$\|f - g\|_{L_2} = \sqrt{\frac1n \sum_x \|f(x) - g(x)\|_2^2}$ on the sample, without overflow."""
    difference = f - g
    scale = float(np.max(np.abs(difference), initial=0.0)) or 1.0
    return scale * math.sqrt(np.sum(np.square(difference / scale)) / len(f))


def changed_predictions(f: Float64[np.ndarray, " n classes"], g: Float64[np.ndarray, " n classes"]) -> float:
    """Share of samples on which f and g predict different classes."""
    return float(np.mean(f.argmax(axis=1) != g.argmax(axis=1)))
