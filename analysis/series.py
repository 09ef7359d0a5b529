"""What figures and tables need from records: chosen, grouped, as plain mappings from name to numbers."""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from lqtheory.records import Record

RESULTS = Path(__file__).parent / "results"


def lines(path: Path) -> list[dict[str, Any]]:
    """Lines of JSON that are no bounds: costs, choices."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def where(records: Iterable[Record], **setting: Any) -> list[Record]:
    """The records whose setting says so."""
    return [r for r in records if all(r.setting.get(key) == value for key, value in setting.items())]


def by_network(records: Iterable[Record]) -> list[Record]:
    """The records of the networks trained for their bounds, shallow ones first and the plain one last."""
    order = ("one hidden layer", "two hidden layers", "four hidden layers", "two hidden layers, plain")
    return sorted(records, key=lambda r: order.index(r.setting["network"]))


def tightness(records: Iterable[Record], by: str) -> dict[str, dict[str, list[float]]]:
    """Bounds over measured output errors: what `by` names in the setting -> tier -> values."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for r in where(records, quantity="output_error"):
        found[r.setting[by]][r.tier].append(r.tightness)
    return {name: dict(sorted(row.items())) for name, row in found.items()}


def medians(rows: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, float]]:
    """The median of each list."""
    return {name: {key: median(values) for key, values in row.items()} for name, row in rows.items()}


def certified(records: Iterable[Record], method: str) -> dict[str, dict[str, float]]:
    """The sparsity that each tier certifies, network -> tier -> sparsity, the measured one last."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for r in where(records, quantity="sparsity at harm", method=method):
        found[r.setting["network"]][r.tier] = r.bound
    for r in where(records, quantity="sparsity at harm", method=method):
        if r.tier != "G":
            found[r.setting["network"]]["measured"] = r.measured
    return found


def layers(records: Iterable[Record], network: str, method: str) -> dict[str, dict[str, float]]:
    """The share of each layer that stays at the sparsity that each tier certifies, layer -> tier -> share."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for r in where(records, quantity="sparsity at harm", network=network, method=method):
        for layer, sparsity in r.setting["layers"].items():
            found[layer][r.tier] = 1 - sparsity
    return found


def ideas(records: Iterable[Record]) -> dict[str, dict[str, float]]:
    """Bound over measurement on ResNet-20, idea -> sparsity -> ratio."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for r in sorted(records, key=lambda r: r.sparsity):
        found[r.setting["idea"]][f"{r.sparsity:.0%}"] = r.tightness
    return dict(sorted(found.items(), key=lambda row: -row[1]["10%"]))


def costs(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Nanoseconds per weight of one matrix, what -> type -> time."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["part"] == "kernel":
            found[row["what"]][row["dtype"]] = row["ns_per_weight"]
    return found


def paths(rows: Iterable[Mapping[str, Any]], network: str) -> dict[str, list[tuple[float, float, float, float]]]:
    """Accuracy over the share that is dropped, penalty -> (share, least, median, most) over seeds, where all have one.

    Of each penalty the strengths that were run with the most seeds; ratios go by thirds of an octave.
    """
    runs: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        if row["setting"]["network"] == network:
            runs[row["setting"]["penalty"]][str(row["setting"]["strengths"])].append(row["validation"]["path"])
    found = {}
    for penalty, strengths in runs.items():
        seeds = max(strengths.values(), key=len)
        steps = sorted(set.intersection(*(set(map(int, path)) for path in seeds)))
        values = {k: [path[str(k)] for path in seeds] for k in steps}
        found[penalty] = [(1 - 2 ** (-k / 3), min(v), median(v), max(v)) for k, v in values.items()]
    return {penalty: points for penalty, points in found.items() if points}
