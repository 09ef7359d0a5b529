"""Which index predicts how far a network can be pruned? The networks and the truth: two families of one structure each.

MLPs 784-100-50-10 and CNNs with three strided convolutions on 20,000 images of Fashion-MNIST. A recipe is an optimiser
and a penalty, 4 x 5 of them; each is drawn seven times with its own step size, batch, weight decay, strength of the
penalty, dropout, schedule, epochs and seed. A network follows from its family and number alone: those whose file is
in the folder are not trained again, so a killed run goes on where it was, and a lost folder is trained anew.
`zoo_truth` says how far each can be pruned; that goes to analysis/results/zoo.jsonl, one line for each network.

    python analysis/train_zoo.py --data FOLDER --networks FOLDER     # about two hours on one core
"""

import argparse
import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import cross_entropy
from train_demo import idx
from zoo_truth import Subject, Zoo

from lqtheory.files import replacing
from lqtheory.records import Provenance
from lqtheory.regularizers import group_lasso, l0, l1, l2, penalised

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "zoo.jsonl"
SEED, TRAINED_ON, CALIBRATION, DRAWS = 2026, 20_000, 2_000, 7
BETA = 10.0


def mlp(dropout: float) -> nn.Sequential:
    """784-100-50-10 with ReLU."""
    drop = [nn.Dropout(dropout)] if dropout else []
    first, second = [nn.Linear(784, 100), nn.ReLU(), *drop], [nn.Linear(100, 50), nn.ReLU(), *drop]
    return nn.Sequential(nn.Flatten(), *first, *second, nn.Linear(50, 10))


def cnn(dropout: float) -> nn.Sequential:
    """Three 3 x 3 convolutions with stride 2 of 8, 16 and 32 channels, and a linear layer."""
    layers: list[nn.Module] = []
    for before, after in ((1, 8), (8, 16), (16, 32)):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.ReLU()]
    drop = [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Flatten(), *drop, nn.Linear(512, 10))


FAMILIES = {"mlp": mlp, "cnn": cnn}
OPTIMIZERS = {
    "SGD": (torch.optim.SGD, {}, (0.05, 0.4)),
    "momentum": (torch.optim.SGD, {"momentum": 0.9}, (0.01, 0.08)),
    "Adam": (torch.optim.Adam, {}, (5e-4, 4e-3)),
    "AdamW": (torch.optim.AdamW, {}, (5e-4, 4e-3)),
}
PENALTIES = {"none": None, "l1": l1, "l2": l2, "l0": lambda weights: l0(weights, BETA), "group lasso": group_lasso}
STRENGTHS = {
    "mlp": {
        "none": (0.0, 0.0),
        "l1": (2e-6, 2e-4),
        "l2": (1e-5, 2e-3),
        "l0": (1e-6, 5e-5),
        "group lasso": (2e-6, 2e-4),
    },
    "cnn": {
        "none": (0.0, 0.0),
        "l1": (1e-5, 1e-3),
        "l2": (1e-5, 5e-3),
        "l0": (3e-6, 3e-4),
        "group lasso": (1e-5, 1e-3),
    },
}


@dataclass(frozen=True)
class Setting:
    """Everything that decides a network."""

    family: str
    number: int
    optimizer: str
    penalty: str
    step: float
    batch: int
    decay: float
    strength: float
    dropout: float
    cosine: bool
    epochs: int
    seed: int

    @property
    def name(self) -> str:
        """The name of its file and of its record."""
        return f"{self.family}-{self.number:03d}"


def design(family: str) -> list[Setting]:
    """The settings of a family: round by round one draw of each recipe, the strengths spread over their range."""
    rng = np.random.default_rng([SEED, list(FAMILIES).index(family)])
    recipes = [(optimizer, penalty) for optimizer in OPTIMIZERS for penalty in PENALTIES]
    rounds = np.array([rng.permutation(DRAWS) for _ in recipes]).T
    found = []
    for places in rounds:
        for (optimizer, penalty), place in zip(recipes, places, strict=True):
            decays = (0.01, 0.1, 0.5) if optimizer == "AdamW" else (0.0, 0.0, 1e-4, 1e-3)
            setting = Setting(
                family=family,
                number=len(found),
                optimizer=optimizer,
                penalty=penalty,
                step=between(OPTIMIZERS[optimizer][2], rng.random()),
                batch=int(rng.choice([64, 128, 256])),
                decay=float(rng.choice(decays)),
                strength=between(STRENGTHS[family][penalty], (place + rng.random()) / DRAWS),
                dropout=float(rng.choice([0.0, 0.0, 0.1, 0.3])),
                cosine=bool(rng.integers(2)),
                epochs=int(rng.choice([5, 8, 12])),
                seed=int(rng.integers(2**31)),
            )
            found.append(setting)
    return found


def between(ends: tuple[float, float], share: float) -> float:
    """A point between the ends on a logarithmic scale, to three digits; 0 where both are."""
    low, high = ends
    return float(f"{low * (high / low) ** share:.3g}") if low else 0.0


