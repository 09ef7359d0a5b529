"""What do whole channels cost on the ResNet-56 of Torch-Pruning, whose authors pruned it too?

Their network trained with a group penalty (MIT), pruned here in one shot to as many channels as their pruned one has,
which they fine-tuned; nothing is fine-tuned here. Accuracy on 300 lossless test images of CIFAR-10. Writes
analysis/results/prune_channels.jsonl.

    python analysis/prune_channels.py
"""

import json
import os
from collections import OrderedDict
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import nn

from lqtheory.models import load_weights
from lqtheory.pruning.channels import channels
from lqtheory.pruning.recipe import Recipe
from lqtheory.pruning.size import macs
from lqtheory.pruning.structured import resize, slim
from lqtheory.records import Provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "prune_channels.jsonl"
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)
BLOCKS, WIDTHS = 9, ((16, 16), (16, 32), (32, 64))
CALIBRATION = 100
METHODS = {
    "magnitude": Recipe(pattern="channels", fit=None),
    "magnitude, least squares": Recipe(pattern="channels", rows=8),
}


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution where the pixels are halved."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        step = after // before
        self.conv1, self.bn1 = nn.Conv2d(before, after, 3, step, 1, bias=False), nn.BatchNorm2d(after)
        self.conv2, self.bn2 = nn.Conv2d(after, after, 3, 1, 1, bias=False), nn.BatchNorm2d(after)
        shortcut = (nn.Conv2d(before, after, 1, step, bias=False), nn.BatchNorm2d(after))
        self.downsample = nn.Sequential(*shortcut) if step > 1 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.downsample(x) + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()


def network() -> nn.Sequential:
    """Their ResNet-56 without weights."""
    stages = {
        f"layer{k}": nn.Sequential(Block(before, after), *(Block(after, after) for _ in range(BLOCKS - 1)))
        for k, (before, after) in enumerate(WIDTHS, 1)
    }
    stem = {"conv1": nn.Conv2d(3, 16, 3, 1, 1, bias=False), "bn1": nn.BatchNorm2d(16), "relu": nn.ReLU()}
    head = {"avgpool": nn.AvgPool2d(8), "flatten": nn.Flatten(), "fc": nn.Linear(64, 10)}
    return nn.Sequential(OrderedDict({**stem, **stages, **head})).eval()


def images(path: Path, n: int) -> tuple[torch.Tensor, np.ndarray]:
    """The first n images, normalised, and their labels."""
    with np.load(path) as arrays:
        x = (torch.from_numpy(arrays["x"][:n]).float() / 255 - torch.tensor(MEAN)) / torch.tensor(STD)
        return x.permute(0, 3, 1, 2).contiguous(), arrays["y"][:n]


def accuracy(model: nn.Module, x: torch.Tensor, y: np.ndarray) -> float:
    """Share of images that get their label."""
    with torch.inference_mode():
        return float(np.mean(torch.cat([model(part) for part in x.split(50)]).argmax(1).numpy() == y))


def main() -> None:
    torch.set_num_threads(1)
    data = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data"))
    folder = data / "models" / "torch-pruning-resnet56"
    dense = network()
    load_weights(dense, folder / "reg_cifar10_resnet56_group_sl_0.0005.pth")
    theirs = resize(network(), load_file(folder / "cifar10_resnet56_group_sl_pruned.safetensors"))
    x, y = images(data / "datasets" / "cifar10-lossless" / "test300.npz", 300)
    calibration, _ = images(data / "datasets" / "cifar10-lossless" / "train_first4000.npz", CALIBRATION)
    total, left = (sum(b.size for b in channels(each, x[:2]).blocks) for each in (dense, theirs))
    about = {"channels": total, "kept": left, "samples": len(y), "calibration": CALIBRATION, **asdict(Provenance(0))}
    with torch.no_grad():
        found = {"dense": dense, "theirs, fine-tuned": theirs}
        counts = {}
        for name, recipe in METHODS.items():
            pruned = replace(recipe, sparsity=1 - left / total)(dense, refit=calibration)
            counts[name] = macs(dense, pruned, x[:1])[1]
            found[name] = slim(pruned.model, x[:2])
    with RESULTS.open("w") as file:
        for name, model in found.items():
            weights = sum(p.numel() for p in model.parameters() if p.ndim > 1)
            used = counts.get(name) or macs(model, Recipe(0.0)(model), x[:1])[0]
            row = {"network": name, "weights": weights, "macs": used, "accuracy": accuracy(model, x, y), **about}
            print(name, weights, used, row["accuracy"], flush=True)
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
