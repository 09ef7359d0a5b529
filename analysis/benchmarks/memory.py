"""How much memory does `lqtheory analyze` take, from 10 million to 4 billion weights?

    python analysis/benchmarks/memory.py [--largest 4e9] [--folder DIR]

Unlike times, peaks do not depend on what else the machine does: the part of `engine.py` that a busy one can run.
"""

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from engine import figure, machine, process, write_shards

from lqtheory.records import Provenance

RESULTS = Path(__file__).parents[1] / "results" / "engine_memory.jsonl"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--largest", type=float, default=4e9, help="weights of the largest synthetic checkpoint")
    parser.add_argument("--folder", type=Path, help="where to write synthetic checkpoints (8 GB)")
    parser.add_argument("--output", type=Path, default=RESULTS)
    given = parser.parse_args()
    rows = [machine() | asdict(Provenance(0))]
    for weights in (10**7, 10**8, 10**9, 4 * 10**9):
        if weights <= given.largest:
            with tempfile.TemporaryDirectory(dir=given.folder) as folder:
                count = write_shards(Path(folder), weights, "bfloat16")
                row = figure("memory", "lqtheory analyze", "bfloat16", count, *process(["analyze", folder]))
            rows.append({key: row[key] for key in ("part", "what", "dtype", "weights", "peak_mb")})
            print(rows[-1], flush=True)
    given.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