def train(setting: Setting, x: torch.Tensor, y: torch.Tensor) -> nn.Sequential:
    """Cross-entropy plus the penalty; deterministic on one thread of one kind of processor."""
    torch.manual_seed(setting.seed)
    network = FAMILIES[setting.family](setting.dropout).to(x.device)
    kind, options, _ = OPTIMIZERS[setting.optimizer]
    optimizer = kind(network.parameters(), lr=setting.step, weight_decay=setting.decay, fused=True, **options)
    weights, penalty = penalised(network), PENALTIES[setting.penalty]
    steps = len(x) // setting.batch
    total = steps * setting.epochs
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total) if setting.cosine else None
    for _ in range(setting.epochs):
        for batch in torch.randperm(len(x))[: steps * setting.batch].view(steps, setting.batch).to(x.device):
            loss = cross_entropy(network(x[batch]), y[batch])
            if penalty is not None:
                loss = loss + setting.strength * penalty(weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if schedule is not None:
                schedule.step()
    return network.eval().requires_grad_(False)


def images(folder: Path, part: str, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Pixels in [0, 1], shaped [n, 1, 28, 28], and labels."""
    x = torch.from_numpy(idx(folder / f"{part}-images-idx3-ubyte.gz")[:, None].astype(np.float32) / np.float32(255))
    return x.to(device), torch.from_numpy(idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)).to(device)


def settings() -> Iterator[Setting]:
    """Both families in turn."""
    for pair in zip(*(design(family) for family in FAMILIES), strict=True):
        yield from pair


def trained(setting: Setting, folder: Path, x: torch.Tensor, y: torch.Tensor) -> tuple[nn.Sequential, float]:
    """The network and the seconds that its training took, from its file where there is one."""
    path = folder / f"{setting.name}.safetensors"
    if not path.exists():
        start = time.perf_counter()
        weights = train(setting, x, y).state_dict()
        about = {"setting": json.dumps(asdict(setting)), "seconds": f"{time.perf_counter() - start:.1f}"}
        with replacing(path) as draft:
            save_file({name: tensor.contiguous().cpu() for name, tensor in weights.items()}, draft, about)
    return load(setting, path)


def load(setting: Setting, path: Path) -> tuple[nn.Sequential, float]:
    """The network of a file and the seconds that its training took; ValueError for one of another setting."""
    with safe_open(path, "pt") as file:
        about, weights = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if about["setting"] != json.dumps(asdict(setting)):
        raise ValueError(f"a network must have the setting {setting}, got {about['setting']} in {path}.")
    network = FAMILIES[setting.family](setting.dropout)
    network.load_state_dict(weights)
    return network.eval().requires_grad_(False), float(about["seconds"])


def read_lines(path: Path) -> dict[str, dict[str, Any]]:
    """The records of a file by name; a line that a killed writer cut short does not count."""
    found = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        found[record["name"]] = record
    return found


def append_line(path: Path, record: dict[str, Any]) -> None:
    """Add a record in one write, on a line of its own whatever a killed writer left."""
    with path.open("ab+") as file:
        fresh = file.tell() == 0 or os.pread(file.fileno(), 1, file.tell() - 1) == b"\n"
        file.write((b"" if fresh else b"\n") + json.dumps(record, allow_nan=False).encode() + b"\n")


def record_of(setting: Setting, network: nn.Module, zoo: Zoo, seconds: float) -> dict[str, Any]:
    """What is kept of a network: its setting, its accuracy and its truths."""
    start, subject = time.perf_counter(), Subject(network, zoo)
    found = {
        "name": setting.name,
        "setting": asdict(setting),
        "accuracy": subject.correct / len(zoo.y),
        "truth": subject.truth(),
    }
    spent = {"training": seconds, "truth": round(time.perf_counter() - start, 1)}
    return found | {"seconds": spent} | asdict(Provenance(setting.seed, str(zoo.x.device)))


def run(chosen: Iterable[Setting], networks: Path, results: Path, x: torch.Tensor, y: torch.Tensor, zoo: Zoo) -> None:
    """Train and measure those that have no record; `x` and `y` are trained on."""
    for setting in chosen:
        if setting.name in read_lines(results):
            continue
        network, seconds = trained(setting, networks, x, y)
        record = record_of(setting, network.to(x.device), zoo, seconds)
        append_line(results, record)
        print(f"{setting.name} {seconds:5.1f} s + {record['seconds']['truth']:5.1f} s  {record['truth']}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data")) / "datasets" / "fashion-mnist"
    parser.add_argument("--data", type=Path, default=default, help="folder of the four gzipped IDX files")
    parser.add_argument("--networks", type=Path, default=ROOT / "build" / "zoo", help="folder of the networks")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rank", type=int, default=0, help="do every RANKS-th network, from this one on")
    parser.add_argument("--ranks", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # what determinism needs on a GPU
    torch.use_deterministic_algorithms(True)
    arguments.networks.mkdir(parents=True, exist_ok=True)
    x, y = images(arguments.data, "train", arguments.device)
    zoo = Zoo(*images(arguments.data, "t10k", arguments.device), x[TRAINED_ON : TRAINED_ON + CALIBRATION])
    chosen = list(settings())[arguments.rank :: arguments.ranks]
    run(chosen, arguments.networks, RESULTS, x[:TRAINED_ON], y[:TRAINED_ON], zoo)


if __name__ == "__main__":
    main()
