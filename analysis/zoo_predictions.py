"""How far the package predicts that each network of the zoo can be pruned, and how far it can on other images.

5,000 labelled images that no network was trained on and no truth was measured on; the laws of `lqtheory.prediction`,
each scope. Writes analysis/results/zoo_predictions.jsonl, one line for each network whose truth is recorded; with
--refit zoo_predictions_refit.jsonl, the same for re-fitted weights; with --more zoo_predictions_more.jsonl, what four
times as many images say to first order, for the scopes where 5,000 leave too much noise; with --again
zoo_predictions_again.jsonl, what the re-fitted truth is on 5,000 other images: how far it repeats itself.

    python analysis/zoo_predictions.py --data FOLDER --networks FOLDER
"""

import argparse
import math
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path

import torch
import train_zoo
from train_zoo import CALIBRATION, ROOT, TRAINED_ON, Setting, append_line, images, load, read_lines, settings
from zoo_truth import REFIT_STEP, SCOPES, Subject, Zoo

from lqtheory.prediction import (
    OCTAVE,
    Judged,
    first_order,
    independent_errors,
    largest_passing,
    measured,
    predicted,
    sparsity_at,
)
from lqtheory.records import Provenance

RESULTS = ROOT / "analysis" / "results"
IMAGES, MORE, STEP = 5000, 20_000, 2
MORE_FOR = {"mlp": ("layer", "neuron"), "cnn": ("neuron",)}
Predicted = dict[str, dict[str, float]]
LAWS = (first_order, independent_errors, measured)


def predictions(_: Setting, judged: Judged) -> Predicted:
    """By law and scope, when weights are removed and the others stay."""
    return {
        law.__name__: {
            scope: predicted(judged, method.budget, law=law, step=STEP).sparsity for scope, method in SCOPES.items()
        }
        for law in LAWS
    }


def from_more(setting: Setting, judged: Judged) -> Predicted:
    """By scope, to first order."""
    scopes = {scope: SCOPES[scope].budget for scope in MORE_FOR[setting.family]}
    return {"first_order": {s: predicted(judged, budget, step=STEP).sparsity for s, budget in scopes.items()}}


def refitted(_: Setting, judged: Judged) -> Predicted:
    """By scope, to first order, when the others answer by least squares."""
    return {
        "first_order": {
            f"{scope} re-fitted": predicted(judged, method.budget, refit=True, step=2 * STEP).sparsity
            for scope, method in SCOPES.items()
        }
    }


def again(setting: Setting, judged: Judged) -> Predicted:
    """By scope the re-fitted truth, of the images behind those for calibration; the search starts at what it was."""
    assert judged.labels is not None
    calibration, x, y = judged.inputs[:CALIBRATION], judged.inputs[CALIBRATION:], judged.labels[CALIBRATION:]
    subject, found = Subject(judged.model, Zoo(x, y, calibration)), {}
    for scope in SCOPES:
        name = f"{scope} re-fitted"
        start = round(-OCTAVE * math.log2(1 - read_lines(train_zoo.RESULTS)[setting.name]["truth"][name]))
        j = largest_passing(lambda j, scope=scope: subject.passes(scope, j, refit=True), start, REFIT_STEP)
        found[name] = sparsity_at(j)
    return {"measured": found}


def run(
    predict: Callable[[Setting, Judged], Predicted],
    path: Path,
    x: torch.Tensor,
    y: torch.Tensor,
    networks: Path,
    chosen: Iterable[Setting],
) -> None:
    """One line for each network that has a truth and none here yet."""
    for setting in chosen:
        if setting.name in read_lines(path) or setting.name not in read_lines(train_zoo.RESULTS):
            continue
        start = time.perf_counter()
        network, _ = load(setting, networks / f"{setting.name}.safetensors")
        found = predict(setting, Judged(network, x, y))
        about = {"seconds": round(time.perf_counter() - start, 1), **asdict(Provenance(setting.seed))}
        append_line(path, {"name": setting.name, "predicted": found, **about})


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    default = Path(os.environ.get("LQTHEORY_DATA", ROOT / ".." / "shared" / "data")) / "datasets" / "fashion-mnist"
    parser.add_argument("--data", type=Path, default=default, help="folder of the four gzipped IDX files")
    parser.add_argument("--networks", type=Path, default=ROOT / "build" / "zoo", help="folder of the networks")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--refit", action="store_true", help="predict for re-fitted weights")
    kind.add_argument("--again", action="store_true", help="measure the re-fitted truth on other images")
    kind.add_argument("--more", action="store_true", help=f"predict from {MORE:,} images")
    parser.add_argument("--rank", type=int, default=0, help="do every RANKS-th network, from this one on")
    parser.add_argument("--ranks", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    predict, name, count = predictions, "zoo_predictions", IMAGES
    if arguments.refit:
        predict, name = refitted, "zoo_predictions_refit"
    elif arguments.again:
        predict, name, count = again, "zoo_predictions_again", CALIBRATION + IMAGES
    elif arguments.more:
        predict, name, count = from_more, "zoo_predictions_more", MORE
    x, y = (each[TRAINED_ON : TRAINED_ON + count] for each in images(arguments.data, "train"))
    chosen = list(settings())[arguments.rank :: arguments.ranks]
    run(predict, RESULTS / f"{name}.jsonl", x, y, arguments.networks, chosen)


if __name__ == "__main__":
    main()
