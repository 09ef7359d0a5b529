"""Which pruning keeps a CIFAR ResNet's accuracy without training, and what does the re-fit buy?

akamaster's ResNet-20 and ResNet-56, one shot, calibrated on the first 1,000 lossless training images and judged on
the other 3,000 and on 300 lossless test images. Writes analysis/results/prune_resnet.jsonl; a run that is stopped
goes on where it was.

    python analysis/prune_resnet.py --network 20 --sparsity 0.8 --method "support search" --device cuda ...
"""

import argparse
import os
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cifar_resnet import MEAN, STD, load
from torch import nn

from lqtheory.models import Data
from lqtheory.pruning.recipe import Recipe
from lqtheory.sweep import Bench, sweep

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "prune_resnet.jsonl"
CALIBRATION = 1000
SPARSITIES = (0.5, 0.6, 0.7, 0.8, 0.9)
FILES = {"20": "resnet20-12fca82f.th", "56": "resnet56-4bfd9763.th"}
Triple = tuple[float, float, float]
METHODS = {
    "support search": Recipe(fit="support-search"),
    "support search, tuned": Recipe(fit="support-search", epochs=15, rate=2e-3, jitter=4),
    "magnitude, least squares": Recipe(),
    "LAMP, least squares": Recipe(score="lamp"),
    "Wanda in global ranking, least squares": Recipe(score="wanda"),
    "SparseGPT": Recipe(budget="layer", fit="block-surgeon"),
    "SparseGPT, global magnitude budget": Recipe(fit="block-surgeon"),
    "Wanda": Recipe(score="wanda", budget="uniform", fit=None),
    "Wanda in global ranking": Recipe(score="wanda", fit=None),
    "LAMP": Recipe(score="lamp", fit=None),
    "magnitude": Recipe(fit=None),
}


def images(file: Path, mean: Triple = MEAN, std: Triple = STD) -> tuple[torch.Tensor, torch.Tensor]:
    """Normalised images [n, 3, 32, 32] and labels."""
    with np.load(file) as arrays:
        x = (torch.from_numpy(arrays["x"]).float() / 255 - torch.tensor(mean)) / torch.tensor(std)
        return x.permute(0, 3, 1, 2).contiguous(), torch.from_numpy(arrays["y"].astype(np.int64))


def judged(network: nn.Module, folder: Path, mean: Triple = MEAN, std: Triple = STD, device: str = "cpu") -> Bench:
    """The network, the 3,300 images to judge it on, and the calibration images."""
    x, y = images(folder / "datasets" / "cifar10-lossless" / "train_first4000.npz", mean, std)
    test, labels = images(folder / "datasets" / "cifar10-lossless" / "test300.npz", mean, std)
    name = "CIFAR-10, training images 1,000 to 3,999 and 300 test images, lossless"
    held = Data(name, torch.cat([x[CALIBRATION:], test]), torch.cat([y[CALIBRATION:], labels]))
    return Bench(network.requires_grad_(False).to(device), held, x[:CALIBRATION].to(device), device)


def bench(folder: Path, depth: str, device: str = "cpu") -> Bench:
    """One of akamaster's networks."""
    network = load(folder / "models" / "akamaster-resnet-cifar10" / FILES[depth]).float()
    return judged(network, folder, device=device)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--network", action="append", choices=list(FILES))
    parser.add_argument("--sparsity", action="append", type=float)
    parser.add_argument("--method", action="append", choices=list(METHODS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    torch.set_num_threads(1)
    chosen = {name: METHODS[name] for name in given.method or METHODS}
    networks = {f"ResNet-{depth}": partial(bench, given.data, depth, given.device) for depth in given.network or FILES}
    points = sweep(networks, chosen, given.sparsity or SPARSITIES, path=given.output, device=given.device)
    for point, found in points:
        about = found[0].setting
        print(f"{point.key:60}{about['accuracy']:.4f} of {about['dense_accuracy']:.4f}", flush=True)


if __name__ == "__main__":
    main()
