"""Everything that needs a CUDA device, in one call of under ten minutes: checks, then benchmarks.

    python analysis/gpu_suite.py [--output FOLDER]

Runs the tests marked `gpu` and the device part of the engine benchmark; writes
records to FOLDER (default analysis/results) and exits 1 if anything failed. Needs no installation: the checkout is
put on the path, so that it runs on a borrowed machine as it is. Supports torch from 2.6 on.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "analysis" / "benchmarks")]

import torch  # noqa: E402


def gpu_tests() -> int:
    """The exit status of the tests marked gpu; 0 also when none was collected."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode % 5


def benchmarks(output: Path) -> int:
    """Write the device rows of the engine benchmark."""
    import engine

    rows = [engine.machine(), *engine.cuda_rows()]
    for row in rows:
        print(row)
    (output / "engine_cuda.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "analysis" / "results")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("gpu_suite.py needs a CUDA device, and torch sees none.")
    options.output.mkdir(parents=True, exist_ok=True)
    failed = 0
    for step in (gpu_tests, lambda: benchmarks(options.output)):
        start = time.perf_counter()
        failed |= step()
        print(f"step done in {time.perf_counter() - start:.0f} s, status {failed}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
