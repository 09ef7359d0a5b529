"""Every index of a network of the zoo, all its weights as one vector, and as means over its tensors and its neurons.

Writes analysis/results/zoo_indices.jsonl, one line for each network whose file is there, from the weights alone.

    python analysis/zoo_indices.py --networks FOLDER
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from train_zoo import ROOT, append_line, load, read_lines, settings

from lqtheory import indices
from lqtheory.profile import Profile
from lqtheory.pruning.parts import prunable
from lqtheory.records import Provenance

RESULTS = ROOT / "analysis" / "results" / "zoo_indices.jsonl"
PS, QS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0), (0.5, 1.0, 2.0, 4.0, math.inf)
ERRORS = (0.01, 0.1, 0.3, 0.5)
DIGITS = 4
KNOWN = ("N[0.5,1]", "gini", "hoyer", "kurtosis", "stable rank", "Barsbey", "Hill[0.05]")


def share_counted(profile: Profile, p: float, q: float) -> float:
    """N_{p,q} as a share of the weights: of one size, it ranks as SI_q and the PQ index do."""
    return indices.effective_number(profile, p, q) / profile.d


def of_vector(w: np.ndarray) -> dict[str, float]:
    """The indices of one set of weights that need its magnitudes only, and kurtosis."""
    profile = Profile.of(w)
    pairs = [(p, q) for p in PS for q in QS if p < q]
    found = {f"N[{p:g},{q:g}]": share_counted(profile, p, q) for p, q in pairs}
    found["N[1,1]"] = share_counted(profile, 1, 1)
    found["N[0]"] = profile.nonzero / profile.d
    found |= {f"k*[{eps:g}]": indices.weights_needed(profile, eps) / profile.d for eps in ERRORS}
    return found | {"gini": indices.gini(profile), "hoyer": indices.hoyer(profile), "kurtosis": indices.kurtosis(w)}


def of_tail(w: np.ndarray) -> dict[str, float]:
    """The tail indices of a set of weights."""
    profile, found = Profile.of(w), {"Barsbey": indices.barsbey_tail_index(w)}
    for share in (0.01, 0.05, 0.1):
        k = round(share * profile.nonzero)
        found[f"Hill[{share:g}]"] = indices.hill_tail_index(profile, k) if 1 <= k < profile.nonzero else math.nan
    return found


def of_tensor(rows: np.ndarray) -> dict[str, float]:
    """All indices of a tensor."""
    return of_vector(rows.ravel()) | of_tail(rows.ravel()) | {"stable rank": indices.stable_rank(rows)}


def mean_over(tables: Sequence[dict[str, float]], weights: Sequence[float] | None = None) -> dict[str, float]:
    """The weighted mean of each index over the tables where it is defined; nan where it is nowhere."""
    w = np.ones(len(tables)) if weights is None else np.asarray(weights, dtype=float)
    found = {}
    for name in tables[0]:
        values = np.array([table[name] for table in tables])
        known = np.isfinite(values)
        found[name] = float(np.average(values[known], weights=w[known])) if known.any() else math.nan
    return found


def indices_of(network: nn.Module) -> dict[str, Any]:
    """By scope: `network` all weights as one vector, `layer` the tensors' mean by size, `neuron` the neurons' mean.

    And `tensors`, the best known indices of each.
    """
    parts = prunable(network)
    tensors = [part.weight for part in parts]
    every, by_tensor = np.concatenate([rows.ravel() for rows in tensors]), [of_tensor(rows) for rows in tensors]
    return {
        "network": of_vector(every) | of_tail(every),
        "layer": mean_over(by_tensor, [rows.size for rows in tensors]),
        "neuron": mean_over([of_vector(row) for rows in tensors for row in rows]),
        "tensors": {p.name: {name: table[name] for name in KNOWN} for p, table in zip(parts, by_tensor, strict=True)},
    }


def rounded(value: Any) -> Any:
    """Numbers to DIGITS significant digits, null for those that JSON does not know."""
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=Path, default=ROOT / "build" / "zoo", help="folder of the networks")
    folder, done = parser.parse_args().networks, read_lines(RESULTS)
    torch.set_num_threads(1)
    for setting in settings():
        path = folder / f"{setting.name}.safetensors"
        if setting.name not in done and path.exists():
            found = rounded(indices_of(load(setting, path)[0]))
            append_line(RESULTS, {"name": setting.name, "indices": found, **asdict(Provenance(setting.seed))})


if __name__ == "__main__":
    main()
