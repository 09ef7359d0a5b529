r"""Indices of weights times what multiplies them: the norms of their inputs, and the gains of their neurons.

The same indices as of the weights, of $|w_{ij}| m_j$ and $\gamma_i |w_{ij}| m_j$ over the whole network, from 2,000
calibration images. Writes analysis/results/zoo_scores.jsonl, one line for each network whose truth is recorded.

    python analysis/zoo_scores.py --data FOLDER --networks FOLDER
"""

import argparse
import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
import train_zoo
from train_zoo import CALIBRATION, ROOT, TRAINED_ON, append_line, images, load, read_lines, settings
from zoo_indices import of_vector, rounded

from lqtheory.prediction import Judged
from lqtheory.pruning.scores import by_gain, wanda
from lqtheory.records import Provenance

RESULTS = ROOT / "analysis" / "results" / "zoo_scores.jsonl"
SCORES = {"inputs": wanda, "inputs and gains": by_gain(wanda)}
KNOWN = ("gini", "N[0.5,1]", "N[1,2]", "N[1.5,4]", "kurtosis")


def indices_of(judged: Judged) -> dict[str, dict[str, float]]:
    """By what the weights are multiplied with."""
    found = {}
    for name, score in SCORES.items():
        table = of_vector(np.concatenate([score(layer).ravel() for layer in judged.layers(score)]))
        found[name] = {key: table[key] for key in KNOWN}
    return rounded(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data")) / "datasets" / "fashion-mnist"
    parser.add_argument("--data", type=Path, default=default, help="folder of the four gzipped IDX files")
    parser.add_argument("--networks", type=Path, default=ROOT / "build" / "zoo", help="folder of the networks")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    x, y = (each[TRAINED_ON : TRAINED_ON + CALIBRATION] for each in images(arguments.data, "train"))
    done, measured = read_lines(RESULTS), read_lines(train_zoo.RESULTS)
    for setting in settings():
        if setting.name in measured and setting.name not in done:
            network, _ = load(setting, arguments.networks / f"{setting.name}.safetensors")
            found = {"name": setting.name, "indices": indices_of(Judged(network, x, y))}
            append_line(RESULTS, found | asdict(Provenance(setting.seed)))


if __name__ == "__main__":
    main()
