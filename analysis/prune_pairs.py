"""Does pruning a dense network in one shot reach what its authors reached by training the pruned one?

hls4ml's MNIST network of 10 % of the weights, and Torch-Pruning's ResNet-56 without two thirds of them, which lost
whole channels; each beside its dense twin pruned here to as many weights. Writes analysis/results/prune_pairs.jsonl; a
run that is stopped goes on where it was.

    python analysis/prune_pairs.py [--pair hls4ml]
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from cifar_resnet import projected
from prune_mlps import bench as mlp
from prune_resnet import judged
from safetensors.torch import load_file
from torch import nn

from lqtheory.models import load_data, load_model
from lqtheory.pruning.parts import prunable
from lqtheory.pruning.recipe import Pruned, Recipe
from lqtheory.sweep import Bench, sweep

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "prune_pairs.jsonl"
HLS4ML = "hls4ml/mnist_mlp_784-512-512-10/model_{}_best.safetensors"
DENSE = "torch-pruning-resnet56/reg_cifar10_resnet56_group_sl_0.0005.pth"
THINNED = "torch-pruning-resnet56/cifar10_resnet56_group_sl_pruned.safetensors"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
CALIBRATION = 10_000
METHODS = {
    "support search, tuned": Recipe(fit="support-search", epochs=10),
    "support search": Recipe(fit="support-search"),
    "magnitude, least squares": Recipe(),
    "SparseGPT, global magnitude budget": Recipe(fit="block-surgeon"),
    "magnitude": Recipe(fit=None),
}


@dataclass(frozen=True, repr=False)
class Theirs(Recipe):
    """The network that its authors pruned, in the place of one that is pruned here."""

    network: Callable[[], nn.Module] = nn.Identity

    def __call__(self, *_: Any, **__: Any) -> Pruned:
        """What is not zero counts as kept."""
        found = self.network()
        parts = prunable(found)
        return Pruned(found, parts, {part.name: part.weight != 0 for part in parts}, self)


@dataclass(frozen=True)
class Pair:
    """A dense network with its data, and what its authors made of it."""

    bench: Callable[[], Bench]
    pruned: Callable[[], nn.Module]

    @property
    def sparsity(self) -> float:
        """Of the weights of the dense network, the share that the other one has not."""
        return 1 - nonzero(self.pruned()) / nonzero(self.bench().model)


def nonzero(network: nn.Module) -> int:
    """How many of its weights are not zero."""
    return sum(int((part.weight != 0).sum()) for part in prunable(network))


def hls4ml_bench(folder: Path) -> Bench:
    """The dense network on the test set of MNIST, with more training images for the re-fit than elsewhere."""
    few = mlp(folder, folder / "models" / HLS4ML.format("def"), "mnist")
    train = load_data(str(folder / "datasets" / "mnist" / "train-images-idx3-ubyte.gz"))
    return Bench(few.model, few.data, train.x[:CALIBRATION])


def hls4ml(folder: Path) -> Pair:
    def pruned() -> nn.Module:
        return load_model(None, folder / "models" / HLS4ML.format("10P"))

    return Pair(partial(hls4ml_bench, folder), pruned)


def torch_pruning(folder: Path) -> Pair:
    def dense() -> Bench:
        state = torch.load(folder / "models" / DENSE, weights_only=True, map_location="cpu")
        return judged(projected(state), folder, MEAN, STD)

    def pruned() -> nn.Module:
        return projected(load_file(folder / "models" / THINNED))

    return Pair(dense, pruned)


PAIRS: Mapping[str, Callable[[Path], Pair]] = {"hls4ml": hls4ml, "Torch-Pruning": torch_pruning}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--pair", action="append", choices=list(PAIRS))
    parser.add_argument("--method", action="append", choices=list(METHODS))
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.pair or PAIRS:
        pair = PAIRS[name](given.data)
        chosen = {method: METHODS[method] for method in given.method or METHODS}
        methods = {"its authors, trained": Theirs(fit=None, network=pair.pruned), **chosen}
        for point, found in sweep({name: pair.bench}, methods, [pair.sparsity], path=RESULTS):
            about = found[0].setting
            print(f"{point.key:60}{about['accuracy']:.4f} of {about['dense_accuracy']:.4f}", flush=True)


if __name__ == "__main__":
    main()
