"""Can a network be trained so that the bounds on its pruning say something, and what do they say then?

Fashion-MNIST MLPs with one, two and four hidden layers, trained by Adam with a penalty on the spectral norms and the
smooth l0 penalty of `analysis/train_demo.py`, equally strong on all layers, and the two-layer one plainly. Then, on the
test set (on its first 2,000 images the strengths were chosen, among seven settings, by tightness):

- tightness: bound over measured RMS error of tiers A to D, H, four ways to prune, sparsities 10 to 70 %, 2,000 images;
- largest sparsities with a guaranteed drop of at most 1 %, by tier; tier G and the measured one on the other 8,000
  images, which no choice has looked at;
- regions: at 50 % sparsity, where both networks agree within 1/255 and 4/255 of an image, beside an adversary (PGD on
  the pair), 100 images.

Writes analysis/results/train_certified.jsonl. The networks go to a folder; those that are there are not trained again.

    python analysis/train_certified.py --data FOLDER --networks FOLDER     # about ten minutes on one core
"""

import argparse
import itertools
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy
from train_demo import idx, power_step

from lqtheory import records
from lqtheory.evaluate import LinearStack, Sample, read_stack
from lqtheory.ladder import RUNGS, Dense, Population, Regions, by_count, by_error, curve, largest_sparsities
from lqtheory.pruning import Method, global_ranking, keep_rule_at_total, magnitude, uniform, wanda
from lqtheory.records import Provenance, Record

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "train_certified.jsonl"
SEED, BATCH, LEARNING_RATE, BETA = 2026, 128, 2e-3, 20.0
SAMPLES = 2000  # of the test set, for what is exact about a sample
SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
MOST_LOST = 0.01
RADII = (1 / 255, 4 / 255)
METHODS = (
    Method("wanda by neuron", wanda, uniform),
    Method("magnitude by neuron", magnitude, uniform),
    Method("keep rule", magnitude, keep_rule_at_total),
    Method("magnitude by network", magnitude, global_ranking),
)
TIGHT = {tier: RUNGS[tier] for tier in ("A", "B", "C", "C weighted", "D", "H")}
PROMISING = {tier: RUNGS[tier] for tier in ("B", "C", "C weighted", "D", "D uniform", "F")}


@dataclass(frozen=True)
class Setting:
    """Widths, and how strong the penalties are."""

    name: str
    widths: tuple[int, ...]
    epochs: int
    spectral: float = 0.03
    l0: float = 5e-6


SETTINGS = (
    Setting("one hidden layer", (784, 256, 10), 6),
    Setting("two hidden layers", (784, 300, 100, 10), 8),
    Setting("four hidden layers", (784, 256, 256, 256, 256, 10), 8),
    Setting("two hidden layers, plain", (784, 300, 100, 10), 8, spectral=0.0, l0=0.0),
)


def train(setting: Setting, x: torch.Tensor, y: torch.Tensor) -> nn.Sequential:
    """Adam on cross-entropy plus the penalties, deterministic on one thread."""
    torch.manual_seed(SEED)
    linears = [nn.Linear(n, m) for n, m in itertools.pairwise(setting.widths)]
    network = nn.Sequential(*[layer for linear in linears for layer in (linear, nn.ReLU())][:-1])
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE, fused=True)
    steps = len(x) // BATCH
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps * setting.epochs)
    left = [torch.randn(m) for m in setting.widths[1:]]
    for _ in range(setting.epochs):
        for batch in torch.randperm(len(x))[: steps * BATCH].view(steps, BATCH):
            loss = cross_entropy(network(x[batch]), y[batch])
            for i, linear in enumerate(linears if setting.spectral else []):
                left[i], norm = power_step(linear.weight, left[i])
                loss = loss + setting.spectral * norm
                loss = loss + setting.l0 * torch.sum(1 - torch.exp(-BETA * linear.weight.abs()))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network


def trained(setting: Setting, data: Path, networks: Path) -> LinearStack:
    """The network from its file, trained before where there is none."""
    path = networks / f"{setting.name.replace(' ', '_').replace(',', '')}.safetensors"
    if not path.exists():
        start = time.perf_counter()
        images = idx(data / "train-images-idx3-ubyte.gz").reshape(-1, setting.widths[0])
        x = torch.from_numpy(images.astype(np.float32) / np.float32(255))
        y = torch.from_numpy(idx(data / "train-labels-idx1-ubyte.gz").astype(np.int64))
        save_file(train(setting, x, y).state_dict(), path)
        print(f"{setting.name}: trained in {time.perf_counter() - start:.0f} s", flush=True)
    return read_stack(path)


