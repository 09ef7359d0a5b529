"""A zoo of four tiny networks, to be killed: `python zoo_for_kills.py FOLDER` trains them and measures their truths."""

import dataclasses
import sys
from pathlib import Path

import torch

ANALYSIS = Path(__file__).resolve().parents[1] / "analysis"
if str(ANALYSIS) not in sys.path:
    sys.path.insert(0, str(ANALYSIS))

import train_zoo  # noqa: E402
from zoo_truth import Zoo  # noqa: E402


def images(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noise, and whether its upper half is the brighter one."""
    x = torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    return x, (x[:, 0, :14].mean((1, 2)) > x[:, 0, 14:].mean((1, 2))).long()


def settings() -> list[train_zoo.Setting]:
    """Two of each family, of one epoch and small batches."""
    every = list(train_zoo.settings())
    chosen = [every[k] for k in (2, 3, 12, 13)]
    return [dataclasses.replace(s, epochs=1, batch=16, dropout=0.1) for s in chosen]


def main(folder: Path) -> None:
    """All four."""
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    x, y = images(96)
    train_zoo.run(settings(), folder, folder / "zoo.jsonl", x[:64], y[:64], Zoo(x[64:], y[64:], x[64:]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
