"""Time WeightWatcher once on a safetensors file, in whatever Python has it; prints one line of JSON."""

import json
import sys
import time
from importlib.metadata import version

import weightwatcher  # pyright: ignore[reportMissingImports]
from safetensors.torch import load_file
from torch import nn


def module_of(path: str) -> nn.Module:
    """A module with one linear or embedding layer for each matrix of the file: what WeightWatcher analyses."""
    layers = nn.ModuleDict()
    for name, w in load_file(path).items():
        if w.ndim == 2 and w.is_floating_point():
            layer = (
                nn.Embedding(w.shape[0], w.shape[1])
                if "embeddings" in name
                else nn.Linear(w.shape[1], w.shape[0], bias=False)
            )
            layer.weight.data.copy_(w)
            layers[name.replace(".", "_")] = layer
    return layers


model = module_of(sys.argv[1])
start = time.perf_counter()
details = weightwatcher.WeightWatcher(model=model).analyze()
seconds = time.perf_counter() - start
weights = int((details["N"] * details["M"]).sum())
print(json.dumps({"seconds": seconds, "weights": weights, "version": version("weightwatcher")}))
