"""What does verify cost beside the bare evaluation of the same pruned networks? CPU seconds, one thread.

What depends on the dense network alone is computed before the clock starts, as it is once for a whole sweep. Of what is
left the tracing with the float64 run on the first inputs, and tiers B and C together, are timed by themselves too; the
floor is the same with no tier at all.

    python analysis/benchmarks/verify_overhead.py [--data FOLDER] [--only NAME]
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from unittest import mock

import torch

from lqtheory.pruning.recipe import Recipe
from lqtheory.records import Provenance
from lqtheory.sweep import Bench, Point, measured, outcome

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "analysis" / "results" / "verify_overhead.jsonl"
LEAST, SECONDS = 3, 30.0  # rounds of everything that is timed
sys.path.insert(0, str(ROOT / "analysis"))


def seconds(runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """CPU time of the quickest call of each, made in turns: others use the machine too."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    begin = time.process_time()
    while len(times["bare"]) < LEAST or time.process_time() - begin < SECONDS:
        for name, run in runs.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: min(found) for name, found in times.items()}


def overhead(name: str, bench: Bench) -> dict[str, object]:
    """Evaluation alone, and everything that verify does to a network that is pruned already."""
    recipe, point, provenance = Recipe(0.5, fit=None), Point(name, "magnitude", 0.5, 0), Provenance(0)
    pruned = recipe(bench.model)
    none = Bench(bench.model, bench.data, tiers=())
    assert bench.outcome.accuracy == none.outcome.accuracy
    bench.beside(pruned.model)
    runs = {
        "bare": lambda: outcome(pruned.model, bench.data),
        "verify": lambda: measured(bench, point, recipe, provenance),
        "floor": lambda: measured(none, point, recipe, provenance),
        "run in float64": lambda: bench.beside.dense.of_module(pruned.model),
        "beside": lambda: bench.beside(pruned.model),
    }
    with mock.patch.object(Bench, "prune", return_value=pruned):
        took = seconds(runs)
    return {
        "network": name,
        "inputs": len(bench.data),
        "of the bounds": len(bench.beside.dense.sample.y),
        "bare": took["bare"],
        "verify": took["verify"],
        "ratio": took["verify"] / took["bare"],
        "run in float64": took["run in float64"],
        "bounds": took["beside"] - took["run in float64"],
        "floor": took["floor"] / took["bare"],
    }


def main() -> None:
    from prune_mlps import FILES, bench as mlp
    from prune_resnet import bench as resnet

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--only", help="The network of this name; the others keep their lines.")
    options = parser.parse_args()
    folder = options.data
    torch.set_num_threads(1)
    benches = {"ResNet-20": lambda: resnet(folder, "20")}
    benches |= {n: lambda file=file: mlp(folder, folder / "models" / file, "mnist") for n, file in FILES.items()}
    kept = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    lines = {line["network"]: line for line in kept}
    for name, bench in benches.items():
        if options.only in (None, name):
            line = {**overhead(name, bench()), **asdict(Provenance(0))}
            lines[name] = line
            print({key: value for key, value in line.items() if key not in ("versions", "commit")}, flush=True)
    ordered = sorted(lines.values(), key=lambda line: line["bare"])
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in ordered))


if __name__ == "__main__":
    main()
