"""CIFAR ResNets of others as plain modules: akamaster's (option-A shortcuts) with their images, Torch-Pruning's."""

from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """relu(shortcut + bn(conv(relu(bn(conv))))); down-sampling drops every other pixel and adds channels of zeros."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, after // before, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.added = (after - before) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        if self.added:
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.added, self.added))
        return functional.relu(out + x)


class ResNet(nn.Module):
    """6n + 2 layers: one convolution, three stages of n blocks, pooling, one linear layer."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        stages = [[Block(before, after), *(Block(after, after) for _ in range(n - 1))] for before, after in WIDTHS]
        self.layer1, self.layer2, self.layer3 = (nn.Sequential(*blocks) for blocks in stages)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(functional.relu(self.bn1(self.conv1(x))))))
        return self.linear(functional.avg_pool2d(x, 8).flatten(1))


WIDTHS = ((16, 16), (16, 32), (32, 64))


def load(path: Path) -> ResNet:
    """The network of a checkpoint, in float64; its depth is read off the names."""
    state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    state = {name.removeprefix("module."): value for name, value in state.items()}
    blocks = len({name.split(".")[1] for name in state if name.startswith("layer1.")})
    network = ResNet(blocks)
    network.load_state_dict(state)
    return network.double().eval()


class Projected(nn.Module):
    """A block of Torch-Pruning's networks, as wide as its tensors; down-sampling is a strided convolution."""

    def __init__(self, state: Mapping[str, torch.Tensor], name: str) -> None:
        super().__init__()
        (middle, before, *_), (after, *_) = (state[f"{name}.conv{k}.weight"].shape for k in (1, 2))
        smaller = f"{name}.downsample.0.weight" in state
        self.conv1 = nn.Conv2d(before, middle, 3, 1 + smaller, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(middle)
        self.conv2 = nn.Conv2d(middle, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        projection = (nn.Conv2d(before, after, 1, 2, bias=False), nn.BatchNorm2d(after))
        self.downsample = nn.Sequential(*projection if smaller else ())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(out + self.downsample(x))


def projected(state: Mapping[str, torch.Tensor]) -> nn.Sequential:
    """The network of a checkpoint of Torch-Pruning's, pruned or not, in float32."""
    width, features = state["conv1.weight"].shape[0], state["fc.weight"].shape[1]
    names = dict.fromkeys(".".join(key.split(".")[:2]) for key in state if key.startswith("layer"))
    stages = {key: [name for name in names if name.startswith(key)] for key in ("layer1", "layer2", "layer3")}
    network = nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(3, width, 3, 1, 1, bias=False),
            bn1=nn.BatchNorm2d(width),
            relu=nn.ReLU(),
            **{key: nn.Sequential(*(Projected(state, name) for name in blocks)) for key, blocks in stages.items()},
            pool=nn.AvgPool2d(8),
            flat=nn.Flatten(),
            fc=nn.Linear(features, 10),
        )
    )
    network.load_state_dict(state)
    return network.eval()


def images(path: Path, n: int) -> tuple[torch.Tensor, np.ndarray]:
    """The first n images, normalised, and their labels."""
    with np.load(path) as file:
        pixels, labels = file[file.files[0]], file[file.files[1]]
    x = torch.from_numpy(pixels[:n].astype(np.float64) / 255).permute(0, 3, 1, 2)
    return (x - torch.tensor(MEAN).double()[:, None, None]) / torch.tensor(STD).double()[:, None, None], labels[:n]


def magnitude_pruned(network: ResNet, sparsity: float) -> ResNet:
    """A copy without the smallest weights of all layers together, by rank."""
    copy = ResNet(len(network.layer1)).double().eval()
    copy.load_state_dict(network.state_dict())
    weights = [p for p in copy.parameters() if p.ndim > 1]
    sizes = torch.cat([p.detach().abs().flatten() for p in weights])
    keep = torch.ones(len(sizes), dtype=torch.bool)
    keep[torch.argsort(sizes, stable=True)[: round(sparsity * len(sizes))]] = False
    with torch.no_grad():
        for p, mask in zip(weights, keep.split([p.numel() for p in weights]), strict=True):
            p.mul_(mask.view_as(p))
    return copy
