"""A sweep in a process of its own, to be killed: `python sweep_for_kills.py RECORDS`."""

import sys
from pathlib import Path

import torch
from torch import nn

from lqtheory.models import Data
from lqtheory.pruning.recipe import Recipe
from lqtheory.sweep import Bench, sweep

METHODS = {"magnitude": Recipe(fit=None), "random": Recipe(score="random"), "wanda": Recipe(score="wanda", fit=None)}
SPARSITIES = (0.2, 0.5, 0.7, 0.8)


def bench() -> Bench:
    """A small network with random weights."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3)).eval()
    x = torch.randn(60, 8)
    return Bench(model, Data("normal", x, model(x).argmax(1)), x[:30])


def main(path: Path, rank: int = 0, ranks: int = 1) -> list:
    """All points, with two seeds where the method draws."""
    return list(sweep({"small": bench}, METHODS, SPARSITIES, (0, 1), path, rank=rank, ranks=ranks))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
