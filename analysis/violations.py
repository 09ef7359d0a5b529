"""Is any bound violated on a real network? All at hand, ten sparsities, three scopes of pruning, all tiers that apply.

Magnitude pruning by neuron, by tensor and over the whole network. Stacks of linear layers: tiers A to F, H and what
follows for predictions; other networks: tiers B, C and D on their graph. What is per input is checked input by input
and coordinate by coordinate; the outputs are those of torch in float64. Where no data are at hand the inputs are
standard normal. One JSON line for each network, scope and sparsity goes to analysis/results/violations.jsonl, and what
is there is not done again. Ends with status 1 if there is a violation in the file.

    python analysis/violations.py [--seconds N] [--only NAME]    # about an hour on one core; stops after N seconds
"""

import argparse
import gzip
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from cifar_resnet import images, load, projected
from safetensors.torch import load_file
from torch import nn

from lqtheory.bounds import (
    Linear,
    changed_predictions,
    changed_predictions_on_sample,
    forward,
    margins,
    path_errors,
    row_tails,
    second_moments,
    telescoped,
    tier_a,
    tier_b,
    tier_c,
    tier_c_weighted,
    tier_d,
    tier_d_uniform,
    tier_e_interval,
    tier_e_linear,
    tier_f,
)
from lqtheory.bounds.graph import Graph, graph_per_input, graph_tier_b, graph_tier_c, observe
from lqtheory.bounds.nodes import Affine
from lqtheory.bounds.trace import trace
from lqtheory.evaluate import read_stack
from lqtheory.ladder.networks import linears_of
from lqtheory.records import Provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "violations.jsonl"
SPARSITIES = tuple(np.round(np.linspace(0.05, 0.95, 10), 2).tolist())
SCOPES = ("neuron", "tensor", "network")
SEED, SAMPLES, IMAGES = 0, 300, 6
BALLS, POINTS, RADIUS = 2, 16, 1 / 255


@dataclass(frozen=True)
class Check:
    """Numbers that were promised and what they were promised about."""

    tier: str
    promised: np.ndarray
    observed: np.ndarray

    @property
    def violated(self) -> int:
        """How many promises were not kept."""
        return int(np.count_nonzero(~(self.observed <= self.promised)))

    @property
    def line(self) -> list[float | int]:
        """Root mean squares of both, how many there are, how many were not kept."""
        return [float(f"{rms(a):.6g}") for a in (self.promised, self.observed)] + [self.observed.size, self.violated]


def rms(values: np.ndarray) -> float:
    scale = float(np.max(np.abs(values), initial=0.0)) or 1.0
    return scale * float(np.sqrt(np.mean(np.square(values / scale))))


def kept(weights: Sequence[np.ndarray], share: float, scope: str) -> list[np.ndarray]:
    """Masks without the smallest share of every neuron, every tensor or all of them together, by rank."""
    if scope == "network":
        together = _rank(np.concatenate([np.abs(w).ravel() for w in weights]))
        ends = np.cumsum([w.size for w in weights])[:-1]
        limit = round(share * together.size)
        return [part.reshape(w.shape) >= limit for part, w in zip(np.split(together, ends), weights, strict=True)]
    found = []
    for w in weights:
        rows = np.abs(w).reshape(len(w) if scope == "neuron" else 1, -1)
        found.append((_rank(rows) >= round(share * rows.shape[1])).reshape(w.shape))
    return found


def _rank(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, axis=-1, kind="stable"), axis=-1)


