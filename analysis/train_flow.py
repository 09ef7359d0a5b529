"""Does feature flow regularisation make residual networks easier to thin out, and which of its two terms does it?

Wu, Lan, Zhang and Xiang (arXiv 2106.02914) penalise length and curvature of the path of features. Residual networks,
an MLP and a small CNN, are trained on Fashion-MNIST with both, with the length or the curvature alone, with an l1
penalty on the scales of the inner batch norms, with group lasso over neurons and filters, and plainly. Then the inner
channels of all blocks are ranked together by what they add to the residual stream, the least are removed for real, and
what is left is fine-tuned. Of each trained network the smallest share of channels is searched at which the accuracy on
5,000 training images is within half a point of the unpenalised network's of the same seed; and, without fine-tuning,
the same for channels and for single weights. Strengths are chosen by the weights that stay, on the first seed; the
test set decides nothing. Writes analysis/results/train_flow.jsonl; a run that is stopped goes on where it was.

    python analysis/train_flow.py --network "residual MLP" --minutes 9
"""

import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import training
from torch import nn
from train_l0 import largest
from training import RESULTS, Job, Lines, Penalty, Split, accuracy, channels_last, command, fit, jobs, row, spread

from lqtheory.pruning.recipe import Recipe
from lqtheory.regularizers import FeatureFlow, curvature, group_lasso, length, penalised

SEEDS, MOST_LOST, OCTAVE, TOP = (0, 1, 2), 0.005, 2, 11  # shares of channels down to 2 ** (-TOP / OCTAVE)
RATE, TUNING_RATE = 5e-3, 2e-3
LINES = Lines(RESULTS / "train_flow.jsonl")


class Block(nn.Module):
    """x + BN(W BN(V x)_+), ReLU behind it; V and W are 3 x 3 convolutions or matrices."""

    def __init__(self, width: int, inner: int, spatial: bool) -> None:
        super().__init__()
        self.spatial = spatial
        self.first, self.norm1 = layer(width, inner, spatial), norm(inner, spatial)
        self.second, self.norm2 = layer(inner, width, spatial), norm(width, spatial)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x + self.norm2(self.second(self.norm1(self.first(x)).relu()))).relu()

    def contributions(self) -> torch.Tensor:
        r"""$|\gamma_c|\sqrt{\sum_o s_o^2\|W_{oc}\|^2}$ of each inner channel c, s being the second norm's factors."""
        state = self.state_dict()
        factor = state["norm2.weight"] / (state["norm2.running_var"] + self.norm2.eps).sqrt()
        behind = torch.einsum("o,oc...->c...", factor.square(), state["second.weight"].square())
        behind = behind.flatten(1).sum(1).sqrt() if self.spatial else behind.sqrt()
        return state["norm1.weight"].abs() * behind

    def thinned(self, kept: torch.Tensor) -> "Block":
        """The block with these inner channels only."""
        state = self.state_dict()
        cut = {"first.weight": state["first.weight"][kept], "second.weight": state["second.weight"][:, kept]}
        cut |= {name: tensor[kept] for name, tensor in state.items() if name.startswith("norm1") and tensor.ndim}
        block = Block(len(state["norm2.weight"]), int(kept.sum()), self.spatial)
        block.load_state_dict({**state, **cut})
        return block.train(self.training)


def layer(n: int, m: int, spatial: bool) -> nn.Conv2d | nn.Linear:
    """A linear map without bias, of images or of vectors."""
    return nn.Conv2d(n, m, 3, padding=1, bias=False) if spatial else nn.Linear(n, m, bias=False)


def norm(width: int, spatial: bool) -> nn.BatchNorm2d | nn.BatchNorm1d:
    """A batch norm for images or for vectors."""
    return nn.BatchNorm2d(width) if spatial else nn.BatchNorm1d(width)


def residual_mlp() -> nn.Sequential:
    """784 pixels, six blocks on 64 features with 128 inner neurons each, ten classes."""
    stem = nn.Sequential(nn.Flatten(), nn.Linear(784, 64, bias=False), nn.BatchNorm1d(64), nn.ReLU())
    return nn.Sequential(stem, *(Block(64, 128, False) for _ in range(6)), nn.Linear(64, 10))


