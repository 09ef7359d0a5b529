"""Does the keep rule of the theory beat the same share for every neuron?

The MLPs of MNIST and Fashion-MNIST at hand, magnitude masks at equal kept weights, as they are and re-fitted. Writes
analysis/results/prune_mlps.jsonl; a run that is stopped goes on where it was.

    python analysis/prune_mlps.py [--network "auto_LiRPA 784-128-64-10"]
"""

import argparse
import os
from functools import partial
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch

from lqtheory.models import Data, load_data, load_model
from lqtheory.pruning.recipe import Recipe
from lqtheory.sweep import Bench, sweep

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "prune_mlps.jsonl"
CALIBRATION = 2000
SPARSITIES = (0.5, 0.7, 0.8, 0.9)
METHODS = {
    "keep rule": Recipe(budget="keep-rule", fit=None),
    "uniform": Recipe(budget="uniform", fit=None),
    "keep rule, least squares": Recipe(budget="keep-rule"),
    "uniform, least squares": Recipe(budget="uniform"),
}
FILES = {
    "hls4ml 784-512-512-10": "hls4ml/mnist_mlp_784-512-512-10/model_def_best.safetensors",
    "auto_LiRPA 784-128-64-10": "auto-lirpa/mnist_fc_3layer.pth",
}
DEMO = "demo 784-300-100-10"


def bench(folder: Path, file: Path, dataset: str) -> Bench:
    """A network on the test set of `dataset`, calibrated on training images."""
    images = folder / "datasets" / dataset
    train = load_data(str(images / "train-images-idx3-ubyte.gz"))
    network = load_model(None, file).requires_grad_(False)
    return Bench(network, load_data(str(images / "t10k-images-idx3-ubyte.gz")), train.x[:CALIBRATION])


def demo(folder: Path) -> Bench:
    """The network of the demo on the test images that do not ship with it."""
    whole = bench(folder, Path(str(files("lqtheory") / "data" / "demo.safetensors")), "fashion-mnist")
    with np.load(str(files("lqtheory") / "data" / "demo_heldout.npz")) as arrays:
        rest = torch.from_numpy(np.setdiff1d(np.arange(10_000), arrays["index"]))
    data = Data("Fashion-MNIST, the 8,000 other test images", whole.data.x[rest], whole.data.y[rest])
    return Bench(whole.model, data, whole.calibration)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--network", action="append", choices=[*FILES, DEMO])
    given = parser.parse_args()
    torch.set_num_threads(1)
    networks = {name: partial(bench, given.data, given.data / "models" / file, "mnist") for name, file in FILES.items()}
    networks[DEMO] = partial(demo, given.data)
    networks = {name: networks[name] for name in given.network or networks}
    for point, found in sweep(networks, METHODS, SPARSITIES, path=RESULTS):
        about = found[0].setting
        print(f"{point.key:70}{about['accuracy']:.4f} of {about['dense_accuracy']:.4f}", flush=True)


if __name__ == "__main__":
    main()
