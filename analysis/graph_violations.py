"""Is the bound of any random convolutional or residual network violated? At least 10^5 pairs of dense and pruned.

Networks, inputs and sizes as the tests draw them (tests/drawn.py), 25 random masks each; tiers B, C and D, the
last one input by input, against the outputs in float64. Writes a line for every block of 1,000 pairs to
analysis/results/graph_violations.jsonl; what is there is not done again. Ends with status 1 if anything is violated.

    python analysis/graph_violations.py [--blocks N] [--seconds N]
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from lqtheory.bounds import graph_per_input, graph_tier_b, graph_tier_c, observe
from lqtheory.bounds.trace import trace
from lqtheory.records import Provenance

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "graph_violations.jsonl"
BLOCKS, NETWORKS, MASKS, FIRST = 100, 40, 25, 1_000_000  # seeds from FIRST on: the tests have smaller ones
sys.path.insert(0, str(ROOT / "tests"))


def pairs(seed: int) -> Iterator[dict[str, tuple[np.ndarray, np.ndarray]]]:
    """For 25 pruned copies of the network of a seed: bounds and what they bound, tier by tier."""
    from drawn import case, masked  # pyright: ignore[reportMissingImports]

    dense, _, x = case(seed)
    graph, inputs, generator = trace(dense, x), x.numpy(), np.random.default_rng(seed)
    seen, before = observe(graph, inputs), graph(inputs)
    for _ in range(MASKS):
        hat = masked(graph, generator)
        errors = np.array([size(row) for row in (before - hat(inputs)).reshape(len(inputs), -1)])
        whole = np.array([size(errors) / len(errors) ** 0.5])
        yield {
            "B": (np.array([graph_tier_b(graph, hat, seen[-1].radius, inputs.shape[1:]).value]), whole),
            "C": (np.array([graph_tier_c(graph, hat, seen).value]), whole),
            "D": (graph_per_input(graph, hat, inputs), errors),
        }


def size(x: np.ndarray) -> float:
    """Euclidean norm, no square of which leaves float64."""
    scale = float(np.max(np.abs(x), initial=0.0))
    return scale * float(np.linalg.norm(x / scale)) if scale else 0.0


def block(number: int) -> dict[str, object]:
    """How many promises there were, how many were broken, and how near the nearest came: 1 - measured / bound."""
    found: dict[str, list[np.ndarray]] = {"B": [], "C": [], "D": []}
    violated = promises = 0
    for seed in range(FIRST + NETWORKS * number, FIRST + NETWORKS * (number + 1)):
        for tiers in pairs(seed):
            for tier, (bound, measured) in tiers.items():
                promises += len(bound)
                violated += int(np.count_nonzero(~(measured <= bound)))
                real = measured > 1e-290  # below, all is rounding
                found[tier].append(1 - measured[real] / bound[real])
    least = {tier: float(min(np.concatenate(slack), default=1.0)) for tier, slack in found.items()}
    return {
        "block": number,
        "pairs": NETWORKS * MASKS,
        "promises": promises,
        "violated": violated,
        "least_slack": least,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=BLOCKS)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options, start = parser.parse_args(), time.monotonic()
    torch.set_num_threads(1)
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    for number in sorted(set(range(options.blocks)) - {line["block"] for line in lines}):
        if time.monotonic() - start > options.seconds:
            break
        lines.append({**block(number), **asdict(Provenance(FIRST + NETWORKS * number))})
        with RESULTS.open("a") as file:
            file.write(json.dumps(lines[-1]) + "\n")
    total = {key: sum(line[key] for line in lines) for key in ("pairs", "promises", "violated")}
    least = {tier: min(line["least_slack"][tier] for line in lines) for tier in "BCD"}
    print(f"{total['pairs']:,} pairs, {total['promises']:,} bounds, {total['violated']} violated, least slack {least}")
    sys.exit(total["violated"] > 0)


if __name__ == "__main__":
    main()
