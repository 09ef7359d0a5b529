"""Which index predicts how far a network can be pruned? The correlations, from the records of the zoo.

Networks that have not learned (accuracy below LEARNED) are left out. For each family, truth and index: Spearman's and
Kendall's correlation over all networks and within recipes, with 95 % bootstrap intervals; how far the predictions
are ahead of the indices that others use, with the interval of the difference; and how large the error of the predicted
sparsity is, also with the one parameter of its calibration taken from the other family.
Writes analysis/results/zoo_study.jsonl; nothing here looks at a network.

    python analysis/study_zoo.py     # about two minutes
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from train_zoo import ROOT, read_lines
from zoo_correlation import interval, kendall, resamples, spearman, within

from lqtheory.records import Provenance

FOLDER = ROOT / "analysis" / "results"
RESULTS = FOLDER / "zoo_study.jsonl"
SCOPES = ("network", "layer", "neuron")
LEARNED, RESAMPLES, SEED = 0.70, 400, 2026
RIVALS = {"Gini": "network gini", "PQ(.5,1)": "network N[0.5,1]", "WeightWatcher alpha": "WeightWatcher alpha"}
MORE = " of 20,000 images"
LAWS = ("first_order", f"first_order{MORE}", "independent_errors", "measured")
SMALLER_IS_SPARSER = ("N[", "k*[", "stable rank", "Barsbey", "Hill", "WeightWatcher")


@dataclass(frozen=True, eq=False)
class Table:
    """Networks, one row each: their recipes, truths and indices, all turned so that larger promises more."""

    names: list[str]
    recipes: list[int]
    truths: dict[str, np.ndarray]
    indices: dict[str, np.ndarray]


def table(family: str, folder: Path = FOLDER) -> Table:
    """The networks of a family that have learned and have all records."""
    files = ("zoo", "zoo_indices", "zoo_scores", "zoo_weightwatcher", "zoo_predictions")
    truth, weights, scores, alpha, predicted = (read_lines(folder / f"{name}.jsonl") for name in files)
    more, refit = (read_lines(folder / f"zoo_predictions_{how}.jsonl") for how in ("more", "refit"))
    names = [
        name
        for name, record in truth.items()
        if record["setting"]["family"] == family
        and record["accuracy"] >= LEARNED
        and all(name in records for records in (weights, alpha, predicted))
    ]
    recipes = [f"{truth[n]['setting']['optimizer']}, {truth[n]['setting']['penalty']}" for n in names]
    rows = [
        {
            **named({scope: weights[n]["indices"][scope] for scope in SCOPES}),
            **named(scores[n]["indices"] if n in scores else {}),
            "WeightWatcher alpha": alpha[n]["alpha"],
            **promised(predicted[n], "truncated"),
            **(promised(more[n], "truncated", MORE) if n in more else {}),
            **(promised(refit[n], "re-fitted") if n in refit else {}),
        }
        for n in names
    ]
    shared = [key for key in rows[0] if all(row.get(key) is not None for row in rows)]
    shared = [key for key in shared if len({row[key] for row in rows}) > 1]  # what is the same for all ranks none
    return Table(
        names,
        list(np.unique(recipes, return_inverse=True)[1]),
        {key: np.array([truth[n]["truth"][key] for n in names]) for key in truth[names[0]]["truth"]},
        {key: turned(key, np.array([row[key] for row in rows])) for key in shared},
    )


def named(tables: Mapping[str, Mapping[str, float | None]]) -> dict[str, float | None]:
    """The indices of several tables, each behind the name of its table."""
    return {f"{name} {index}": value for name, table in tables.items() for index, value in table.items()}


def promised(record: Mapping[str, Any], how: str, of: str = "") -> dict[str, float]:
    """Predictions under one name for each law and scope."""
    return {
        f"{law}{of} {scope.removesuffix(' re-fitted')} {how}": value
        for law, scopes in record["predicted"].items()
        for scope, value in scopes.items()
    }


def turned(name: str, values: np.ndarray) -> np.ndarray:
    """Larger for what should be more compressible."""
    return -values if any(mark in name for mark in SMALLER_IS_SPARSER) else values


def own(law: str, truth: str) -> str:
    """The name of the prediction of a truth."""
    scope = truth.removesuffix(" re-fitted")
    return f"{law} {scope} {'re-fitted' if truth.endswith('re-fitted') else 'truncated'}"


def correlations(found: Table, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Each index with each truth."""
    free, stratified = (resamples(g, RESAMPLES, SEED) for g in ([0] * len(found.names), found.recipes))
    rho, tau = within(found.recipes)
    for truth, y in found.truths.items():
        for index, x in found.indices.items():
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
    free = resamples([0] * len(found.names), RESAMPLES, SEED)
    for truth, y in found.truths.items():
        for law in LAWS:
            if own(law, truth) not in found.indices:
                continue
            ours = spearman(found.indices[own(law, truth)], y, free)
            for rival, index in RIVALS.items():
                theirs = spearman(found.indices[index], y, free)
                gap = interval(ours - theirs * np.sign(theirs[0]))
                yield {**about, "quantity": "difference", "truth": truth, "index": law, "rival": rival, "spearman": gap}


