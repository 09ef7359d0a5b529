"""Which index predicts how far a network can be pruned? The correlations, from the records of the zoo.

Networks that have not learned are left out (`zoo_networks`). For each family, truth and index: Spearman's and
Kendall's correlation over all networks and within recipes, with 95 % bootstrap intervals; how far the predictions
are ahead of the indices that others use, with the interval of the difference; and how large the error of the predicted
sparsity is, also with the one parameter of its calibration taken from the other family.
Writes analysis/results/zoo_study.jsonl; nothing here looks at a network.

    python analysis/study_zoo.py     # about two minutes
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from train_zoo import read_lines
from zoo_correlation import interval, kendall, resamples, spearman, within
from zoo_networks import FOLDER, LAWS, Table, both, own, table

from lqtheory.records import Provenance

RESULTS = FOLDER / "zoo_study.jsonl"
RESAMPLES, SEED = 400, 2026
FAR = 0.05  # of all weights
RIVALS = {"Gini": "network gini", "PQ(.5,1)": "network N[0.5,1]", "WeightWatcher alpha": "WeightWatcher alpha"}


def correlations(found: Table, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each index with each truth."""
    free, stratified = (resamples(g, RESAMPLES, SEED) for g in ([0] * len(found.names), found.recipes))
    rho, tau = within(found.recipes)
    for truth, y in found.truths.items():
        for index, x in ((index, x) for index, x in found.indices.items() if found.whole(index)):
            yield {
                **about,
                "quantity": "correlation",
                "truth": truth,
                "index": index,
                "spearman": interval(spearman(x, y, free)),
                "kendall": interval(kendall(x, y, free)),
                "spearman within recipes": interval(rho(x, y, stratified)),
                "kendall within recipes": interval(tau(x, y, stratified)),
            }


def differences(found: Table, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Spearman's rho of a prediction less that of a rival, which may count in either direction."""
    for truth, law in product(found.truths, LAWS):
        if own(law, truth) in found.indices:
            part = found.where(own(law, truth))
            y, drawn = part.truths[truth], resamples([0] * len(part.names), RESAMPLES, SEED)
            ours = spearman(part.indices[own(law, truth)], y, drawn)
            for rival, index in RIVALS.items():
                theirs = spearman(part.indices[index], y, drawn)
                gap = interval(ours - theirs * np.sign(theirs[0]))
                yield {**about, "quantity": "difference", "truth": truth, "index": law, "rival": rival, "spearman": gap}


def of_some(found: Table, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Predictions that were made for some networks only, with others of the same truth on the same networks."""
    for truth, law in product(found.truths, LAWS):
        if own(law, truth) in found.indices and not found.whole(own(law, truth)):
            part = found.where(own(law, truth))
            drawn = resamples([0] * len(part.names), RESAMPLES, SEED)
            for index in (*(own(other, truth) for other in LAWS), *RIVALS.values()):
                if index in part.indices and part.whole(index):
                    rho = interval(spearman(part.indices[index], part.truths[truth], drawn))
                    yield {
                        **about,
                        "quantity": "of some",
                        "truth": truth,
                        "made by": law,
                        "networks": len(part.names),
                        "index": index,
                        "spearman": rho,
                    }


def octaves(sparsity: np.ndarray) -> np.ndarray:
    """How often the kept share is halved."""
    return -np.log2(1 - sparsity)


def errors(tables: Mapping[str, Table]) -> Iterator[dict[str, Any]]:
    """Median absolute error of the predicted sparsity, and how many are off by more than FAR.

    As it is, and with a shift in octaves from the other family. Beside it that of a line through the Gini index that is
    fitted to the other family, and of the other's median.
    """
    for family, other in zip(tables, reversed(list(tables)), strict=True):
        here, there = tables[family], tables[other]
        for truth, y in here.truths.items():
            past = octaves(there.truths[truth])
            guesses = {"median of the other family": np.full(len(y), np.median(there.truths[truth]))}
            slope, level = np.polyfit(there.indices["network gini"], past, 1)
            guesses["line through Gini"] = 1 - 2 ** -(slope * here.indices["network gini"] + level)
            for law in LAWS:
                name = own(law, truth)
                if name in here.indices and name in there.indices:
                    shift = np.nanmedian(past - octaves(there.indices[name]))
                    guesses[law] = here.indices[name]
                    guesses[f"{law}, calibrated"] = 1 - 2 ** -(octaves(here.indices[name]) + shift)
            for guess, values in guesses.items():
                error = np.abs(values - y)[~np.isnan(values)]
                found = {"median": round(float(np.median(error)), 4), "far": round(float(np.mean(error > FAR)), 3)}
                yield {"quantity": "error", "family": family, "truth": truth, "index": guess, **found}


def spread(found: Table, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Quantiles of each truth."""
    for truth, y in found.truths.items():
        quantiles = [round(float(q), 3) for q in np.quantile(y, [0, 0.25, 0.5, 0.75, 1])]
        yield {**about, "quantity": "spread", "truth": truth, "networks": len(y), "quantiles": quantiles}


def points(found: Table, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """First-order prediction and truth of each network."""
    for truth in found.truths:
        if own("first_order", truth) in found.indices:
            part = found.where(own("first_order", truth))
            pairs = np.stack([part.indices[own("first_order", truth)], part.truths[truth]], axis=1).round(3).tolist()
            yield {**about, "quantity": "points", "truth": truth, "points": pairs}


def residuals(found: Table, recipes: Sequence[str], about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """By part of the recipe: how much higher an index ranks networks than the truth does, mean share of all ranks."""
    for truth, y in found.truths.items():
        for index in ("network gini", own("first_order", truth)):
            if index in found.indices and found.whole(index):
                gap = (np.argsort(np.argsort(found.indices[index])) - np.argsort(np.argsort(y))) / len(y)
                for part in sorted({p for recipe in recipes for p in recipe.split(", ")}):
                    at = [k for k, recipe in enumerate(recipes) if part in recipe.split(", ")]
                    yield {
                        **about,
                        "quantity": "overrated",
                        "truth": truth,
                        "index": index,
                        "recipe": part,
                        "mean": round(float(gap[at].mean()), 3),
                    }


def study(folder: Path = FOLDER) -> Iterator[dict[str, Any]]:
    """All records."""
    tables = {family: table(family, folder) for family in ("mlp", "cnn")}
    settings = {name: record["setting"] for name, record in read_lines(folder / "zoo.jsonl").items()}
    for family, found in {**tables, "both": both(tables)}.items():
        about = {"family": family}
        yield from spread(found, about)
        yield from correlations(found, about)
        yield from differences(found, about)
        yield from of_some(found, about)
        yield from points(found, about)
        recipes = [f"{settings[n]['optimizer']}, {settings[n]['penalty']}" for n in found.names]
        yield from residuals(found, recipes, about)
    yield from errors(tables)


def main() -> None:
    provenance = asdict(Provenance(SEED))
    lines = [{"quantity": "provenance", **provenance}, *study()]
    RESULTS.write_text("".join(json.dumps(line, allow_nan=False) + "\n" for line in lines))


if __name__ == "__main__":
    main()