def about(setting: Setting) -> dict[str, Any]:
    """What all records of a network say of it."""
    return {"network": setting.name, "spectral": setting.spectral, "l0": setting.l0, "widths": list(setting.widths)}


def exact(setting: Setting, stack: LinearStack, sample: Sample) -> Iterator[Record]:
    """All that is asked of one network on a sample."""
    dense, provenance = Dense(stack, sample), Provenance(SEED)
    for method in METHODS:
        for record in curve(dense, method, SPARSITIES, provenance, about(setting), TIGHT):
            if record.setting["quantity"] == "output_error":
                yield record
    for family in (by_count(dense, METHODS[-1]), by_error(dense, "neuron")):
        yield from largest_sparsities(dense, family, "harm", MOST_LOST, provenance, about(setting), PROMISING)
    if setting.name == "two hidden layers":
        for radius in RADII:
            rungs = {"E": Regions(radius, seed=SEED)}
            for method in METHODS[:1] + METHODS[-1:]:
                yield from curve(dense, method, [0.5], provenance, about(setting), rungs)


def statistical(setting: Setting, stack: LinearStack, rest: Sample) -> Iterator[Record]:
    """Tier G, on images that the strengths of the penalties were not chosen on."""
    whole, rungs = Dense(stack, rest), {"G": Population.of(stack, rest)}
    family = by_count(whole, METHODS[-1])
    for record in largest_sparsities(whole, family, "harm", MOST_LOST, Provenance(SEED), about(setting), rungs):
        by_drop = largest_drop(whole, record.measured)
        yield Record(**{**vars(record), "setting": {**record.setting, "largest_by_drop": by_drop}})


def largest_drop(whole: Dense, at_least: float) -> float:
    """The largest sparsity, in steps of 1 %, at which the accuracy on the sample falls by at most MOST_LOST."""
    best = at_least
    for sparsity in np.arange(int(at_least * 100) + 1, 100) / 100:
        pruned = whole.masked(METHODS[-1].masks(whole.layers, float(sparsity)))
        if whole.outcome.accuracy - pruned.outcome.accuracy <= MOST_LOST:
            best = float(sparsity)
    return best


def summary(found: list[Record]) -> Iterator[str]:
    """The figures that the docs print."""
    curves = [r for r in found if r.setting["quantity"] == "output_error"]
    for network, method in dict.fromkeys((r.setting["network"], r.setting["method"]) for r in curves):
        mine = [r for r in curves if (r.setting["network"], r.setting["method"]) == (network, method)]
        medians = {t: statistics.median(r.tightness for r in mine if r.tier == t) for t in {r.tier: 0 for r in mine}}
        yield f"{network}, {method}: " + ", ".join(f"{tier} {value:.3g}" for tier, value in medians.items())
    for r in found:
        if r.setting["quantity"] != "output_error":
            more = f", by net drop {r.setting['largest_by_drop']:.3f}" if "largest_by_drop" in r.setting else ""
            radius = f" radius {r.setting['radius'] * 255:.0f}/255" if "radius" in r.setting else ""
            yield (
                f"{r.setting['network']}, {r.setting['method']}, tier {r.tier}, {r.setting['quantity']}{radius}: "
                f"{r.bound:.3f} measured {r.measured:.3f}{more}"
            )
    yield f"{len(found)} records, {records.violations(found)} violated"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data")) / "datasets" / "fashion-mnist"
    parser.add_argument("--data", type=Path, default=default, help="folder of the four gzipped IDX files")
    parser.add_argument("--networks", type=Path, default=ROOT / "build" / "certified", help="folder of the networks")
    parser.add_argument("--only", help="one setting, by name; its records replace those of the same name")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    arguments.networks.mkdir(parents=True, exist_ok=True)
    images = idx(arguments.data / "t10k-images-idx3-ubyte.gz").reshape(10_000, -1) / 255.0
    labels = idx(arguments.data / "t10k-labels-idx1-ubyte.gz").astype(np.int64)
    rest = Sample("Fashion-MNIST, the other 8,000 test images", images[SAMPLES:], labels[SAMPLES:])
    part = Sample("Fashion-MNIST, the first 2,000 test images", images[:SAMPLES], labels[:SAMPLES])
    found = records.read(RESULTS) if arguments.only and RESULTS.exists() else []
    found = [r for r in found if r.setting["network"] != arguments.only]
    for setting in SETTINGS:
        if arguments.only in (None, setting.name):
            stack = trained(setting, arguments.data, arguments.networks)
            found += [*exact(setting, stack, part), *statistical(setting, stack, rest)]
    RESULTS.write_text("".join(record.to_json() + "\n" for record in found))
    print("\n".join(summary(found)))


if __name__ == "__main__":
    main()
