"""Where the bound is lost: the factor of each step of the proof, from the closed form down to the measurement."""

from collections.abc import Iterable
from itertools import groupby
from typing import Any

from ..records import Record

STEPS = {"A": "lq envelope", "B": "exact tail", "C": "moments", "D": "per input", "measured": "measured"}


def steps_of_proof(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Where the bound is lost: the factor between each rung and the next, down to what was measured.

    One row for every method and sparsity, `factors` in the order A, B, C, D, measured, as far as the records go. Their
    product is the tightness of the first.
    """
    mine = [r for r in records if r.setting.get("quantity") == "output_error" and r.tier in STEPS]
    rows = []
    for (method, sparsity), point in groupby(mine, key=lambda r: (r.setting["method"], r.sparsity)):
        at = {r.tier: r for r in point}
        tiers = [tier for tier in STEPS if tier in at]
        values = [at[tier].bound for tier in tiers] + [at[tiers[0]].measured]
        names = [STEPS[tier] for tier in (*tiers, "measured")]
        factors = {f"{names[k]} to {names[k + 1]}": _ratio(values[k], values[k + 1]) for k in range(len(names) - 1)}
        rows.append({"method": method, "sparsity": sparsity, "factors": factors})
    return rows


def _ratio(large: float, small: float) -> float:
    if large == small:
        return 1.0
    return large / small if small else float("inf")
