"""What the training scripts share: data with a part to choose on, small networks, one loop, and lines that resume."""

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from lqtheory.models import Data, load_data
from lqtheory.records import Provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results"
DATA = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data")) / "datasets"
SPLIT, VALIDATION = 2026, 5000

Penalty = Callable[[torch.Tensor], torch.Tensor]
"""Of the inputs of the batch, to be added to the loss."""


@dataclass(frozen=True, eq=False)
class Split:
    """Training images, a part of the training set to choose on, and the test set, which no choice looks at."""

    train: Data
    validation: Data
    test: Data

    @classmethod
    def of(cls, folder: Path, images: int | None = None, validation: int = VALIDATION) -> "Split":
        """The IDX files of a folder; `images` to train on, all that are left unless given."""
        everything = load_data(str(folder / "train-images-idx3-ubyte.gz"))
        order = torch.from_numpy(np.random.default_rng(SPLIT).permutation(len(everything)))
        chosen = {"validation": order[:validation], "train": order[validation:][:images]}
        parts = {name: Data(name, everything.x[at], everything.y[at]) for name, at in chosen.items()}
        return cls(**parts, test=load_data(str(folder / "t10k-images-idx3-ubyte.gz")))


@dataclass(frozen=True)
class Network:
    """What is trained, for how many epochs before and after the removal, on how many images; None is all."""

    make: Callable[[], nn.Sequential]
    epochs: int
    tuning: int
    images: int | None

    def asked(self, name: str, method: Any, seed: int) -> dict[str, Any]:
        """The setting of a line: this network under its name, after the training that a dataclass describes."""
        recipe = {"epochs": self.epochs, "tuning": self.tuning, "images": self.images}
        return {"network": name, **recipe, **asdict(method), "seed": seed}


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them, on flattened inputs."""
    layers = [layer for n, m in pairwise(widths) for layer in (nn.Linear(n, m), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def lenet5() -> nn.Sequential:
    """LeNet-5 with ReLU and max pooling, as it is trained today: 61,470 weights."""
    first = [nn.Conv2d(1, 6, 5, padding=2), nn.MaxPool2d(2), nn.ReLU()]
    second = [nn.Conv2d(6, 16, 5), nn.MaxPool2d(2), nn.ReLU()]
    return channels_last(nn.Sequential(*first, *second, *mlp(400, 120, 84, 10).children()))


def channels_last(net: nn.Sequential) -> nn.Sequential:
    """The network with its kernels stored channels last, which a CPU convolves a third faster."""
    return net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def strided_cnn() -> nn.Sequential:
    """Two 4 x 4 convolutions with stride 2 and two linear layers, the MNIST network of Wong and Kolter."""
    first = [nn.Conv2d(1, 16, 4, stride=2, padding=1), nn.ReLU()]
    second = [nn.Conv2d(16, 32, 4, stride=2, padding=1), nn.ReLU()]
    return nn.Sequential(*first, *second, *mlp(32 * 49, 100, 10).children())


def fit(
    net: nn.Module,
    data: Data,
    epochs: int,
    rate: float,
    seed: int,
    penalty: Penalty | None = None,
    masks: Mapping[str, torch.Tensor] | None = None,
    batch: int = 128,
) -> None:
    """Adam in one cycle of the step size on cross-entropy plus the penalty; what the masks drop stays zero."""
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(net.parameters(), lr=rate, fused=True)
    steps = len(data) // batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps * epochs)
    net.train()
    dropped = [(parameter, ~masks[name]) for name, parameter in net.named_parameters() if masks and name in masks]
    for _ in range(epochs):
        for at in torch.randperm(len(data), generator=generator)[: steps * batch].view(steps, batch):
            loss = cross_entropy(net(data.x[at]), data.y[at])
            if penalty is not None:
                loss = loss + penalty(data.x[at])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            with torch.no_grad():
                for parameter, mask in dropped:
                    parameter.masked_fill_(mask, 0)


def accuracy(net: nn.Module, data: Data) -> float:
    """Share of the data that get their label."""
    net.eval()
    with torch.inference_mode():
        answers = torch.cat([net(x).argmax(1) for x in data.x.split(1000)])
    return float((answers == data.y).double().mean())


def spread(values: Sequence[float], text: str = "{:.1%}") -> str:
    """The mean, and the least and the most of several.

    >>> spread([0.5, 0.25, 0.75]), spread([8.0], "{:.1f}")
    ('50.0% (25.0% to 75.0%)', '8.0')
    """
    mean, low, high = (text.format(value) for value in (sum(values) / len(values), min(values), max(values)))
    return f"{mean} ({low} to {high})" if len(values) > 1 else mean


def row(*cells: object) -> str:
    """A line of a table in Markdown."""
    return f"| {' | '.join(map(str, cells))} |"


@dataclass(frozen=True)
class Lines:
    """Lines of JSON, one for each setting; a run that is stopped finds what is there."""

    path: Path

    def read(self) -> list[dict[str, Any]]:
        """All lines."""
        return [json.loads(line) for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def of(self, setting: Mapping[str, Any]) -> dict[str, Any] | None:
        """The line of a setting, None when there is none."""
        return next((line for line in self.read() if line["setting"] == setting), None)

    def wanted(self, plain: Mapping[str, Any]) -> float | None:
        """The validation accuracy to be kept, once the unpenalised network of the same seed has set it."""
        line = self.of(plain)
        return None if line is None else line["validation"]["wanted"]

    def write(self, setting: Mapping[str, Any], found: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Add a line with where it comes from."""
        line = {"setting": dict(setting), **found, **asdict(Provenance(seed))}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        return line


Job = Callable[[], str]
"""Makes and writes one line, and says in short what it found."""


def jobs(
    lines: Lines,
    work: Iterable[tuple[Any, int]],
    plain: Any,
    asked: Callable[[Any, int], dict[str, Any]],
    measured: Callable[[Any, int, float | None], dict[str, Any]],
) -> Iterator[Job]:
    """Those of the methods and seeds that have no line; `measured` gets what `plain` of the seed has set."""

    def job(method: Any, seed: int) -> str:
        found = measured(method, seed, lines.wanted(asked(plain, seed)))
        lines.write(asked(method, seed), found, seed)
        shown = {name: value for name, value in found.items() if name != "validation"}
        return f"{method}, seed {seed}: {shown}"

    for method, seed in work:
        if lines.of(asked(method, seed)) is None:
            yield partial(job, method, seed)


def command(
    doc: str | None, networks: Iterable[str], missing: Callable[[str, Path], Iterator[Job]], table: Iterable[str]
) -> None:
    """What each of the scripts does when it is run: its table, or one after the other what has no line yet."""
    parser = argparse.ArgumentParser(description=(doc or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA, help="folder of the datasets")
    parser.add_argument("--network", choices=networks, action="append", help="all of them unless given")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after this time")
    parser.add_argument("--table", action="store_true", help="print what is there")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    end = time.monotonic() + 60 * arguments.minutes
    if arguments.table:
        print(*table, sep="\n")
        return
    for network in arguments.network or networks:
        for job in missing(network, arguments.data):
            if time.monotonic() > end:
                return
            print(job(), flush=True)
