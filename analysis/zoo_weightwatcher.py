"""WeightWatcher's alpha of every network of the zoo, by its own package, in an environment of its own.

WeightWatcher fits a power law to the spectrum of each layer and averages the exponents over the layers that have one.
Writes analysis/results/zoo_weightwatcher.jsonl anew. Needs weightwatcher 0.7.7, torch and safetensors, not lqtheory.

    python -m venv WW && WW/bin/pip install weightwatcher==0.7.7 safetensors
    WW/bin/python analysis/zoo_weightwatcher.py --networks FOLDER     # seconds
"""

import argparse
import json
import logging
import math
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import weightwatcher  # pyright: ignore[reportMissingImports]
from safetensors.torch import load_file
from torch import nn

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "analysis" / "results" / "zoo_weightwatcher.jsonl"
VERSIONS = {name: version(name) for name in ("weightwatcher", "torch", "numpy", "scipy")}


def layers_of(path: Path) -> nn.Sequential:
    """The layers of a file in their order, which is all that WeightWatcher looks at."""
    weights = {name: tensor for name, tensor in load_file(path).items() if name.endswith("weight")}
    found: list[nn.Module] = []
    for name in sorted(weights, key=lambda name: int(name.split(".")[0])):
        w = weights[name]
        layer = nn.Linear(w.shape[1], w.shape[0]) if w.ndim == 2 else nn.Conv2d(w.shape[1], w.shape[0], 3)
        layer.load_state_dict({"weight": w, "bias": torch.zeros(len(w))})
        found.append(layer)
    return nn.Sequential(*found)


def record_of(path: Path) -> dict[str, Any]:
    """The alpha of each layer, None where the package gives none, and the mean that its summary reports."""
    watcher = weightwatcher.WeightWatcher(model=layers_of(path))
    details = watcher.analyze()
    alphas = [float(alpha) if math.isfinite(alpha) else None for alpha in details["alpha"]]
    mean = float(watcher.get_summary(details)["alpha"])
    return {"name": path.stem, "alpha": mean if math.isfinite(mean) else None, "alphas": alphas, "versions": VERSIONS}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=Path, default=ROOT / "build" / "zoo", help="folder of the networks")
    folder = parser.parse_args().networks
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    found = [record_of(path) for path in sorted(folder.glob("*.safetensors"))]
    RESULTS.write_text("".join(json.dumps(record, allow_nan=False) + "\n" for record in found))


if __name__ == "__main__":
    main()
