"""What does verify cost beside the bare evaluation of the same pruned networks? CPU seconds, one thread.

python analysis/benchmarks/verify_overhead.py --data FOLDER
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
sys.path.insert(0, str(ROOT / "analysis"))


def seconds(run: Callable[[], object]) -> float:
    """CPU time of a call."""
    start = time.process_time()
    run()
    return time.process_time() - start


def overhead(name: str, bench: Bench) -> dict[str, object]:
    """Evaluation alone, and everything that verify does to a network that is pruned already."""
    recipe = Recipe(0.5, fit=None)
    pruned = recipe(bench.model)
    again = Bench(pruned.model, bench.data)
    assert bench.outcome.accuracy
    _ = bench.stack
    bare = seconds(lambda: outcome(again.model, bench.data))
    pruning = seconds(lambda: bench.prune(recipe))
    whole = seconds(lambda: measured(bench, Point(name, "magnitude", 0.5, 0), recipe, Provenance(0)))
    return {"network": name, "bare": bare, "verify": whole - pruning, "ratio": (whole - pruning) / bare}


def main() -> None:
    from prune_mlps import FILES, bench as mlp
    from prune_resnet import bench as resnet

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data"))
    parser.add_argument("--data", type=Path, default=default)
    folder = parser.parse_args().data
    torch.set_num_threads(1)
    found = [overhead("ResNet-20", resnet(folder, "20"))]
    found += [overhead(name, mlp(folder, folder / "models" / file, "mnist")) for name, file in list(FILES.items())[1:]]
    with RESULTS.open("w") as file:
        for each in found:
            print(each)
            file.write(json.dumps({**each, **asdict(Provenance(0))}) + "\n")


if __name__ == "__main__":
    main()
