"""Why does tier C lose most under one threshold for the whole network? Where the local errors are and what they meet.

The Fashion-MNIST MLPs of analysis/train_certified.py, magnitude pruning by network, the first 2,000 test images. For
every hidden layer: which part of its squared local error is in units that are off at all images, and what the layer
behind makes of the error that is left behind the ReLU, relative to its norm. Beside them the tightness of tier C, with
chosen norms, per input, and of the same recursion on vectors of the units' own errors in L2 (not rounded up).

    python analysis/global_threshold.py DATA NETWORKS     # half a minute; writes results/global_threshold.jsonl
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from train_demo import idx

from lqtheory.bounds import Linear, Moments, forward, second_moments, tier_c, tier_c_weighted, tier_d
from lqtheory.evaluate import read_stack
from lqtheory.ladder.networks import linears_of
from lqtheory.records import Provenance

RESULTS = Path(__file__).parent / "results" / "global_threshold.jsonl"
SAMPLES, SPARSITIES = 2000, (0.1, 0.3, 0.5, 0.7)


def rms(rows: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.sum(rows**2, axis=1))))


def by_units(dense: Sequence[Linear], pruned: Sequence[Linear], moments: Sequence[Moments]) -> float:
    """Tier C with the smaller of norms and units at every layer: |own_j| + min(sum |w_ji| m_i, ||w_j|| delta)."""
    units, whole = np.zeros(dense[0].fan_in), 0.0
    for layer, hat, part in zip(dense, pruned, moments, strict=True):
        change = layer.weight - hat.weight
        own = np.sqrt(np.maximum(np.einsum("ij,ij->i", change @ part.G, change), 0.0))
        reach = np.minimum(np.abs(hat.weight) @ units, np.linalg.norm(hat.weight, axis=1) * whole)
        carried = hat.norm * whole if whole else 0.0
        units = own + reach
        whole = float(min(np.linalg.norm(own) + carried, np.linalg.norm(units)))
    return whole


def layers(dense: Sequence[Linear], pruned: Sequence[Linear], x: np.ndarray) -> list[dict[str, float]]:
    """What becomes of the local error of every hidden layer."""
    found, h = [], x
    for layer, hat, after in zip(dense[:-1], pruned[:-1], pruned[1:], strict=True):
        z = h @ layer.weight.T + layer.offset
        error = h @ (layer.weight - hat.weight).T
        squares = np.mean(error**2, axis=0)
        h = layer.activation.function(z)
        behind = h - layer.activation.function(z - error)
        met = rms(behind @ after.weight.T) / (rms(behind) * after.norm) if rms(behind) else 0.0
        off = float(squares[z.max(axis=0) < 0].sum() / squares.sum()) if squares.any() else 0.0
        found.append({"in units that are off": off, "next layer over its norm": met})
    return found


def main(data: Path, networks: Path) -> None:
    x = idx(data / "t10k-images-idx3-ubyte.gz").reshape(-1, 784)[:SAMPLES] / 255.0
    lines = []
    for path in sorted(networks.glob("*.safetensors")):
        dense = linears_of(read_stack(path))
        moments, output = second_moments(dense, x), forward(dense, x)
        order = np.sort(np.concatenate([np.abs(layer.weight).ravel() for layer in dense]))
        for sparsity in SPARSITIES:
            least = order[int(sparsity * len(order))]
            pruned = [Linear(np.where(np.abs(a.weight) >= least, a.weight, 0), a.bias, a.activation) for a in dense]
            measured = rms(output - forward(pruned, x))
            values = {
                "C": tier_c(dense, pruned, moments).value,
                "by units": by_units(dense, pruned, moments),
                "C weighted": tier_c_weighted(dense, pruned, moments).value,
                "D": tier_d(dense, pruned, x).rms().value,
            }
            tightness = {name: float(f"{value / measured:.4g}") for name, value in values.items()}
            setting = {"network": path.stem.replace("_", " "), "sparsity": sparsity, "measured": measured}
            line = {**setting, "tightness": tightness, "layers": layers(dense, pruned, x), **asdict(Provenance(0))}
            lines.append(json.dumps(line) + "\n")
            print(setting, tightness, flush=True)
    RESULTS.write_text("".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