def of_stack(dense: list[Linear], x: np.ndarray, low: float, high: float) -> Callable[[float, str], Iterator[Check]]:
    """The checks of a stack of linear layers at one sparsity."""
    moments, before = second_moments(dense, x), outputs(dense, x)
    radius, gaps = moments[0].radius, margins(before)

    def checks(share: float, scope: str) -> Iterator[Check]:
        masks = kept([layer.weight for layer in dense], share, scope)
        pruned = [Linear(np.where(m, a.weight, 0.0), a.bias, a.activation) for a, m in zip(dense, masks, strict=True)]
        after = outputs(pruned, x)
        delta, moved = before - after, before.argmax(1) != after.argmax(1)
        size = np.linalg.norm(delta, axis=1)
        whole = np.array(rms(size))
        values = {
            "A": tier_a(dense, pruned, radius),
            "B": tier_b(dense, pruned, radius),
            "C": tier_c(dense, pruned, moments),
            "C weighted": tier_c_weighted(dense, pruned, moments),
        }
        for tier, bound in values.items():
            yield Check(tier, np.array(bound.value), whole)
        c = values["C weighted"].value
        for name, share_of in (("25", changed_predictions), ("26", changed_predictions_on_sample)):
            yield Check(f"predictions, Theorem {name}", np.array(share_of(gaps, c).value), np.array(moved.mean()))
        ladder = [values[tier].value for tier in ("C weighted", "C", "B", "A")]
        yield Check("order of C weighted, C, B, A", np.array(ladder[1:]), np.array(ladder[:-1]))
        own = np.array(rms(np.linalg.norm(forward(dense, x) - forward(pruned, x), axis=1)))
        yield Check("H", np.array(telescoped(dense, pruned, x).value), own)
        each = tier_d(dense, pruned, x)
        yield Check("D, norms", each.norms, size)
        yield Check("D, coordinates", each.elementwise, np.abs(delta))
        yield Check("D, predictions", ~each.certified(), moved)
        tails = row_tails(dense, pruned)
        uniform, other = tier_d_uniform(dense, tails, x), before - outputs(perturbed(dense, tails), x)
        for name, found in (("the masks", delta), ("a random perturbation", other)):
            yield Check(f"D uniform, {name}", uniform.elementwise, np.abs(found))
        yield Check("F", path_errors(dense, pruned, x), np.abs(delta))
        box = float(np.abs(x).max())
        yield Check("F, whole box", np.array(tier_f(dense, pruned, box).value), np.abs(delta).sum(axis=1).max())
        yield from regions(dense, pruned, x[:BALLS], low, high)

    return checks


def perturbed(dense: list[Linear], tails: Sequence[np.ndarray]) -> list[Linear]:
    """Every row moved in a random direction, nearly as far as it may."""
    random, found = np.random.default_rng(SEED), []
    for layer, tail in zip(dense, tails, strict=True):
        step = random.standard_normal(layer.weight.shape)
        step *= tail[:, None] * (1 - 1e-9) / np.linalg.norm(step, axis=1, keepdims=True)
        found.append(Linear(layer.weight + step, layer.bias, layer.activation))
    return found


def regions(dense: list[Linear], pruned: list[Linear], x: np.ndarray, low: float, high: float) -> Iterator[Check]:
    """Tier E at random corners and points of a few balls."""
    random = np.random.default_rng(SEED)
    steps = random.uniform(-1, 1, (POINTS, *x.shape))
    steps[::2] = np.sign(steps[::2])
    points = np.clip(x + RADIUS * (1 - 1e-9) * steps, low, high)
    found = [[outputs(network, part) for part in points] for network in (dense, pruned)]
    delta = np.array(found[0]) - np.array(found[1])
    split = np.any(np.array(found[0]).argmax(-1) != np.array(found[1]).argmax(-1), axis=0)
    for name, tier in (("boxes", tier_e_interval), ("lines", tier_e_linear)):
        bounds = tier(dense, pruned, x, RADIUS, low, high)
        yield Check(f"E {name}, above", np.broadcast_to(bounds.delta.upper, delta.shape), delta)
        yield Check(f"E {name}, below", np.broadcast_to(-bounds.delta.lower, delta.shape), -delta)
        yield Check(f"E {name}, predictions", ~bounds.agreement(), split)


def outputs(layers: Sequence[Linear], x: np.ndarray) -> np.ndarray:
    """The answers of a stack with ReLU between its layers, by torch."""
    h = torch.from_numpy(x)
    for layer in layers[:-1]:
        h = nn.functional.linear(h, torch.from_numpy(layer.weight), torch.from_numpy(layer.offset)).relu()
    return nn.functional.linear(h, torch.from_numpy(layers[-1].weight), torch.from_numpy(layers[-1].offset)).numpy()


class Shared(Affine):
    """A layer that computes its difference from another once, and so the norm of it: three tiers ask for it."""

    def minus(self, other: Affine) -> Affine:
        if self.__dict__.get("other") is not other:
            self.__dict__.update(other=other, difference=super().minus(other))
        return self.__dict__["difference"]