def octaves(sparsity: np.ndarray) -> np.ndarray:
    """How often the kept share is halved."""
    return -np.log2(1 - sparsity)


def errors(tables: Mapping[str, Table]) -> Iterator[dict[str, Any]]:
    """Median absolute error of the predicted sparsity as it is, and with a shift in octaves from the other family.

    Beside it that of a line through the Gini index that is fitted to the other family, and of the other's median.
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
                    shift = np.median(past - octaves(there.indices[name]))
                    guesses[law] = here.indices[name]
                    guesses[f"{law}, calibrated"] = 1 - 2 ** -(octaves(here.indices[name]) + shift)
            for guess, values in guesses.items():
                error = round(float(np.median(np.abs(values - y))), 4)
                yield {"quantity": "error", "family": family, "truth": truth, "index": guess, "median": error}


def spread(found: Table, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Quantiles of each truth."""
    for truth, y in found.truths.items():
        quantiles = [round(float(q), 3) for q in np.quantile(y, [0, 0.25, 0.5, 0.75, 1])]
        yield {**about, "quantity": "spread", "truth": truth, "networks": len(y), "quantiles": quantiles}


def points(found: Table, about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """First-order prediction and truth of each network."""
    for truth, y in found.truths.items():
        if own("first_order", truth) in found.indices:
            pairs = np.stack([found.indices[own("first_order", truth)], y], axis=1).round(3).tolist()
            yield {**about, "quantity": "points", "truth": truth, "points": pairs}


def residuals(found: Table, recipes: Sequence[str], about: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """By part of the recipe: how much higher an index ranks networks than the truth does, mean share of all ranks."""
    for truth, y in found.truths.items():
        for index in ("network gini", own("first_order", truth)):
            if index in found.indices:
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


def both(tables: Mapping[str, Table]) -> Table:
    """All networks of both families in one table, with the indices that both have, without means over their parts."""
    first, second = tables.values()
    means = ("layer ", "neuron ")
    shared = [key for key in first.indices if key in second.indices and not key.startswith(means)]
    return Table(
        first.names + second.names,
        first.recipes + [r + 100 for r in second.recipes],
        {key: np.concatenate([first.truths[key], second.truths[key]]) for key in first.truths},
        {key: np.concatenate([first.indices[key], second.indices[key]]) for key in shared},
    )


def study(folder: Path = FOLDER) -> Iterator[dict[str, Any]]:
    """All records."""
    tables = {family: table(family, folder) for family in ("mlp", "cnn")}
    settings = {name: record["setting"] for name, record in read_lines(folder / "zoo.jsonl").items()}
    for family, found in {**tables, "both": both(tables)}.items():
        about = {"family": family}
        yield from spread(found, about)
        yield from correlations(found, about)
        yield from differences(found, about)
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
