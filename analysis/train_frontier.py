"""What does a certificate cost? Accuracy against certified sparsity of deep networks trained against their bounds.

An MLP with four hidden layers and a CNN with two strided convolutions on Fashion-MNIST, trained with the sum of the
spectral norms and the smooth l0 penalty of one common strength, from strength 0 (plain training) on. Pruned by one
magnitude threshold for the whole network; tier D at each input says where the prediction cannot have changed (for the
CNN by norms of the graph's nodes, Theorem 31).

Of the strengths that lose at most MOST_LOST on 5,000 training images, the one with the most certified images among
300 of them is chosen, with the first seed; it and the plain network are trained with two more seeds. Test images are
looked at by no choice; the certificates of the CNN are about the first 1,000 of them. Writes
analysis/results/train_frontier.jsonl; a run that is stopped goes on where it was.

    python analysis/train_frontier.py --network MLP --minutes 9
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool
from torch import nn
from training import RESULTS, Job, Penalty, Split, accuracy, command, fit, mlp, row, spread, strided_cnn

from lqtheory import records
from lqtheory.bounds import Bound, margins, tier_d
from lqtheory.bounds.accuracy import unchanged
from lqtheory.bounds.graph import graph_per_input
from lqtheory.bounds.trace import trace
from lqtheory.evaluate import Sample
from lqtheory.ladder import Dense, dense_of
from lqtheory.models import Data
from lqtheory.pruning.recipe import Recipe
from lqtheory.records import Provenance, Record
from lqtheory.regularizers import SpectralNorms, l0, penalised
from lqtheory.sweep import outcome
from lqtheory.verification import Pair

SEEDS, RATE, BETA = (0, 1, 2), 2e-3, 20.0
SPARSITIES = (0.5, 0.7, 0.8, 0.9)
MOST_LOST, PREVIEW = 0.01, 300
PATH = RESULTS / "train_frontier.jsonl"


@dataclass(frozen=True)
class Network:
    """What is trained, for how long, and the strengths that are tried."""

    make: Callable[[], nn.Sequential]
    epochs: int
    strengths: tuple[float, ...]
    images: int  # of the test set, for the certificates


NETWORKS = {
    "MLP": Network(lambda: mlp(784, 256, 256, 256, 256, 10), 4, (0.003, 0.006, 0.01, 0.02), 10_000),
    "CNN": Network(strided_cnn, 4, (0.005, 0.01, 0.015, 0.02), 1000),
}


@dataclass(frozen=True)
class Setting:
    """One network to be trained."""

    network: str
    penalty: str
    strength: float
    seed: int


def penalty_of(setting: Setting, net: nn.Sequential, x: torch.Tensor) -> Penalty | None:
    """The penalty of this network; l0 is weighed so that half of the weights of either network come near zero."""
    weights = penalised(net)
    norms = SpectralNorms(net, x)
    return (lambda _: setting.strength * (norms() + l0(weights, BETA) / 3000)) if setting.strength else None


def trained(setting: Setting, train: Data) -> nn.Sequential:
    """The network, in evaluation mode."""
    torch.manual_seed(setting.seed)
    net = NETWORKS[setting.network].make()
    fit(net, train, NETWORKS[setting.network].epochs, RATE, setting.seed, penalty_of(setting, net, train.x[:2]))
    return net.eval().requires_grad_(False)


def certified(dense: nn.Module, pruned: nn.Module, x: torch.Tensor) -> tuple[Bool[np.ndarray, " n"], str]:
    """At which inputs the pruned network provably predicts what the dense one does, and by which theorem."""
    whole = dense_of(dense, Sample("test images", x.numpy(), np.zeros(len(x), dtype=np.int64)))
    if isinstance(whole, Dense):
        found = tier_d(whole.linears, whole.of_module(pruned).linears, whole.sample.x)
        return found.certified(), found.source
    graph, inputs = trace(dense, x[:1]), x.numpy()
    return unchanged(margins(graph(inputs)), graph_per_input(graph, trace(pruned, x[:1]), inputs)), "Theorem 31"


def curve(net: nn.Sequential, data: Data, about: Mapping[str, Any], provenance: Provenance) -> Iterator[Record]:
    """At each sparsity the share of inputs without a certificate, beside the share whose prediction changed."""
    net, data = net.double(), Data(data.name, data.x.double(), data.y)
    before = outcome(net, data).logits.argmax(1)
    for sparsity in SPARSITIES:
        pruned = Recipe(sparsity, fit=None)(net)
        after = outcome(pruned.model, data)
        safe, source = certified(net, pruned.model, data.x)
        changed = after.logits.argmax(1) != before
        bound = Bound(float(np.mean(~safe)), "upper", source, "about each input; float64")
        more = {"quantity": "changed_predictions", "data": data.name, "samples": len(data), "kept": pruned.kept}
        more |= {"weights": pruned.weights, "pruned_accuracy": after.accuracy}
        # an inequality of shares could hide a broken promise
        more |= {"certified_share": float(np.mean(safe)), "broken": int(np.sum(safe & changed))}
        yield Pair(bound, float(np.mean(changed)), 1.0, {}).record("D", sparsity, {**about, **more}, provenance)


def measured(setting: Setting, split: Split) -> list[Record]:
    """Train, judge on a part of the training set, certify on the test set."""
    start = time.perf_counter()
    net = trained(setting, split.train)
    about = {**vars(setting), "seconds": time.perf_counter() - start}
    about |= {"validation_accuracy": accuracy(net, split.validation), "accuracy": accuracy(net, split.test)}
    parts = first("validation", split.validation, PREVIEW), first("test", split.test, NETWORKS[setting.network].images)
    return [r for data in parts for r in curve(net, data, about, Provenance(setting.seed))]


def first(name: str, data: Data, count: int) -> Data:
    """The first of the data."""
    return Data(name, data.x[:count], data.y[:count])


def of(found: Iterable[Record], **setting: Any) -> list[Record]:
    """The records whose setting says so."""
    return [r for r in found if setting.items() <= r.setting.items()]


def chosen(found: list[Record], network: str) -> Setting:
    """The choice on validation images: accurate enough, and most certified on average over the sparsities."""
    mine = of(found, network=network, seed=SEEDS[0], data="validation")
    least = max(r.setting["validation_accuracy"] for r in mine if r.setting["penalty"] == "none") - MOST_LOST
    totals: dict[Setting, float] = {}
    for r in mine:
        if r.setting["validation_accuracy"] >= least:
            setting = Setting(**{name: r.setting[name] for name in Setting.__match_args__})
            totals[setting] = totals.get(setting, 0.0) + r.setting["certified_share"]
    return max(totals, key=lambda setting: totals[setting])


def work(network: str) -> Iterator[Setting]:
    """All strengths with the first seed; plain training and the choice with the others."""
    tried = NETWORKS[network]
    yield Setting(network, "none", 0.0, SEEDS[0])
    yield from (Setting(network, "norms and l0", strength, SEEDS[0]) for strength in tried.strengths)
    best = chosen(records.read(PATH), network)
    for seed in SEEDS[1:]:
        yield Setting(network, "none", 0.0, seed)
        yield Setting(network, best.penalty, best.strength, seed)


def table(found: list[Record]) -> Iterator[str]:
    """The rows of the docs, on test images: mean, least and most over the seeds."""
    yield row("network", "penalty", "strength", "seeds", "accuracy", *(f"certified at {s:.0%}" for s in SPARSITIES))
    yield row(*["---"] * (5 + len(SPARSITIES)))
    for name in NETWORKS:
        mine = of(found, network=name, data="test")
        for penalty, strength in sorted({(r.setting["penalty"], r.setting["strength"]) for r in mine}, key=str):
            rows = of(mine, penalty=penalty, strength=strength)
            at = [[r.setting["certified_share"] for r in rows if r.sparsity == sparsity] for sparsity in SPARSITIES]
            accuracies = [r.setting["accuracy"] for r in rows if r.sparsity == SPARSITIES[0]]
            yield row(name, penalty, f"{strength:g}", len(accuracies), spread(accuracies), *map(spread, at))


def missing(network: str, data: Path) -> Iterator[Job]:
    """What has no record yet."""
    split = Split.of(data / "fashion-mnist")
    for setting in work(network):
        if not of(there(), **vars(setting)):
            yield partial(add, setting, split)


def there() -> list[Record]:
    """All records."""
    return records.read(PATH) if PATH.exists() else []


def add(setting: Setting, split: Split) -> str:
    """The records of one network."""
    found = measured(setting, split)
    records.append(PATH, found)
    shares = [f"{r.setting['certified_share']:.3f}" for r in of(found, data="test")]
    about = found[0].setting
    return f"{setting}: {about['accuracy']:.4f} in {about['seconds']:.0f} s, certified {' '.join(shares)}"


if __name__ == "__main__":
    command(__doc__, NETWORKS, missing, table(there()))
