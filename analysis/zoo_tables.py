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
        if any(values):
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


def some(law: str, asked: Iterable[str], columns: dict[str, str]) -> Rows:
    """For the networks of which a prediction was made: how several indices rank them."""
    rows = [["truth, family", "networks", *columns]]
    for truth in asked:
        for label, family in FAMILIES.items():
            mine = {r["index"]: r for r in of("of some", truth=truth, family=family, **{"made by": law})}
            found = [mine.get(index.format(scope_of(truth))) for index in columns.values()]
            if mine:
                count = str(next(iter(mine.values()))["networks"])
                rows.append([f"{truth}, {label}", count, *(with_interval(r["spearman"]) if r else "" for r in found)])
    return rows


def of_more_images() -> Rows:
    columns = {
        "first order, 20,000 images": "first_order of 20,000 images {} truncated",
        "first order, 5,000 of them": "first_order {} truncated",
        "measured on these 5,000": "measured {} truncated",
    }
    return some("first_order of 20,000 images", SCOPES, columns)


def of_refits() -> Rows:
    columns = {
        "first order with the re-fit": "first_order {} re-fitted",
        "Gini": "network gini",
        "PQ(.5,1)": "network N[0.5,1]",
        "alpha": "WeightWatcher alpha",
    }
    return some("first_order", REFITTED, columns)


def of_repeats() -> Rows:
    return some("measured", REFITTED, {"re-fitted truth on 5,000 other images": "measured {} re-fitted"})


TABLES = (
    truths,
    of_mlps,
    of_cnns,
    within_recipes,
    of_more_images,
    overrated,
    ahead,
    errors,
    of_refitted,
    of_refits,
    of_repeats,
)


def facts() -> list[str]:
    """Sentences of the page whose numbers come from the record."""
    rho = {(r["index"], r["family"], r["truth"]): r["spearman"][0] for r in of("correlation")}
    cells = [(family, scope) for family in FAMILIES.values() for scope in SCOPES]

    def between(found: Iterable[float]) -> str:
        values = sorted(found)
        return f"{values[0]:.2f} to {values[-1]:.2f}"

    def ranged(index: str) -> str:
        return between(rho[index.format(scope), family, scope] for family, scope in cells)

    weights = between(rho[index, *cell] for index in ("network gini", "network N[0.5,1]") for cell in cells)
    gaps = [of("difference", index="first_order", family=family, truth=scope) for family, scope in cells]
    lowest = min(r["spearman"][1] for found in gaps for r in found)
    off = sorted(100 * r["median"] for r in of("error", index="first_order") if r["truth"] in SCOPES)
    missed = [(family, scope) for family, scope in cells if rho[f"first_order {scope} truncated", family, scope] < 0.9]
    again = between(rho[f"measured {scope} truncated", family, scope] for family, scope in missed)
    far = [of("error", index="measured", family=family, truth=scope)[0]["far"] for family, scope in missed]
    more = between(r["spearman"][0] for r in of("of some") if "20,000" in r["index"])
    refits = [r for r in of("of some", **{"made by": "first_order"}) if r["family"] in FAMILIES.values()]
    refitted = between(r["spearman"][0] for r in refits if r["index"].startswith("first_order"))
    sizes = [of("spread", family=family, truth="global")[0]["networks"] for family in FAMILIES.values()]
    return [
        f"Gini and PQ(.5,1) reach a Spearman correlation of {weights} with the truth",
        f"WeightWatcher's alpha {ranged('WeightWatcher alpha')}.",
        f"has correlations of {ranged('first_order {} truncated')}, is ahead of",
        f"(the lowest end of an interval of the difference is {lowest:.2f})",
        f"is off by {off[0]:.1f} to {off[-1]:.1f} points of sparsity at the median",
        f"Measuring again on 5,000 other images gives {again} there.",
        f"{min(far):.0%} to {max(far):.0%} of the networks move by more than 5 points of sparsity",
        f"With 20,000 images the prediction has {more}.",
        f"The prediction with the re-fit has {refitted} and is ahead in every cell.",
        f"{sizes[0]} MLPs and {sizes[1]} CNNs remain",
    ]