def residual_cnn() -> nn.Sequential:
    """A convolution with stride 4 to 12 channels of 7 x 7, four blocks with 24 inner channels each, and the mean."""
    stem = nn.Sequential(nn.Conv2d(1, 12, 5, 4, 2, bias=False), nn.BatchNorm2d(12), nn.ReLU())
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 10))
    return channels_last(nn.Sequential(stem, *(Block(12, 24, True) for _ in range(4)), *head))


@dataclass(frozen=True)
class Network(training.Network):
    """A network with the stages of its path of features, and the strengths of feature flow that are tried."""

    stages: tuple[range, ...]
    strengths: tuple[float, ...]


NETWORKS = {
    "residual MLP": Network(residual_mlp, 8, 2, 30_000, (range(7),), (0.03, 0.1)),
    "residual CNN": Network(residual_cnn, 8, 2, 10_000, (range(5),), (0.003, 0.01)),
}


def blocks(net: nn.Sequential) -> list[Block]:
    return [block for block in net if isinstance(block, Block)]


def thinned(net: nn.Sequential, step: int) -> nn.Sequential:
    """A copy with the best of all inner channels, one in 2 ** (step / OCTAVE), and the best one of every block."""
    scores = [block.contributions() for block in blocks(net)]
    spared = torch.cat([score.scatter(0, score.argmax(0, keepdim=True), torch.inf) for score in scores])
    count = max(len(scores), round(len(spared) * 2 ** (-step / OCTAVE)))
    kept = torch.zeros(len(spared), dtype=torch.bool)
    kept[spared.argsort(descending=True, stable=True)[:count]] = True
    parts = iter(kept.split([len(score) for score in scores]))
    return nn.Sequential(
        *(layer.thinned(next(parts)) if isinstance(layer, Block) else copy.deepcopy(layer) for layer in net)
    )


