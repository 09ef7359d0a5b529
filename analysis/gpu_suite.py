"""Everything that needs a CUDA device, in one call of under ten minutes: checks, benchmarks, sweeps, training.

    python analysis/gpu_suite.py --data FOLDER            # records in $OUT if that is set, else in build/gpu

Needs no installation: the checkout is put on the path, so that it runs on a borrowed machine as it is (Python from
3.11, torch from 2.6; `numba-cuda` for the fast counting kernel). FOLDER holds what the ResNet sweep and the zoo read,

    datasets/fashion-mnist/*.gz   datasets/cifar10-lossless/*.npz   models/akamaster-resnet-cifar10/resnet20-12fca82f.th

(48 MB); without it these two steps are left out. `--device cpu --quick` runs small versions of all steps without a
GPU, which a test does. Writes one line for each step to gpu_suite.jsonl and exits 1 if any of them failed.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "analysis"), str(ROOT / "analysis" / "benchmarks")]

import engine  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from lqtheory.bounds.moments import second_moments  # noqa: E402
from lqtheory.checkpoint import Layout, WeightTensor  # noqa: E402
from lqtheory.evaluate import read_stack  # noqa: E402
from lqtheory.ladder.networks import linears_of  # noqa: E402
from lqtheory.records import Provenance  # noqa: E402
from lqtheory.scan import scan  # noqa: E402

SHIPPED = ROOT / "lqtheory" / "data"
LIMIT = 150 if torch.cuda.is_available() else 900  # seconds for one command
QS = (0.25, 0.5, 0.75, 1.0, 2.0)

Figures = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """Where the steps run, what they read and write, and whether they are small."""

    device: str
    data: Path | None
    output: Path
    quick: bool


def run(command: list[str], allowed: tuple[int, ...] = (0,)) -> float:
    """Seconds of a command in the checkout; RuntimeError with the end of its output when it fails."""
    start = time.perf_counter()
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    if done.returncode not in allowed:
        raise RuntimeError(f"{' '.join(command)} gave {done.returncode}: {(done.stdout + done.stderr)[-2000:]}")
    return time.perf_counter() - start


def gpu_tests(setting: Setting) -> Figures:
    """The tests marked gpu; status 5 says that there were none."""
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-p", "no:cacheprovider", "tests/test_kernels.py"]
    return {"seconds": run([*command, "tests/bounds", "-W", "default"], (0, 5))}


def counts(setting: Setting) -> Figures:
    """Histograms on the device are those of the CPU, exactly, and power sums agree to 1e-12."""
    side, worst = (512 if setting.quick else 8192), 0.0
    for dtype in ("bfloat16", "float16", "float32"):
        bits = engine.gaussian_bits(side * side, "bfloat16" if dtype == "bfloat16" else "float32")
        bits = bits.view(np.float32).astype(np.float16).view(np.uint16) if dtype == "float16" else bits
        tensor = WeightTensor("w", (side, side), dtype, Layout(1, 1, side, side, "linear"), lambda bits=bits: bits)
        there, here = scan(tensor, QS, None, [setting.device]), scan(tensor, QS, None, ["cpu"])
        for one, other in zip(there.histograms, here.histograms, strict=True):
            for name in ("key", "count", "rest", "rest_squared", "zeros", "nonfinite"):
                if not np.array_equal(getattr(one, name), getattr(other, name)):
                    raise RuntimeError(f"{name} of {dtype} differs between {setting.device} and the CPU")
        worst = max(worst, float(np.max(np.abs(there.neurons.sums / here.neurons.sums - 1))))
    if worst > 1e-12:
        raise RuntimeError(f"power sums differ by {worst}")
    return {"weights": side * side, "largest_relative_difference": worst}


def speed(setting: Setting) -> Figures:
    """The profile against a copy on the device, and all that `analyze` does of a tensor in memory."""
    rows = list(engine.device_rows(setting.device, 1 << 9 if setting.quick else 1 << 14))
    (setting.output / "engine_cuda.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    copies = {row["dtype"]: row["seconds"] for row in rows if "copy" in row["what"]}
    profiles = {row["dtype"]: row["seconds"] for row in rows if "profile" in row["what"]}
    return {f"share_of_copy_bandwidth_{dtype}": copies[dtype] / profiles[dtype] for dtype in copies}


def analyze(setting: Setting) -> Figures:
    """`lqtheory analyze` of shards on the device and on the CPU: the same counts and indices."""
    folder = setting.output / "shards"
    weights = engine.write_shards(folder, 10**7 if setting.quick else 10**9, "bfloat16")
    seconds, documents = {}, {}
    for device in {setting.device, "cpu"}:
        path = setting.output / f"analyze_{device}.json"
        command = [sys.executable, "-m", "lqtheory", "analyze", str(folder), "--format", "json", "-o", str(path)]
        seconds[device] = run([*command, "--device", device])
        documents[device] = json.loads(path.read_text())
        path.unlink()
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    there, here = documents[setting.device]["network"], documents["cpu"]["network"]
    if there["indices"] != here["indices"] or there["zeros"] != here["zeros"]:
        raise RuntimeError("the indices of the network differ")
    return {"weights": weights, "seconds": seconds}


def moments(setting: Setting) -> Figures:
    """Second moments of the demo network's responses: the device against NumPy."""
    layers = linears_of(read_stack(SHIPPED / "demo.safetensors"))
    with np.load(SHIPPED / "demo_heldout.npz") as held_out:
        x = held_out["x"].reshape(len(held_out["x"]), -1).astype(np.float64)[: 50 if setting.quick else None]
    start = time.perf_counter()
    there = second_moments(layers, x, setting.device)
    seconds = time.perf_counter() - start
    worst = max(
        float(np.max(np.abs(a.G - b.G)) / np.max(np.abs(b.G)))
        for a, b in zip(there, second_moments(layers, x), strict=True)
    )
    if worst > 1e-9:
        raise RuntimeError(f"second moments differ by {worst}")
    return {"seconds": seconds, "largest_relative_difference": worst}


