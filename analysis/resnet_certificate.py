"""What does the library's certificate say of ResNet-20, rounding included and image by image?

The multipliers of analysis/results/resnet20_multipliers.json were found on test images; the images here
are training images of CIFAR-10, at which neither their search nor any other choice has looked. One line for each
sparsity goes to analysis/results/resnet_certificate.jsonl; the status is 1 if an image violates its bound.

    python analysis/resnet_certificate.py DATA SPARSITY [IMAGES]     # about a minute and a half for 20 images
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from cifar_resnet import images, load, magnitude_pruned
from resnet_multipliers import read

from lqtheory.bounds.graph import graph_per_input, graph_tier_c, observe
from lqtheory.bounds.residual import mean_bound, residual_certificate, residual_terms
from lqtheory.bounds.trace import trace
from lqtheory.records import Provenance

RESULTS = Path(__file__).parent / "results"


def main(data: Path, sparsity: float, count: int = 20) -> int:
    torch.set_num_threads(1)
    network = load(data / "models/akamaster-resnet-cifar10/resnet20-12fca82f.th")
    x, _ = images(data / "datasets/cifar10-lossless/train_first4000.npz", count)
    other = magnitude_pruned(network, sparsity)
    with torch.no_grad():
        errors = np.linalg.norm(network(x).numpy() - other(x).numpy(), axis=1)
    dense, pruned, inputs = trace(network, x[:1]), trace(other, x[:1]), x.numpy()
    multipliers = read(RESULTS / "resnet20_multipliers.json")
    terms = residual_terms(dense, pruned, inputs, residual_certificate(dense, pruned, inputs, multipliers))
    bound, each = mean_bound(terms), {"tier D": graph_per_input(dense, pruned, inputs), "Theorem 33": terms.sum(axis=0)}
    measured = float(np.sqrt(np.mean(errors**2)))
    found = {
        "network": "akamaster ResNet-20",
        "method": "global magnitude",
        "sparsity": sparsity,
        "images": count,
        "measured": measured,
        "tier C": graph_tier_c(dense, pruned, observe(dense, inputs)).value,
        "Theorem 33": bound.value,
        "rounding": bound.local[-1],
        "tightness": bound.tightness(measured),
        "median tightness of an image": float(np.median(each["Theorem 33"] / errors)),
        "least tightness of an image": {name: float(np.min(value / errors)) for name, value in each.items()},
        "violated images": {name: int(np.count_nonzero(~(errors <= value))) for name, value in each.items()},
        "violated": bound.violated(measured),
    }
    line = json.dumps({**found, **asdict(Provenance(0))})
    with (RESULTS / "resnet_certificate.jsonl").open("a") as file:
        file.write(line + "\n")
    print(line)
    return bound.violated(measured) or any(found["violated images"].values())


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), *map(int, sys.argv[3:])))
