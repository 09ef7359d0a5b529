"""How much further does a certificate go when inputs that the pruned network gains are set off?

The Fashion-MNIST MLPs of analysis/train_certified.py, magnitude pruning by network without re-fitting, a path of the
sparsities 1, 2, ... 99 % fixed beforehand, the 8,000 test images on which no choice was made. Harm (Theorem 29) and the
net drop of accuracy (Theorem 35), each at most 1 % with 95 % confidence, beside what the images themselves allow.

    python analysis/net_drop.py DATA NETWORKS     # a minute; writes results/net_drop.jsonl
"""

import gzip
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
from train_demo import idx

from lqtheory.bounds import certified_sparsity, certified_sparsity_by_drop, harm
from lqtheory.evaluate import LinearStack, outputs, read_stack
from lqtheory.records import Provenance

RESULTS = Path(__file__).parent / "results" / "net_drop.jsonl"
CHOSEN_ON, LIMIT, CONFIDENCE = 2000, 0.01, 0.95
PATH = tuple(step / 100 for step in range(1, 100))


def right(stack: LinearStack, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return outputs(stack, x).argmax(axis=1) == y


def main(data: Path, networks: Path) -> None:
    with gzip.open(data / "t10k-labels-idx1-ubyte.gz") as file:
        y = np.frombuffer(file.read(), np.uint8, offset=8)[CHOSEN_ON:]
    x, lines = idx(data / "t10k-images-idx3-ubyte.gz").reshape(-1, 784)[CHOSEN_ON:] / 255.0, []
    for path in sorted(networks.glob("*.safetensors")):
        dense = read_stack(path)
        before = right(dense, x, y)
        order = np.sort(np.concatenate([np.abs(w).ravel() for w in dense.weights]))
        lost, gained = [], []
        for sparsity in PATH:
            least = order[round(sparsity * len(order))]
            masks = {name: np.abs(w) >= least for name, w in zip(dense.names, dense.weights, strict=True)}
            after = right(dense.masked(masks), x, y)
            lost.append(harm(before, after))
            gained.append(harm(after, before))
        n, kept = len(y), np.array(lost) - np.array(gained)
        found = {
            "network": path.stem.replace("_", " "),
            "images": n,
            "by harm": certified_sparsity(PATH, lost, n, LIMIT, CONFIDENCE).value,
            "by net drop": certified_sparsity_by_drop(PATH, lost, gained, n, LIMIT, CONFIDENCE).value,
            "measured by harm": max(s for s, count in zip(PATH, lost, strict=True) if count <= LIMIT * n),
            "measured by net drop": max(s for s, count in zip(PATH, kept, strict=True) if count <= LIMIT * n),
        }
        at = PATH.index(found["by net drop"])
        found |= {"lost": lost[at], "gained": gained[at], **asdict(Provenance(0))}
        lines.append(json.dumps(found) + "\n")
        print(lines[-1], end="", flush=True)
    RESULTS.write_text("".join(lines))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