def shared(graph: Graph) -> Graph:
    return Graph(
        tuple(
            replace(node, op=Shared(**vars(node.op))) if isinstance(node.op, Affine) else node for node in graph.nodes
        )
    )


def of_module(module: nn.Module, x: np.ndarray) -> Callable[[float, str], Iterator[Check]]:
    """The checks of any network that can be traced, its weights pruned before batch norms are folded."""
    module, inputs = module.double().eval().requires_grad_(False), torch.from_numpy(x)
    dense, before = shared(trace(module, inputs[:1])), module(inputs).numpy()
    seen = observe(dense, x)

    def checks(share: float, scope: str) -> Iterator[Check]:
        copy = deepcopy(module)
        weights = [p for p in copy.parameters() if p.ndim > 1]
        for p, mask in zip(weights, kept([p.numpy() for p in weights], share, scope), strict=True):
            p.mul_(torch.from_numpy(mask))
        pruned, after = trace(copy, inputs[:1]), copy(inputs).numpy()
        size = np.linalg.norm(before - after, axis=1)
        whole = np.array(rms(size))
        b = graph_tier_b(dense, pruned, seen[-1].radius, x.shape[1:]).value
        c, each = graph_tier_c(dense, pruned, seen).value, graph_per_input(dense, pruned, x)
        yield Check("B", np.array(b), whole)
        yield Check("C", np.array(c), whole)
        yield Check("order of C, B", np.array(b), np.array(c))
        yield Check("D, norms", each, size)

    return checks


def idx(path: Path, n: int) -> np.ndarray:
    """The first n images of a gzipped IDX file, one row each."""
    with gzip.open(path) as file:
        return np.frombuffer(file.read(16 + 784 * n), np.uint8, offset=16).reshape(n, 784) / 255.0


def normal(n: int, d: int) -> np.ndarray:
    return np.random.default_rng(SEED).standard_normal((n, d))


def cifar(data: Path, mean: Sequence[float], std: Sequence[float]) -> np.ndarray:
    """A few test images, normalised."""
    with np.load(data / "datasets/cifar10-lossless/test300.npz") as file:
        pixels = file[file.files[0]][:IMAGES].transpose(0, 3, 1, 2) / 255.0
    return (pixels - np.array(mean)[:, None, None]) / np.array(std)[:, None, None]


