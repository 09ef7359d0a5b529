"""The tables of docs/experiments_zoo.md, from the record of the study; `analysis/tables.py` writes them."""

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import series

Rows = list[list[str]]
FAMILIES = {"MLP": "mlp", "CNN": "cnn"}
SCOPES = ("global", "layer", "neuron")
REFITTED = tuple(f"{scope} re-fitted" for scope in SCOPES)
INDICES = {
    "Gini": "network gini",
    "PQ(.5,1); the same ranks as SI and N at q = .5": "network N[0.5,1]",
    "N(.1,.5)": "network N[0.1,0.5]",
    "Hoyer; N(1,2)": "network hoyer",
    "N(1.5,4)": "network N[1.5,4]",
    "N(2,∞)": "network N[2,inf]",
    "kurtosis": "network kurtosis",
    "k*(0.1)": "network k*[0.1]",
    "k*(0.5)": "network k*[0.5]",
    "Hill's index, 10 %": "network Hill[0.1]",
    "Barsbey's index": "network Barsbey",
    "stable rank, mean of layers": "layer stable rank",
    "WeightWatcher's alpha": "WeightWatcher alpha",
    "Gini, mean of neurons": "neuron gini",
    "Gini of weights times inputs": "inputs gini",
    "Gini of weights times inputs and gains": "inputs and gains gini",
    "**predicted, independent errors**": "independent_errors {} truncated",
    "**predicted, first order**": "first_order {} truncated",
    "**predicted, first order, 20,000 images**": "first_order of 20,000 images {} truncated",
    "**predicted, first order, re-fitted**": "first_order {} re-fitted",
    "measured on 5,000 other images": "measured {} truncated",
}
"""What stands in the tables, and its name in the record; the scope of the truth goes into the braces."""
PARTS = ("SGD", "momentum", "AdamW", "Adam", "none", "l1", "l2", "l0", "group lasso")
GUESSES = {
    "first order": "first_order",
    "first order, calibrated on the other family": "first_order, calibrated",
    "independent errors": "independent_errors",
    "line through Gini from the other family": "line through Gini",
    "median of the other family": "median of the other family",
    "measured on other images": "measured",
}


@cache
def lines() -> tuple[dict[str, Any], ...]:
    """The record of the study."""
    return tuple(series.lines(series.RESULTS / "zoo_study.jsonl"))


def of(quantity: str, **wanted: str) -> list[dict[str, Any]]:
    """The lines about a quantity that say so."""
    return [r for r in lines() if r["quantity"] == quantity and wanted.items() <= r.items()]


def scope_of(truth: str) -> str:
    """The scope of a truth.

    >>> scope_of("layer re-fitted")
    'layer'
    """
    return truth.removesuffix(" re-fitted")


def signed(text: str) -> str:
    """With a minus sign for the hyphen of a negative number.

    >>> signed("0.10 [-0.05, 0.20]")
    '0.10 [−0.05, 0.20]'
    """
    return text.replace("-", "\N{MINUS SIGN}")


def with_interval(found: list[float]) -> str:
    value, low, high = found
    return signed(f"{value:.2f} [{low:.2f}, {high:.2f}]")


def alone(found: list[float]) -> str:
    return signed(f"{found[0]:.2f}")


def truths() -> Rows:
    rows = [["truth", *(f"{label}: least, quartiles, greatest" for label in FAMILIES)]]
    for truth in (*SCOPES, *REFITTED):
        found = [of("spread", truth=truth, family=family)[0] for family in FAMILIES.values()]
        rows.append([truth, *(", ".join(f"{q:.2f}" for q in r["quantiles"]) for r in found)])
    return rows


def rankings(
    families: Iterable[str],
    asked: Iterable[str],
    key: str = "spearman",
    shown: Callable[[list[float]], str] = alone,
) -> Rows:
    """A row for each index that is defined for a column, and a column for each family and truth."""
    columns = [(label, truth) for label in families for truth in asked]
    found = {(r["family"], r["truth"], r["index"]): r[key] for r in of("correlation")}
    rows = [["index", *(f"{label}, {truth}" for label, truth in columns)]]
    for label, index in INDICES.items():
        values = [found.get((FAMILIES[f], truth, index.format(scope_of(truth)))) for f, truth in columns]
        if any(values) and (label != "**predicted, first order, re-fitted**" or columns[0][1] in REFITTED):
            rows.append([label, *(shown(value) if value else "" for value in values)])
    return rows


def of_mlps() -> Rows:
    return rankings(["MLP"], SCOPES, shown=with_interval)


def of_cnns() -> Rows:
    return rankings(["CNN"], SCOPES, shown=with_interval)


def within_recipes() -> Rows:
    return rankings(FAMILIES, SCOPES, "spearman within recipes")


def of_refitted() -> Rows:
    return rankings(FAMILIES, REFITTED)


def overrated() -> Rows:
    rows = [["index, truth", *PARTS]]
    for name, index in {"Gini": "network gini", "first order": "first_order layer truncated"}.items():
        for label, family in FAMILIES.items():
            mine = {r["recipe"]: r["mean"] for r in of("overrated", truth="layer", index=index, family=family)}
            rows.append([f"{name}, {label}", *(signed(f"{mine[part]:+.2f}") for part in PARTS)])
    return rows


def ahead() -> Rows:
    rivals = {"Gini": "Gini", "PQ(.5,1)": "PQ(.5,1)", "alpha": "WeightWatcher alpha"}
    rows = [["truth", "family", *(f"less {rival}" for rival in rivals)]]
    for truth in (*SCOPES, *REFITTED):
        for label, family in {**FAMILIES, "both together": "both"}.items():
            mine = {r["rival"]: r for r in of("difference", truth=truth, family=family, index="first_order")}
            if mine:
                rows.append([truth, label, *(with_interval(mine[name]["spearman"]) for name in rivals.values())])
    return rows


def errors() -> Rows:
    rows = [["truth, family", *GUESSES]]
    for truth in (*SCOPES, *REFITTED):
        for label, family in FAMILIES.items():
            mine = {r["index"]: r["median"] for r in of("error", truth=truth, family=family)}
            rows.append([f"{truth}, {label}", *(f"{mine[g]:.3f}" if g in mine else "" for g in GUESSES.values())])
    return rows


TABLES = (truths, of_mlps, of_cnns, within_recipes, overrated, ahead, errors, of_refitted)
