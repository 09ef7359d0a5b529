"""The networks of the zoo in one table for each family: recipes, truths, indices and predictions, from the records."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from train_zoo import ROOT, read_lines

FOLDER = ROOT / "analysis" / "results"
SCOPES = ("network", "layer", "neuron")
LEARNED = 0.70
MORE = " of 20,000 images"
OF_SOME = (MORE, "re-fitted")
LAWS = ("first_order", f"first_order{MORE}", "independent_errors", "measured")
SMALLER_IS_SPARSER = ("N[", "k*[", "stable rank", "Barsbey", "Hill", "WeightWatcher")


@dataclass(frozen=True, eq=False)
class Table:
    """Networks, one row each: their recipes, truths and indices, all turned so that larger promises more.

    Predictions that were made for some of the networks only are nan for the others.
    """

    names: list[str]
    recipes: list[int]
    truths: dict[str, np.ndarray]
    indices: dict[str, np.ndarray]

    def whole(self, index: str) -> bool:
        """Whether the index is known of all."""
        return not np.isnan(self.indices[index]).any()

    def where(self, index: str) -> "Table":
        """The networks of which the index is known."""
        at = np.flatnonzero(~np.isnan(self.indices[index]))
        return Table(
            [self.names[k] for k in at],
            [self.recipes[k] for k in at],
            {key: values[at] for key, values in self.truths.items()},
            {key: values[at] for key, values in self.indices.items()},
        )


def table(family: str, folder: Path = FOLDER) -> Table:
    """The networks of a family that have learned and have all records."""
    files = ("zoo", "zoo_indices", "zoo_scores", "zoo_weightwatcher", "zoo_predictions")
    truth, weights, scores, alpha, predicted = (read_lines(folder / f"{name}.jsonl") for name in files)
    more, refit, again = (read_lines(folder / f"zoo_predictions_{how}.jsonl") for how in ("more", "refit", "again"))
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
            **(promised(again[n], "re-fitted") if n in again else {}),
        }
        for n in names
    ]
    keys = {key: [row.get(key) for row in rows] for key in dict.fromkeys(key for row in rows for key in row)}
    keys = {key: values for key, values in keys.items() if None not in values or any(m in key for m in OF_SOME)}
    keys = {key: values for key, values in keys.items() if len(set(values)) > 1}  # what is the same for all ranks none
    return Table(
        names,
        list(np.unique(recipes, return_inverse=True)[1]),
        {key: np.array([truth[n]["truth"][key] for n in names]) for key in truth[names[0]]["truth"]},
        {key: turned(key, np.array(values, dtype=float)) for key, values in keys.items()},
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
