"""What a curve of tiers A to C costs: 20 sparsities, beside forward passes and spectral norms, in time and in number.

LeNet-300-100 with random weights, 10,000 and 40,000 inputs, global magnitude masks, made before the clock starts. The
measure is processor time on one thread. It is held against three dense forward passes and the largest singular value
of every pruned weight by LAPACK, which certifies nothing.

    OPENBLAS_NUM_THREADS=1 python analysis/benchmarks/bounds.py     # half a minute; writes results/bounds_cost.jsonl
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from unittest import mock

import numpy as np

from lqtheory.bounds import (
    IDENTITY,
    RELU,
    Linear,
    forward,
    layers as layers_module,
    operators,
    second_moments,
    tier_a,
    tier_b,
    tier_c,
)
from lqtheory.pruning import Method, global_ranking, magnitude
from lqtheory.pruning.scores import Layer
from lqtheory.records import Provenance

RESULTS = Path(__file__).parents[1] / "results" / "bounds_cost.jsonl"
WIDTHS, INPUTS, SEED = (784, 300, 100, 10), (10_000, 40_000), 0
SPARSITIES = tuple(k / 21 for k in range(1, 21))


def seconds(action: Callable[[], object], repeats: int = 3) -> float:
    """The shortest of a few runs."""
    times = []
    for _ in range(repeats):
        start = time.process_time()
        action()
        times.append(time.process_time() - start)
    return min(times)


def measured(inputs: int) -> str:
    """The line of one sample size."""
    rng = np.random.default_rng(SEED)
    weights = [rng.standard_t(3, (m, n)) / n**0.5 for n, m in pairwise(WIDTHS)]
    x = rng.random((inputs, WIDTHS[0]))
    method = Method("global", magnitude, global_ranking)
    named = [Layer(str(i), w) for i, w in enumerate(weights)]
    masks = [list(method.masks(named, s).values()) for s in SPARSITIES]

    def stack(ws: list[np.ndarray]) -> list[Linear]:
        return [Linear(w, None, RELU) for w in ws[:-1]] + [Linear(ws[-1], None, IDENTITY)]

    def curve() -> None:
        dense = stack(weights)
        moments = second_moments(dense, x)
        for mask in masks:
            pruned = stack([np.where(m, w, 0.0) for m, w in zip(mask, weights, strict=True)])
            tier_a(dense, pruned, moments[0].radius)
            tier_b(dense, pruned, moments[0].radius)
            tier_c(dense, pruned, moments)

    count = {"norms": 0, "layers": 0}

    def counted(matrix: np.ndarray) -> float:
        count["norms"] += 1
        return operators.spectral_norm(matrix)

    def run(self: Linear, h: np.ndarray) -> np.ndarray:
        count["layers"] += 1
        return self.activation.function(h @ self.weight.T + self.offset)

    with (
        mock.patch.object(layers_module, "spectral_norm", counted),
        mock.patch.object(Linear, "__call__", run),
    ):
        curve()
    dense = stack(weights)
    layers = len(weights) * len(SPARSITIES)
    forward_pass = seconds(lambda: forward(dense, x))
    kept = [np.where(m, w, 0.0) for ms in masks for m, w in zip(ms, weights, strict=True)]
    norms = seconds(lambda: [np.linalg.norm(w, 2) for w in kept])
    certified = seconds(lambda: [operators.spectral_norm(w) for w in kept])
    whole = seconds(curve)
    found = {
        "benchmark": "tiers A to C, 20 sparsities",
        "widths": WIDTHS,
        "inputs": inputs,
        "seconds": whole,
        "seconds_moments": seconds(lambda: second_moments(dense, x)),
        "seconds_forward_pass": forward_pass,
        "seconds_one_lapack_norm_per_layer_and_sparsity": norms,
        "seconds_one_certified_norm_per_layer_and_sparsity": certified,
        "allowed_seconds": 3 * forward_pass + norms,
        "over_allowed": whole / (3 * forward_pass + norms),
        "forward_passes": count["layers"] / len(weights),
        "norms_per_layer_and_sparsity": (count["norms"] - len(weights)) / layers,
    }
    return json.dumps({**found, **asdict(Provenance(SEED))}) + "\n"


def main() -> None:
    lines = [measured(inputs) for inputs in INPUTS]
    RESULTS.write_text("".join(lines))
    print("".join(lines), end="")


if __name__ == "__main__":
    main()