def verify_mlp(setting: Setting) -> Figures:
    """Prune and verify the Fashion-MNIST MLP that ships with the package; exit code 1 would be a violated bound."""
    path = setting.output / "verify_mlp.jsonl"
    command = [
        "verify",
        str(SHIPPED / "demo.safetensors"),
        "--data",
        str(SHIPPED / "demo_heldout.npz"),
        "-o",
        str(path),
    ]
    command += ["--device", setting.device, *(["--sparsity", "0.5", "--inputs", "20"] if setting.quick else [])]
    seconds = run([sys.executable, "-m", "lqtheory", *command])
    return {"seconds": seconds, "records": len(path.read_text().splitlines())}


def verify_resnet(setting: Setting) -> Figures:
    """Prune and verify ResNet-20 on CIFAR-10."""
    assert setting.data is not None
    path = setting.output / "verify_resnet.jsonl"
    command = [sys.executable, "analysis/prune_resnet.py", "--data", str(setting.data), "--network", "20"]
    command += ["--sparsity", "0.5", "--device", setting.device, "--output", str(path), "--method", "magnitude"]
    return {"seconds": run(command), "records": len(path.read_text().splitlines())}


def train(setting: Setting) -> Figures:
    """Train a few networks of the zoo."""
    import train_zoo

    assert setting.data is not None
    folder = setting.output / "zoo"
    folder.mkdir(exist_ok=True)
    x, y = train_zoo.images(setting.data / "datasets" / "fashion-mnist", "train", setting.device)
    seconds = {}
    for each in islice(train_zoo.settings(), 1 if setting.quick else 4):
        start = time.perf_counter()
        train_zoo.trained(each, folder, x[: train_zoo.TRAINED_ON], y[: train_zoo.TRAINED_ON])
        seconds[each.name] = round(time.perf_counter() - start, 2)
    return {"seconds": seconds}


STEPS: tuple[Callable[[Setting], Figures], ...] = (
    gpu_tests,
    counts,
    speed,
    analyze,
    moments,
    verify_mlp,
    verify_resnet,
    train,
)
NEED_DATA = (verify_resnet, train)


def outcomes(setting: Setting, only: list[str]) -> Iterator[Figures]:
    """One record for each step; a step that fails does not keep the others from running."""
    for step in STEPS:
        if (only and step.__name__ not in only) or (step in NEED_DATA and setting.data is None):
            continue
        start = time.perf_counter()
        try:
            found: Figures = {"ok": True, "figures": step(setting)}
        except Exception as error:
            traceback.print_exc()
            found = {"ok": False, "error": str(error)[-2000:]}
        yield {"step": step.__name__, **found, "took": round(time.perf_counter() - start, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", default="cuda:0")
    parser.add_argument("--data", type=Path, help="folder of datasets and models")
    parser.add_argument("--output", type=Path, default=Path(os.environ.get("OUT", ROOT / "build" / "gpu")))
    parser.add_argument("--only", action="append", default=[], choices=[step.__name__ for step in STEPS])
    parser.add_argument("--quick", action="store_true", help="small versions of all steps")
    given = parser.parse_args()
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("gpu_suite.py needs a CUDA device or --device cpu, and torch sees none.")
    given.output.mkdir(parents=True, exist_ok=True)
    setting = Setting(given.device, given.data, given.output, given.quick)
    about = engine.machine() | asdict(Provenance(0, given.device))
    ok = True
    with (given.output / "gpu_suite.jsonl").open("w") as file:
        for row in ({"step": "machine", "ok": True} | about, *outcomes(setting, given.only)):
            ok &= row["ok"]
            print(json.dumps(row), file=file, flush=True)
            print(json.dumps(row), flush=True)
    sys.exit(0 if ok else 1)


if __name__ == "__main__":
    main()
