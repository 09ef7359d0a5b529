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
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from lqtheory.pruning.recipe import Recipe
from lqtheory.records import Provenance
from lqtheory.sweep import Bench, Point, measured, outcome

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "analysis" / "results" / "verify_overhead.jsonl"
REPEATS = 2
sys.path.insert(0, str(ROOT / "analysis"))


def seconds(run: Callable[[], object]) -> float:
    """CPU time of the quickest of a few calls: others use the machine too."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def overhead(name: str, bench: Bench) -> dict[str, object]:
    """Evaluation alone, and everything that verify does to a network that is pruned already."""
    recipe, point = Recipe(0.5, fit=None), Point(name, "magnitude", 0.5, 0)
    pruned = recipe(bench.model).model
    none = Bench(bench.model, bench.data, tiers=())
    assert bench.outcome.accuracy == none.outcome.accuracy
    bench.beside(pruned)
    bare = seconds(lambda: outcome(pruned, bench.data))
    pruning = seconds(lambda: bench.prune(recipe))
    whole, floor = (seconds(lambda b=b: measured(b, point, recipe, Provenance(0))) - pruning for b in (bench, none))
    run = seconds(lambda: bench.beside.dense.of_module(pruned))
    bounds = seconds(lambda: bench.beside(pruned)) - run
    return {
        "network": name,
        "inputs": len(bench.data),
        "of the bounds": len(bench.beside.dense.sample.y),
        "bare": bare,
        "verify": whole,
        "ratio": whole / bare,
        "run in float64": run,
        "bounds": bounds,
        "floor": floor / bare,
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
    lines = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    for name, bench in benches.items():
        if options.only in (None, name):
            line = {**overhead(name, bench()), **asdict(Provenance(0))}
            lines = [each for each in lines if each["network"] != name] + [line]
            print({key: value for key, value in line.items() if key not in ("versions", "commit")}, flush=True)
    RESULTS.write_text("".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
