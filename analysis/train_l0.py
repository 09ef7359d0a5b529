"""Does training with the l0 penalty, then pruning and fine-tuning, double what magnitude pruning alone compresses?

The pipeline of Oliveira, Batista and Seara (arXiv 2109.05075): train with l0 in exponential form (layer factor, l2),
drop the smallest weights of the whole network, fine-tune what is left without penalty. Beside it the same pipeline
after l1, l2, and no penalty. The compression ratio is weights over kept weights; for each
trained network the largest ratio, in steps of a third of an octave, is searched at which the accuracy on 5,000
training images is within half a point of the unpenalised network's of the same seed. Strengths are chosen by that on
the first seed; the test set is looked at once, in the end. Writes analysis/results/train_l0.jsonl; a run that is
stopped goes on where it was.

    python analysis/train_l0.py --network "LeNet-300-100, MNIST" --minutes 9
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, product
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import training
from torch import nn
from training import RESULTS, Job, Lines, Split, accuracy, command, fit, jobs, lenet5, mlp, row, spread

from lqtheory.pruning.recipe import Pruned, Recipe
from lqtheory.pruning.size import macs
from lqtheory.regularizers import l0_l2, l1, l2, penalised

SEEDS, MOST_LOST, OCTAVE, TOP = (0, 1, 2), 0.005, 3, 23  # ratios up to 2 ** (TOP / OCTAVE)
RATE, TUNING_RATE, BATCH = 2e-3, 1e-3, 256
PLAIN = "none"
LINES = Lines(RESULTS / "train_l0.jsonl")


@dataclass(frozen=True)
class Network(training.Network):
    """A network with its data and what the strengths that are tried are multiplied with."""

    data: str
    scale: float = 1.0


lenet300 = partial(mlp, 784, 300, 100, 10)
NETWORKS = {
    "LeNet-300-100, MNIST": Network(lenet300, 6, 2, None, "mnist"),
    "LeNet-300-100, Fashion-MNIST": Network(lenet300, 6, 2, None, "fashion-mnist", 0.2),
    "LeNet-300-100, Fashion-MNIST, 18 epochs": Network(lenet300, 18, 3, None, "fashion-mnist", 0.05),
    "LeNet-5, MNIST": Network(lenet5, 10, 2, 30_000, "mnist", 3.0),
}


@dataclass(frozen=True)
class Method:
    """A penalty and its strengths."""

    penalty: str
    strengths: Mapping[str, float] = field(default_factory=dict)

    def of(self, net: nn.Module) -> Callable[[torch.Tensor], torch.Tensor] | None:
        """The penalty of this network."""
        if self.penalty == PLAIN:
            return None
        term, weights = {"l0 + l2": l0_l2, "l1": l1, "l2": l2}[self.penalty], penalised(net)
        if self.penalty == "l0 + l2":
            return lambda _: term(weights, **self.strengths)
        return lambda _: self.strengths["alpha"] * term(weights)


METHODS = {
    PLAIN: [Method(PLAIN)],
    "l0 + l2": [
        Method("l0 + l2", {"alpha0": a, "alpha2": b, "beta": 10.0}) for a, b in product((1e-5, 3e-5), (1e-5, 1e-4))
    ],
    "l1": [Method("l1", {"alpha": a}) for a in (1e-4, 3e-4)],
    "l2": [Method("l2", {"alpha": 1e-4})],
}
SCALED = {"l0 + l2": "alpha0", "l1": "alpha"}


def candidates(network: str, penalty: str) -> Iterator[Method]:
    """The strengths that are tried on a network; what makes weights sparse costs more where the data are harder."""
    for method in METHODS[penalty]:
        name, strengths = SCALED.get(penalty), dict(method.strengths)
        if name is not None:
            strengths[name] = round(strengths[name] * NETWORKS[network].scale, 9)
        yield Method(penalty, strengths)


def trained(network: str, method: Method, seed: int, split: Split) -> nn.Sequential:
    """The network that the pruning starts from."""
    torch.manual_seed(seed)
    net = NETWORKS[network].make()
    fit(net, split.train, NETWORKS[network].epochs, RATE, seed, method.of(net), batch=BATCH)
    return net


def compressed(net: nn.Sequential, step: int) -> Pruned:
    """The network with its largest weights, one in 2 ** (step / OCTAVE)."""
    return Recipe(1 - 2 ** (-step / OCTAVE), fit=None)(net)


def tuned(net: nn.Sequential, step: int, network: str, seed: int, split: Split) -> Pruned:
    """The same after fine-tuning with its zeros kept."""
    pruned = compressed(net, step)
    masks = {name: torch.from_numpy(mask) for name, mask in pruned.stored_masks().items()}
    fit(pruned.model, split.train, NETWORKS[network].tuning, TUNING_RATE, seed + 100, None, masks, BATCH)
    return pruned


def largest(passes: Callable[[int], bool], top: int = TOP) -> int:
    """The largest step that passes, by bisection, as if all before it did; 0 always does.

    >>> largest(lambda step: step <= 13), largest(lambda step: False), largest(lambda step: True)
    (13, 0, 23)
    """
    low, high = 0, top + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if passes(middle) else (low, middle)
    return low


def measured(network: str, split: Split, method: Method, seed: int, wanted: float | None) -> dict[str, Any]:
    """One line: the trained network, and the sparsest that is as accurate as is wanted, with and without tuning."""
    start = time.perf_counter()
    net = trained(network, method, seed, split)
    dense = accuracy(net, split.validation)
    wanted = dense - MOST_LOST if wanted is None else wanted
    seen: dict[int, tuple[float, Pruned]] = {}

    def passes(step: int) -> bool:
        pruned = tuned(net, step, network, seed, split)
        seen[step] = (accuracy(pruned.model, split.validation), pruned)
        return seen[step][0] >= wanted

    best = largest(passes)
    at_once = largest(lambda step: accuracy(compressed(net, step).model, split.validation) >= wanted)
    sparse = seen[best][1] if best else compressed(net, 0)
    before, after = macs(net, sparse, split.test.x[:1])
    return {
        "validation": {"dense": dense, "wanted": wanted, "path": {s: a for s, (a, _) in sorted(seen.items())}},
        "ratio": sparse.weights / sparse.kept,
        "kept": sparse.kept / sparse.weights,
        "kept_macs": after / before,
        "accuracy": accuracy(sparse.model, split.test),
        "dense_accuracy": accuracy(net, split.test),
        "ratio_untuned": 2 ** (at_once / OCTAVE),
        "accuracy_untuned": accuracy(compressed(net, at_once).model, split.test),
        "seconds": time.perf_counter() - start,
    }


def asked(network: str, method: Method, seed: int) -> dict[str, Any]:
    """The setting of a line."""
    return NETWORKS[network].asked(network, method, seed)


def best(network: str, penalty: str, lines: Lines) -> Method | None:
    """The strengths of a penalty that compress most on the validation images, with the first seed; None of none."""
    of_penalty = asked(network, Method(penalty), SEEDS[0])
    del of_penalty["strengths"]
    mine = [line for line in lines.read() if of_penalty.items() <= line["setting"].items()]
    return Method(penalty, max(mine, key=lambda line: line["ratio"])["setting"]["strengths"]) if mine else None


def work(network: str, lines: Lines) -> Iterator[tuple[Method, int]]:
    """Of each penalty all strengths with the first seed and the best with the others; first of all none."""
    for penalty in METHODS:
        yield from ((method, SEEDS[0]) for method in candidates(network, penalty))
        if method := best(network, penalty, lines):
            yield from ((method, seed) for seed in SEEDS[1:])


def table(lines: Lines) -> Iterator[str]:
    """The rows of the docs: mean, least and most over the seeds of the strengths that were chosen."""
    head = ("network", "penalty", "strengths", "seeds", "accuracy", "ratio", "weights kept", "accuracy then")
    yield row(*head, "ratio, not tuned")
    yield row(*["---"] * (len(head) + 1))
    for network, penalty in product(NETWORKS, METHODS):
        if method := best(network, penalty, lines):
            settings = [asked(network, method, seed) for seed in SEEDS]
            mine = [line for line in lines.read() if line["setting"] in settings]
            given = ", ".join(f"{name} {value:g}" for name, value in method.strengths.items())
            dense, then = (spread([line[key] for line in mine], "{:.2%}") for key in ("dense_accuracy", "accuracy"))
            ratio, untuned = (spread([line[key] for line in mine], "{:.1f}") for key in ("ratio", "ratio_untuned"))
            kept = spread([line["kept"] for line in mine])
            yield row(network, method.penalty, given, len(mine), dense, ratio, kept, then, untuned)


def gains(lines: Lines) -> Iterator[str]:
    """How many times the mean ratio of plain training l0 gives, with fine-tuning and without."""
    yield row("network", "both fine-tuned", "neither fine-tuned", "l0 fine-tuned, plain training not")
    yield row(*["---"] * 4)
    for network in NETWORKS:
        methods = [best(network, penalty, lines) for penalty in ("l0 + l2", PLAIN)]
        settings = [[asked(network, method, seed) for seed in SEEDS] for method in methods if method]
        if len(settings) < 2:
            continue
        l0, plain = ([line for line in lines.read() if line["setting"] in of_method] for of_method in settings)
        pairs = (("ratio", "ratio"), ("ratio_untuned", "ratio_untuned"), ("ratio", "ratio_untuned"))
        yield row(network, *(f"{mean(x[a] for x in l0) / mean(x[b] for x in plain):.1f}" for a, b in pairs))


def missing(network: str, data: Path) -> Iterator[Job]:
    """What has no line yet."""
    split = Split.of(data / NETWORKS[network].data, NETWORKS[network].images)
    measure = partial(measured, network, split)
    return jobs(LINES, work(network, LINES), Method(PLAIN), partial(asked, network), measure)


if __name__ == "__main__":
    command(__doc__, NETWORKS, missing, chain(table(LINES), [""], gains(LINES)))