def size(net: nn.Sequential, x: torch.Tensor) -> tuple[int, int]:
    """Weights, and multiplications for one image."""
    macs = 0

    def count(layer: Any, _: Any, output: torch.Tensor) -> None:
        nonlocal macs
        macs += layer.weight.numel() * output[0, 0].numel()

    hooks = [m.register_forward_hook(count) for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    net.eval()(x[:1])
    for hook in hooks:
        hook.remove()
    return sum(w.numel() for w in penalised(net).values()), macs


@dataclass(frozen=True)
class Method:
    """A penalty and its strength."""

    penalty: str
    strength: float = 0.0


BESIDE = {"l1 of the scales": (1e-3, 5e-3), "group lasso": (1e-4, 5e-4)}
ABLATION = ("length", "curvature")  # one without the other, as strong as both together
FLOWS = {"length": [length], "curvature": [curvature], "length and curvature": [length, curvature]}


def candidates(network: str) -> dict[str, list[Method]]:
    """The strengths of each penalty that are tried on a network."""
    strengths = {"none": (0.0,), "length and curvature": NETWORKS[network].strengths, **BESIDE}
    return {name: [Method(name, strength) for strength in tried] for name, tried in strengths.items()}


def trained(network: Network, method: Method, seed: int, split: Split) -> nn.Sequential:
    """The network that the removal starts from."""
    torch.manual_seed(seed)
    net = network.make()
    with FeatureFlow(net, [list(map(str, stage)) for stage in network.stages]) as flow:
        fit(net, split.train, network.epochs, RATE, seed, penalty_of(method, net, flow))
    return net


def penalty_of(method: Method, net: nn.Sequential, flow: FeatureFlow) -> Penalty | None:
    """The penalty, on the features of the pass that has just been made or on the weights."""
    if method.penalty in FLOWS:
        return lambda _: method.strength * torch.stack([f(flow.trajectories) for f in FLOWS[method.penalty]]).sum()
    if method.penalty == "l1 of the scales":
        scales = [block.norm1.weight for block in blocks(net)]
        return lambda _: method.strength * torch.stack([scale.abs().sum() for scale in scales]).sum()
    if method.penalty == "group lasso":
        weights = penalised(net)
        return lambda _: method.strength * group_lasso(weights)
    return None


def measured(network: Network, split: Split, method: Method, seed: int, wanted: float | None) -> dict[str, Any]:
    """One line: the trained network, and the thinnest that is as accurate as is wanted, with and without tuning."""
    start = time.perf_counter()
    net = trained(network, method, seed, split)
    dense = accuracy(net, split.validation)
    wanted = dense - MOST_LOST if wanted is None else wanted
    found: dict[int, tuple[float, nn.Sequential]] = {}

    def passes(step: int) -> bool:
        thin = thinned(net, step)
        fit(thin, split.train, network.tuning, TUNING_RATE, seed + 100)
        found[step] = (accuracy(thin, split.validation), thin)
        return found[step][0] >= wanted

    def keeps(make: Callable[[int], nn.Module]) -> Callable[[int], bool]:
        return lambda step: accuracy(make(step), split.validation) >= wanted

    best = largest(passes, TOP)
    thin = found[best][1] if best else net
    (weights, macs), (kept, kept_macs) = size(net, split.test.x), size(thin, split.test.x)
    return {
        "validation": {"dense": dense, "wanted": wanted, "path": {s: a for s, (a, _) in sorted(found.items())}},
        "channels": 2 ** (-best / OCTAVE),
        "kept": kept / weights,
        "kept_macs": kept_macs / macs,
        "inner": [len(block.first.weight) for block in blocks(thin)],
        "accuracy": accuracy(thin, split.test),
        "dense_accuracy": accuracy(net, split.test),
        "channels_untuned": 2 ** (-largest(keeps(lambda step: thinned(net, step)), TOP) / OCTAVE),
        "weights_untuned": 2 ** (-largest(keeps(lambda s: Recipe(1 - 2 ** (-s / 3), fit=None)(net).model), 15) / 3),
        "seconds": time.perf_counter() - start,
    }


def asked(network: str, method: Method, seed: int) -> dict[str, Any]:
    """The setting of a line."""
    return NETWORKS[network].asked(network, method, seed)


def chosen(network: str, lines: Lines) -> Iterator[Method]:
    """The strengths that thin most on the validation images, with the first seed, and the ablation at that strength."""
    found = lines.read()
    for name, methods in candidates(network).items():
        tried = [asked(network, method, SEEDS[0]) for method in methods]
        mine = [line for line in found if line["setting"] in tried]
        if not mine:
            return
        strength = min(mine, key=lambda line: line["kept"])["setting"]["strength"]
        yield Method(name, strength)
        if name == "length and curvature":
            yield from (Method(part, strength) for part in ABLATION)


def work(network: str, lines: Lines) -> Iterator[tuple[Method, int]]:
    """All strengths with the first seed, the unpenalised network first; then what is chosen with all seeds."""
    for methods in candidates(network).values():
        yield from ((method, SEEDS[0]) for method in methods)
    for seed in SEEDS:
        yield from ((method, seed) for method in chosen(network, lines))


def table(lines: Lines) -> Iterator[str]:
    """The rows of the docs: mean, least and most over the seeds of the strengths that were chosen."""
    keys = ("dense_accuracy", "channels", "kept", "kept_macs", "accuracy", "channels_untuned", "weights_untuned")
    head = ("accuracy", "channels kept", "weights kept", "MACs kept", "accuracy then", "channels, not tuned")
    yield row("network", "penalty", "strength", "seeds", *head, "single weights, not tuned")
    yield row(*["---"] * (len(keys) + 4))
    found = lines.read()
    for network in NETWORKS:
        for method in chosen(network, lines):
            settings = [asked(network, method, seed) for seed in SEEDS]
            if not (mine := [line for line in found if line["setting"] in settings]):
                continue
            cells = (spread([line[key] for line in mine]) for key in keys)
            yield row(network, method.penalty, f"{method.strength:g}", len(mine), *cells)


def missing(network: str, data: Path) -> Iterator[Job]:
    """What has no line yet."""
    split = Split.of(data / "fashion-mnist", NETWORKS[network].images)
    measure = partial(measured, NETWORKS[network], split)
    return jobs(LINES, work(network, LINES), Method("none"), partial(asked, network), measure)


if __name__ == "__main__":
    command(__doc__, NETWORKS, missing, table(LINES))