def jet_tagger(path: Path) -> nn.Sequential:
    """Linear layer, batch norm, ReLU, and again: the order is assumed, the file states none."""
    state, layers = load_file(path), []
    for k, name in enumerate(sorted({key.rsplit(".", 1)[0] for key in state if key.startswith(("fc", "out"))}), 1):
        linear = nn.Linear(*state[f"{name}.weight"].T.shape, bias=f"{name}.bias" in state)
        norm = nn.BatchNorm1d(linear.out_features)
        linear.load_state_dict({key.removeprefix(f"{name}."): v for key, v in state.items() if key.startswith(name)})
        bn = f"bn{k}." if f"bn{k}.weight" in state else "bn."
        norm.load_state_dict({key.removeprefix(bn): v for key, v in state.items() if key.startswith(bn)}, strict=False)
        layers += [linear, norm, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def robust_cnn(path: Path) -> nn.Sequential:
    """The architecture of convex_adversarial's MNIST network."""
    network = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    network.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return network


def residual(path: Path) -> nn.Module:
    """A ResNet whose shortcuts have weights."""
    if path.suffix == ".safetensors":
        return projected(load_file(path))
    return projected(torch.load(path, weights_only=True, map_location="cpu"))


Network = Callable[[], Callable[[float, str], Iterator[Check]]]


def networks(data: Path) -> dict[str, Network]:
    """Every network that can be run, by name, small ones first."""
    models, digits = data / "models", data / "datasets/mnist/t10k-images-idx3-ubyte.gz"
    found: dict[str, Network] = {}

    def stack(name: str, path: Path, x: Callable[[], np.ndarray], low: float = 0.0, high: float = 1.0) -> None:
        found[name] = lambda: of_stack(linears_of(read_stack(path)), x(), low, high)

    jets = models / "hls4ml/jet_tagging"
    for name in ("", "_70pruned_retrained", "_95pruned_retrained"):
        path = jets / f"KERAS_3layer{name}.safetensors"
        stack(f"jet tagger{name.replace('_', ' ')}", path, partial(normal, SAMPLES, 16), -np.inf, np.inf)
    for name in ("ternary_small", "binarydense_relu_max", "batch_norm"):
        path = jets / f"KERAS_3layer_{name}.safetensors"
        found[f"jet tagger {name}"] = lambda path=path: of_module(jet_tagger(path), normal(SAMPLES, 16))
    with np.load(ROOT / "lqtheory/data/demo_heldout.npz") as file:
        pixels = file["x"][:SAMPLES].reshape(SAMPLES, -1)
    demo = pixels / 255.0 if pixels.dtype == np.uint8 else pixels.astype(np.float64)
    stack("demo", ROOT / "lqtheory/data/demo.safetensors", lambda: demo)
    stack("auto-LiRPA MLP", models / "auto-lirpa/mnist_fc_3layer.pth", partial(idx, digits, SAMPLES))
    mlps, tabular = models / "hls4ml/mnist_mlp_784-512-512-10", models / "hls4ml/tabular"
    for path in sorted((ROOT / "build/certified").glob("*.safetensors")):
        fashion = partial(idx, data / "datasets/fashion-mnist/t10k-images-idx3-ubyte.gz", SAMPLES)
        stack(f"trained here: {path.stem.replace('_', ' ')}", path, fashion)
    found["convex_adversarial CNN"] = lambda: of_module(
        robust_cnn(models / "convex-adversarial/models_mnist.pth"), idx(digits, 50).reshape(-1, 1, 28, 28)
    )
    path = tabular / "breast_cancer_30-500-500-500-2.safetensors"
    stack("breast cancer MLP", path, partial(normal, SAMPLES, 30), -np.inf, np.inf)
    for path in sorted(mlps.glob("*.safetensors")):
        stack(f"hls4ml {path.stem}", path, partial(idx, digits, SAMPLES))
    half = ((0.5,) * 3, (0.5,) * 3)
    for path in sorted((models / "distiller-resnet20").glob("*.safetensors")):
        found[f"Distiller {path.stem}"] = lambda path=path: of_module(residual(path), cifar(data, *half))
    for path in sorted((models / "akamaster-resnet-cifar10").glob("*.th")):
        x = images(data / "datasets/cifar10-lossless/test300.npz", IMAGES)[0].numpy()
        found[f"akamaster {path.stem}"] = lambda path=path, x=x: of_module(load(path), x)
    own = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
    for path in sorted((models / "torch-pruning-resnet56").glob("*cifar10*.[ps]*")):
        found[f"Torch-Pruning {path.stem}"] = lambda path=path: of_module(residual(path), cifar(data, *own))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--only", default="", help="networks whose name contains this")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="start nothing after so many")
    options = parser.parse_args()
    torch.set_num_threads(1)
    begin = time.monotonic()
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    done = {(line["network"], line["scope"], line["sparsity"]) for line in lines}
    for name, network in networks(options.data).items():
        wanted = [(scope, s) for scope in SCOPES for s in SPARSITIES if (name, scope, s) not in done]
        if options.only not in name or not wanted or time.monotonic() - begin > options.seconds:
            continue
        checks = network()
        for scope, sparsity in wanted:
            if time.monotonic() - begin > options.seconds:
                break
            found = list(checks(sparsity, scope))
            setting = {"network": name, "scope": scope, "sparsity": sparsity}
            counts = {"checked": sum(c.observed.size for c in found), "violated": sum(c.violated for c in found)}
            lines.append({**setting, **counts, "tiers": {c.tier: c.line for c in found}, **asdict(Provenance(SEED))})
            with RESULTS.open("a") as file:
                file.write(json.dumps(lines[-1]) + "\n")
        print(f"{time.monotonic() - begin:5.0f} s  {name}", flush=True)
    bad = [line for line in lines if line["violated"]]
    for line in bad:
        broken = [tier for tier, (*_, count) in line["tiers"].items() if count]
        print(f"VIOLATED: {line['network']}, {line['scope']}, {line['sparsity']}: {', '.join(broken)}")
    checked = sum(line["checked"] for line in lines)
    count = len({line["network"] for line in lines})
    print(f"{len(lines)} pruned networks, from {count} dense ones; {checked:,} numbers; {len(bad)} with violations")
    return bool(bad)


if __name__ == "__main__":
    sys.exit(main())
