"""How near can a sound bound come to what pruning does to ResNet-20, and which idea gains how much?

Global magnitude masks at four sparsities. Writes analysis/results/resnet_bound.jsonl; the multipliers come from
analysis/resnet_multipliers.py. One sparsity takes two to three minutes on one core:

    python analysis/resnet_bound.py DATA 0.1
"""

import sys
from pathlib import Path

import numpy as np
import torch
from cifar_resnet import images, load, magnitude_pruned
from resnet_multipliers import read

from lqtheory import records
from lqtheory.bounds import Bound
from lqtheory.bounds.graph import Graph, graph_per_input, graph_tier_b, graph_tier_c, observe
from lqtheory.bounds.nodes import Affine
from lqtheory.bounds.operators import largest_eigenvalue
from lqtheory.bounds.quadratic import Certificate, certificate
from lqtheory.bounds.residual import Chain
from lqtheory.bounds.trace import trace
from lqtheory.records import Record

IMAGES, BATCH = 200, 20
RESULTS = Path(__file__).parent / "results"


def local_errors(dense: Graph, pruned: Graph, values: list[np.ndarray], chain: Chain) -> list[np.ndarray]:
    """The error that each layer makes on the dense network's activations."""
    found = []
    for at in chain.places:
        before, after = dense.nodes[at].op, pruned.nodes[at].op
        assert isinstance(before, Affine)
        assert isinstance(after, Affine)
        found.append(before.minus(after)(values[dense.nodes[at].inputs[0]]))
    return found


def pieces(dense: Graph, pruned: Graph, values: list[np.ndarray], ends: list[int]) -> list[np.ndarray]:
    """The errors of the pruned network run in pieces, each from the dense activations, at the nodes `ends`."""
    found, own = [], list(values)
    for at, node in enumerate(pruned.nodes):
        own[at] = node.op(*(own[source] for source in node.inputs))
        if at in ends:
            found.append(values[at] - own[at])
            own[at] = values[at]
    return found


def rms(rows: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.sum(rows.reshape(len(rows), -1) ** 2, axis=1))))


def worst(found: Certificate, at: int) -> float:
    """The gain of the worst error at one place."""
    return largest_eigenvalue(found.forms[at]) ** 0.5


def costs(found: Certificate, errors: list[np.ndarray], places: list[int]) -> np.ndarray:
    """What each error costs, for each input; a place behind the last form is the output."""
    last = len(found.forms)
    return np.array(
        [found.cost(k, e) if k < last else np.linalg.norm(e, axis=1) for k, e in zip(places, errors, strict=True)]
    )


def main(data: Path, sparsity: float) -> None:
    torch.set_num_threads(1)
    network = load(data / "models/akamaster-resnet-cifar10/resnet20-12fca82f.th")
    x, _ = images(data / "datasets/cifar10-lossless/test300.npz", IMAGES)
    other = magnitude_pruned(network, sparsity)
    with torch.no_grad():
        measured = rms(network(x).numpy() - other(x).numpy())
    dense, pruned, inputs = trace(network, x[:1]), trace(other, x[:1]), x.numpy()
    seen, chain = observe(dense, inputs), Chain.of(pruned)
    bounds = {
        "weights only (tier B)": graph_tier_b(dense, pruned, seen[-1].radius, inputs.shape[1:]).value,
        "norms layer by layer (tier C)": graph_tier_c(dense, pruned, seen).value,
        "the same at every input": rms(graph_per_input(dense, pruned, inputs)[:, None]),
    }
    tuned = read(RESULTS / "resnet20_multipliers.json")
    even = [(0 * sizes, 0.0) for sizes, _ in tuned]
    forms = {
        name: certificate(chain.blocks, chain.head.weight, 64, 8, chosen)
        for name, chosen in (("even", even), ("tuned", tuned))
    }
    adds = [at for at, node in enumerate(dense.nodes) if node.op.signature == ("add",)]
    ends = {
        "one run, ten pieces": [chain.places[0], *adds, len(dense.nodes) - 1],
        "one run, a piece per stage": [adds[2], adds[5], len(dense.nodes) - 1],
        "one run, cut behind stage 1": [adds[2], len(dense.nodes) - 1],
        "one run, cut behind stage 2": [adds[5], len(dense.nodes) - 1],
    }
    place = {chain.places[0]: 0, **{at: 2 * k + 2 for k, at in enumerate(adds)}, len(dense.nodes) - 1: 99}
    found: dict[str, list[np.ndarray]] = {}
    gains = [worst(forms["even"], k) for k in range(len(chain.places) - 1)]
    for start in range(0, IMAGES, BATCH):
        values = dense.values(inputs[start : start + BATCH])
        errors = local_errors(dense, pruned, values, chain)
        plain = np.array([np.linalg.norm(e.reshape(len(e), -1), axis=1) for e in errors])
        found.setdefault("the rest of the network as one operator", []).append(plain * np.array([[*gains, 1.0]]).T)
        for name, text in (("even", "local errors at their own cost"), ("tuned", "multipliers tuned")):
            found.setdefault(text, []).append(costs(forms[name], errors, list(range(len(errors)))))
        for name, cuts in ends.items():
            parts = pieces(dense, pruned, values, cuts)
            found.setdefault(name, []).append(costs(forms["tuned"], parts, [place[at] for at in cuts]))
    for name, parts in found.items():
        terms = np.concatenate(parts, axis=1)
        assert np.all(np.isfinite(terms))
        bounds[name] = float(np.sum(np.sqrt(np.mean(terms**2, axis=1))))
    lines = []
    for name, value in bounds.items():
        bound = Bound(value, "upper", "Theorem 33" if name in found else "Theorem 31", "about the sample")
        setting = {"idea": name, "model": "akamaster ResNet-20", "method": "global magnitude", "images": IMAGES}
        row = (name, bound.tightness(measured), bound.vacuous(float("inf")), bound.violated(measured))
        lines.append(
            Record(
                "C",
                bound.source,
                sparsity,
                value,
                measured,
                *row[1:],
                setting,
                0,
                records.versions(),
                records.commit(),
                "cpu",
            )
        )
        print(f"{sparsity:4.0%}  {name:45s} {row[1]:10.3g}{'  VIOLATED' if row[3] else ''}", flush=True)
    records.append(RESULTS / "resnet_bound.jsonl", lines)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
